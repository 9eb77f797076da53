"""Where data sets keep their pairs of degraded image and ground truth.

Published layouts are recognised by what their folders are called (`gesso.data.sides`):

| data | layout |
|---|---|
| any two folders, RESIDE, Rain100H, UIEB, RealDOF | `{input,target}`, `{hazy,gt}`, `{raw-890,reference-890}`, ... |
| Snow100K, CSD | `{synthetic,gt,mask}`, `{Snow,Gt,Mask}` |
| RainDrop, Outdoor-Rain, Rain1400 | `{train,test_a}/{data,gt}`, `{in,gt}`, `training/{rainy_image,ground_truth}` |
| ISTD | `{train,test}/train_{A,B,C}` |
| Uformer's GoPro, HIDE and SIDD | `{train,val,test}/{input,groundtruth}` |
| LOL | `our485/{low,high}`, `eval15/{low,high}` |
| Restormer's Rain13K, GoPro, SIDD, DPDD | `{train,val,test}/<set>/{input,target}`, `{input_crops,target_crops}` |
| GoPro as published | `{train,test}/<sequence>/{blur,sharp}` |
| REDS | `train/{train_blur,train_sharp}/<sequence>` |
| RealBlur | `<set>/test/{input,target}` |
| RESIDE as published | `ITS/{hazy,gt}`, `SOTS/{indoor,outdoor}/{hazy,gt}` |
| SIDD's test images | `ValidationNoisyBlocksSrgb.mat`, `ValidationGtBlocksSrgb.mat` in one folder |
| DPDD as published | `{train,val,test}_{c,l,r}/{source,target}` |
| DPDD with both views, as Restormer prepares it | `{train,val,test}/<set>/{inputL,inputR,target}` |
| SID | `{train,test}/{short,long}` |
| DIV2K, Flickr2K, REDS, Set5 and its like | `<name>_HR` and `<name>_LR_bicubic/X4`, see `SCALED` |
| DRealSR, RealSR | `Train_x4/{train_HR,train_LR}`, `Canon/Train/4` with files marked `HR` and `LR4` |
| SIDD, PolyU, NH-HAZE, RENOIR as published | one folder, files marked `NOISY` and `GT`, or `real` and `mean`, ... |
"""

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gesso._discovery import UnknownNameError, suggest
from gesso.data.doubts import PhotosWarning, guess_pairs
from gesso.data.folders import check_folder, examples, find_images, natural, subfolders, walk_images
from gesso.data.io import SUFFIXES
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
from gesso.data.origins import Views, blocks, files_of
from gesso.data.pairing import (
    NoMatchError,
    Pair,
    PairBy,
    Row,
    check_pair_by,
    find_partners,
    is_list,
    is_template,
    listed_only,
    named,
    pair_folders,
    read_list,
    resolve,
    without_suffix,
)
from gesso.data.sides import SPLITS, Side, are_partners, scale_of, side_of, split_named, split_of

Sides = tuple[Path, ...]
Find = Callable[[Path, list[Path]], list[Sides]]  # of a folder and its subfolders
Layout = Callable[[Path, "Search"], "list[Pair]"]

DEPTH = (
    6  # levels below the root that are searched: Snow100K unpacks as media/jdway/GameSSD/overlapping/test/Snow100K-L
)
SCALES = (2, 3, 4, 6, 8, 16)
VIEW_FOLDERS = ({"inputl", "inputl_crops"}, {"inputr", "inputr_crops"})

# High resolution, and beside it low resolution at the scale {s}, in the order in which they are looked for. What
# stands before HR, such as DIV2K_train_, stands before the other, too.
SCALED = (
    ("HR", "LR_bicubic/X{s}"),
    ("HR", "LR_bicubic_X{s}"),
    ("HR_sub", "LR_bicubic/X{s}_sub"),
    ("HR_sub", "LR_bicubic_X{s}_sub"),
    ("HR", "LRbicx{s}"),
    ("GTmod12", "LRbicx{s}"),
    ("GT", "LRbicx{s}"),
    ("original", "LRbicx{s}"),
    ("HR", "LR/X{s}"),
    ("HR", "LR/{s}"),
    ("HR", "LR_X{s}"),
    ("HR", "LRX{s}"),
    ("HR", "LR_unknown/X{s}"),
    ("sharp", "sharp_bicubic/X{s}"),
    ("HR/X{s}", "LR/X{s}"),
    ("HR/{s}", "LR/{s}"),
)
ONE_SCALE = {4: ("LR_mild", "LR_difficult", "LR_wild"), 8: ("LR_x8",)}  # DIV2K's folders of one scale


