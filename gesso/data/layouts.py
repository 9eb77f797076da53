"""Where data sets keep their pairs of degraded image and ground truth, and how two folders are paired.

Published layouts are recognised by what their folders are called:

| data | layout |
|---|---|
| any two folders, RESIDE, Rain100H | `{input,target}`, `{hazy,gt}`, `{rain,norain}`, ... |
| Uformer's GoPro, HIDE and SIDD | `{train,val,test}/{input,groundtruth}` |
| LOL | `our485/{low,high}`, `eval15/{low,high}` |
| Restormer's Rain13K, GoPro, SIDD, DPDD | `{train,val,test}/<set>/{input,target}`, `{input_crops,target_crops}` |
| GoPro as published | `{train,test}/<sequence>/{blur,sharp}` |
| RealBlur | `<set>/test/{input,target}` |
| RESIDE as published | `ITS/{hazy,gt}`, `SOTS/{indoor,outdoor}/{hazy,gt}` |
| SIDD and PolyU as published | one folder, files marked `NOISY` and `GT`, or `real` and `mean` |
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gesso._discovery import UnknownNameError, suggest
from gesso.data.io import SUFFIXES

PairBy = Literal["stem", "order"]
Layout = Callable[[Path, str, PairBy], "list[Pair]"]

LQ_FOLDERS = {"input", "lq", "low", "hazy", "rain", "rainy", "blur", "noisy", "lr", "input_crops"}
LQ_FOLDERS |= {"inputc", "inputc_crops"}  # DPDD's combined view; inputL and inputR are its dual pixels
GT_FOLDERS = {"target", "gt", "high", "groundtruth", "sharp", "norain", "normal", "clean", "clear", "hr"}
GT_FOLDERS |= {"target_crops"}
SPLITS = {
    "train": {"train", "training", "our485", "its", "ots"},
    "val": {"val", "valid", "validation"},
    "test": {"test", "testing", "eval15", "sots"},
}
LQ_MARKS = "noisy|real|blur|blurry|rain|rainy|hazy|low|lr|lq|input"
GT_MARKS = "gt|mean|sharp|norain|clean|clear|normal|high|hr|hq|target"


class NoPairsError(ValueError):
    """A folder of images without two sides: clean photos, if anything."""


class PairedByOrderWarning(UserWarning):
    """Pairs were made by sorted position: nothing but the equal count says that they belong together."""


@dataclass(frozen=True)
class Pair:
    """A degraded image and its ground truth.

    Attributes:
        name: the degraded file's path within its set, without suffix; no two pairs of a set share it.
        lq: file of the degraded image.
        gt: file of the ground truth.
    """

    name: str
    lq: Path
    gt: Path


def find_pairs(
    root: str | Path | None = None,
    split: str = "train",
    *,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: str | None = None,
) -> list[Pair]:
    """The pairs of a data set, naturally sorted: those under `root`, or those of the two folders `lq` and `gt`.

    Args:
        root: a data set in a published layout; one without splits gives the same pairs for every split.
        split: "train", "val" or "test".
        lq: folder of degraded images, with `gt`, instead of `root`.
        gt: folder of ground truths.
        pair_by: "stem" pairs equal names and names that differ as published ones do; "order" pairs by sorted position.
        layout: a name of `LAYOUTS`; None tries them all.

    Raises:
        NoPairsError: if there are images, but no two sides of them.
        FileNotFoundError: if a folder does not exist.
        ValueError: if there are two sides but no pairs, or nothing of the split; if neither or both of `root` and `lq`,
            `gt` are given; for an unknown split or layout. The message says what was found.
    """
    if lq is not None and gt is not None and root is None:
        return pair_folders(lq, gt, pair_by)
    if root is None or lq is not None or gt is not None:
        raise ValueError("expected either the root of a data set, or both a folder lq and a folder gt")
    _check_split(split)
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError(f"unknown layout {layout!r}; {suggest(layout, LAYOUTS)}")
    root = check_folder(root)
    for find in [LAYOUTS[layout]] if layout else LAYOUTS.values():
        if pairs := find(root, split, pair_by):
            return pairs
    raise _nothing_found(root, split)


def find_splits(root: str | Path) -> list[str]:
    """The splits that a data set under `root` is divided into: some of "train", "val" and "test"; none if it is not.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)
    places = [place for place, _, _ in _places(root)] or _subfolders(root)
    return [split for split in SPLITS if any(_split_of(place.relative_to(root)) == split for place in places)]


def find_photos(root: str | Path, split: str = "train") -> list[Path]:
    """All images under `root`, naturally sorted; those of one split where `root` is divided into splits.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it holds no images.
    """
    root = check_folder(root)
    _check_split(split)
    inside = {folder: _split_of(Path(folder.name)) for folder in _subfolders(root)}
    divided = any(inside.values())
    chosen = [folder for folder in inside if inside[folder] == split] if divided else [root]
    photos = [photo for folder in chosen for photo in find_images(folder)]
    if not photos:
        raise ValueError(f"{root}: no images{f' for {split}' if divided else ''}; {', '.join(SUFFIXES)} are read")
    return photos


