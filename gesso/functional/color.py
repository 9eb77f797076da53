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
