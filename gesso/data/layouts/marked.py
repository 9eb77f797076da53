"""Both sides in one folder, told apart by a word in their names: SIDD, PolyU, NH-HAZE, RENOIR and RealSR as published.

| data | layout |
|---|---|
| SIDD, PolyU, NH-HAZE, RENOIR as published | one folder, files marked `NOISY` and `GT`, or `real` and `mean`, ... |
| RealSR | `Canon/Train/4` with files marked `HR` and `LR4` |
"""

import re
from collections import defaultdict
from pathlib import Path

from gesso.data.folders import find_images, walk_images
from gesso.data.layouts._search import scale_tags
from gesso.data.names import (
    GT_MARKS,
    LQ_MARKS,
    Key,
    drop_marks,
    drop_scale,
    drop_setting,
    fold_case,
    longest_prefix_loosely,
    mark_pattern,
    match,
    match_template,
    one_truth_a_folder,
)
from gesso.data.pairing import Pair, PairBy, is_template, without_suffix
from gesso.data.sides import split_of

TURN = 4

MARKED_RULES = (
    Key((fold_case, drop_marks)),
    Key((fold_case, drop_scale, drop_marks)),
    Key((fold_case, drop_scale, drop_marks, drop_setting)),
    longest_prefix_loosely,
    one_truth_a_folder,
)


def marked(root: Path, split: str, *, pair_by: PairBy = "stem", scale: int = 1) -> list[Pair]:
    """Both sides in one folder, told apart by a word in their names: `0001_NOISY_010` and `0001_GT_010`.

    With a template the names of ground truths are any others.
    """
    if not is_template(pair_by) and not marked_folders(root):
        return []
    names = _of_split_and_scale(root, split, scale)
    if is_template(pair_by):
        template = without_suffix(pair_by)
        matches = match_template(template, list(names), list(names), one_folder=True)
        matches = {name: gt for name, gt in matches.items() if gt not in matches}
    else:
        sides = {name: _marked_side(names[name].stem) for name in names}
        lq, gt = ([name for name in names if sides[name] == role] for role in ("lq", "gt"))
        matches = match(lq, gt, MARKED_RULES) if lq and gt else {}
    plain = scale == 1 and not is_template(pair_by)
    if plain and 4 * len(matches) < len(names):  # names of plain photos may hold such words, too
        return []
    return [Pair(name, names[name], names[partner]) for name, partner in matches.items()]


def _marked_side(stem: str) -> str | None:
    """The side that the last such word in a name says: `x_no_rain_1` is no rain."""
    last = {
        role: max((found.end(), len(found[0])) for found in words)
        for role, marks in (("lq", LQ_MARKS), ("gt", GT_MARKS))
        if (words := list(re.finditer(mark_pattern(marks), stem)))
    }
    return max(last, key=lambda role: last[role]) if last else None


def marked_folders(root: Path, words: str = f"{LQ_MARKS}|{GT_MARKS}") -> list[Path]:
    """The folders, below the root, that hold both sides, told apart by words in names."""
    marks = re.compile(mark_pattern(words))
    sides: dict[Path, set[str | None]] = defaultdict(set)
    for place, names in walk_images(root):
        found = {_marked_side(Path(name).stem) for name in names if marks.search(Path(name).stem)}
        sides[place.relative_to(root)] |= found
    return [folder for folder, found in sides.items() if len(found) == 2]


def _of_split_and_scale(root: Path, split: str, scale: int) -> dict[str, Path]:
    """All images of a split and a scale by their names; two that differ in the suffix alone are no two sides."""
    names = {image.relative_to(root).with_suffix("").as_posix(): image for image in find_images(root)}
    folders = {name: Path(name).parent for name in names}
    splits = {folder: split_of(folder) for folder in set(folders.values())}
    if any(splits.values()):
        names = {name: path for name, path in names.items() if splits[folders[name]] == split}
    scales = dict(zip(splits, scale_tags(list(splits)), strict=True))
    if scale > 1 and any(scales.values()):
        names = {name: path for name, path in names.items() if scales[folders[name]] == scale}
    return names
