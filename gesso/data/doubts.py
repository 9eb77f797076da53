"""Whether a folder of photos looks as if it held pairs: told from what its folders and files are called.

Photos are trusted unless something speaks against it: a folder is called as one side of pairs is, or two that lie side
by side hold files that belong together. Series (`2023-05`, `n01440764`) and albums with other names are photos.
"""

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from gesso.data.decoding import read_header
from gesso.data.folders import examples, find_images, subfolders
from gesso.data.io import read_array, to_float
from gesso.data.names import EXACT, longest_prefix, match
from gesso.data.sides import Side, side_of, split_of

Item = TypeVar("Item")
MOST_SIDES = 4  # more folders of unknown names are classes or sequences, whose files may well be numbered alike
SAMPLES = 4
LIST = "pairs.csv"
SMALL = 32  # side in pixels of what is compared


class PhotosWarning(UserWarning):
    """Images were taken for clean photos as asked, though they look like pairs."""


@dataclass(frozen=True)
class Guess:
    """The pairs that a folder seems to hold.

    Attributes:
        lq: folder of what may be degraded images.
        gt: folder of what may be ground truths; None: there are only degraded images.
        why: what says so, in words.
        photos: whether `lq` may well be photos, and `gt` is something else, such as masks.
        either: whether it may as well be the other way round.
        clean: whether the photos asked for are the ground truths alone, so that nothing speaks against their quality.
        pair_by: the template that pairs them, where both sides lie in one folder, or the name of a list of them.
    """

    lq: Path
    gt: Path | None
    why: str
    photos: bool = False
    either: bool = False
    clean: bool = False
    pair_by: str = ""

    @property
    def advice(self) -> str:
        """What to give instead."""
        lq, gt = (shlex.quote(str(side)) for side in (self.lq, self.gt))
        how = f" --pair_by {shlex.quote(self.pair_by)}" if self.pair_by else ""
        how += " (a list that you write, a line `input,truth` for each pair)" if self.pair_by == LIST else ""
        pairs = f"for pairs give --lq {lq} --gt {gt}{how}; " if self.gt else ""
        if self.photos:
            pairs = f"for the photos alone give --data {lq}; "
        if self.either:
            pairs = pairs.replace("; ", " (or the other way round); ")
        return f"{pairs}if all of them are clean photos, say so by --layout photos, or by --degradation"

    def __str__(self) -> str:
        return self.why


def guess_pairs(root: Path, photos: Sequence[Path]) -> Guess | None:
    """What speaks against the images under `root` being photos; None: nothing does."""
    return _guess_beside(root, photos) or _guess_inside(root, photos)


# ------------------------------------------------------------------------------------------------------- beside


def _guess_beside(root: Path, photos: Sequence[Path]) -> Guess | None:
    """Whether `root`, or a folder that it lies in, is one side of pairs whose other side lies beside it."""
    place = root.resolve()
    for folder in (place, *list(place.parents)[:2]):
        inner, own = place.relative_to(folder), side_of(folder.name)
        if own is None or own.role == "other" or own.word in ("hr", "highres") or folder == folder.parent:
            continue
        others = [
            (sibling, sibling / inner, side)
            for sibling in _subfolders_if_readable(folder.parent)
            if sibling != folder and (side := side_of(sibling.name)) and {own.role, side.role} == {"lq", "gt"}
            if _alike(own, side) and (sibling / inner).is_dir()
        ]
        others = [(name, other) for name, other, side in others if _belong(own, side, root, photos, other)]
        if others and (own.role == "lq" or len(others) == 1):
            beside, other = others[0]
            lq, gt = (root, other) if own.role == "lq" else (other, root)
            why = f"it is one side of pairs, as {folder.name} and {beside.name} beside it say"
            return Guess(lq, gt, why, clean=own.role == "gt")
    own = side_of(place.name)
    if own and own.role == "lq" and own.plain:
        return Guess(root, None, f"the folder is called {place.name}, as degraded images are")
    return None


def _subfolders_if_readable(folder: Path) -> list[Path]:
    """The folders in a folder that is not the user's own choice and may be closed to them."""
    try:
        return subfolders(folder)
    except PermissionError:
        return []


def _alike(one: Side, other: Side) -> bool:
    """Whether two sides are of one set, as far as their folders' names say."""
    return one.rest == other.rest or not one.rest or not other.rest


def _belong(own: Side, side: Side, root: Path, photos: Sequence[Path], other: Path) -> bool:
    """Whether the images of another folder are the other side of photos."""
    names = _names(other, find_images(other))
    if not names:
        return False
    return (own.plain and side.plain) or _correspond(_names(root, photos), names)


# ------------------------------------------------------------------------------------------------------- inside


