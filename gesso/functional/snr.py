"""How much signal there is beside the noise at each pixel, without a clean image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.functional.padding import pad

WINDOW = 5  # side of the mean that stands for the clean image
LUMA = (0.299, 0.587, 0.114)


def snr_map(image: Tensor, peak: Tensor | None = None) -> Tensor:
    """The signal-to-noise map (B, 1, H, W) in [0, 1], float32 or wider, of images (B, C, H, W) in [0, 1].

    The image is taken as grey; its signal is the mean of 5 x 5 pixels, mirrored at the edges, its noise the distance to
    that mean; the map is their ratio by its largest value.

    Args:
        image: grey, RGB, or of other channels, of which the mean is taken.
        peak: what `snr_peak` says of the whole images, where `image` is a part of them; none: of these.

    Xu et al., "SNR-Aware Low-Light Image Enhancement", CVPR 2022, section 3.2.
    """
    ratio = snr_ratio(image)
    peak = ratio.amax((2, 3), keepdim=True) if peak is None else peak
    return (ratio / (peak + 1e-4)).clamp(0, 1)


def snr_peak(image: Tensor) -> Tensor:
    """What `snr_map` divides by, (B, 1, 1, 1)."""
    return snr_ratio(image).amax((2, 3), keepdim=True)


def snr_ratio(image: Tensor) -> Tensor:
    """Signal by noise, (B, 1, H, W)."""
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    weights = LUMA if image.shape[1] == 3 else (1 / image.shape[1],) * image.shape[1]
    grey = sum(weight * channel for weight, channel in zip(weights, wide.split(1, dim=1), strict=True))
    assert isinstance(grey, Tensor)
    margin = WINDOW // 2
    signal = F.avg_pool2d(pad(grey, margin, margin, margin, margin), WINDOW, stride=1)
    return signal / ((grey - signal).abs() + 1e-4)