class NoPairsError(ValueError):
    """A folder of images without two sides: clean photos, if anything."""


class LooksLikePairsError(ValueError):
    """A folder of images that are called as if they were pairs, in a layout that is not known."""


@dataclass(frozen=True)
class Search:
    """What is looked for under the root of a data set.

    Attributes:
        split: "train", "val" or "test".
        pair_by: how files are paired.
        scale: side of the ground truths divided by that of the degraded images, where folders are named after it.
        sides: names of the folders of degraded images and of ground truths, where they are not the usual ones.
    """

    split: str = "train"
    pair_by: PairBy = "stem"
    scale: int = 1
    sides: tuple[str, str] | None = None


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

    With `root`, `lq` and `gt` are the names of its folders that hold the two sides, wherever they stand side by side.

    Args:
        root: a data set in a published layout; one without splits gives the same pairs for every split.
        split: "train", "val" or "test".
        lq: folder of degraded images, with `gt`, instead of `root`; or a MATLAB file of them.
        gt: folder, or MATLAB file, of ground truths.
        pair_by: "stem" pairs equal names and names that differ as published ones do; "order" pairs by sorted position;
            a template such as "{gt}_s*" says what an input's name is, see `gesso.data.names.match_template`; else the
            file of a list of pairs, see `gesso.data.pairing.read_list`, with paths below the root.
        layout: a name of `LAYOUTS`; None tries all but `dual_pixel`. "photos": there are no pairs.
        scale: super-resolution's, which chooses among folders named after it.

    Raises:
        NoPairsError: if there are images, but no two sides of them.
        LooksLikePairsError: if the folder looks as if it held pairs all the same.
        FileNotFoundError: if a folder, or a listed file, does not exist.
        ValueError: if there are two sides but no pairs, or nothing of the split or scale; if neither or one of `lq` and
            `gt` is given, or the root is missing, too; for an unknown split, layout or way to pair.
    """
    check_pair_by(pair_by)
    if lq is not None and gt is not None and root is None:
        mats = [Path(side).suffix.lower() == ".mat" for side in (lq, gt)]
        return pair_blocks(Path(lq), Path(gt)) if all(mats) else pair_folders(lq, gt, pair_by)
    names = [str(side) for side in (lq, gt) if side is not None]
    if root is None or len(names) == 1 or any(Path(name).name != name for name in names):
        raise ValueError(
            "expected either the root of a data set, or both a folder lq and a folder gt (beside a root: their names)"
        )
    _check_split(split)
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError(f"unknown layout {layout!r}; {suggest(layout, LAYOUTS)}")
    root = check_folder(root)
    rows = read_list(Path(pair_by)) if is_list(pair_by) else []
    if rows and len(rows[0]) == 2:
        return _of_list(root, split, rows, Path(pair_by))
    search = Search(split, "stem" if rows else pair_by, scale, (names[0], names[1]) if names else None)
    for name in [layout] if layout else ["folders"] if names else FOUND_BY_THEMSELVES:
        try:
            pairs = LAYOUTS[name](root, search)
        except NoMatchError as error:  # classes may be called rain and clear, too
            raise NoMatchError(f"{error}; if all of these are clean photos, say so by --layout photos") from None
        if pairs:
            return _only_listed(pairs, rows, Path(pair_by)) if rows else pairs
    raise _nothing_found(root, search, layout)


def find_splits(root: str | Path) -> list[str]:
    """The splits that a data set under `root` is divided into: some of "train", "val" and "test"; none if it is not.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        kinds = (two_sides, matlab_sides, views_and_target, *(_scaled_at(scale) for scale in SCALES))
        return [found for kind in kinds for found in kind(folder, inside)]

    places = {sides[-1].relative_to(root) for _, sides in _places(root, find)}
    found = {split_of(place) for place in places or _marked_folders(root)}
    if not places:
        found |= {split_named(folder.name) for folder in subfolders(root)}
    return [split for split in SPLITS if split in found]


