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
| SIDD's test images | `ValidationNoisyBlocksSrgb.mat`, `ValidationGtBlocksSrgb.mat` in one folder |
| DPDD with both views | `{train,val,test}/<set>/{inputL,inputR,target}` |
| SID | `{train,test}/{short,long}` |
| DIV2K | `DIV2K_{train,valid}_{HR,LR_bicubic/X4}` |
| Set5, Set14, B100, Urban100 | `<set>/{HR,LR_bicubic/X4}`, `<set>/{GTmod12,LRbicx4}` |
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
from gesso.data.origins import Origin, Views, blocks, files_of

PairBy = Literal["stem", "order"]
Sides = tuple[Path, ...]
Find = Callable[[Path], list[Sides]]
Layout = Callable[[Path, "Search"], "list[Pair]"]

LQ_FOLDERS = {"input", "lq", "low", "hazy", "rain", "rainy", "blur", "noisy", "lr", "input_crops"}
LQ_FOLDERS |= {"inputc", "inputc_crops"}  # DPDD's combined view; inputL and inputR are its dual pixels
LQ_FOLDERS |= {"short", "short_sid2"}  # exposures
GT_FOLDERS = {"target", "gt", "high", "groundtruth", "sharp", "norain", "normal", "clean", "clear", "hr"}
GT_FOLDERS |= {"target_crops", "long", "long_sid2"}
VIEW_FOLDERS = ({"inputl", "inputl_crops"}, {"inputr", "inputr_crops"})
SPLITS = {
    "train": {"train", "training", "our485", "its", "ots", "div2k_train_hr"},
    "val": {"val", "valid", "validation", "div2k_valid_hr"},
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
        lq: where the degraded image is stored, most often a file.
        gt: where the ground truth is stored.
    """

    name: str
    lq: Origin
    gt: Origin


@dataclass(frozen=True)
class Search:
    """What is looked for under the root of a data set.

    Attributes:
        split: "train", "val" or "test".
        pair_by: how files are paired.
        scale: side of the ground truths divided by that of the degraded images, where folders are named after it.
    """

    split: str = "train"
    pair_by: PairBy = "stem"
    scale: int = 1


def find_pairs(
    root: str | Path | None = None,
    split: str = "train",
    *,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: str | None = None,
    scale: int = 1,
) -> list[Pair]:
    """The pairs of a data set, naturally sorted: those under `root`, or those of the two folders `lq` and `gt`.

    Args:
        root: a data set in a published layout; one without splits gives the same pairs for every split.
        split: "train", "val" or "test".
        lq: folder of degraded images, with `gt`, instead of `root`; or a MATLAB file of them.
        gt: folder, or MATLAB file, of ground truths.
        pair_by: "stem" pairs equal names and names that differ as published ones do; "order" pairs by sorted position.
        layout: a name of `LAYOUTS`; None tries all but `dual_pixel`.
        scale: super-resolution's, which chooses among folders named after it.

    Raises:
        NoPairsError: if there are images, but no two sides of them.
        FileNotFoundError: if a folder does not exist.
        ValueError: if there are two sides but no pairs, or nothing of the split; if neither or both of `root` and `lq`,
            `gt` are given; for an unknown split or layout. The message says what was found.
    """
    if lq is not None and gt is not None and root is None:
        mats = [Path(side).suffix.lower() == ".mat" for side in (lq, gt)]
        return pair_blocks(Path(lq), Path(gt)) if all(mats) else pair_folders(lq, gt, pair_by)
    if root is None or lq is not None or gt is not None:
        raise ValueError("expected either the root of a data set, or both a folder lq and a folder gt")
    _check_split(split)
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError(f"unknown layout {layout!r}; {suggest(layout, LAYOUTS)}")
    root = check_folder(root)
    for name in [layout] if layout else FOUND_BY_THEMSELVES:
        if pairs := LAYOUTS[name](root, Search(split, pair_by, scale)):
            return pairs
    raise _nothing_found(root, split, layout)


def find_splits(root: str | Path) -> list[str]:
    """The splits that a data set under `root` is divided into: some of "train", "val" and "test"; none if it is not.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)
    sides = (two_sides, matlab_sides, views_and_target)
    places = [place for kind in sides for place, _ in _places(root, kind)] or _subfolders(root)
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
    return [Pair(name, *files) for name, files in _partners(lq, gt, pair_by).items()]


