"""Square windows of a map, and attention within them.

Normalisation, projections and attention do not care in which order pixels lie. A windowed block therefore takes them
window by window, moved there by one permutation, where the papers' formulas roll a map, cut it, join it and roll back.
"""

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gesso.functional.attention import attention

# The authors add -100. Beside 1, exp(-100) vanishes as well as 0 does, but it is a subnormal number, with which CPUs
# multiply several times slower.
MASKED = -1e4


class Windows(NamedTuple):
    """How the pixels of a batch fall into windows, the way back, and which pixels of a window must not meet."""

    order: Tensor  # (windows*B*N,) int32, pixel at each place in window order; a window's B images are neighbours
    inverse: Tensor  # (B*H*W,) int32, place of each pixel
    mask: Tensor  # (torn, N, N), 0 or MASKED, added to the logits of the last `torn` windows; torn = 0 without a shift


_found_in_graph: ContextVar[dict[str, Windows] | None] = ContextVar("found_in_graph", default=None)


def find_windows(batch: int, height: int, width: int, side: int, shift: int, device: torch.device) -> Windows:
    """Windows of N = side*side pixels of maps (batch, height, width), cyclically shifted up and left by `shift`.

    Where a shift tears a window in two, it joins pixels of opposite borders, which may not attend to each other. Torn
    windows come last, so that all others need no mask.
    """
    if not torch.compiler.is_compiling():
        return _find_windows_once(batch, height, width, side, shift, device)
    # While a graph is recorded, tensors are placeholders that only this graph may keep. torch.compile joins what is
    # computed twice by itself, and cannot read context variables.
    found = None if torch.compiler.is_dynamo_compiling() else _found_in_graph.get()
    if found is None:
        return _find_windows(batch, height, width, side, shift, device)
    sizes = f"{batch} {height} {width} {side} {shift} {device}"  # symbols have no hash, but they are spelled alike
    if sizes not in found:
        found[sizes] = _find_windows(batch, height, width, side, shift, device)
    return found[sizes]


@contextlib.contextmanager
def share_windows() -> Iterator[None]:
    """Within it, a graph that is recorded computes each arrangement of windows once and not in every block.

    It goes around one pass of one network: what is found belongs to the graph of this pass.
    """
    token = _found_in_graph.set({})
    try:
        yield
    finally:
        _found_in_graph.reset(token)


def _find_windows(batch: int, height: int, width: int, side: int, shift: int, device: torch.device) -> Windows:
    pixels = torch.arange(height * width).view(height, width).roll((-shift, -shift), (0, 1))
    order = torch.cat(_partition(pixels, side, torn=shift > 0))
    order = (order[:, None] + torch.arange(batch)[:, None] * height * width).flatten()
    inverse = torch.empty_like(order).scatter(0, order, torch.arange(order.shape[0]))
    from_top, from_left = torch.arange(height) >= height - shift, torch.arange(width) >= width - shift
    _, origin = _partition(2 * from_top[:, None] + from_left, side, torn=shift > 0)
    mask = torch.where(origin[:, :, None] != origin[:, None, :], MASKED, 0.0)
    return Windows(order.int().to(device), inverse.int().to(device), mask.to(device))


def _partition(plane: Tensor, side: int, *, torn: bool) -> tuple[Tensor, Tensor]:
    """Whole windows and torn ones of a plane (H, W): those at the right and the bottom, if a shift tears any."""
    height, width = plane.shape
    windows = plane.view(height // side, side, width // side, side).transpose(1, 2).flatten(2)
    if not torn:
        return windows.flatten(0, 1), windows.new_empty(0, side * side)
    return windows[:-1, :-1].flatten(0, 1), torch.cat([windows[:-1, -1], windows[-1]])


# Outside inference mode, else what an evaluation caches could not serve a training step.
_find_windows_once = functools.lru_cache(maxsize=64)(torch.inference_mode(False)(_find_windows))


def reorder(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """`rows[order]`, where `inverse` leads back."""
    return _Reorder.apply(rows, order, inverse) if rows.requires_grad else rows.index_select(0, order)


def move(rows: Tensor, here: Windows, there: Windows) -> Tensor:
    """Pixels (B*H*W, C) in the order of `there`, from the order of `here`, without the way through the maps."""
    if here is there:
        return rows
    # `index_select`, for indexing by int32 is no valid ONNX.
    return reorder(rows, here.inverse.index_select(0, there.order), there.inverse.index_select(0, here.order))


class _Reorder(torch.autograd.Function):
    """Rows in another order. The gradient is a read in the opposite order, not an accumulation into zeros."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse, order)
        return rows.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Reorder.apply(gradients[0], *ctx.saved_tensors), None, None


def relative_position_index(side: int) -> Tensor:
    """Row of the bias table for every pair of pixels of a window, (N, N); the table is row-major in (dy, dx)."""
    y, x = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    return (y[:, None] - y + side - 1) * (2 * side - 1) + (x[:, None] - x + side - 1)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, mask: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale q k^T + bias + mask) v, (windows, B, N, heads, d).

    Args:
        q: queries (windows, B, heads, N, d), windows in the order of `Windows`; keys and values have the same shape.
        k: keys.
        v: values.
        bias: (heads, N, N), for every window; None for none.
        mask: (torn, N, N), for the last windows.
        scale: 1 / sqrt(d) if None.
    """
    torn = mask.shape[0]  # not len(): a graph that is recorded would hold the number and no symbol
    if torn == 0:
        return _attend(q, k, v, bias, scale)
    sizes = [q.shape[0] - torn, torn]
    masked = mask[:, None, None] if bias is None else bias + mask[:, None, None]
    groups = zip(q.split(sizes), k.split(sizes), v.split(sizes), (bias, masked), strict=True)
    recorded = torch.compiler.is_compiling()  # for any size; an empty group is then no fault
    return torch.cat([_attend(*group, scale) for group in groups if recorded or group[0].shape[0]])


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """The same for a bias that may be (windows, 1, heads, N, N), one for each window."""
    if bias is not None:
        bias = bias.to(q.dtype).expand(*q.shape[:-1], -1).flatten(0, 1)
    attended = attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bias, scale)
    return attended.transpose(1, 2).unflatten(0, q.shape[:2])