def pair_folders(lq: str | Path, gt: str | Path, pair_by: PairBy = "stem") -> list[Pair]:
    """Pairs of two folders, naturally sorted by the degraded image; subfolders must be alike on both sides.

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if one is empty, no names match, names are ambiguous, or counts differ in pairing by order.
    """
    lq_names, gt_names = _names(check_folder(lq)), _names(check_folder(gt))
    for folder, names in ((lq, lq_names), (gt, gt_names)):
        if not names:
            raise ValueError(f"{folder}: no images; {', '.join(SUFFIXES)} are read")
    if pair_by == "order":
        if len(lq_names) != len(gt_names):
            raise ValueError(
                f"pairing by order needs equal counts: {lq} has {len(lq_names)} images, {gt} has {len(gt_names)}"
            )
        message = f"{lq} and {gt} are paired by sorted order, which nothing can check"
        warnings.warn(message, PairedByOrderWarning, stacklevel=2)
        matches = dict(zip(lq_names, gt_names, strict=True))
    else:
        matches = match(list(lq_names), list(gt_names))
    if not matches:
        raise ValueError(
            f"no name of {lq} ({_examples(lq_names)}) matches one of {gt} ({_examples(gt_names)}); rename them alike, "
            "or pair_by order if their sorted orders correspond"
        )
    return [Pair(name, lq_names[name], gt_names[partner]) for name, partner in matches.items()]


# ------------------------------------------------------------------------------------------------------ layouts


def folders(root: Path, split: str, pair_by: PairBy = "stem") -> list[Pair]:
    """Folders named alike `input` and `target`, at most three levels down; a split is a folder on the way there."""
    places = [(place.relative_to(root), lq, gt) for place, lq, gt in _places(root)]
    if any(_split_of(place) for place, _, _ in places):
        places = [entry for entry in places if _split_of(entry[0]) == split]
    pairs = []
    for place, lq, gt in places:
        prefix = f"{place.as_posix()}/" if len(places) > 1 else ""
        pairs += [Pair(prefix + pair.name, pair.lq, pair.gt) for pair in pair_folders(lq, gt, pair_by)]
    return pairs


def marked(root: Path, split: str, pair_by: PairBy = "stem") -> list[Pair]:
    """Both sides in one folder, told apart by a word in their names: `0001_NOISY_010` and `0001_GT_010`."""
    names = _names(root)
    lq = {name: path for name, path in names.items() if _is_marked(path.stem, LQ_MARKS)}
    gt = {name: path for name, path in names.items() if _is_marked(path.stem, GT_MARKS)}
    matches = match(list(lq), list(gt), [_marks_dropped]) if lq and gt else {}
    if 4 * len(matches) < len(names):  # names of plain photos may hold such words, too
        return []
    return [Pair(name, lq[name], gt[partner]) for name, partner in matches.items()]


LAYOUTS: dict[str, Layout] = {"folders": folders, "marked": marked}


def _places(folder: Path, depth: int = 3) -> Iterator[tuple[Path, Path, Path]]:
    """Folders that hold both sides, with the two: (place, lq folder, gt folder)."""
    inside = list(_subfolders(folder))
    lq = [child for child in inside if child.name.lower() in LQ_FOLDERS]
    gt = [child for child in inside if child.name.lower() in GT_FOLDERS]
    if lq and gt and len(lq + gt) > 2:
        raise ValueError(f"{folder}: {_examples([c.name for c in lq + gt])} are too many sides; give lq and gt")
    if lq and gt:
        yield folder, lq[0], gt[0]
    elif depth:
        for child in inside:
            yield from _places(child, depth - 1)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise UnknownNameError(f"unknown split {split!r}; {suggest(split, SPLITS)}")


def _split_of(place: Path) -> str | None:
    """The split that a path below the root stands for."""
    for part in place.parts:
        for split, names in SPLITS.items():
            if part.lower() in names:
                return split
    return None


def _nothing_found(root: Path, split: str) -> ValueError:
    """Why there are no pairs."""
    if splits := find_splits(root):
        return ValueError(f"{root}: there is no split {split!r}, only {', '.join(splits)}")
    expected = f"{root}: expected two folders such as input and target, low and high, blur and sharp; found"
    images = [image.relative_to(root).as_posix() for image in find_images(root)]
    if not images:
        return ValueError(f"{expected} no images ({', '.join(SUFFIXES)} are read)")
    inside = [child.name for child in _subfolders(root)]
    return NoPairsError(f"{expected} {_examples(inside or images)}; give lq and gt, unless these are clean photos")


