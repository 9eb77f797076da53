"""Names of files, whatever bytes they are of: as text that any file and terminal takes, and no longer than may be."""

import hashlib
import os
import unicodedata

LONGEST = 255  # bytes of a file's name, on every common file system


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
