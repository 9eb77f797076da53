"""Which pairs a run trains on and which it is measured on."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gesso.data.layouts import Pair, PairBy, find_pairs, find_splits
from gesso.functional.random import generator_for

FEWEST_PAIRS = 4
FOLDS = 4


@dataclass(frozen=True)
class Fold:
    """Pairs to train on, and others to be measured on."""

    train: list[Pair]
    test: list[Pair]


def open_folds(
    data: str | Path | None,
    *,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: str | None = None,
    folds: int | None = None,
) -> list[Fold]:
    """One fold that tests on the test (else validation) split of `data`; where there is none, or `folds` is given, that
    many folds of the pairs, each of which tests on its own pairs and trains on the others. The same for all seeds.

    Raises:
        ValueError: if there are fewer than 4 pairs, or not enough for so many folds.
    """
    splits = [] if data is None else [split for split in ("test", "val") if split in find_splits(data)]
    pairs = find_pairs(data, "train", lq=lq, gt=gt, pair_by=pair_by, layout=layout)
    if len(pairs) < FEWEST_PAIRS:
        raise ValueError(f"a comparison needs at least {FEWEST_PAIRS} pairs to train on, found {len(pairs)}")
    if splits and folds is None:
        test = find_pairs(data, splits[0], pair_by=pair_by, layout=layout)
        if len(test) < 2:
            raise ValueError(
                f"{data}: a comparison needs at least 2 test images, {splits[0]} has {len(test)}; give --folds"
            )
        return [Fold(pairs, test)]
    folds = folds or FOLDS
    if not 2 <= folds <= len(pairs):
        raise ValueError(f"folds: expected 2 to {len(pairs)}, as many as there are pairs, got {folds}")
    order = torch.randperm(len(pairs), generator=generator_for(0, "folds")).tolist()
    parts = [set(order[number::folds]) for number in range(folds)]
    return [
        Fold([p for i, p in enumerate(pairs) if i not in part], [p for i, p in enumerate(pairs) if i in part])
        for part in parts
    ]


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


def link(pairs: Sequence[Pair], folder: Path) -> None:
    """Makes `folder` a data set of just these pairs: links `input/0000.png` and `target/0000.png`, and so on."""
    shutil.rmtree(folder, ignore_errors=True)
    for side in ("input", "target"):
        (folder / side).mkdir(parents=True)
    for number, pair in enumerate(pairs):
        for side, path in (("input", pair.lq), ("target", pair.gt)):
            (folder / side / f"{number:04d}{path.suffix}").symlink_to(path.resolve())
