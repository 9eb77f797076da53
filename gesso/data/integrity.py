"""Which images of a set cannot be used, found before anything is trained on them.

Files are read, but not decoded: their structure tells whether they are complete, and their headers what size they have.
The coded data of JPEG have neither structure nor checksum, so libjpeg is asked about them.
"""

import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gesso.data.datasets import ground_truth
from gesso.data.decoding import check_complete
from gesso.data.image_ref import Block, ImageRef, files_of
from gesso.data.metadata import ImageError
from gesso.data.pairing import Pair, find_files

THREADS = min(8, os.cpu_count() or 1)
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
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(self.find_damage, items))
        broken = find_broken_jpegs(list(chain.from_iterable(map(find_files, items))))
        found = [
            reason or next((broken[file] for file in find_files(item) if file in broken), "")
            for item, reason in zip(items, found, strict=True)
        ]
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
            sizes = [self.find_size(ref) for ref in ([item.lq, item.gt] if isinstance(item, Pair) else [item])]
            if isinstance(item, Pair):
                lq, gt = (np.broadcast_to(np.uint8(0), (*size, 1)) for size in sizes)
                ground_truth(item, lq, gt, self.scale)
        except (ValueError, OSError) as error:
            return str(error)
        return ""

    def find_size(self, ref: ImageRef) -> tuple[int, int]:
        """Height and width of an image, upright.

        Raises:
            FileNotFoundError: if a file is missing.
            ImageError: if a file is damaged, or two views differ in size.
        """
        if isinstance(ref, Block):  # the blocks of a MATLAB file are of one shape, which its header says
            return (1, 1)
        sizes = {check_complete(file.read_bytes(), file) for file in files_of(ref)}
        if len(sizes) > 1:
            raise ImageError(f"{ref}: the two views differ in size; expected one size")
        return sizes.pop()


# ---------------------------------------------------------------------------------------------------------- JPEG

BROKEN = re.compile(r"Corrupt JPEG data.*|Inconsistent progression.*|Invalid SOS parameters.*")
READ_JPEGS = """
import os, sys
import cv2, numpy
cv2.setNumThreads(1)
for name in sys.stdin.buffer.read().split(b"\\0"):
    os.write(2, b"\\0" + name + b"\\n")
    cv2.imdecode(numpy.fromfile(name, numpy.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
"""


def find_broken_jpegs(files: Sequence[Path]) -> dict[Path, str]:
    """What is wrong with those JPEG among some files whose coded data are broken; others are passed over.

    Every decoder fills up what is missing, and returns the picture as if it were whole. All there is to see is that
    libjpeg writes a line to stderr; so processes read the files whose stderr is nobody else's.
    """
    jpegs = [file for file in dict.fromkeys(files) if _is_jpeg(file)]
    shares = [jpegs[i::THREADS] for i in range(min(THREADS, len(jpegs)))]
    with ThreadPoolExecutor(THREADS) as pool:
        return {file: told for found in pool.map(_ask_libjpeg, shares) for file, told in found.items()}


def _is_jpeg(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(2) == b"\xff\xd8"
    except OSError:  # which the other checks report
        return False


def _ask_libjpeg(files: Sequence[Path]) -> dict[Path, str]:
    names = b"\0".join(os.fsencode(file) for file in files)
    run = subprocess.run([sys.executable, "-P", "-c", READ_JPEGS], input=names, capture_output=True, check=False)
    broken = {}
    for report in run.stderr.split(b"\0")[1:]:
        name, _, said = report.partition(b"\n")
        if found := BROKEN.search(said.decode(errors="replace")):
            file = Path(os.fsdecode(name))
            broken[file] = f"{file}: the JPEG file is damaged ({found[0]})"
    return broken