def find_scales(root: str | Path) -> list[int]:
    """The scales that folders of low resolution under `root` are named after.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)
    places = [sides[0].relative_to(root) for _, sides in _places(root, two_sides)]
    places = [place for place in places if _is_resolution(place)]
    tags = {*_scale_tags(places), *_scale_tags(_marked_folders(root, "hr|lr")), *_beside_high_resolution(root).values()}
    return sorted(scale for scale in tags if scale and scale > 1)


def find_photos(root: str | Path, split: str = "train") -> list[Path]:
    """All images under `root`, naturally sorted; those of one split where `root` is divided into splits.

    Of super-resolution sets (`SCALED`) these are the images of high resolution. Warns if the folder looks as if it held
    pairs.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it holds no images.
    """
    root = check_folder(root)
    _check_split(split)
    photos, divided = _photos(root, split)
    if not photos:
        raise ValueError(f"{root}: no images{f' for {split}' if divided else ''}; {', '.join(SUFFIXES)} are read")
    if guess := guess_pairs(root, _photos(root, None)[0] if divided else photos):
        warnings.warn(
            f"{root}: all {len(photos)} images are taken for photos, though {guess}", PhotosWarning, stacklevel=2
        )
    return photos


def _photos(root: Path, split: str | None) -> tuple[list[Path], bool]:
    """Images that are photos, if those of a folder are, of a split or of all folders; and whether there are splits."""
    inside = {folder: split_named(folder.name) for folder in subfolders(root)}
    divided = any(inside.values())
    chosen = [folder for folder in inside if inside[folder] == split] if divided and split else [root]
    left_out = _beside_high_resolution(root).keys()
    photos = [photo for folder in chosen for photo in find_images(folder)]
    if left_out:
        photos = [photo for photo in photos if not left_out & set(photo.parents)]
    return photos, divided


def _beside_high_resolution(root: Path) -> dict[Path, int]:
    """The folders of low resolution under `root`, as `SCALED` has them, with their scales.

    And, with 1, `original` beside `GTmod12`: the same images, not yet cut.
    """

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        for scale in SCALES:
            for lq, gt in scaled_sides(folder, inside, scale):
                beside[lq] = scale
                if gt.name.lower() == "gtmod12":
                    beside.update({child: 1 for child in inside if child.name.lower() == "original"})
        return []

    beside: dict[Path, int] = {}
    list(_places(root, find))
    return beside


# ------------------------------------------------------------------------------------------------------ layouts


def folders(root: Path, search: Search) -> list[Pair]:
    """Folders named alike `input` and `target`; a split is a folder on the way there, or part of their names."""

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        if search.sides:
            called = {child.name: child for child in inside}
            return [(called[search.sides[0]], called[search.sides[1]])] if {*search.sides} <= called.keys() else []
        one_view = re.fullmatch(r"(.+)_[lr]", folder.name)  # of DPDD, whose train_c holds what both views show
        return [] if one_view and (folder.parent / f"{one_view[1]}_c").is_dir() else two_sides(folder, inside)

    return _pairs_of(root, search, find, lambda lq, gt: pair_folders(lq, gt, search.pair_by))


def scaled(root: Path, search: Search) -> list[Pair]:
    """High resolution, and beside it low resolution named after the scale: `HR` and `LR_bicubic/X4`."""
    if search.scale == 1:
        return []
    return _pairs_of(root, search, _scaled_at(search.scale), lambda lq, gt: pair_folders(lq, gt, search.pair_by))


def matlab(root: Path, search: Search) -> list[Pair]:
    """MATLAB files of many images called alike but for `Noisy` and `Gt`, as SIDD publishes its test images."""
    return _pairs_of(root, search, matlab_sides, pair_blocks)


def dual_pixel(root: Path, search: Search) -> list[Pair]:
    """Both views of a dual-pixel camera: folders `inputL`, `inputR` and `target`, or DPDD's as published.

    Raises:
        ValueError: if an image lacks one of its views.
    """

    def pair_views(left: Path, right: Path, gt: Path) -> list[Pair]:
        lefts, rights = (
            {re.sub("(?i)_[lr]$", "", name): files for name, files in find_partners(view, gt, search.pair_by).items()}
            for view in (left, right)
        )
        if alone := sorted(lefts.keys() ^ rights.keys()):
            raise ValueError(f"{left} and {right}: expected both views of every image; only one of {examples(alone)}")
        return [Pair(name, Views(view, rights[name][0]), target) for name, (view, target) in lefts.items()]

    return _pairs_of(root, search, views_and_target, pair_views)


def marked(root: Path, search: Search) -> list[Pair]:
    """Both sides in one folder, told apart by a word in their names: `0001_NOISY_010` and `0001_GT_010`.

    With a template the names of ground truths are any others.
    """
    if not is_template(search.pair_by) and not _marked_folders(root):
        return []
    names = _of_split_and_scale(root, search)
    if is_template(search.pair_by):
        template = without_suffix(search.pair_by)
        matches = match_template(template, list(names), list(names), one_folder=True)
        matches = {name: gt for name, gt in matches.items() if gt not in matches}
    else:
        sides = {name: _marked_side(names[name].stem) for name in names}
        lq, gt = ([name for name in names if sides[name] == role] for role in ("lq", "gt"))
        matches = match(lq, gt, MARKED_RULES) if lq and gt else {}
    plain = search.scale == 1 and not is_template(search.pair_by)
    if plain and 4 * len(matches) < len(names):  # names of plain photos may hold such words, too
        return []
    return [Pair(name, names[name], names[partner]) for name, partner in matches.items()]


def photos(root: Path, search: Search) -> list[Pair]:
    """No pairs: all images are clean photos, whatever their folders are called."""
    raise NoPairsError(f"{root}: clean photos, as layout says; a degradation makes pairs of them (--degradation)")


LAYOUTS: dict[str, Layout] = {
    "folders": folders,
    "scaled": scaled,
    "matlab": matlab,
    "marked": marked,
    "dual_pixel": dual_pixel,
    "photos": photos,
}
FOUND_BY_THEMSELVES = ("scaled", "folders", "matlab", "marked")  # DPDD has both views and the combined one


def two_sides(folder: Path, inside: list[Path]) -> list[Sides]:
    """The folders of degraded images and of ground truths in a folder; several such where their names say of what.

    Raises:
        ValueError: if it holds several of a kind.
    """
    sides = {child: side for child in inside if (side := side_of(child.name))}
    groups = {side.rest: [] for side in sides.values()}
    for child, side in sides.items():
        groups[side.rest].append(child)
    found = [pair for children in groups.values() if (pair := _two_of(folder, {c: sides[c] for c in children}))]
    return found or ([pair] if (pair := _two_of(folder, _loosely_named(sides))) else [])


def _two_of(folder: Path, sides: dict[Path, Side]) -> Sides | None:
    """The two folders of some that are partners; the words of a side count before those that may mean one."""
    partners = [(lq, gt) for lq in sides for gt in sides if are_partners(sides[lq], sides[gt])]
    surest = [pair for pair in partners if not any(sides[side].weak for side in pair)]
    if len(chosen := surest or partners) > 1:
        names = dict.fromkeys(child.name for pair in chosen for child in sorted(pair))
        raise ValueError(f"{folder}: {examples(names)} are too many sides; give lq and gt")
    if not chosen:
        return None
    lq, gt = chosen[0]
    nested = sides[lq].word == "lr" and any(scale_of(Path(child.name)) for child in subfolders(lq))
    return None if nested else (lq, gt)


def _loosely_named(sides: dict[Path, Side]) -> dict[Path, Side]:
    """Sides of one split, of which one kind has more in its name: `blur_jpeg` and `sharp`; not of two resolutions."""
    rests = {role: {side.rest for side in sides.values() if side.role == role} for role in ("lq", "gt")}
    splits = {split_of(child.relative_to(child.parent)) for child in sides}
    resolutions = any(side.word in ("lr", "hr") for side in sides.values())
    shared = all(len(each) == 1 for each in rests.values()) and any(
        set(one.split()) <= set(other.split()) or set(one.split()) >= set(other.split())
        for one in rests["lq"]
        for other in rests["gt"]
    )
    return sides if shared and len(splits) == 1 and not resolutions else {}


def views_and_target(folder: Path, inside: list[Path]) -> list[Sides]:
    """The folders of the left view, the right view and the ground truths in a folder, if it holds all three."""
    called = {child.name.lower(): child for child in inside}
    views = [next((called[name] for name in sorted(names) if name in called), None) for names in VIEW_FOLDERS]
    gts = [child for child in called.values() if (side := side_of(child.name)) and side.role == "gt"]
    if all(views) and gts:
        return [(*(view for view in views if view), gts[0])]
    raw = [
        (called[f"{split}_l"] / "source", called[f"{split}_r"] / "source", called[f"{split}_c"] / "target")
        for split in SPLITS
        if {f"{split}_l", f"{split}_r", f"{split}_c"} <= called.keys()
    ]
    return [sides for sides in raw if all(side.is_dir() for side in sides)]


def _scaled_at(scale: int) -> Find:
    """What finds the folders of `SCALED` at a scale."""
    return lambda folder, inside: scaled_sides(folder, inside, scale)


def scaled_sides(folder: Path, inside: list[Path], scale: int) -> list[Sides]:
    """The folders of low resolution at a scale and of high resolution in a folder, both or several such."""
    called = {child.name.lower(): child for child in inside}
    patterns = [(high.lower(), low.format(s=scale).lower()) for high, low in SCALED]
    patterns += [("hr", low.lower()) for low in ONE_SCALE.get(scale, ())]
    found: dict[str, Sides] = {}
    for high, low in patterns:
        top, _, rest = high.partition("/")
        for name in [name for name in called if name.endswith(top)]:
            begin = name.removesuffix(top)
            lq, gt = _folder_at(called, begin + low), _folder_at(called, f"{name}/{rest}" if rest else name)
            if lq and gt and lq != gt and not any(begin == other for other in found):
                found[begin] = (lq, gt)
    if not found and "hr" in called and "lr" in called:  # RCAN's test sets: HR/Set5/x4, LR/LRBI/Set5/x4
        found = {
            gt.name: (lq, truths)
            for gt in subfolders(called["hr"])
            for lqs in (f"lr/lrbi/{gt.name}/x{scale}", f"lr/{gt.name}/x{scale}")
            if (lq := _folder_at(called, lqs.lower()))
            and (truths := _folder_at(called, f"hr/{gt.name}/x{scale}".lower()))
        }
    return list(found.values())


def _folder_at(inside: dict[str, Path], path: str) -> Path | None:
    """A folder below some, by a path in lower case, as which it need not be spelt."""
    first, _, rest = path.partition("/")
    if first not in inside or not rest:
        return inside.get(first)
    return _folder_at({child.name.lower(): child for child in subfolders(inside[first])}, rest)


def matlab_sides(folder: Path, inside: list[Path]) -> list[Sides]:
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


MARKED_RULES = (
    Key((fold_case, drop_marks)),
    Key((fold_case, drop_scale, drop_marks)),
    Key((fold_case, drop_scale, drop_marks, drop_setting)),
    longest_prefix_loosely,
    one_truth_a_folder,
)


def _marked_side(stem: str) -> str | None:
    """The side that the last such word in a name says: `x_no_rain_1` is no rain."""
    last = {
        role: max((found.end(), len(found[0])) for found in words)
        for role, marks in (("lq", LQ_MARKS), ("gt", GT_MARKS))
        if (words := list(re.finditer(mark_pattern(marks), stem)))
    }
    return max(last, key=lambda role: last[role]) if last else None


def _marked_folders(root: Path, words: str = f"{LQ_MARKS}|{GT_MARKS}") -> list[Path]:
    """The folders, below the root, that hold both sides, told apart by words in names."""
    marks = re.compile(mark_pattern(words))
    sides: dict[Path, set[str | None]] = defaultdict(set)
    for place, names in walk_images(root):
        found = {_marked_side(Path(name).stem) for name in names if marks.search(Path(name).stem)}
        sides[place.relative_to(root)] |= found
    return [folder for folder, found in sides.items() if len(found) == 2]


def _of_split_and_scale(root: Path, search: Search) -> dict[str, Path]:
    """All images of a split and a scale by their names; two that differ in the suffix alone are no two sides."""
    names = {image.relative_to(root).with_suffix("").as_posix(): image for image in find_images(root)}
    folders = {name: Path(name).parent for name in names}
    splits = {folder: split_of(folder) for folder in set(folders.values())}
    if any(splits.values()):
        names = {name: path for name, path in names.items() if splits[folders[name]] == search.split}
    scales = dict(zip(splits, _scale_tags(list(splits)), strict=True))
    if search.scale > 1 and any(scales.values()):
        names = {name: path for name, path in names.items() if scales[folders[name]] == search.scale}
    return names


def _places(folder: Path, find: Find, depth: int = DEPTH) -> Iterator[tuple[Path, Sides]]:
    """Folders at most `depth` levels down that hold what `find` finds, with that."""
    inside = subfolders(folder)
    if found := find(folder, inside):
        yield from ((folder, sides) for sides in found)
    elif depth:
        for child in inside:
            yield from _places(child, find, depth - 1)


def _of_split(root: Path, search: Search, find: Find) -> list[tuple[str, Sides]]:
    """What `find` finds of a split and a scale, or everything where nothing is divided; with the prefix of its names.

    A folder is of the split that is named on the way to the ground truths, and of the scale on that to either side.
    """
    places = [(place.relative_to(root), sides) for place, sides in _places(root, find)]
    splits = [split_of(sides[-1].relative_to(root)) for _, sides in places]
    if any(splits):
        places = [entry for entry, split in zip(places, splits, strict=True) if split == search.split]
    scales = _scale_tags([sides[0].relative_to(root) for _, sides in places])
    if search.scale > 1 and any(scales):
        places = [entry for entry, scale in zip(places, scales, strict=True) if scale == search.scale]
    if len(places) == 1:
        return [("", places[0][1])]
    count = Counter(place for place, _ in places)
    return [
        (f"{(place if count[place] == 1 else sides[-1].relative_to(root)).as_posix()}/", sides)
        for place, sides in places
    ]


def _scale_tags(places: Sequence[Path]) -> list[int | None]:
    """The scales that folders are named after; figures alone count where each folder has one."""
    bare = [scale_of(place, bare=True) for place in places]
    return bare if all(bare) else [scale_of(place) for place in places]


def _is_resolution(place: Path) -> bool:
    """Whether a folder of degraded images is called after a low resolution."""
    side = side_of(place.name)
    return (side is not None and side.word in ("lr", "lowres")) or any(
        part.lower().startswith("lr") for part in place.parts
    )


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


# -------------------------------------------------------------------------------------------------------- lists


def _of_list(root: Path, split: str, rows: Sequence[Row], file: Path) -> list[Pair]:
    """The pairs that a list names, of a split where they lie in such folders."""
    partners = named([(resolve(lq, root), resolve(gt, root)) for lq, gt in rows], root, file)
    splits = {name: split_of(Path(os.path.relpath(gt, root)).parent) for name, (_, gt) in partners.items()}
    if any(splits.values()):
        partners = {name: files for name, files in partners.items() if splits[name] == split}
    if not partners:
        raise ValueError(f"{file}: lists no pairs of the split {split}")
    return [Pair(name, lq, gt) for name, (lq, gt) in partners.items()]


def _only_listed(pairs: Sequence[Pair], rows: Sequence[Row], file: Path) -> list[Pair]:
    """Of pairs of files those whose ground truth is listed."""
    files = {pair.name: (pair.lq, pair.gt) for pair in pairs if isinstance(pair.lq, Path) and isinstance(pair.gt, Path)}
    chosen = listed_only(files, rows, file)
    return [pair for pair in pairs if pair.name in chosen]


# ------------------------------------------------------------------------------------------------------- nothing


def _nothing_found(root: Path, search: Search, layout: str | None) -> ValueError:
    """Why there are no pairs."""
    if (splits := find_splits(root)) and search.split not in splits:
        return ValueError(f"{root}: there is no split {search.split!r}, only {', '.join(splits)}")
    if search.sides:
        return ValueError(f"{root}: expected folders {' and '.join(search.sides)} side by side; there are none")
    if layout == "dual_pixel":
        return ValueError(f"{root}: expected folders inputL, inputR and target side by side; there are none")
    scales = find_scales(root)
    if search.scale > 1 and scales:
        there = ", ".join(map(str, scales))
        return ValueError(
            f"{root}: there is low resolution for the scales {there}, none for {search.scale}; give one of them "
            "(--scale), or make it from the photos (--degradation)"
        )
    expected = f"{root}: expected two folders such as input and target, low and high, blur and sharp; found"
    images = [place.relative_to(root) / name for place, names in walk_images(root) for name in sorted(names)[:4]]
    if not images:
        return ValueError(f"{expected} no images ({', '.join(SUFFIXES)} are read)")
    guess = guess_pairs(root, _photos(root, None)[0])
    if guess and not guess.clean:
        return LooksLikePairsError(f"{root}: {guess}; {guess.advice}")
    inside = [child.name for child in subfolders(root)]
    found = examples(inside or sorted(map(str, images), key=natural))
    return NoPairsError(f"{expected} {found}; give lq and gt, unless these are clean photos")


def find_unpaired(pairs: Sequence[Pair]) -> list[Path]:
    """Images that lie in the folders of pairs but belong to none, naturally sorted."""
    paired = {path for pair in pairs for side in (pair.lq, pair.gt) for path in files_of(side)}
    folders = sorted({path.parent for path in paired})
    return [image for folder in folders for image in find_images(folder, deep=False) if image not in paired]