def _partners(lq: str | Path, gt: str | Path, pair_by: PairBy) -> dict[str, tuple[Path, Path]]:
    """Files of two folders that belong together, by the name of the first, see `pair_folders`."""
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
    return {name: (lq_names[name], gt_names[partner]) for name, partner in matches.items()}


# ------------------------------------------------------------------------------------------------------ layouts


def folders(root: Path, search: Search) -> list[Pair]:
    """Folders named alike `input` and `target`, at most three levels down; a split is a folder on the way there."""
    return _pairs_of(root, search, two_sides, lambda lq, gt: pair_folders(lq, gt, search.pair_by))


def scaled(root: Path, search: Search) -> list[Pair]:
    """High resolution, and beside it low resolution named after the scale: `HR` and `LR_bicubic/X4`."""
    if search.scale == 1:
        return []
    return _pairs_of(
        root,
        search,
        lambda folder: scaled_sides(folder, search.scale),
        lambda lq, gt: pair_folders(lq, gt, search.pair_by),
    )


def matlab(root: Path, search: Search) -> list[Pair]:
    """MATLAB files of many images called alike but for `Noisy` and `Gt`, as SIDD publishes its test images."""
    return _pairs_of(root, search, matlab_sides, pair_blocks)


def dual_pixel(root: Path, search: Search) -> list[Pair]:
    """Folders `inputL`, `inputR` and `target`: both views of a dual-pixel camera.

    Raises:
        ValueError: if an image lacks one of its views.
    """

    def pair_views(left: Path, right: Path, gt: Path) -> list[Pair]:
        lefts, rights = (_partners(view, gt, search.pair_by) for view in (left, right))
        if alone := sorted(lefts.keys() ^ rights.keys()):
            raise ValueError(f"{left} and {right}: expected both views of every image; only one of {_examples(alone)}")
        return [Pair(name, Views(view, rights[name][0]), target) for name, (view, target) in lefts.items()]

    return _pairs_of(root, search, views_and_target, pair_views)


def marked(root: Path, search: Search) -> list[Pair]:
    """Both sides in one folder, told apart by a word in their names: `0001_NOISY_010` and `0001_GT_010`."""
    names = _names(root)
    lq = {name: path for name, path in names.items() if _is_marked(path.stem, LQ_MARKS)}
    gt = {name: path for name, path in names.items() if _is_marked(path.stem, GT_MARKS)}
    matches = match(list(lq), list(gt), [_marks_dropped]) if lq and gt else {}
    if 4 * len(matches) < len(names):  # names of plain photos may hold such words, too
        return []
    return [Pair(name, lq[name], gt[partner]) for name, partner in matches.items()]


LAYOUTS: dict[str, Layout] = {
    "folders": folders,
    "scaled": scaled,
    "matlab": matlab,
    "marked": marked,
    "dual_pixel": dual_pixel,
}
FOUND_BY_THEMSELVES = ("folders", "scaled", "matlab", "marked")  # DPDD has both views and the combined one


def two_sides(folder: Path) -> list[Sides]:
    """The folders of degraded images and of ground truths in a folder, if it holds both.

    Raises:
        ValueError: if it holds several of a kind.
    """
    inside = _subfolders(folder)
    lq = [child for child in inside if child.name.lower() in LQ_FOLDERS]
    gt = [child for child in inside if child.name.lower() in GT_FOLDERS]
    if lq and gt and len(lq + gt) > 2:
        raise ValueError(f"{folder}: {_examples([c.name for c in lq + gt])} are too many sides; give lq and gt")
    return [(lq[0], gt[0])] if lq and gt else []


def views_and_target(folder: Path) -> list[Sides]:
    """The folders of the left view, the right view and the ground truths in a folder, if it holds all three."""
    inside = _subfolders(folder)
    kinds = [[child for child in inside if child.name.lower() in names] for names in (*VIEW_FOLDERS, GT_FOLDERS)]
    return [tuple(kind[0] for kind in kinds)] if all(kinds) else []


def scaled_sides(folder: Path, scale: int) -> list[Sides]:
    """The folders of low resolution at a scale and of high resolution in a folder, both or several such."""
    sides = []
    for gt in _subfolders(folder):
        for high, low in (("HR", f"LR_bicubic/X{scale}"), ("GTmod12", f"LRbicx{scale}")):
            if gt.name.endswith(high) and (lq := folder / (gt.name.removesuffix(high) + low)).is_dir():
                sides.append((lq, gt))
    return sides


