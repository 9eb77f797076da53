"""Decoded pixels of a set of files, kept in memory where they fit."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gesso.data.origins import Block, Origin, Planes, Views, declared, read_pixels
from gesso.functional.memory import free_memory


class Decoded:
    """`decoded[origin]` is an image's pixels as `read_pixels` gives them; where all fit, each is decoded once.

    The memory is shared with forked workers: whoever decodes a file first has done it for all. Where there is too
    little, and in workers that are spawned, every access decodes. MATLAB files stay in memory of their own accord.

    Args:
        origins: where the images are stored.
        budget: bytes that may be used; None: a quarter of what is free.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if a file's header is not that of an image; pixels are looked at when they are asked for.
    """

    def __init__(self, origins: Sequence[Origin], budget: int | None = None) -> None:
        self._origins = [origin for origin in dict.fromkeys(origins) if not isinstance(origin, Block)]
        # Pixels (H * W, channels), and the height once they are there.
        self._slots: dict[Origin, tuple[np.ndarray, np.ndarray]] = {}
        layout = _lay_out(self._origins, free_memory() // 4 if budget is None else budget)
        if not layout:
            return
        # Anonymous shared memory: pages are taken as they are filled, and the size of /dev/shm has no say.
        memory = mmap.mmap(-1, sum(8 + _padded(pixels * channels, dtype) for pixels, channels, dtype in layout))
        begin = 0
        for origin, (pixels, channels, dtype) in zip(self._origins, layout, strict=True):
            slot = np.frombuffer(memory, dtype, pixels * channels, begin + 8).reshape(pixels, channels)
            self._slots[origin] = slot, np.frombuffer(memory, np.int64, 1, begin)
            begin += 8 + _padded(pixels * channels, dtype)

    def __getitem__(self, origin: Origin) -> np.ndarray:
        if origin not in self._slots:
            return read_pixels(origin)
        pixels, height = self._slots[origin]
        if not height[0]:
            array = read_pixels(origin)
            if (array.size, array.dtype) != (pixels.size, pixels.dtype):  # the header did not tell all
                return array
            pixels[:] = array.reshape(pixels.shape)
            height[0] = len(array)
        return pixels.reshape(height[0], -1, pixels.shape[1])

    def __reduce__(self) -> tuple[type["Decoded"], tuple[list[Path | Views | Planes], int]]:
        return Decoded, (self._origins, 0)


def _lay_out(origins: Sequence[Path | Views | Planes], budget: int) -> list[tuple[int, int, type]]:
    """Pixels, channels and type of every decoded image; none at all if together they exceed the budget."""
    layout: list[tuple[int, int, type]] = []
    for origin in origins if budget > 0 else []:
        pixels, channels, dtype = declared(origin)
        layout.append((pixels, channels, dtype))
        budget -= 8 + _padded(pixels * channels, dtype)
        if budget < 0:
            return []
    return layout


def _padded(size: int, dtype: type) -> int:
    """Bytes of `size` values, rounded up to whole words so that all slots are aligned."""
    return -(-size * np.dtype(dtype).itemsize // 8) * 8
