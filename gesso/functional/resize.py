"""Bicubic resizing with the pixels of MATLAB's `imresize`, which super-resolution benchmarks are made with."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from gesso.functional.padding import reflected_index


def imresize(image: Tensor, scale: float | Fraction | tuple[int, int]) -> Tensor:
    """`image` (..., H, W) resized by `scale`, or to the size (height, width), bicubic and antialiased like MATLAB.

    The new sides are ceil(scale * side). Rows first, then columns; neither rounded nor clipped, so values overshoot
    [0, 1] slightly at edges.

    Raises:
        ValueError: if the scale or the size is not positive.
    """
    height, width = image.shape[-2:]
    if isinstance(scale, tuple):
        size, scales = scale, (Fraction(scale[0], height), Fraction(scale[1], width))
    else:
        size, scales = (math.ceil(scale * height), math.ceil(scale * width)), (scale, scale)
    if min(size) < 1:
        raise ValueError(f"scale: expected a positive factor or a (height, width), got {scale!r}")
    for axis, side, factor in zip((-2, -1), size, scales, strict=True):
        image = resize_axis(image, axis, side, float(factor))
    return image


def enlarge(lq: Tensor, scale: int) -> Tensor:
    """`lq` (..., H, W) in [0, 1] at the size of its ground truth: `scale` times as large, bicubic."""
    return lq if scale == 1 else imresize(lq, scale).clamp(0, 1)


def resize_axis(image: Tensor, axis: int, size: int, scale: float) -> Tensor:
    """One axis resized to `size` samples: each is a weighted sum of a few neighbours."""
    sharpness = min(scale, 1.0)  # the kernel is widened when shrinking: antialiasing
    reach = 2 / sharpness
    taps = math.ceil(2 * reach) + 2
    # Positions count from 1, as MATLAB's do: float rounding then falls alike.
    position = torch.arange(1, size + 1, dtype=torch.float64) / scale + 0.5 * (1 - 1 / scale)
    source = (position - reach).floor().unsqueeze(0) + torch.arange(taps).unsqueeze(1)  # (taps, size)
    weights = sharpness * _cubic(sharpness * (position - source))
    weights /= weights.sum(0)

    length = image.shape[axis]
    before, after = max(0, 1 - int(source.min())), max(0, int(source.max()) - length)
    mirror = reflected_index(length, before, after, repeat_edge=True)
    index = mirror[source.long() - 1 + before].to(image.device)
    weights = weights.to(image)
    if axis == -2:
        weights = weights.unsqueeze(-1)
    resized = image.index_select(axis, index[0]) * weights[0]
    for tap in range(1, taps):
        resized += image.index_select(axis, index[tap]) * weights[tap]
    return resized


def _cubic(t: Tensor) -> Tensor:
    """Keys's cubic kernel with a = -1/2 at distance `t`; zero from 2 on (Keys, 1981)."""
    t = t.abs()
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return torch.where(t <= 1, near, torch.where(t <= 2, far, 0.0))
