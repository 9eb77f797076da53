"""Images that are there more than once: known by their pixels, whatever their files are called."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from gesso.data.image_ref import ImageRef
from gesso.data.io import read_pixels, read_size
from gesso.data.pairing import Pair
from gesso.data.sketches import Sketch, read_sketch

Size = tuple[int, ...] | None


def digest(array: np.ndarray) -> str:
    """A checksum of the pixels (H, W, C) of an image."""
    height, width = array.shape[:2]
    return hashlib.blake2b(array.tobytes(), digest_size=16, key=f"{height}x{width}".encode()).hexdigest()


def group_copies(items: Sequence[Pair | Path]) -> list[int]:
    """For every pair or photo the position of the first one that it shares an image with, its own where there is none.

    Pairs share an image where it is the same file, as the ground truth of one scene that was degraded several times, or
    where two files have equal pixels, be it on one side only. What cannot be read is taken for unlike all others.

    Only images that may be copies are decoded as a whole: those of equal size whose sketches agree, or cannot be
    compared.
    """
    images = [[item] if isinstance(item, Path) else [item.lq, item.gt] for item in items]
    names = _names(images)
    first: dict[str, int] = {}
    found = list(range(len(items)))

    def root(number: int) -> int:
        while found[number] != number:
            number = found[number]
        return number

    for number, each in enumerate(images):
        for ref in each:
            one, other = sorted((root(number), root(first.setdefault(names.get(ref) or str(ref), number))))
            found[other] = one
    return [root(number) for number in range(len(items))]


def _names(images: Sequence[Sequence[ImageRef]]) -> dict[ImageRef, str]:
    """What images are known by, a checksum of their pixels, of those that another item may have a copy of."""
    sizes = {ref: _size(ref) for each in images for ref in each}
    likely = _shared(images, sizes)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        looks = _looks(sizes, dict(zip(likely, pool.map(_sketch, likely), strict=True)))
        likely = _shared([[ref for ref in each if ref in looks] for each in images], looks)
        return dict(zip(likely, pool.map(_name, likely), strict=True))


def _shared(images: Iterable[Sequence[ImageRef]], looks: Mapping[ImageRef, Hashable]) -> list[ImageRef]:
    """The images that look like one of another item; of others there is no copy. What looks like None may be any."""
    items_of = Counter(look for each in images for look in {looks[ref] for ref in each})
    return [ref for ref, look in looks.items() if look is None or items_of[look] > 1]


def _looks(sizes: Mapping[ImageRef, Size], sketches: Mapping[ImageRef, Sketch | None]) -> dict[ImageRef, Hashable]:
    """What images of equal size that may be copies share: a sketch, or their size where not all have one of a kind."""
    kinds: defaultdict[Size, set[str | None]] = defaultdict(set)
    for ref, sketch in sketches.items():
        kinds[sizes[ref]].add(sketch and sketch.kind)
    return {ref: sketch if sketch and len(kinds[sizes[ref]]) == 1 else sizes[ref] for ref, sketch in sketches.items()}


def _size(ref: ImageRef) -> Size:
    """The two sides as the header declares them, the smaller first, for EXIF may turn it; None where it does not."""
    try:
        size = read_size(ref)
    except (OSError, ValueError):
        return None
    return size and tuple(sorted(size))


def _sketch(ref: ImageRef) -> Sketch | None:
    """The sketch of an image, or None where there is none to compare."""
    try:
        return read_sketch(ref)
    except (OSError, ValueError):
        return None


def _name(ref: ImageRef) -> str:
    """What an image is known by: a checksum of its pixels, or where it is stored if it cannot be read."""
    try:
        return digest(read_pixels(ref))
    except (OSError, ValueError):
        return str(ref)
