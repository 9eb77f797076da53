"""Decoded pixels of a set of files, kept in memory where they fit."""

import mmap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

from gesso.data.headers import read_header
from gesso.data.io import DEPTHS, read_array


class Decoded:
    """`decoded[path]` is the file's pixels, (H, W, 3) RGB as stored; where all files fit, each is decoded once.

    The memory is shared with forked workers: whoever decodes a file first has done it for all. Where there is too
    little, and in workers that are spawned, every access decodes.

    Args:
        paths: the files.
        budget: bytes that may be used; None: a quarter of what is free.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if a file's header is not that of an image; pixels are looked at when they are asked for.
    """

    def __init__(self, paths: Sequence[Path], budget: int | None = None) -> None:
        self._paths = list(dict.fromkeys(paths))
        self._slots: dict[Path, tuple[np.ndarray, np.ndarray]] = {}  # flat pixels, and the height once they are there
        layout = _lay_out(self._paths, free_memory() // 4 if budget is None else budget)
        if not layout:
            return
        # Anonymous shared memory: pages are taken as they are filled, and the size of /dev/shm has no say.
        memory = mmap.mmap(-1, sum(8 + _padded(size, dtype) for size, dtype in layout))
        begin = 0
        for path, (size, dtype) in zip(self._paths, layout, strict=True):
            self._slots[path] = np.frombuffer(memory, dtype, size, begin + 8), np.frombuffer(memory, np.int64, 1, begin)
            begin += 8 + _padded(size, dtype)

    def __getitem__(self, path: Path) -> np.ndarray:
        if path not in self._slots:
            return read_array(path)
        pixels, height = self._slots[path]
        if not height[0]:
            array = read_array(path)
            if (array.size, array.dtype) != (pixels.size, pixels.dtype):  # the header did not tell all
                return array
            pixels[:] = array.ravel()
            height[0] = len(array)
        return pixels.reshape(height[0], -1, 3)

    def __reduce__(self) -> tuple[type["Decoded"], tuple[list[Path], int]]:
        return Decoded, (self._paths, 0)


def free_memory() -> int:
    """Bytes of memory that this process may still take: what the machine has free, or its control group allows."""
    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        allowed, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return free if allowed == "max" else min(free, int(allowed) - int(used))
    except (OSError, ValueError):  # no control groups here
        return free


def _lay_out(paths: Sequence[Path], budget: int) -> list[tuple[int, type]]:
    """Values and type of every decoded file; none at all if together they exceed the budget."""
    layout: list[tuple[int, type]] = []
    for path in paths if budget > 0 else []:
        header = read_header(path)
        layout.append((3 * header.width * header.height, DEPTHS.get(header.bits, np.uint16)))
        budget -= 8 + _padded(*layout[-1])
        if budget < 0:
            return []
    return layout


def _padded(size: int, dtype: type) -> int:
    """Bytes of `size` values, rounded up to whole words so that all slots are aligned."""
    return -(-size * np.dtype(dtype).itemsize // 8) * 8
