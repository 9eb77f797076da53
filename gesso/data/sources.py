"""Where images come from: noise, procedural images or photos for pretexts; pairs or degraded photos for tasks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gesso.data.datasets import CleanDataset, ImageDataset, NoiseDataset, PairDataset, WholePairs, WholePhotos
from gesso.data.io import as_paths
from gesso.data.layouts import NoPairsError, Pair, PairBy, find_pairs, find_photos, find_splits
from gesso.data.procedural import LeavesDataset, PinkDataset
from gesso.degradations import parse_degradation
from gesso.functional.random import generator_for
from gesso.tasks import Task

Item = TypeVar("Item", Pair, Path)
MOST_HELD_OUT = 12


def open_images(images: str, *, seed: int, count: int | None = None, per_sample: int = 1) -> Dataset[dict[str, Tensor]]:
    """Images for a pretext by (sample index, crop_size): {"image": (3, H, W)}, or (K, 3, H, W) with `per_sample` K > 1.

    Args:
        images: "noise" (N(0, 1), fixed for the run), "leaves", "pink", or a folder of photos.
        seed: what is random follows from it.
        count: how many different images; None: one of noise, all of a folder, no end of procedural ones.
        per_sample: different images in one sample.

    Raises:
        ValueError: if the folder holds no images, or fewer than one sample needs.
        FileNotFoundError: if there is no such folder.
    """
    if images == "noise":
        return NoiseDataset(1 if count is None else count, seed=seed, per_sample=per_sample)
    if images in ("leaves", "pink"):
        return {"leaves": LeavesDataset, "pink": PinkDataset}[images](seed, count=count, per_sample=per_sample)
    if not Path(images).is_dir():
        raise FileNotFoundError(f"images: expected noise, leaves, pink or a folder, and there is no folder {images}")
    photos = find_photos(Path(images))[:count]
    if len(photos) < per_sample:
        raise ValueError(f"{images}: this pretext compares {per_sample} images, and there are {len(photos)}")
    return ImageDataset(photos, seed=seed, per_sample=per_sample)


@dataclass(frozen=True)
class TrainingData:
    """What a task trains on and is measured on.

    Attributes:
        train: {"lq", "gt", "name"} by (sample index, crop_size).
        validation: whole images, {"lq", "gt", "name"} by index; empty where there are too few.
        summary: what was found, in one line.
    """

    train: Dataset[dict[str, Any]]
    validation: WholePairs | WholePhotos
    summary: str


def open_training_data(
    task: Task,
    *,
    data: str | Path | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: PairBy = "stem",
    layout: str | None = None,
    degradation: Any = None,
    val: str | Path | None = None,
    holdout: int | None = None,
    seed: int = 0,
) -> TrainingData:
    """The samples of a task, from pairs, or from clean photos that the task's degradation spoils on the fly.

    Validation images are those of `val` (pairs, or clean photos spoilt like those in training); else of the validation
    or test split of `data`; else `holdout` samples are kept back from training (none: a tenth, at most 12, at least
    one of four).

    Raises:
        ValueError: if there is nothing to train on; the message says what was found.
    """
    data, lq, gt, val = as_paths(data, lq, gt, val)
    pairs = None
    if degradation is None:
        pairs = pairs_if_any(data, "train", lq=lq, gt=gt, pair_by=pair_by, layout=layout)
    if pairs is not None:
        train, held = divide(pairs, data, val, holdout, seed, lambda root, split: find_pairs(root, split))
        summary = f"{len(train)} pairs to train, {len(held)} to validate"
        return TrainingData(PairDataset(train, scale=task.scale, seed=seed), WholePairs(held), summary)
    if data is None:
        raise ValueError("degradation: it spoils clean photos, so a folder of them is needed (--data)")
    spoil = task.degradation if degradation is None else parse_degradation(degradation)
    held_pairs = None if val is None else pairs_if_any(val, "val")
    if held_pairs is None:
        photos, held = divide(find_photos(data), data, val, holdout, seed, find_photos)
        validation = WholePhotos(held, spoil, scale=task.scale, seed=seed)
    else:
        photos, validation = find_photos(data), WholePairs(held_pairs)
    summary = f"{len(photos)} photos to train, {len(validation)} to validate, spoilt by {spoil}"
    return TrainingData(CleanDataset(photos, spoil, scale=task.scale, seed=seed), validation, summary)


def pairs_if_any(root: Path | None, split: str, **how: Any) -> list[Pair] | None:
    """The pairs of a data set, found as `find_pairs` does; None if there are but clean photos under `root`.

    Raises:
        ValueError: if there are neither.
    """
    try:
        return find_pairs(root, split, **how)
    except NoPairsError:
        if root is None:
            raise
        return None


def divide(
    samples: list[Item],
    data: Path | None,
    val: Path | None,
    holdout: int | None,
    seed: int,
    find: Callable[[Path, str], list[Item]],
) -> tuple[list[Item], list[Item]]:
    """What to train on and what to measure on, see `open_training_data`."""
    if val is not None:
        return samples, find(val, "val")
    if data is not None and holdout is None:
        for split in ("val", "test"):
            if split in find_splits(data):
                return samples, find(data, split)
    return hold_out(samples, holdout, seed)


def hold_out(samples: list[Item], count: int | None, seed: int) -> tuple[list[Item], list[Item]]:
    """What is left to train on, and what is kept back, drawn by `seed`.

    Raises:
        ValueError: if nothing would be left to train on.
    """
    if count is None:
        count = min(MOST_HELD_OUT, max(1, round(len(samples) / 10))) if len(samples) >= 4 else 0
    if not 0 <= count < len(samples):
        raise ValueError(f"holdout: expected less than the {len(samples)} samples there are, got {count}")
    order = torch.randperm(len(samples), generator=generator_for(seed, "holdout")).tolist()
    held = set(order[:count])
    return [s for i, s in enumerate(samples) if i not in held], [s for i, s in enumerate(samples) if i in held]
