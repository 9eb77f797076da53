"""What layouts share: the walk through a data set for folders that belong together, and what is of a split."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gesso.data.folders import subfolders
from gesso.data.pairing import Pair
from gesso.data.sides import scale_of, split_of

Sides = tuple[Path, ...]
Find = Callable[[Path, list[Path]], list[Sides]]  # of a folder and its subfolders

DEPTH = 6  # levels below the root: Snow100K unpacks as media/jdway/GameSSD/overlapping/test/Snow100K-L


class NoPairsError(ValueError):
    """A folder of images without two sides: clean photos, if anything."""


class LooksLikePairsError(ValueError):
    """A folder of images that are called as if they were pairs, in a layout that is not known."""


class Layout(Protocol):
    """A function that finds the pairs of a data set; one file of `gesso/data/layouts` holds one, under its own name.

    It may also take `pair_by`, `scale` (super-resolution's) and `sides` (what the two folders are called), by keyword.
    Beside it, a file of gesso may say `TURN`: when it is tried on a data set of which nobody has said the layout, the
    lowest first, 0 if it says nothing; None: never. And it may have a function `find_sides(folder, subfolders)`, by
    which the splits of a data set are known before its pairs are made.

    A function of your own does as well, given as it is or as `module:function`.

    Example:
        >>> from gesso import Pair
        >>> def mine(root: Path, split: str) -> list[Pair]:
        ...     inputs = sorted((root / split).glob("*_in.png"))
        ...     return [Pair(path.stem, path, path.with_name(path.name.replace("_in", "_out"))) for path in inputs]
    """

    def __call__(self, root: Path, split: str) -> list[Pair]:
        """The pairs of a split in their order; an empty list where the root is laid out otherwise.

        Args:
            root: a folder that exists.
            split: "train", "val" or "test"; a data set without splits has the same pairs for each.
        """
        ...


def find_places(folder: Path, find: Find, depth: int = DEPTH) -> Iterator[tuple[Path, Sides]]:
    """Folders at most `depth` levels down that hold what `find` finds, with that."""
    inside = subfolders(folder)
    if found := find(folder, inside):
        yield from ((folder, sides) for sides in found)
    elif depth:
        for child in inside:
            yield from find_places(child, find, depth - 1)


def of_split(root: Path, split: str, scale: int, find: Find) -> list[tuple[str, Sides]]:
    """What `find` finds of a split and a scale, or everything where nothing is divided; with the prefix of its names.

    A folder is of the split that is named on the way to the ground truths, and of the scale on that to either side.
    """
    places = [(place.relative_to(root), sides) for place, sides in find_places(root, find)]
    splits = [split_of(sides[-1].relative_to(root)) for _, sides in places]
    if any(splits):
        places = [entry for entry, found in zip(places, splits, strict=True) if found == split]
    scales = scale_tags([sides[0].relative_to(root) for _, sides in places])
    if scale > 1 and any(scales):
        places = [entry for entry, found in zip(places, scales, strict=True) if found == scale]
    if len(places) == 1:
        return [("", places[0][1])]
    count = Counter(place for place, _ in places)
    return [
        (f"{(place if count[place] == 1 else sides[-1].relative_to(root)).as_posix()}/", sides)
        for place, sides in places
    ]


def scale_tags(places: Sequence[Path]) -> list[int | None]:
    """The scales that folders are named after; figures alone count where each folder has one."""
    bare = [scale_of(place, bare=True) for place in places]
    return bare if all(bare) else [scale_of(place) for place in places]


def folder_at(inside: dict[str, Path], path: str) -> Path | None:
    """A folder below some, by a path in lower case, as which it need not be spelt."""
    first, _, rest = path.partition("/")
    if first not in inside or not rest:
        return inside.get(first)
    return folder_at({child.name.lower(): child for child in subfolders(inside[first])}, rest)


def pairs_of(root: Path, split: str, scale: int, find: Find, pair: Callable[..., list[Pair]]) -> list[Pair]:
    """The pairs that `pair` makes of all sides that `find` finds; their names begin with a folder if there are more."""
    return [
        Pair(prefix + one.name, one.lq, one.gt)
        for prefix, sides in of_split(root, split, scale, find)
        for one in pair(*sides)
    ]
