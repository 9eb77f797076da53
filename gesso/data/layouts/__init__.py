"""Where data sets keep their pairs of degraded image and ground truth: one published layout a file.

The folder is the registry (see `gesso._discovery`): a file's function of its own name finds the pairs, see `Layout`.
Layouts are recognised by what their folders are called (`gesso.data.sides`); each file lists the data sets it is for.
"""

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from gesso import _discovery
from gesso._specs import LayoutSpec
from gesso.data.doubts import Guess, guess_pairs
from gesso.data.encoding import IMAGE_FILES
from gesso.data.folders import check_folder, examples, find_images, natural, subfolders, walk_images
from gesso.data.image_ref import files_of
from gesso.data.layouts._search import (
    Find,
    Layout,
    LooksLikePairsError,
    NoPairsError,
    Sides,
    find_places,
    scale_tags,
)
from gesso.data.layouts.folders import find_sides as two_sides
from gesso.data.layouts.marked import marked_folders
from gesso.data.layouts.matlab import pair_blocks
from gesso.data.layouts.photos import find_photos, photos_of
from gesso.data.layouts.scaled import beside_high_resolution
from gesso.data.pairing import (
    NoMatchError,
    Pair,
    PairBy,
    Row,
    check_pair_by,
    is_list,
    listed_only,
    named,
    pair_folders,
    read_list,
    resolve,
)
from gesso.data.sides import SPLITS, check_split, side_of, split_named, split_of
from gesso.data.tree import show_trees

__all__ = ["Layout", "LayoutSpec", "LooksLikePairsError", "NoPairsError", "Pair", "PairBy", "find_pairs", "find_photos"]
__all__ += ["find_scales", "find_splits", "find_unpaired", "list_layouts", "open_layout", "own_layout"]


def list_layouts() -> list[str]:
    """Names that `--layout` takes."""
    return _discovery.files("data/layouts")


def open_layout(spec: LayoutSpec) -> Layout:
    """The layout that a name of `list_layouts()`, `module:function` or a function means.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if it is no function.
    """
    if isinstance(spec, str) and spec in list_layouts():
        return cast("Layout", _discovery.component("data/layouts", spec))
    layout = _discovery.load_object(spec, "layout", list_layouts()) if isinstance(spec, str) else spec
    if not callable(layout):
        raise ValueError(f"layout {spec}: expected a function (root, split) -> pairs, got a {type(layout).__name__}")
    return cast("Layout", layout)


def own_layout(layout: LayoutSpec | None) -> LayoutSpec | None:
    """A layout of the user's own; None for one of gesso's."""
    return None if isinstance(layout, str) and layout in list_layouts() else layout


def tried_unasked() -> list[str]:
    """The layouts that are tried on a data set of which nobody has said how it is laid out, in their order."""
    turns = {name: getattr(_discovery.module("data/layouts", name), "TURN", 0) for name in list_layouts()}
    return sorted((name for name, turn in turns.items() if turn is not None), key=lambda name: turns[name])


def pairs_in(
    layout: LayoutSpec,
    root: Path,
    split: str,
    *,
    pair_by: PairBy = "stem",
    scale: int = 1,
    sides: tuple[str, str] | None = None,
) -> list[Pair]:
    """The pairs of a split as a layout finds them, which is given those options that it takes.

    Raises:
        ValueError: if the layout, one of the user's own, returns something else, or cannot pair as it is asked to.
    """
    function = open_layout(layout)
    options: dict[str, Any] = {"pair_by": pair_by, "scale": scale, "sides": sides}
    known = inspect.signature(function).parameters
    pairs = function(root, split, **{name: value for name, value in options.items() if name in known})
    if own_layout(layout) is None:
        return pairs
    name = layout if isinstance(layout, str) else getattr(layout, "__name__", type(layout).__name__)
    if pair_by != "stem" and "pair_by" not in known:
        raise ValueError(f"pair_by: the layout {name} pairs files its own way, and takes no pair_by; got {pair_by}")
    pairs = list(pairs) if isinstance(pairs, Sequence) else pairs
    if not isinstance(pairs, list) or not all(isinstance(pair, Pair) for pair in pairs):
        other = next((pair for pair in pairs if not isinstance(pair, Pair)), None) if isinstance(pairs, list) else pairs
        raise ValueError(f"layout {name}: expected a list of gesso.Pair, got {type(other).__name__}")
    names = [pair.name for pair in pairs]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise ValueError(f"layout {name}: two pairs are called {twice!r}; every pair needs a name of its own")
    return pairs


