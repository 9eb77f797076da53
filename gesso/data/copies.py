"""Images that are there more than once: known by their pixels, whatever their files are called."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gesso.data.image_ref import ImageRef
from gesso.data.io import read_pixels, read_size
from gesso.data.pairing import Pair


def digest(array: np.ndarray) -> str:
    """A checksum of the pixels (H, W, C) of an image."""
    height, width = array.shape[:2]
    return hashlib.blake2b(array.tobytes(), digest_size=16, key=f"{height}x{width}".encode()).hexdigest()


def group_copies(items: Sequence[Pair | Path]) -> list[int]:
    """For every pair or photo the position of the first one that it shares an image with, its own where there is none.

    Pairs share an image where it is the same file, as the ground truth of one scene that was degraded several times, or
    where two files have equal pixels, be it on one side only. What cannot be read is taken for unlike all others.
    """
    images = [[item] if isinstance(item, Path) else [item.lq, item.gt] for item in items]
    sizes = {ref: _size(ref) for each in images for ref in each}
    items_of = Counter(size for each in images for size in {sizes[ref] for ref in each})
    refs = [ref for ref, size in sizes.items() if size is None or items_of[size] > 1]  # of others there is no copy
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        names = dict.fromkeys(sizes, "") | dict(zip(refs, pool.map(_name, refs), strict=True))
    first: dict[str, int] = {}
    found = list(range(len(items)))

    def root(number: int) -> int:
        while found[number] != number:
            number = found[number]
        return number

    for number, each in enumerate(images):
        for ref in each:
            one, other = sorted((root(number), root(first.setdefault(names[ref] or str(ref), number))))
            found[other] = one
    return [root(number) for number in range(len(items))]


def _size(ref: ImageRef) -> tuple[int, ...] | None:
    """The two sides as the header declares them, the smaller first, for EXIF may turn it; None where it does not."""
    try:
        size = read_size(ref)
    except (OSError, ValueError):
        return None
    return size and tuple(sorted(size))


def _name(ref: ImageRef) -> str:
    """What an image is known by: a checksum of its pixels, or where it is stored if it cannot be read."""
    try:
        return digest(read_pixels(ref))
    except (OSError, ValueError):
        return str(ref)
