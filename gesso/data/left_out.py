"""What a set of images leaves out, and what may be wrong with its white: told once for a set, not for each file."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from gesso.data.decoding import read_header
from gesso.data.encoding import KINDS
from gesso.data.image_ref import Block, ImageRef, files_of
from gesso.data.io import read_pixels
from gesso.data.metadata import ImageError

LOOKED_AT = 32  # files of 16 bits that are decoded, at most, to see how far their values go
SENSORS = (10, 12, 14)  # bits that cameras store in files of 16


class WhiteLevelWarning(UserWarning):
    """Files of 16 bits seem to hold fewer."""


def other_files(*folders: Path | None) -> str | None:
    """What lies in some folders beside images, hidden files left out: "17 files left out: 16 .txt, 1 .heic".

    Example:
        >>> other_files(None) is None
        True
    """
    places = chain.from_iterable(os.walk(folder, followlinks=False) for folder in folders if folder and folder.is_dir())
    others: Counter[str] = Counter()
    for place, inside, files in places:
        inside[:] = [name for name in inside if not name.startswith(".")]
        suffixes = [Path(place, name).suffix.lower() for name in files if not name.startswith(".")]
        others.update(suffix or "without suffix" for suffix in suffixes if suffix not in KINDS)
    if not others:
        return None
    counts = ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))
    )
    return f"{_several(others.total(), 'file')} left out: {counts}"


def other_frames(files: Iterable[Path]) -> str | None:
    """How many pages and frames behind the first are left out: "9 frames left out, of 3 files such as x.tif"."""
    several: dict[Path, int] = {}
    for file in files:
        try:
            frames = read_header(file).frames
        except (ImageError, OSError):  # told when it is read
            continue
        if frames > 1:
            several[file] = frames - 1
    if not several:
        return None
    count, files_ = _several(sum(several.values()), "frame"), _several(len(several), "file")
    return f"{count} left out, of {files_} such as {next(iter(several))}"


def left_out(refs: Iterable[ImageRef], *folders: Path | None) -> list[str]:
    """What a set leaves out, a sentence each: other files in its folders, and frames of its own."""
    files = dict.fromkeys(file for ref in refs if not isinstance(ref, Block) for file in files_of(ref))
    return [told for told in (other_files(*folders), other_frames(files)) if told]


def doubt_of_white(refs: Sequence[ImageRef]) -> str | None:
    """What to say if no value of a set's files of 16 bits passes 2^10, 2^12 or 2^14: their white may be that.

    Args:
        refs: where the images of the set are stored, both sides of pairs; of very many some are looked at.
    """
    deep, most = [], 0
    for ref in refs[:: max(1, len(refs) // LOOKED_AT)]:
        try:
            header = None if isinstance(ref, Block) else read_header(files_of(ref)[0])
            if header is None or header.bits != 16 or header.white is not None:
                continue
            most = max(most, int(read_pixels(ref).max()))
        except (ImageError, OSError):  # told when it is read
            continue
        if most >= 2 ** SENSORS[-1]:
            return None
        deep.append(ref)
    if not deep:
        return None
    return doubt_of(most, len(deep), deep[0])


def doubt_of(most: int, count: int, example: ImageRef) -> str | None:
    """What to say of a set whose `count` files of 16 bits hold no value above `most`; None if they hold 16 bits."""
    if most >= 2 ** SENSORS[-1]:
        return None
    bits = next(bits for bits in SENSORS if most < 2**bits)
    return (
        f"no value of {_several(count, 'file')} of 16 bits such as {example} passes {most}; "
        f"if they hold {bits} bits, --white_level {2**bits - 1} says so (without it images are too dark "
        "and every PSNR is too high)"
    )


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
