"""Chains of operations on large maps, some rows at a time, so that what lies between them stays small."""

from collections.abc import Callable

import torch
from torch import Tensor

STRIP = 2**19  # elements of the input at a time: 2 MiB in float32


def map_row_chunks(function: Callable[[Tensor], Tensor], x: Tensor, reach: int) -> Tensor:
    """`function(x)` for a function of maps (B, H, W, C) that keeps H and W and looks at most `reach` pixels far.

    Without gradients and on a CPU, a large map is cut into strips of rows, each run with `reach` more rows above and
    below. Memory then never holds more than a strip of what the function makes in between, and what is gained by
    caches is more than the extra rows cost.

    Example:
        >>> with torch.no_grad():
        ...     map_row_chunks(lambda x: x.cumsum(-1), torch.ones(1, 2, 2, 2), reach=0).shape
        torch.Size([1, 2, 2, 2])
    """
    batch, height, width, channels = x.shape
    rows = max(STRIP // (batch * width * channels), 4 * reach, 1)
    if torch.is_grad_enabled() or rows >= height or x.device.type != "cpu" or torch.compiler.is_compiling():
        return function(x)
    result = None
    for top in range(0, height, rows):
        above = min(reach, top)
        strip = function(x[:, top - above : top + rows + reach])[:, above : above + rows]
        if result is None:
            result = strip.new_empty(batch, height, width, strip.shape[-1])
        result[:, top : top + rows] = strip
    assert result is not None
    return result
