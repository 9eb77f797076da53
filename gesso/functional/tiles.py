"""Cutting an axis into overlapping tiles, and weights that join the tiles again without a seam."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gesso.functional.padding import round_up

Span = tuple[int, int]
"""Where a tile begins and ends on an axis, in samples, end excluded."""


def spans(size: int, tile: int, overlap: int, multiple: int = 1, last: int | None = None) -> list[Span]:
    """Tiles of one axis, in order, each beginning at a multiple of `multiple`; the last one ends with the axis.

    A network that divides its input by `multiple` then sees every tile on the same grid as the whole image, and the
    tile at the end, cut short by the image, is padded just as the whole image is.

    Args:
        size: length of the axis.
        tile: length of a tile, rounded up to a multiple of `multiple`; an axis no longer than this stays whole.
        overlap: what two neighbours share at least, rounded likewise; less than `tile`.
        multiple: what a network's input must divide by.
        last: None has the last tile share more with its neighbour, to be as long as the others; a number has it end
            the axis as short as it can be in multiples of that.

    Example:
        >>> spans(100, tile=48, overlap=16, multiple=8)
        [(0, 48), (32, 80), (56, 100)]
        >>> spans(256, tile=128, overlap=8, last=64)
        [(0, 128), (120, 248), (192, 256)]
    """
    tile, overlap, padded = (round_up(length, multiple) for length in (tile, overlap, size))
    if padded <= tile:
        return [(0, size)]
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap: expected 0 to {tile - multiple} for tiles of {tile}, got {overlap}")
    starts = [*range(0, padded - tile, tile - overlap)]
    rest = padded - len(starts) * (tile - overlap)
    end = (padded - (tile if last is None else min(tile, round_up(rest, last))), size)
    return [*((start, min(start + tile, size)) for start in starts), end]


def even_sides(size: int, overlap: int, least: int, multiple: int = 1, grid: int = 1) -> list[int]:
    """The smallest tiles that cut an axis into one, two, three ... pieces, from the whole axis down to `least`.

    Args:
        size: length of the axis.
        overlap: what two neighbours share at least; less than `least`.
        least: what no tile is smaller than, but on a shorter axis.
        multiple: what a network's input must divide by.
        grid: the multiple that tiles begin at; see `spans`.

    Example:
        >>> even_sides(1000, overlap=16, least=256, multiple=8, grid=8)
        [1000, 512, 344, 264, 256]
    """
    least, overlap, padded = round_up(least, multiple), round_up(overlap, grid), round_up(size, grid)
    sides = [round_up(size, multiple)]
    count = 1
    while sides[-1] > least:
        count += 1
        sides.append(max(least, round_up(-(-(padded + (count - 1) * overlap) // count), multiple)))
    return list(dict.fromkeys(sides))


def weights(tiles: Sequence[Span], *, blend: str = "smooth") -> list[Tensor]:
    """One weight for every sample of every tile of an axis, float32; where tiles overlap their weights sum to one.

    Args:
        tiles: what `spans` returned, possibly scaled.
        blend: "smooth" fades over the middle half of an overlap and leaves out the outer quarters, which border
            effects of a network reach first; "uniform" averages, as the demo of Restormer's authors does.

    Example:
        >>> left, right = weights([(0, 8), (4, 12)])
        >>> left[4:] + right[:4]
        tensor([1., 1., 1., 1.])
    """
    if blend not in ("smooth", "uniform"):
        raise ValueError(f"blend: expected smooth or uniform, got {blend!r}")
    raw = [torch.ones(stop - start, dtype=torch.float64) for start, stop in tiles]
    if blend == "smooth":
        for before, (_, stop), after, (start, _) in zip(raw, tiles, raw[1:], tiles[1:], strict=False):
            fade = _fade(stop - start)
            after[: len(fade)] *= fade
            before[len(before) - len(fade) :] *= fade.flip(0)
    total = torch.zeros(tiles[-1][1], dtype=torch.float64)
    for weight, (start, stop) in zip(raw, tiles, strict=True):
        total[start:stop] += weight
    return [(weight / total[start:stop]).float() for weight, (start, stop) in zip(raw, tiles, strict=True)]


def _fade(overlap: int) -> Tensor:
    """From 0 to 1 along an overlap: a quarter of zeros, a raised cosine, a quarter of ones."""
    margin = overlap // 4
    ramp = overlap - 2 * margin
    position = (torch.arange(overlap, dtype=torch.float64) + 0.5 - margin) / max(ramp, 1)
    return 0.5 - 0.5 * torch.cos(math.pi * position.clamp(0, 1))
