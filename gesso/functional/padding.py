"""Padding to the sizes that networks can take, for images of any size."""

import torch
from torch import Tensor
from torch.nn import functional as F


def reflected_index(size: int, before: int, after: int, *, repeat_edge: bool = False) -> Tensor:
    """Source position of each of the `before + size + after` samples of a mirrored axis.

    Mirrors again where the padding is longer than the axis, which `torch.nn.functional.pad` refuses.
    `repeat_edge` repeats the edge sample (OpenCV's BORDER_REFLECT); else the edge is the mirror (BORDER_REFLECT_101).
    """
    position = torch.arange(-before, size + after)
    if size == 1:
        return torch.zeros_like(position)
    period = 2 * size if repeat_edge else 2 * size - 2
    position = position.remainder(period)
    return torch.where(position < size, position, period - position - (1 if repeat_edge else 0))


def pad(image: Tensor, left: int, right: int, top: int, bottom: int, mode: str = "reflect") -> Tensor:
    """`image` (..., H, W) extended on four sides, by any amount, also by more than the image is wide.

    Modes are "reflect" (the edge is not repeated), "symmetric" (it is), "replicate" and "zeros".
    """
    if not (left or right or top or bottom):
        return image
    if mode == "zeros":
        return F.pad(image, (left, right, top, bottom))
    height, width = image.shape[-2:]
    if mode == "replicate":
        rows = torch.arange(-top, height + bottom).clamp(0, height - 1)
        columns = torch.arange(-left, width + right).clamp(0, width - 1)
    elif mode in ("reflect", "symmetric"):
        rows = reflected_index(height, top, bottom, repeat_edge=mode == "symmetric")
        columns = reflected_index(width, left, right, repeat_edge=mode == "symmetric")
    else:
        raise ValueError(f"mode: expected reflect, symmetric, replicate or zeros, got {mode!r}")
    return image.index_select(-2, rows.to(image.device)).index_select(-1, columns.to(image.device))


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not less than `size`."""
    return -(-size // multiple) * multiple
