"""Which images of a set cannot be used, found before anything is trained on them.

Files are read, but not decoded: their structure tells whether they are whole, and their headers which size they have.
"""

import os
import struct
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gesso.data.datasets import ground_truth
from gesso.data.headers import ImageError, parse_header, tiff_pages
from gesso.data.layouts import Pair
from gesso.data.metadata import find_orientation
from gesso.data.origins import Block, Origin, files_of
from gesso.data.rasters import decode_pnm
from gesso.data.wholeness import check_whole

SHOWN = 10  # images that a message lists
LONG = 2.0  # seconds from which on it is said how long the check has taken


class DamagedWarning(UserWarning):
    """Images are left out because they cannot be used."""


class IntegrityCheck:
    """`check(items)` returns pairs or photos if all of them can be used, or with `skip` those that can.

    Args:
        scale: side of the ground truths divided by that of the degraded images.
        skip: whether damaged images are left out, with a warning, instead of refused.

    """

    def __init__(self, scale: int = 1, *, skip: bool = False) -> None:
        self.scale, self.skip = scale, skip
        self.count, self.seconds = 0, 0.0

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        """The items that can be used.

        Raises:
            ValueError: if others are among them, which it lists, and they are not to be left out, or none is left.
        """
        begin = time.perf_counter()
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = list(pool.map(self.find_damage, items))
        self.seconds += time.perf_counter() - begin
        self.count += len(items)
        damaged = [reason for reason in found if reason]
        if not damaged:
            return list(items)
        lines = [
            f"{len(damaged)} of {len(items)} images cannot be used",
            *(f"  {reason}" for reason in damaged[:SHOWN]),
        ]
        if len(damaged) > SHOWN:
            lines.append(f"  and {len(damaged) - SHOWN} more")
        if not self.skip or len(damaged) == len(items):
            advice = "" if self.skip else "; replace them, or leave them out: --skip_damaged"
            raise ValueError("\n".join([f"data: {lines[0]}{advice}", *lines[1:]]))
        warnings.warn("\n".join([f"{lines[0]} and are left out", *lines[1:]]), DamagedWarning, stacklevel=3)
        return [item for item, reason in zip(items, found, strict=True) if not reason]

    def __str__(self) -> str:
        """How long it has taken, where that is worth a word."""
        return f"; {self.count:,} images checked in {self.seconds:.0f} s" if self.seconds >= LONG else ""

    def find_damage(self, item: Pair | Path) -> str:
        """Why a pair or a photo cannot be used; "" if it can."""
        try:
            sizes = [self.find_size(origin) for origin in ([item.lq, item.gt] if isinstance(item, Pair) else [item])]
            if isinstance(item, Pair):
                lq, gt = (np.broadcast_to(np.uint8(0), (*size, 1)) for size in sizes)
                ground_truth(item, lq, gt, self.scale)
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def find_size(self, origin: Origin) -> tuple[int, int]:
        """Height and width of an image, upright.

        Raises:
            FileNotFoundError: if a file is missing.
            ImageError: if a file is damaged, or two views differ in size.
        """
        if isinstance(origin, Block):  # the blocks of a MATLAB file are of one shape, which its header says
            return (1, 1)
        sizes = {examine(file) for file in files_of(origin)}
        if len(sizes) > 1:
            raise ImageError(f"{origin}: the two views differ in size; expected one size")
        return sizes.pop()


def examine(path: Path) -> tuple[int, int]:
    """Height and width of the image in a file as it is shown, if the file is whole.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is no image, or cut short or damaged.
    """
    data = path.read_bytes()
    if not data:
        raise ImageError(f"{path}: the file is empty")
    header = parse_header(data, path)
    try:
        tags = tiff_pages(data)[0] if data[:2] in (b"II", b"MM") else None
        check_whole(data, header, path, tags)
        turned = find_orientation(data, tags) >= 5
        if data[:1] == b"P":
            decode_pnm(data)  # it has no structure, and decoding costs no more than reading
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError(f"{path}: the file is cut short or damaged") from error
    except ImageError as error:
        raise error if str(path) in str(error) else ImageError(f"{path}: {error}") from None
    return (header.width, header.height) if turned else (header.height, header.width)