def _guess_inside(root: Path, photos: Sequence[Path]) -> Guess | None:
    """Whether folders below `root` that lie side by side are sides of pairs."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for photo in photos:
        folders[photo.parent].append(photo)
    for folder, images in folders.items():
        if guess := _guess_in_one(folder, images):
            return guess
    inside: dict[Path, dict[Path, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder, images in folders.items():
        inside[folder][folder] += images
        for child in (folder, *folder.parents):
            if child == root:
                break
            inside[child.parent][child] += images
    for place in sorted(inside, key=lambda place: len(place.parts)):
        if guess := _guess_among(place, inside[place]):
            return guess
    for folder, images in folders.items():
        if guess := _guess_by_words(folder, images):
            return guess
    return None


def _guess_in_one(folder: Path, images: Sequence[Path]) -> Guess | None:
    """Whether each image of a folder is there as it is, and with the same endings in words: `a`, `ax4`, `b`, `bx4`."""
    names = {image.stem for image in images}
    first, second = (sorted(names) * 2)[:2]
    if first == second or not second.startswith(first):
        return None
    endings: dict[str, set[str]] = defaultdict(set)
    for name in names:
        if truth := next((name[:end] for end in range(len(name) - 1, 0, -1) if name[:end] in names), None):
            endings[truth].add(name[len(truth) :])
    tails = next(iter(endings.values()), set())
    complete = len(endings) + sum(map(len, endings.values())) == len(names) and len(endings) > 1
    if not complete or any(found != tails for found in endings.values()) or not all(map(_has_word, tails)):
        return None
    begin = os.path.commonprefix(list(tails))  # noqa: RUF071 letter by letter, for these are no paths
    template = f"{{gt}}{begin}{'*' if len(tails) > 1 else ''}"
    return Guess(folder, folder, f"{examples(sorted(names)[:4])} look like two sides of pairs", pair_by=template)


def _guess_by_words(folder: Path, images: Sequence[Path]) -> Guess | None:
    """Whether images of a folder are called alike but for one of two words: `1_foo`, `1_bar`, or `a-R-07`, `a-C-00`.

    Numbers behind the word may differ, as in GT-RAIN, whose one truth belongs to many inputs.
    """
    groups: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for image in images:
        match = re.fullmatch(r"(.*[-_. ])?([^\W\d_]+)((?:[-_. ]?\d+)*)", image.stem)
        if match is None or not match[1]:
            return None
        groups[match[1]][match[2]].append(image)
    words = sorted({word for group in groups.values() for word in group})
    if len(words) != 2 or any(len(group) != 2 for group in groups.values()):
        return None
    sides = [[group[word] for group in groups.values()] for word in words]
    counts = [sorted(map(len, side)) for side in sides]
    single = [max(count) == 1 for count in counts]
    numbered = any(re.search(r"\d$", image.stem) for image in images)
    if not (counts[0] == counts[1] or any(single)) or (len(groups) == 1 and not numbered):
        return None
    if len(images) < 4 or _are_strangers(sampled([(one[0], other[0]) for one, other in zip(*sides, strict=True)])):
        return None
    shown = examples(sorted(side[0][0].name for side in sides))
    why = f"{shown} look like two sides of pairs, called alike but for {words[0]} and {words[1]}"
    return Guess(folder, folder, why, either=True, pair_by=LIST)


def _has_word(ending: str) -> bool:
    return re.search("[^\\W\\d_]", ending) is not None


def _guess_among(place: Path, children: Mapping[Path, Sequence[Path]]) -> Guess | None:
    """Whether some of the folders in a place, or the place's own images, are sides of pairs."""
    sides = {child: side_of(child.name) if child != place else None for child in children}
    known = {child: side for child, side in sides.items() if side}
    for child, side in known.items():
        for other in children:
            if other != child and _are_sides(place, children, side, sides[other], child, other):
                return _guess_of(children, sides, child, other)
    if lq := next((child for child, side in known.items() if side.role == "lq" and side.plain), None):
        return Guess(lq, None, f"a folder is called {lq.name}, as degraded images are")
    if known or not 2 <= len(children) <= MOST_SIDES or _are_series(children):
        return None
    for one in children:
        for other in children:
            if one != other and _same_split(one, other) and _are_one_to_one(children[one], children[other], one, other):
                return _guess_of(children, sides, one, other)
    return None


def _are_sides(
    place: Path, children: Mapping[Path, Sequence[Path]], side: Side, other: Side | None, one: Path, two: Path
) -> bool:
    """Whether a folder that is called as a side is, and another one the side beside it."""
    if not _same_split(one, two) or (other and side.role == other.role):
        return False
    names = [_names(folder, children[folder]) for folder in (one, two)]
    if side.role == "gt" and side.plain and two != place:
        return True
    if other and other.role != "other" and side.role != "other" and (side.plain or other.plain):
        return _alike(side, other)
    return _correspond(*names) or _correspond(*reversed(names)) or _same_sizes(children[one], children[two])


