"""What a data set really holds: every file decoded once, every pair compared once."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gesso.data.copies import digest
from gesso.data.datasets import ground_truth, scale_between
from gesso.data.image_ref import ImageRef
from gesso.data.io import read_pixels, scale_to_white, to_tensor
from gesso.data.layouts import Pair
from gesso.formats import PixelFormat
from gesso.functional.alignment import Shift, find_shift
from gesso.functional.color import as_rgb
from gesso.functional.resize import imresize
from gesso.metrics import psnr

SMALLEST = 128  # side in pixels below which chance correlation hides how two images lie on each other
UNRELATED = 0.1  # correlation below which two images have nothing in common; heavy rain still leaves 0.2
SUSPECT = 0.1  # gain of correlation by a shift above which a pair is suspected to be misaligned


@dataclass(frozen=True)
class Stored:
    """A decoded image.

    Attributes:
        ref: where it is stored.
        width: columns.
        height: rows.
        bits: bits of a channel.
        digest: a checksum of the pixels, so that copies in other formats or under other names are recognised.
        most: the largest value, of 16 bits; else None.
    """

    ref: ImageRef
    width: int
    height: int
    bits: int
    digest: str
    most: int | None = None


@dataclass(frozen=True)
class Finding:
    """What was found out about one pair or one clean photo.

    Attributes:
        name: name of the pair, or of the photo's file.
        files: degraded image and ground truth, or the photo; empty if one cannot be read.
        scale: side of the ground truth divided by that of the degraded image.
        psnr: of the degraded image in dB, RGB, 8 bits; enlarged by MATLAB's bicubic where it is smaller.
        shift: how the two sides lie on each other; None for small images.
        error: why the pair cannot be used.
    """

    name: str
    files: tuple[Stored, ...] = ()
    scale: int = 1
    psnr: float | None = None
    shift: Shift | None = None
    error: str | None = None


def inspect(item: Pair | Path, scale: int | None = None, white_level: int | None = None) -> Finding:
    """Decodes a pair or a clean photo and compares the sides of a pair, at their own scale if none is given.

    White of files of 16 bits is stored as `white_level`, see `PixelFormat`.
    """
    refs: list[Any] = [item] if isinstance(item, Path) else [item.lq, item.gt]
    name = item.name
    try:
        arrays = [read_pixels(ref) for ref in refs]
        files = tuple(_store(ref, array) for ref, array in zip(refs, arrays, strict=True))
        format = PixelFormat(white_level=white_level)
        arrays = [scale_to_white(array, format, ref) for ref, array in zip(refs, arrays, strict=True)]
    except (OSError, ValueError) as error:
        return Finding(name, error=str(error))
    if isinstance(item, Path):
        return Finding(name, files)
    scale = scale or scale_between(arrays[0], arrays[1])
    try:
        arrays[1] = ground_truth(item, arrays[0], arrays[1], scale)
    except ValueError as error:
        return Finding(name, files, error=str(error))
    lq, gt = (as_rgb(to_tensor(array)) for array in arrays)
    if scale > 1:
        lq = imresize(lq, scale).clamp(0, 1)
    shift = find_shift(lq, gt) if min(gt.shape[-2:]) >= SMALLEST else None
    return Finding(name, files, scale, psnr(lq, gt), shift)


def _store(ref: ImageRef, array: np.ndarray) -> Stored:
    height, width = array.shape[:2]
    most = int(array.max()) if array.dtype == np.uint16 else None
    return Stored(ref, width, height, 8 * array.dtype.itemsize, digest(array), most)


def find_errors(splits: Mapping[str, Sequence[Finding]], scales: range = range(1, 100)) -> list[str]:
    """What would harm training or falsify a result, a sentence each; `scales` are those that the task allows."""
    findings = [finding for split in splits.values() for finding in split]
    errors = [finding.error for finding in findings if finding.error]
    errors += [f"{f.name}: shifted by {_words(f.shift)}" for f in findings if f.shift and _is_shifted(f.shift)]
    seen = Counter(finding.scale for finding in findings if finding.psnr is not None)
    if len(seen) > 1 or any(scale not in scales for scale in seen):
        allowed = f"{scales[0]}" if len(scales) == 1 else f"one scale from {scales[0]} on"
        errors.append(f"expected ground truths of {allowed} times the size of their inputs, got {_counts(seen)}")
    for copies in _copies(splits):
        if len({split for split, _ in copies}) > 1:
            errors.append("the same image in two splits: " + " = ".join(f"{ref} ({s})" for s, ref in copies))
    return errors


def find_warnings(splits: Mapping[str, Sequence[Finding]]) -> list[str]:
    """What may be wrong, a sentence each."""
    findings = [finding for split in splits.values() for finding in split]
    warnings = [f"{f.name}: {doubt}" for f in findings if f.shift and (doubt := _doubt(f.shift))]
    warnings += [f"{f.name}: input and ground truth are identical" for f in findings if f.psnr == math.inf]
    bits = Counter(file.bits for finding in findings for file in finding.files)
    if len(bits) > 1:
        warnings.append(f"bit depths differ: {_counts(bits)}")
    for copies in _copies(splits):
        if len({split for split, _ in copies}) == 1 and not _is_identical_pair(copies, findings):
            warnings.append("the same image twice: " + " = ".join(str(ref) for _, ref in copies))
    return warnings


def _copies(splits: Mapping[str, Sequence[Finding]]) -> Iterable[list[tuple[str, ImageRef]]]:
    """Groups of images with equal pixels, as (split, ref)."""
    groups: dict[str, set[tuple[str, ImageRef]]] = defaultdict(set)
    for split, findings in splits.items():
        for file in (file for finding in findings for file in finding.files):
            groups[file.digest].add((split, file.ref))
    return [sorted(group, key=lambda copy: (copy[0], str(copy[1]))) for group in groups.values() if len(group) > 1]


def _is_identical_pair(copies: Sequence[tuple[str, ImageRef]], findings: Iterable[Finding]) -> bool:
    """Whether the copies are the two sides of one pair, which is reported as such."""
    refs = {ref for _, ref in copies}
    return any(refs == {file.ref for file in finding.files} for finding in findings)


def _is_shifted(shift: Shift) -> bool:
    """Whether a pair is misaligned beyond doubt. Motion blur alone moves the best match by some pixels."""
    return shift.there > 0.4 and shift.here < 0.4 * shift.there


def _doubt(shift: Shift) -> str | None:
    """What may be wrong with the alignment of a pair."""
    if shift.there < UNRELATED:
        return "input and ground truth seem to have nothing in common"
    if shift.there - shift.here > SUSPECT and not _is_shifted(shift):
        return f"perhaps shifted by {_words(shift)}"
    return None


def _words(shift: Shift) -> str:
    return f"{shift.right} columns and {shift.down} rows (correlation {shift.here:.2f}, {shift.there:.2f} if moved)"


def _counts(counter: Counter[int]) -> str:
    return ", ".join(f"{value} ({count} of them)" for value, count in sorted(counter.items()))
