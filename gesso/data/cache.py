"""Decoded pixels of a set of files, kept in memory, or else on disk, where they fit."""

import mmap
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gesso.data.mapped import Mapped, cache_folder
from gesso.data.origins import Origin, declared, in_matlab, read_pixels
from gesso.functional.memory import free_memory
from gesso.functional.processes import local_processes, rank_info


class KeptOnDiskWarning(UserWarning):
    """Decoded files take space on disk."""


class Decoded:
    """`decoded[origin]` is an image's pixels as `read_pixels` gives them; where all fit, each is decoded once.

    They are kept in memory that is shared with forked workers: whoever decodes a file first has done it for all. A set
    that is too large for it is kept in memory-mapped files, see `Mapped`, which other processes and later runs share.
    Where there is too little of either, every access decodes; memory also does not reach workers that are spawned.
    MATLAB files stay in memory of their own accord.

    Args:
        origins: where the images are stored.
        budget: bytes of memory that may be used; None: a quarter of what is free, over all processes of a run
            and all runs side by side.
        folder: where to keep what memory does not hold; None: nowhere, but if `budget` is None, too, in the user's
            cache folder.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if a file's header is not that of an image; pixels are looked at when they are asked for.
    """

    def __init__(self, origins: Sequence[Origin], budget: int | None = None, folder: Path | None = None) -> None:
        self._origins = [origin for origin in dict.fromkeys(origins) if not in_matlab(origin)]
        # Pixels (H * W, channels), and the height once they are there.
        self._slots: dict[Origin, tuple[np.ndarray, np.ndarray]] = {}
        self._mapped: Mapped | None = None
        self.in_memory = self.on_disk = 0  # bytes, once every file has been asked for
        by_itself = folder is None and budget is None
        if by_itself:
            folder = cache_folder()
        if budget is None:
            budget = free_memory() // (4 * local_processes()) - sum(other.in_memory for other in _living)
        mapped = Mapped(folder) if folder else None
        room = mapped.room() - sum(other.on_disk for other in _living) if mapped else 0
        layout = _lay_out(self._origins, max(budget, room))
        size = sum(map(_slot_size, layout))
        if layout and size <= budget:
            self._keep_in_memory(layout)
            self.in_memory = size
        elif layout and mapped:
            self._mapped, self.on_disk = mapped, size
            mapped.make_room(self._origins, size)
            if by_itself and rank_info().rank == 0:
                warnings.warn(_explained(size, mapped.folder), KeptOnDiskWarning, stacklevel=3)
        _living.add(self)

    def _keep_in_memory(self, layout: list[tuple[int, int, type]]) -> None:
        # Anonymous shared memory: pages are taken as they are filled, and the size of /dev/shm has no say.
        memory = mmap.mmap(-1, sum(map(_slot_size, layout)))
        begin = 0
        for origin, (pixels, channels, dtype) in zip(self._origins, layout, strict=True):
            slot = np.frombuffer(memory, dtype, pixels * channels, begin + 8).reshape(pixels, channels)
            self._slots[origin] = slot, np.frombuffer(memory, np.int64, 1, begin)
            begin += _slot_size((pixels, channels, dtype))

    def __getitem__(self, origin: Origin) -> np.ndarray:
        if origin in self._slots:
            return self._from_memory(origin)
        return read_pixels(origin) if self._mapped is None or in_matlab(origin) else self._mapped[origin]

    def _from_memory(self, origin: Origin) -> np.ndarray:
        pixels, height = self._slots[origin]
        if not height[0]:
            array = read_pixels(origin)
            if (array.size, array.dtype) != (pixels.size, pixels.dtype):  # the header did not tell all
                return array
            pixels[:] = array.reshape(pixels.shape)
            height[0] = len(array)
        return pixels.reshape(height[0], -1, pixels.shape[1])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_slots": {}}


_living: weakref.WeakSet[Decoded] = weakref.WeakSet()
"""What has space in this process, for a mix has a set of files for each of its parts."""


def reserved() -> int:
    """Bytes of memory that decoded images of this process will have taken once all of them have been asked for."""
    return sum(one.in_memory for one in _living)


def _lay_out(origins: Sequence[Any], budget: int) -> list[tuple[int, int, type]]:
    """Pixels, channels and type of every decoded image; none at all if together they exceed the budget."""
    layout: list[tuple[int, int, type]] = []
    for origin in origins if budget > 0 else []:
        layout.append(declared(origin))
        budget -= _slot_size(layout[-1])
        if budget < 0:
            return []
    return layout


def _slot_size(image: tuple[int, int, type]) -> int:
    """Bytes for an image of so many pixels and channels of a type, in whole words, and for its height."""
    pixels, channels, dtype = image
    return 8 + -(-pixels * channels * np.dtype(dtype).itemsize // 8) * 8


def _explained(size: int, folder: Path) -> str:
    return (
        f"the decoded images take {size / 2**30:.1f} GiB, more than memory has to spare, and are kept in {folder}; "
        "the variable GESSO_CACHE names another folder, or if it is empty none"
    )
