"""Colour conversions."""

import torch
from torch import Tensor


def rgb_to_y(image: Tensor) -> Tensor:
    """Luma (..., 1, H, W) of an RGB image (..., 3, H, W) in [0, 1], as MATLAB's `rgb2ycbcr` defines it.

    Studio range, ITU-R BT.601: black is 16/255 and white 235/255.

    Example:
        >>> (255 * rgb_to_y(torch.ones(3, 1, 1))).flatten()
        tensor([235.])
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=image.dtype, device=image.device)
    return (16 + (image * weights.view(3, 1, 1)).sum(-3, keepdim=True)) / 255


def to_grey(image: Tensor) -> Tensor:
    """Grey (..., 1, H, W) of an RGB image (..., 3, H, W) in [0, 1], rounded to 8 bits: full range, ITU-R BT.601.

    What OpenCV makes of a coloured file that it reads as grey, but for the last bit. Equal channels keep their value.
    """
    red, green, blue = image.split(1, dim=-3)
    grey = (255 * (0.299 * red + 0.587 * green + 0.114 * blue)).round() / 255
    return torch.where((red == green) & (green == blue), red, grey)


def to_linear(image: Tensor) -> Tensor:
    """Linear light of an image in the values of a display, [0, 1] to [0, 1]: sRGB, IEC 61966-2-1.

    Example:
        >>> to_linear(torch.tensor([0.0, 0.5, 1.0])).numpy().round(3)
        array([0.   , 0.214, 1.   ], dtype=float32)
    """
    return torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def to_display(light: Tensor) -> Tensor:
    """The inverse of `to_linear`."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def as_rgb(image: Tensor) -> Tensor:
    """A picture (..., 3, H, W) of what a network sees: grey as it is, of two views the mean, of four channels three."""
    channels = image.shape[-3]
    if channels == 3:
        return image
    if channels % 3 == 0:
        return image.unflatten(-3, (-1, 3)).mean(-4)
    if channels > 3:
        return image[..., :3, :, :]
    return image[..., :1, :, :].expand(*image.shape[:-3], 3, *image.shape[-2:])