def find_pairs(
    root: str | Path | None = None,
    split: str = "train",
    *,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: LayoutSpec | None = None,
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
        layout: a name of `list_layouts()`, or a layout of your own; None tries those that say so. "photos": there are
            no pairs.
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
    check_split(split)
    if layout is not None:
        open_layout(layout)
    root = check_folder(root)
    rows = read_list(Path(pair_by)) if is_list(pair_by) else []
    if rows and len(rows[0]) == 2:
        return _of_list(root, split, rows, Path(pair_by))
    sides = (names[0], names[1]) if names else None
    how: dict[str, Any] = {"pair_by": "stem" if rows else pair_by, "scale": scale, "sides": sides}
    for one in [layout] if layout else ["folders"] if sides else tried_unasked():
        try:
            pairs = pairs_in(one, root, split, **how)
        except NoMatchError as error:  # classes may be called rain and clear, too
            raise NoMatchError(f"{error}\nif all of these are clean photos, say so by --layout photos") from None
        if pairs:
            return _only_listed(pairs, rows, Path(pair_by)) if rows else pairs
    raise _nothing_found(root, split, scale, sides, layout)


def find_splits(root: str | Path, layout: LayoutSpec | None = None) -> list[str]:
    """The splits that a data set under `root` is divided into: some of "train", "val" and "test"; none if it is not.

    Of a layout of the user's own these are the splits that have pairs, unless all three have the same.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)
    if own_layout(layout) is not None:
        pairs = {split: pairs_in(cast("LayoutSpec", layout), root, split) for split in SPLITS}
        return [] if all(found == pairs["train"] for found in pairs.values()) else [s for s in SPLITS if pairs[s]]
    modules = [_discovery.module("data/layouts", name) for name in list_layouts()]
    kinds: list[Find] = [module.find_sides for module in modules if hasattr(module, "find_sides")]

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        return [found for kind in kinds for found in kind(folder, inside)]

    places = {sides[-1].relative_to(root) for _, sides in find_places(root, find)}
    found = {split_of(place) for place in places or marked_folders(root)}
    if not places:
        found |= {split_named(folder.name) for folder in subfolders(root)}
    return [split for split in SPLITS if split in found]


def find_scales(root: str | Path) -> list[int]:
    """The scales that folders of low resolution under `root` are named after.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    root = check_folder(root)
    places = [sides[0].relative_to(root) for _, sides in find_places(root, two_sides)]
    places = [place for place in places if _is_resolution(place)]
    tags = {*scale_tags(places), *scale_tags(marked_folders(root, "hr|lr")), *beside_high_resolution(root).values()}
    return sorted(scale for scale in tags if scale and scale > 1)


def _is_resolution(place: Path) -> bool:
    """Whether a folder of degraded images is called after a low resolution."""
    side = side_of(place.name)
    return (side is not None and side.word in ("lr", "lowres")) or any(
        part.lower().startswith("lr") for part in place.parts
    )


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


def _nothing_found(
    root: Path, split: str, scale: int, sides: tuple[str, str] | None, layout: LayoutSpec | None
) -> ValueError:
    """Why there are no pairs."""
    if (splits := find_splits(root, layout)) and split not in splits:
        return ValueError(f"{root}: there is no split {split!r}, only {', '.join(splits)}")
    if sides:
        drawn = show_trees(root, "expected, in any folder below:\n  " + "\n  ".join(f"{side}/" for side in sides))
        return ValueError(f"{root}: expected folders {' and '.join(sides)} side by side; there are none{drawn}")
    if own_layout(layout) is not None:
        name = layout if isinstance(layout, str) else getattr(layout, "__name__", type(layout).__name__)
        return ValueError(f"{root}: the layout {name} finds no pairs of the split {split} in it")
    if layout == "dual_pixel":
        return ValueError(f"{root}: expected folders inputL, inputR and target side by side; there are none")
    scales = find_scales(root)
    if scale > 1 and scales:
        there = ", ".join(map(str, scales))
        return ValueError(
            f"{root}: there is low resolution for the scales {there}, none for {scale}; give one of them "
            "(--scale), or make it from the photos (--degradation)"
        )
    expected = f"{root}: expected two folders such as input and target, low and high, blur and sharp; found"
    images = [place.relative_to(root) / name for place, names in walk_images(root) for name in sorted(names)[:4]]
    if not images:
        return ValueError(f"{expected} no images ({IMAGE_FILES} files are read){show_trees(root)}")
    guess = guess_pairs(root, photos_of(root, None)[0])
    if guess and not guess.clean:
        return LooksLikePairsError(f"{root}: {guess}; {guess.advice}{show_trees(_root_of(root, guess))}")
    inside = [child.name for child in subfolders(root)]
    found = examples(inside or sorted(map(str, images), key=natural))
    return NoPairsError(f"{expected} {found}; give lq and gt, unless these are clean photos{show_trees(root)}")


def _root_of(root: Path, guess: Guess) -> Path:
    """The folder to draw: of a side that was given alone the one that holds both."""
    both = Path(os.path.commonpath([side.resolve() for side in (root, guess.lq, guess.gt or root)]))
    return both if both in list(root.resolve().parents)[:2] else root


def find_unpaired(pairs: Sequence[Pair]) -> list[Path]:
    """Images that lie in the folders of pairs but belong to none, naturally sorted."""
    paired = {path for pair in pairs for side in (pair.lq, pair.gt) for path in files_of(side)}
    folders = sorted({path.parent for path in paired})
    return [image for folder in folders for image in find_images(folder, deep=False) if image not in paired]