def _guess_of(
    children: Mapping[Path, Sequence[Path]], sides: Mapping[Path, Side | None], one: Path, other: Path
) -> Guess:
    """The guess that two folders are sides."""
    roles = [side.role if (side := sides[folder]) else None for folder in (one, other)]
    gt_first = roles[0] == "gt" or roles[1] == "lq" or (roles[0] == "other" and roles[1] is None)
    lq, gt = (other, one) if gt_first else (one, other)
    masks = "other" in roles and not {"lq", "gt"} & set(roles)
    if masks and (side := sides[gt]) and side.word == "b":  # trainA and trainB: distorted and not
        masks = False
    shown = [examples([photo.name for photo in children[folder][:2]]) for folder in (lq, gt)]
    what = "photos and what belongs to them" if masks else "two sides of pairs"
    return Guess(
        lq,
        gt,
        f"{lq.name} ({shown[0]}) and {gt.name} ({shown[1]}) look like {what}",
        masks,
        not any(roles) and len(children[lq]) == len(children[gt]),
    )


# ----------------------------------------------------------------------------------------------------- evidence


def _names(folder: Path, images: Sequence[Path]) -> list[str]:
    return [image.relative_to(folder).with_suffix("").as_posix() for image in images]


def _same_split(one: Path, other: Path) -> bool:
    """Whether folders are not of two splits."""
    return len({split_of(Path(folder.name)) for folder in (one, other)} - {None}) < 2


def _are_series(folders: Mapping[Path, object]) -> bool:
    """Whether folders are called alike but for numbers: dates, classes of ImageNet, sequences."""
    return len({re.sub(r"\d+", "0", folder.name) for folder in folders}) == 1


def _correspond(lq: Sequence[str], gt: Sequence[str]) -> bool:
    """Whether files belong together by their names, at least half of one side."""
    return bool(match(lq, gt, EXACT))


def _same_sizes(one: Sequence[Path], other: Sequence[Path]) -> bool:
    """Whether there are as many images, and as large in their order."""
    if len(one) != len(other) or len(one) < 2:
        return False
    sizes = [[_size(photo) for photo in sampled(photos)] for photos in (one, other)]
    return sizes[0] == sizes[1] and None not in sizes[0]


def _are_one_to_one(lq: Sequence[Path], gt: Sequence[Path], lq_folder: Path, gt_folder: Path) -> bool:
    """Whether all files of folders with unknown names belong together, and their pixels do not say otherwise."""
    lq_names = dict(zip(_names(lq_folder, lq), lq, strict=True))
    gt_names = dict(zip(_names(gt_folder, gt), gt, strict=True))
    matches = match(list(lq_names), list(gt_names), [rule for rule in EXACT if rule is not longest_prefix])
    if not (len(matches) == len(lq_names) == len(gt_names)):
        matches = longest_prefix(list(lq_names), list(gt_names))
        if len(matches) < len(lq_names) or set(matches.values()) != set(gt_names):
            return False
    pairs = [(lq_names[name], gt_names[truth]) for name, truth in matches.items()]
    return not _are_strangers(sampled(pairs))


def sampled(items: Sequence[Item]) -> list[Item]:
    """A few of many, evenly."""
    return [items[i * len(items) // min(SAMPLES, len(items))] for i in range(min(SAMPLES, len(items)))]


def _are_strangers(pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Whether images that are called alike are photos of different things: of other shape, or without any likeness."""
    sizes = [(_size(one), _size(other)) for one, other in pairs]
    if any(one and other and not _fit(one, other) for one, other in sizes):
        return True
    likeness = []
    for one, other in pairs:
        try:
            small = [_shrunk(photo) for photo in (one, other)]
        except (OSError, ValueError):
            return False
        if not all(_is_smooth(image) for image in small):
            return False
        likeness.append(float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]))
    return max(likeness) < 0.5


def _size(photo: Path) -> tuple[int, int] | None:
    """Columns and rows that the header declares; None where it cannot be read."""
    try:
        header = read_header(photo)
    except (OSError, ValueError):
        return None
    return header.width, header.height


def _fit(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other, or a whole multiple of it but for a border."""
    (small, large) = sorted((one, other))
    scale = max(1, round(large[0] / small[0]))
    return all(abs(b - scale * a) <= max(24, scale) for a, b in zip(small, large, strict=True))


def _shrunk(photo: Path) -> np.ndarray:
    """An image as a few grey pixels, at most SMALL in height and width, each the mean of its part."""
    grey = to_float(read_array(photo)).mean(axis=2)
    height, width = (max(1, side // SMALL) for side in grey.shape)
    rows, columns = grey.shape[0] // height, grey.shape[1] // width
    parts = grey[: rows * height, : columns * width].reshape(rows, height, columns, width).mean(axis=(1, 3))
    return parts[:SMALL, :SMALL]


def _is_smooth(image: np.ndarray) -> bool:
    """Whether neighbours are alike, as in photos; they are not in noise, and small or flat images say nothing."""
    large = min(image.shape) == SMALL and image.std() > 0.01
    return large and np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1] > 0.5