def matlab_sides(folder: Path) -> list[Sides]:
    """The MATLAB files of degraded images and of ground truths in a folder, where two are called alike."""
    files = {path.stem.lower(): path for path in sorted(folder.glob("*.mat"))}
    partners = {name: name.replace("noisy", "gt") for name in files if "noisy" in name}
    return [(files[name], files[gt]) for name, gt in partners.items() if gt in files]


def pair_blocks(lq: Path, gt: Path) -> list[Pair]:
    """Pairs of the images of two MATLAB files, called by their place in them: `03_17`.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file does not hold what its name says, or the two do not hold the same number of images.
    """
    sides = [blocks(file) for file in (lq, gt)]
    if [block.index for block in sides[0]] != [block.index for block in sides[1]]:
        raise ValueError(f"{lq} holds {len(sides[0])} images and {gt} {len(sides[1])}; expected as many, in one order")
    return [Pair("_".join(f"{i:02d}" for i in one.index), one, other) for one, other in zip(*sides, strict=True)]


def _places(folder: Path, find: Find, depth: int = 3) -> Iterator[tuple[Path, Sides]]:
    """Folders at most `depth` levels down that hold what `find` finds, with that."""
    if found := find(folder):
        yield from ((folder, sides) for sides in found)
    elif depth:
        for child in _subfolders(folder):
            yield from _places(child, find, depth - 1)


def _of_split(root: Path, search: Search, find: Find) -> list[tuple[str, Sides]]:
    """What `find` finds of a split, or everything where nothing is divided; with the prefix of its names.

    A folder is of the split that is named on the way there, or by the ground truths' own name.
    """
    places = [(place.relative_to(root), sides) for place, sides in _places(root, find)]
    splits = [_split_of(place / sides[-1].name) for place, sides in places]
    if any(splits):
        places = [entry for entry, split in zip(places, splits, strict=True) if split == search.split]
    if len(places) == 1:
        return [("", places[0][1])]
    return [(f"{(place if place.name else Path(sides[-1].name)).as_posix()}/", sides) for place, sides in places]


def _pairs_of(root: Path, search: Search, find: Find, pair: Callable[..., list[Pair]]) -> list[Pair]:
    """The pairs that `pair` makes of all sides that `find` finds; their names begin with a folder if there are more."""
    return [
        Pair(prefix + one.name, one.lq, one.gt)
        for prefix, sides in _of_split(root, search, find)
        for one in pair(*sides)
    ]


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


def _nothing_found(root: Path, split: str, layout: str | None) -> ValueError:
    """Why there are no pairs."""
    if (splits := find_splits(root)) and split not in splits:
        return ValueError(f"{root}: there is no split {split!r}, only {', '.join(splits)}")
    if layout == "dual_pixel":
        return ValueError(f"{root}: expected folders inputL, inputR and target side by side; there are none")
    expected = f"{root}: expected two folders such as input and target, low and high, blur and sharp; found"
    images = [image.relative_to(root).as_posix() for image in find_images(root)]
    if not images:
        return ValueError(f"{expected} no images ({', '.join(SUFFIXES)} are read)")
    inside = [child.name for child in _subfolders(root)]
    return NoPairsError(f"{expected} {_examples(inside or images)}; give lq and gt, unless these are clean photos")


def find_unpaired(pairs: Sequence[Pair]) -> list[Path]:
    """Images that lie in the folders of pairs but belong to none, naturally sorted."""
    paired = {path for pair in pairs for side in (pair.lq, pair.gt) for path in files_of(side)}
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
    if rule not in MANY_TO_ONE:
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


def _exposure_dropped(name: str, degraded: bool) -> str:
    """`00001_00_0.1s` belongs to `00001_00_10s`: many short exposures to one long one."""
    folder, slash, stem = name.rpartition("/")
    return folder + slash + re.sub(r"_\d+_[\d.]+s$", "", stem)


def _first_part(name: str, degraded: bool) -> str:
    """`a2917-jmac_input` and `a2917-retouched`: what stands before the first hyphen (MIT-Adobe FiveK)."""
    folder, slash, stem = name.rpartition("/")
    return folder + slash + stem.partition("-")[0]


RULES: tuple[Rule, ...] = (
    _same,
    _marks_dropped,
    _scale_dropped,
    _exposure_dropped,
    _last_number_dropped,
    _first_part,
)
MANY_TO_ONE = (_exposure_dropped, _last_number_dropped)


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
