"""What rain and snow share: small shapes scattered over a picture that wraps around at its edges."""

import torch
from torch import Tensor

from gesso.degradations._base import Range, draw
from gesso.functional.random import BatchGenerator, rand


def scatter(rate: Tensor, shape: Tensor, generator: BatchGenerator) -> Tensor:
    """Shapes dropped at random positions and added up, (B, 1, H, W), not below 0.

    Each is as bright as its own draw from [0.5, 1]. The picture wraps around: what leaves at the bottom enters at the
    top, so that particles are as frequent at the edges as elsewhere.

    Args:
        rate: particles per pixel, (B, 1, 1, 1).
        shape: their shape, centred on pixel (0, 0), (B, 1, H, W).
        generator: where positions and brightness come from.
    """
    position = rand(shape.shape, generator, shape.dtype)
    seeds = torch.where(position < rate, 0.5 + 0.5 * position / rate, 0.0)
    return torch.fft.irfft2(torch.fft.rfft2(seeds) * torch.fft.rfft2(shape), s=shape.shape[-2:]).relu()


def rates(share: Tensor, area: Tensor) -> Tensor:
    """Particles per pixel of each layer, (B, L, 1, 1), that cover a share of the picture together.

    Args:
        share: what all layers cover, (B, 1, 1, 1) in [0, 1).
        area: pixels that one particle of each layer covers, (B, L, 1, 1).
    """
    # Particles scattered independently leave exp(-count * area) of the plane uncovered.
    return -torch.log1p(-share) / (area.shape[1] * area)


def falling(angle: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distances from pixel (0, 0) along and across a direction, two tensors (B, 1, H, W); the picture wraps.

    `angle` (B, 1, 1, 1) is in degrees from straight down.
    """
    height, width = image.shape[-2:]
    y = torch.fft.fftfreq(height, 1 / height, device=image.device, dtype=image.dtype).view(-1, 1)
    x = torch.fft.fftfreq(width, 1 / width, device=image.device, dtype=image.dtype)
    cosine, sine = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    return y * cosine + x * sine, x * cosine - y * sine


def draw_angles(angle: Range, spread: Range, image: Tensor, generator: BatchGenerator, layers: int) -> Tensor:
    """Directions (B, layers, 1, 1) in degrees: one for every image, each layer up to `spread` away from it."""
    centre, reach = draw(angle, image, generator), draw(spread, image, generator)
    return centre + reach * draw((-1.0, 1.0), image, generator, layers)
