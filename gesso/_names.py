"""Names of files, whatever bytes they are of: as text that any file and terminal takes, and no longer than may be.

What is called by a user becomes a file or a folder on Linux, macOS or Windows, and may be carried from one to another.
"""

import hashlib
import os
import re
import sys
import unicodedata
from pathlib import Path

LONGEST = 255  # bytes of a file's name, on every common file system
NOT_ON_WINDOWS = re.compile(r"""[<>:"/\\|?*\x00-\x1f]|[. ]+$""")
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows takes for devices, with any suffix."""


def readable(name: str) -> str:
    r"""A name as text that can be written and shown: bytes that are no UTF-8, and control characters, as `\\x1b`.

    Example:
        >>> readable("rain_\udce9.png"), readable("a\x1b[2Jb"), readable("été")
        ('rain_\\udce9.png', 'a\\x1b[2Jb', 'été')
    """
    return "".join(
        char.encode("ascii", "backslashreplace").decode() if "\ud800" <= char <= "\udfff" else
        f"\\x{ord(char):02x}" if unicodedata.category(char) == "Cc" and char not in "\n\t" else char
        for char in name
    )  # fmt: skip


def in_one_line(name: str) -> str:
    """A name as `readable` text without line ends and tabs, for tables and tags."""
    return readable(name).replace("\n", "\\n").replace("\t", "\\t")


def fitting(name: str, ending: str = "") -> str:
    """`name + ending`, the name cut where both together are more than a file's name may have.

    What is cut off counts in a digest, so that different names stay different.

    Example:
        >>> fitting("photo", ".png"), len(fitting("x" * 300, ".png"))
        ('photo.png', 255)
    """
    data, last = os.fsencode(name), os.fsencode(ending)
    if len(data) + len(last) <= LONGEST:
        return name + ending
    digest = "-" + hashlib.blake2b(data, digest_size=4).hexdigest()
    kept = os.fsdecode(data[: LONGEST - len(digest) - len(last)])
    return kept.rstrip("".join(map(chr, range(0xDC80, 0xDD00)))) + digest + ending


def portable(name: str) -> str:
    """A name that a user has chosen as that of a file or a folder on any system: one part of a path.

    What Windows forbids, and a slash, becomes a hyphen; the name of a device gets one.

    Example:
        >>> portable("lr 1e-3"), portable("a/b:c?"), portable("aux"), portable("NUL.v1"), portable("end. ")
        ('lr 1e-3', 'a-b-c-', 'aux-', 'NUL-.v1', 'end-')
    """
    name = NOT_ON_WINDOWS.sub("-", name) or "-"
    if DEVICES.fullmatch(name):
        stem, dot, rest = name.partition(".")
        name = f"{stem}-{dot}{rest}"
    return name


def ignores_case(folder: Path) -> bool:
    """Whether two names that differ in case are one in a folder, or where it would be made, as on Windows and macOS."""
    there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), folder).absolute()
    for place in (there, *there.parents):
        other = place.with_name(place.name.swapcase()) if place.name.swapcase() != place.name else None
        if other is not None:
            return other.exists() and other.samefile(place)
    return sys.platform in ("win32", "darwin")


def file_key(path: Path, *, ignoring_case: bool) -> str:
    """What a path has in common with all others that are the same file, as a file system that ignores case sees them.

    Example:
        >>> file_key(Path("out/A.png"), ignoring_case=True) == file_key(Path("out/a.PNG"), ignoring_case=True)
        True
    """
    return unicodedata.normalize("NFC", str(path)).casefold() if ignoring_case else str(path)
