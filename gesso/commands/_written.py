"""What commands that write files share: that they can, that nothing is in their way, and what became of each."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from gesso._names import file_key, ignores_case


@dataclasses.dataclass(frozen=True)
class Written:
    """What a command wrote.

    Attributes:
        written: the files, in the order of the images that they were made of.
        failed: why an image could not be done, by its path.
    """

    written: tuple[Path, ...]
    failed: dict[Path, str]

    @property
    def exit_code(self) -> int:
        """1 if an image failed, else 0."""
        return int(bool(self.failed))


def check_folder(out: Path) -> None:
    """Checks, before any work is done for it, that files can be written into a folder that may not exist yet.

    Raises:
        NotADirectoryError: if it is a file, or lies below one.
        PermissionError: if nothing may be written there.
    """
    there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{out}: expected a folder to write into; {there} is a file")
    if not os.access(there, os.W_OK):
        raise PermissionError(f"{out}: nothing may be written into {there}")


def check_results(out: Path, file: str, *, overwrite: bool) -> None:
    """Checks that results can be written into a folder, the last of which is called `file`.

    Raises:
        FileExistsError: if it holds some and `overwrite` is False.
        OSError: if it is no folder that can be written into.
    """
    check_folder(out)
    if (out / file).exists() and not overwrite:
        raise FileExistsError(f"{out} holds results already; --overwrite replaces them, or choose another folder")


def check_free(paths: list[Path]) -> None:
    """Checks that no file is in the way.

    Raises:
        FileExistsError: naming the first that is.
    """
    taken = [path for path in paths if path.exists()]
    if taken:
        others = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise FileExistsError(f"{taken[0]} exists already{others}; --overwrite replaces what is there")


def check_distinct(targets: Iterable[tuple[object, Path]]) -> None:
    """Checks that no two images, given with the file that each is written as, would be written as one.

    Raises:
        ValueError: naming the first two.
    """
    sources: dict[str, object] = {}
    targets = list(targets)
    ignoring_case = bool(targets) and ignores_case(targets[0][1].parent)
    for image, target in targets:
        other = sources.setdefault(file_key(target, ignoring_case=ignoring_case), image)
        if other != image:
            raise ValueError(f"out: {other} and {image} would both be written as {target}; rename one")
