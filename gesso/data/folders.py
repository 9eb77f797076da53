"""Folders of images: what lies in them, in natural order."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gesso.data.io import SUFFIXES


def find_images(folder: Path, *, deep: bool = True) -> list[Path]:
    """Image files in a folder, naturally sorted, also in its subfolders if `deep`; hidden ones are left out.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    images = [place / name for place, names in walk_images(folder, deep=deep) for name in names]
    return sorted(images, key=lambda path: natural(path.as_posix()))


def walk_images(folder: Path, *, deep: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Each folder, with the names of the images in it, in the order of the disk.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    check_folder(folder)
    seen = set()
    for place, inside, files in os.walk(folder, followlinks=True):  # data sets are often links to another disk
        seen.add(os.path.realpath(place))
        visible = [name for name in inside if deep and not name.startswith(".")]
        inside[:] = [name for name in visible if os.path.realpath(Path(place, name)) not in seen]
        if names := [name for name in files if name.lower().endswith(SUFFIXES) and name[0] != "."]:
            yield Path(place), names


def image_names(folder: Path) -> dict[str, Path]:
    """Images of a folder and its subfolders by their path in it without suffix.

    Raises:
        ValueError: if two images differ in nothing but the suffix.
    """
    names: dict[str, Path] = {}
    for path in find_images(folder):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in names:
            raise ValueError(f"{names[name]} and {path.name} have the same stem; keep one of them")
        names[name] = path
    return names


def subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, naturally sorted."""
    with os.scandir(folder) as entries:  # tells folders from files without asking the disk about every file
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural)]


def check_folder(folder: str | Path) -> Path:
    """The path of a folder that exists.

    Raises:
        FileNotFoundError: if it does not, or is a file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise FileNotFoundError(f"{folder}: {kind}")
    return folder


def natural(text: str) -> list[tuple[int, str]]:
    """Sorts `2.png` before `10.png`.

    Example:
        >>> sorted(["10", "9b", "9a"], key=natural)
        ['9a', '9b', '10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def examples(names: Iterable[object]) -> str:
    """A few names and how many there are.

    Example:
        >>> examples("abcd"), examples("ab")
        ('a, b, c, ... 4 in all', 'a, b')
    """
    names = [str(name) for name in names]
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, ... {len(names)} in all"
