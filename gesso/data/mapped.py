"""Decoded pixels in memory-mapped files on disk, shared by workers, processes and runs."""

import contextlib
import hashlib
import io
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gesso import __version__
from gesso.data.io import atomic_path
from gesso.data.origins import Origin, files_of, read_pixels

READERS = 2  # counts the changes of what the readers make of a file
FORGOTTEN = 30 * 24 * 3600  # seconds after which a file that no run has asked for is removed
OURS = re.compile(r"\.?[0-9a-f]{32}(\.[0-9a-f]{8}\.tmp)?\.npy")  # kept files, and what killed writers leave


class Mapped:
    """`mapped[origin]` is an image's pixels as `read_pixels` gives them, decoded by whoever asks first.

    A kept file is named after path, size and times of its source and the version of the readers that decoded it, so
    that one which is out of date is never read; and it is written whole before it has its name. Only the pages that are
    looked at are read from disk, and memory that is free keeps them.

    Args:
        folder: where decoded files are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.keeps = folder, True

    def __getitem__(self, origin: Origin) -> np.ndarray:
        path = self.path(origin)
        with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or damaged
            return np.asarray(np.load(path, mmap_mode="r"))
        pixels = read_pixels(origin)
        if self.keeps:
            self._keep(path, pixels)
        return pixels

    def path(self, origin: Origin) -> Path:
        """The file for an image as it is now.

        Raises:
            FileNotFoundError: if the image is missing.
        """
        facts = [__version__, READERS, type(origin).__name__, getattr(origin, "level", None)]
        for file in files_of(origin):
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

    def make_room(self, origins: Iterable[Origin], size: int) -> None:
        """Removes what has not been used for a month, and more, longest unused first, until a set of `size` bytes fits.

        What is kept of the set itself stays, and counts as used from now on.
        """
        own = {self.path(origin) for origin in origins}
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
            self.keeps = False
            warnings.warn(f"{error}; files that are not kept there are decoded at every access", stacklevel=4)


def cache_folder() -> Path | None:
    """The folder for decoded files: `decoded` in $GESSO_CACHE, none if that is empty, or in the user's cache."""
    named = os.environ.get("GESSO_CACHE")
    if named is None:
        with contextlib.suppress(RuntimeError):  # no home
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gesso" / "decoded"
    return Path(named) / "decoded" if named else None