def find_unpaired(pairs: Sequence[Pair]) -> list[Path]:
    """Images that lie in the folders of pairs but belong to none, naturally sorted."""
    paired = {path for pair in pairs for path in (pair.lq, pair.gt)}
    folders = sorted({path.parent for path in paired})
    return [image for folder in folders for image in find_images(folder, deep=False) if image not in paired]


# -------------------------------------------------------------------------------------------------------- names

Rule = Callable[[str, bool], str]


def match(lq: Sequence[str], gt: Sequence[str], rules: Sequence[Rule] | None = None) -> dict[str, str]:
    """Which ground truth belongs to which degraded image, by name: the first rule that explains most names decides.

    Example:
        >>> match(["1400_1", "1400_2", "1401_1"], ["1400", "1401"])
        {'1400_1': '1400', '1400_2': '1400', '1401_1': '1401'}
    """
    best: dict[str, str] = {}
    for rule in rules or RULES:
        matches = _match_by(rule, lq, gt)
        if 2 * len(matches) >= min(len(lq), len(gt)):
            return matches
        best = max(best, matches, key=len)
    return best


def _match_by(rule: Rule, lq: Sequence[str], gt: Sequence[str]) -> dict[str, str]:
    """Matches under one rule; names whose partner would be ambiguous stay alone."""
    keys = {name: rule(name, True) for name in lq}
    partners = {rule(name, False): name for name in gt}
    clashes = {key for key, count in Counter(rule(name, False) for name in gt).items() if count > 1}
    if rule is not _last_number_dropped:
        clashes |= {key for key, count in Counter(keys.values()).items() if count > 1}
    return {name: partners[key] for name, key in keys.items() if key in partners and key not in clashes}


def _same(name: str, degraded: bool) -> str:
    """Equal names."""
    return name


def _marks_dropped(name: str, degraded: bool) -> str:
    """`blur_01` and `sharp_01`, `x_real` and `x_mean`, `x_NOISY_010` and `x_GT_010`, `x input` and `x`."""
    folder, slash, stem = name.rpartition("/")
    marks = LQ_MARKS if degraded else GT_MARKS
    stem = re.sub(_mark_pattern(marks), "", stem)
    return folder + slash + re.sub(r"[\W_]+", "_", stem).strip("_")


def _scale_dropped(name: str, degraded: bool) -> str:
    """`babyx2` and `baby`."""
    return re.sub(r"(?i)[_-]?x[2-8]$", "", name) if degraded else name


def _last_number_dropped(name: str, degraded: bool) -> str:
    """`1400_3` and `0001_0.8_0.2` belong to `1400` and `0001`, many degraded images to one ground truth."""
    return re.sub(r"(_\d+(\.\d+)?)+$", "", name) if degraded else name


def _first_part(name: str, degraded: bool) -> str:
    """`a2917-jmac_input` and `a2917-retouched`: what stands before the first hyphen (MIT-Adobe FiveK)."""
    folder, slash, stem = name.rpartition("/")
    return folder + slash + stem.partition("-")[0]


RULES: tuple[Rule, ...] = (_same, _marks_dropped, _scale_dropped, _last_number_dropped, _first_part)


def _mark_pattern(marks: str) -> str:
    return rf"(?i)(?<![a-z])(?:{marks})(?![a-z])"


def _is_marked(stem: str, marks: str) -> bool:
    return re.search(_mark_pattern(marks), stem) is not None


# -------------------------------------------------------------------------------------------------------- files


def find_images(folder: Path, *, deep: bool = True) -> list[Path]:
    """Image files in a folder, naturally sorted, also in its subfolders if `deep`; hidden ones are left out.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    check_folder(folder)
    images: list[Path] = []
    seen = set()
    for place, inside, files in os.walk(folder, followlinks=True):  # data sets are often links to another disk
        seen.add(os.path.realpath(place))
        visible = [name for name in inside if deep and not name.startswith(".")]
        inside[:] = [name for name in visible if os.path.realpath(Path(place, name)) not in seen]
        images += [Path(place, name) for name in files if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    return sorted(images, key=lambda path: natural(path.as_posix()))


def natural(text: str) -> list[tuple[int, str]]:
    """Sorts `2.png` before `10.png`.

    Example:
        >>> sorted(["10", "9b", "9a"], key=natural)
        ['9a', '9b', '10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


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


def _names(folder: Path) -> dict[str, Path]:
    """Images of a folder by their path in it without suffix.

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


def _subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, naturally sorted."""
    with os.scandir(folder) as entries:  # tells folders from files without asking the disk about every file
        names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return [folder / name for name in sorted(names, key=natural)]


def _examples(names: Sequence[str] | dict[str, Path]) -> str:
    """A few names and how many there are."""
    shown = ", ".join(list(names)[:3])
    return shown if len(names) <= 3 else f"{shown}, ... {len(names)} in all"
