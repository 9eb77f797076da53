"""Decoded pixels of a set of files, each decoded once: memory-mapped, in memory, or else on disk, where they fit."""

import contextlib
import hashlib
import io
import mmap
import os
import re
import shutil
import time
import warnings
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gesso import __version__
from gesso.data.image_ref import Block, ImageRef, files_of
from gesso.data.io import atomic_path, read_layout, read_pixels
from gesso.formats import RGB, PixelFormat
from gesso.functional.memory import free_memory
from gesso.functional.processes import local_processes, rank_info

READERS = 3  # counts the changes of what the readers make of a file
FORGOTTEN = 30 * 24 * 3600  # seconds after which a file that no run has asked for is removed
OURS = re.compile(r"\.?[0-9a-f]{32}(\.[0-9a-f]{8}\.tmp)?\.npy")  # kept files, and what killed writers leave


class KeptOnDiskWarning(UserWarning):
    """Decoded files take space on disk."""


class PixelCache:
    """`cache[ref]` is an image's pixels as `read_pixels` gives them; where all fit, each is decoded once.

    They are kept in memory that is shared with forked workers: whoever decodes a file first has done it for all. A set
    that is too large for it is kept in memory-mapped files, see `CacheFolder`, which other processes and later runs
    share. Where there is too little of either, every access decodes; memory also does not reach workers that are
    spawned. MATLAB files stay in memory of their own accord.

    Args:
        refs: where the images are stored.
        format: how they are read.
        budget: bytes of memory that may be used; None: a quarter of what is free, over all processes of a run
            and all runs side by side.
        folder: where to keep what memory does not hold; None: nowhere, but if `budget` is None, too, in the user's
            cache folder.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if a file's header is not that of an image; pixels are looked at when they are asked for.
    """

    def __init__(
        self,
        refs: Sequence[ImageRef],
        format: PixelFormat = RGB,
        budget: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.format = format
        self._refs = [ref for ref in dict.fromkeys(refs) if not isinstance(ref, Block)]
        # Pixels (H * W, channels), and the height once they are there.
        self._slots: dict[ImageRef, tuple[np.ndarray, np.ndarray]] = {}
        self._folder: CacheFolder | None = None
        self.in_memory = self.on_disk = 0  # bytes, once every file has been asked for
        by_default = folder is None and budget is None
        if by_default:
            folder = cache_folder()
        if budget is None:
            budget = free_memory() // (4 * local_processes()) - sum(other.in_memory for other in _living)
        on_disk = CacheFolder(folder, format) if folder else None
        room = on_disk.room() - sum(other.on_disk for other in _living) if on_disk else 0
        layout = _lay_out(self._refs, format, max(budget, room))
        size = sum(map(_slot_size, layout))
        if layout and size <= budget:
            self._keep_in_memory(layout)
            self.in_memory = size
        elif layout and on_disk:
            self._folder, self.on_disk = on_disk, size
            on_disk.make_room(self._refs, size)
            if by_default and rank_info().rank == 0:
                warnings.warn(_explained(size, on_disk.folder), KeptOnDiskWarning, stacklevel=3)
        _living.add(self)

    def _keep_in_memory(self, layout: list[tuple[int, int, type]]) -> None:
        # Anonymous shared memory: pages are taken as they are filled, and the size of /dev/shm has no say.
        memory = mmap.mmap(-1, sum(map(_slot_size, layout)))
        begin = 0
        for ref, (pixels, channels, dtype) in zip(self._refs, layout, strict=True):
            slot = np.frombuffer(memory, dtype, pixels * channels, begin + 8).reshape(pixels, channels)
            self._slots[ref] = slot, np.frombuffer(memory, np.int64, 1, begin)
            begin += _slot_size((pixels, channels, dtype))

    def __getitem__(self, ref: ImageRef) -> np.ndarray:
        if ref in self._slots:
            return self._from_memory(ref)
        if self._folder is None or isinstance(ref, Block):
            return read_pixels(ref, self.format)
        return self._folder[ref]

    def _from_memory(self, ref: ImageRef) -> np.ndarray:
        pixels, height = self._slots[ref]
        if not height[0]:
            array = read_pixels(ref, self.format)
            if (array.size, array.dtype) != (pixels.size, pixels.dtype):  # the header did not tell all
                return array
            pixels[:] = array.reshape(pixels.shape)
            height[0] = len(array)
        return pixels.reshape(height[0], -1, pixels.shape[1])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_slots": {}}


_living: weakref.WeakSet[PixelCache] = weakref.WeakSet()
"""What has space in this process, for a mix has a set of files for each of its parts."""


def reserved_memory() -> int:
    """Bytes of memory that decoded images of this process will have taken once all of them have been asked for."""
    return sum(one.in_memory for one in _living)


def _lay_out(refs: Sequence[Any], format: PixelFormat, budget: int) -> list[tuple[int, int, type]]:
    """Pixels, channels and type of every decoded image; none at all if together they exceed the budget."""
    layout: list[tuple[int, int, type]] = []
    for ref in refs if budget > 0 else []:
        layout.append(read_layout(ref, format))
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


# ------------------------------------------------------------------------------------------------------- on disk


class CacheFolder:
    """`folder[ref]` is an image's pixels as `read_pixels` gives them, decoded by whoever asks first.

    A kept file is named after path, size and times of its source and the version of the readers that decoded it, so
    that one which is out of date is never read; and it is written whole before it has its name. Only the pages that are
    looked at are read from disk, and memory that is free keeps them.

    Args:
        folder: where decoded files are kept.
        format: how they are read.
    """

    def __init__(self, folder: Path, format: PixelFormat = RGB) -> None:
        self.folder, self.format, self.keeps = folder, format, True

    def __getitem__(self, ref: ImageRef) -> np.ndarray:
        path = self.path(ref)
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or damaged
            return np.asarray(np.load(path, mmap_mode="r"))
        pixels = read_pixels(ref, self.format)
        if self.keeps:
            self._keep(path, pixels)
        return pixels

    def path(self, ref: ImageRef) -> Path:
        """The file for an image as it is now.

        Raises:
            FileNotFoundError: if the image is missing.
        """
        facts = [__version__, READERS, type(ref).__name__, self.format.has_planes, self.format.white_level]
        for file in files_of(ref):
            now = file.stat()
            facts += [str(file.resolve()), now.st_size, now.st_mtime_ns, now.st_ctime_ns]
        return self.folder / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.npy"

    def room(self) -> int:
        """Bytes that kept files may take in all: a quarter of the disk's space that other things leave; or none."""
        try:
            place = next(parent for parent in (self.folder, *self.folder.absolute().parents) if parent.exists())
            return (shutil.disk_usage(place).free + sum(size for _, _, size in self._kept())) // 4
        except OSError:  # somebody else's
            return 0

    def make_room(self, refs: Iterable[ImageRef], size: int) -> None:
        """Removes what has not been used for a month, and more, longest unused first, until a set of `size` bytes fits.

        What is kept of the set itself stays, and counts as used from now on.
        """
        own = {self.path(ref) for ref in refs}
        kept = self._kept()
        for _, path, _ in kept:
            if path in own:
                with contextlib.suppress(OSError):  # removed by another run, or another user's
                    os.utime(path)
        others = sorted(file for file in kept if file[1] not in own)
        excess = size + sum(size for _, _, size in others) - self.room()
        for used, path, freed in others:
            if excess <= 0 and used > time.time() - FORGOTTEN:
                return
            with contextlib.suppress(OSError):
                path.unlink()  # whoever reads it at the moment can go on
                excess -= freed

    def _kept(self) -> list[tuple[float, Path, int]]:
        """When each kept file was last used, its path, its bytes."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                if OURS.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # removed by another run
                        found.append((entry.stat().st_mtime, Path(entry.path), entry.stat().st_size))
        return found

    def _keep(self, path: Path, pixels: np.ndarray) -> None:
        content = io.BytesIO()  # NumPy does not say when it could not write all of a file
        np.save(content, pixels)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content.getbuffer())
        except OSError as error:
            if path.exists():  # another run has written and opened it meanwhile, which Windows lets nobody replace
                return
            self.keeps = False
            warnings.warn(f"{error}; files that are not kept there are decoded at every access", stacklevel=4)


def cache_folder() -> Path | None:
    """The folder for decoded files: `decoded` in $GESSO_CACHE, none if that is empty, or in the user's cache."""
    named = os.environ.get("GESSO_CACHE")
    if named is None:
        with contextlib.suppress(RuntimeError):  # no home
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gesso" / "decoded"
    return Path(named) / "decoded" if named else None
