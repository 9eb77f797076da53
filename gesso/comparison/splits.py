"""Which pairs, or clean photos, a run trains on and which it is measured on."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gesso._names import fitting
from gesso.data.copies import group_copies
from gesso.data.integrity import IntegrityCheck
from gesso.data.io import Picture, atomic_path, read_layout, read_tensor, write_image, write_picture
from gesso.data.layouts import LayoutSpec, Pair, PairBy, find_pairs, find_photos, find_splits
from gesso.data.training_data import pairs_if_any, whole_pairs, whole_photos
from gesso.degradations import Degradation
from gesso.functional.random import generator_for
from gesso.report.console import say
from gesso.tasks import Task
from gesso.training.resume import examples

FEWEST_PAIRS = 4
FOLDS = 4


@dataclass(frozen=True)
class DegradedPhoto(Pair):
    """A clean photo, and the files of the pair that `write_tests` makes of it where runs are measured on it.

    Attributes:
        photo: its file.
    """

    lq: Path
    gt: Path
    photo: Path


@dataclass(frozen=True)
class Fold:
    """Pairs to train on, and others to be measured on."""

    train: Sequence[Pair]
    test: Sequence[Pair]


def open_folds(
    data: str | Path | None,
    *,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: LayoutSpec | None = None,
    degradation: Any = None,
    scale: int = 1,
    folds: int | None = None,
    made: Path = Path(),
) -> list[Fold]:
    """One fold that tests on the test (else validation) split of `data`; where there is none, or `folds` is given, that
    many folds of the pairs, each of which tests on its own pairs and trains on the others. The same for all seeds.

    Pairs that share an image, as copies and several inputs of one scene do, are of one fold.

    Where `data` holds clean photos, or a degradation is given for them, the pairs are of `DegradedPhoto`, their files
    to be made in the folder `made`.

    Raises:
        ValueError: if there are fewer than 4 pairs, or not enough for so many folds.
    """
    root = None if data is None else Path(data)
    pairs = None
    if degradation is None:
        pairs = pairs_if_any(root, "train", lq=lq, gt=gt, pair_by=pair_by, layout=layout, scale=scale)
    elif root is None:
        raise ValueError("degradation: it is for clean photos, so a folder of them is needed (--data)")

    def find(split: str) -> Sequence[Pair]:
        if pairs is None:
            return degraded_photos(Path(data or ""), split, made)
        return find_pairs(root, split, lq=lq, gt=gt, pair_by=pair_by, layout=layout, scale=scale)

    what = "photos" if pairs is None else "pairs"
    train = pairs or find("train")
    if len(train) < FEWEST_PAIRS:
        raise ValueError(f"a comparison needs at least {FEWEST_PAIRS} {what} to train on, found {len(train)}")
    splits = [] if root is None else [split for split in ("test", "val") if split in find_splits(root)]
    if splits and folds is None:
        test = find(splits[0])
        if len(test) < 2:
            raise ValueError(
                f"{data}: a comparison needs at least 2 test images, {splits[0]} has {len(test)}; give --folds"
            )
        return [Fold(train, test)]
    return divided(train, folds, what)


def divided(pairs: Sequence[Pair], folds: int | None, what: str, *, most: int = FOLDS) -> list[Fold]:
    """So many folds, each of which tests on its own pairs and trains on all others, none of which shares an image.

    Where no number is given there are `most`, or as many as there are scenes.

    Raises:
        ValueError: if there are not enough.
    """
    group_of = group_copies([pair.photo if isinstance(pair, DegradedPhoto) else pair for pair in pairs])
    groups: dict[int, list[int]] = {}
    for number in torch.randperm(len(pairs), generator=generator_for(0, "folds")).tolist():
        groups.setdefault(group_of[number], []).append(number)
    folds = max(2, min(most, len(groups))) if folds is None else folds
    if not 2 <= folds <= len(groups):
        different = "" if len(groups) == len(pairs) else " of different scenes"
        raise ValueError(f"folds: expected 2 to {len(groups)}, as many as there are {what}{different}, got {folds}")
    if shared := sum(len(group) for group in groups.values() if len(group) > 1):
        say(f"folds: {shared} of {len(pairs)} {what} share an image with another; they stay on one side")
    parts: list[set[int]] = [set() for _ in range(folds)]
    for group in groups.values():
        min(parts, key=len).update(group)
    return [
        Fold([p for i, p in enumerate(pairs) if i not in part], [p for i, p in enumerate(pairs) if i in part])
        for part in parts
    ]


def check_integrity(folds: Sequence[Fold], check: IntegrityCheck) -> list[Fold]:
    """The folds without what the check leaves out of their pairs, or photos, all of which it sees once.

    Raises:
        ValueError: as the check, and if fewer than 4 are left.
    """
    pairs = list(dict.fromkeys(pair for fold in folds for pair in (*fold.train, *fold.test)))
    seen = {pair.photo if isinstance(pair, DegradedPhoto) else pair: pair for pair in pairs}
    kept = {seen[item] for item in check(list(seen))}
    if len(kept) < FEWEST_PAIRS:
        raise ValueError(f"a comparison needs at least {FEWEST_PAIRS} pairs or photos, {len(kept)} are not damaged")
    return [Fold([p for p in fold.train if p in kept], [p for p in fold.test if p in kept]) for fold in folds]


def claim_pairs(folds: Sequence[Fold], out: Path) -> None:
    """Writes into the folder of a comparison which pairs its runs train on and test on, once.

    Raises:
        ValueError: if it began with others: its runs could not be compared with those to come.
    """
    path = out / "pairs.json"
    now = [{side: [pair.name for pair in getattr(fold, side)] for side in ("train", "test")} for fold in folds]
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(now, indent=0), encoding="utf-8")
    elif (before := json.loads(path.read_text(encoding="utf-8"))) != now:
        was, names = ({name for fold in each for side in fold.values() for name in side} for each in (before, now))
        if was == names:
            raise ValueError(
                f"{out}: the {len(names)} pairs are divided otherwise than when the comparison began, since pairs that "
                "share an image now stay together; choose another folder"
            )
        told = f"gone: {examples(sorted(was - names))}; new: {examples(sorted(names - was))}"
        raise ValueError(
            f"{out}: the pairs have changed since the comparison began: they were {len(was)}, they are {len(names)} "
            f"({told}); bring the old ones back, or choose another folder"
        )


def check_counts(counts: Sequence[int], folds: Sequence[Fold]) -> list[int]:
    """Numbers of training pairs, ascending; all there are where none are given.

    Raises:
        ValueError: if there are not so many, or fewer than 1 are asked for.
    """
    most = min(len(fold.train) for fold in folds)
    for count in counts:
        if not 1 <= count <= most:
            raise ValueError(f"pairs: expected numbers from 1 to {most}, which every run can train on, got {count}")
    return sorted(set(counts)) or [most]


def drawn(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """`count` of the pairs, drawn by `seed`; a larger count has those of a smaller one."""
    order = torch.randperm(len(pairs), generator=generator_for(seed, "pairs")).tolist()
    return [pairs[i] for i in sorted(order[:count])]


def degraded_photos(root: Path, split: str, made: Path) -> list[DegradedPhoto]:
    """The clean photos under `root`, and what their pairs in the folder `made` will be called."""
    photos = find_photos(root, split)
    stems = [photo.relative_to(root).with_suffix("").as_posix() for photo in photos]
    count = Counter(stems)
    names = [
        stem if count[stem] == 1 else photo.relative_to(root).as_posix()
        for stem, photo in zip(stems, photos, strict=True)
    ]
    return [
        DegradedPhoto(name, made / "input" / fitted(name), made / "target" / fitted(name), photo)
        for name, photo in zip(names, photos, strict=True)
    ]


def degraded_folder(out: Path) -> Path:
    """Where a comparison keeps the test photos that it has degraded; one begun long ago keeps them in `spoilt`."""
    former = out / "data" / "spoilt"
    return former if former.is_dir() else former.with_name("degraded")


def fitted(name: str) -> Path:
    """The PNG file of an image of this name, which may have folders before it."""
    path = Path(name)
    return path.with_name(fitting(path.name, ".png"))


def check_first(folds: Sequence[Fold], task: Task, degradation: Degradation) -> None:
    """Checks that the first test image can be read, or made, as the task sees it.

    Raises:
        ValueError: if its files have other channels, say, or the degradation is not defined for them.
    """
    pair = folds[0].test[0]
    if isinstance(pair, DegradedPhoto):
        whole_photos(task, [pair.photo], degradation)[0]
    else:
        whole_pairs(task, [pair])[0]


def write_tests(folds: Sequence[Fold], task: Task, degradation: Degradation) -> None:
    """Makes the pairs of all test photos, unless that has been done: once, so that every run is measured on the same.

    Args:
        folds: whose test images these are; real pairs are left as they are.
        task: which says with how many channels photos are read.
        degradation: what degrades the photos.
    """
    pairs = [pair for fold in folds for pair in fold.test if isinstance(pair, DegradedPhoto)]
    pictures = whole_photos(task, [pair.photo for pair in pairs], degradation)
    for number, pair in enumerate(pairs):
        if not (pair.lq.exists() and pair.gt.exists()):
            sample, bits = pictures[number], 8 if read_layout(pair.photo)[2] is np.uint8 else 16
            for side, image in ((pair.lq, sample["lq"]), (pair.gt, sample["gt"])):
                white = task.format.white_level if bits == 16 else None  # they are read like the files of the set
                write_picture(side, Picture(image, bits=bits, white_level=white), overwrite=True)


def training_source(pairs: Sequence[Pair], folder: Path) -> dict[str, str]:
    """The options of `finetune` that open the data set of these pairs, or clean photos, in a folder."""
    if any(isinstance(pair, DegradedPhoto) for pair in pairs):
        return {"data": str(folder)}
    return {"lq": str(folder / "input"), "gt": str(folder / "target")}


def link_training(pairs: Sequence[Pair], folder: Path) -> None:
    """Makes `folder` a data set of just these pairs, or clean photos, as `training_source` opens it.

    Clean photos are degraded anew whenever a run reads them.
    """
    photos = [pair.photo for pair in pairs if isinstance(pair, DegradedPhoto)]
    if photos:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, photo in enumerate(photos):
            link(folder / f"{number:04d}{photo.suffix}", photo)
    else:
        link_pairs(pairs, folder)


def link_pairs(pairs: Sequence[Pair], folder: Path) -> None:
    """Makes `folder` a data set of just these pairs: links `input/0000.png` and `target/0000.png`, and so on.

    Images that are no file of their own are written there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for side in ("input", "target"):
        (folder / side).mkdir(parents=True)
    for number, pair in enumerate(pairs):
        for side, path in (("input", pair.lq), ("target", pair.gt)):
            if isinstance(path, Path):
                link(folder / side / f"{number:04d}{path.suffix}", path)
            else:
                write_image(folder / side / f"{number:04d}.png", read_tensor(path))


def link(place: Path, file: Path) -> None:
    """Makes `place` the file: a link, or a copy where there can be none, as on Windows without the right to it."""
    try:
        place.symlink_to(file.resolve())
    except (OSError, NotImplementedError):
        shutil.copy2(file, place)
