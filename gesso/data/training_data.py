"""Where images come from: noise, procedural images or photos for pretexts; pairs or degraded photos for tasks."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gesso._discovery import advise_colon
from gesso.data.copies import group_copies
from gesso.data.datasets import CleanDataset, ImageDataset, PairDataset, WholePairs, WholePhotos
from gesso.data.generated import GeneratedImages, GeneratedPairs, Rehearsal, WholeGenerated
from gesso.data.image_ref import ImageRef
from gesso.data.integrity import IntegrityCheck
from gesso.data.io import LeftOutWarning, as_paths
from gesso.data.layouts import (
    LayoutSpec,
    LooksLikePairsError,
    NoPairsError,
    Pair,
    PairBy,
    find_pairs,
    find_photos,
    find_splits,
    find_unpaired,
    own_layout,
)
from gesso.data.left_out import WhiteLevelWarning, doubt_of_white, left_out
from gesso.data.pairing import is_list, is_template
from gesso.degradations import Degradation
from gesso.formats import PixelFormat, check_channels
from gesso.functional.processes import rank_info
from gesso.functional.random import generator_for, seed_for
from gesso.sources import SourceSpec, is_source, list_sources, spell_source
from gesso.tasks import Task, degradation_in

Item = TypeVar("Item", Pair, Path)
T = TypeVar("T")
WholeImages = WholePairs | WholePhotos | WholeGenerated
MOST_HELD_OUT = 12
ONE_VIEW = "{}: two views of a scene cannot be made from one; give the root of a data set that has both (--data)"


class FewPhotosWarning(UserWarning):
    """A folder holds fewer photos than were asked for."""


def open_images(
    images: SourceSpec,
    *,
    seed: int,
    count: int | None = None,
    per_sample: int = 1,
    channels: int = 3,
    white_level: int | None = None,
    skip_damaged: bool = False,
    layout: Literal["photos"] | None = None,
) -> Dataset[dict[str, Tensor]]:
    """Images for a pretext by (sample index, crop_size): {"image": (C, H, W)}, or (K, C, H, W) with `per_sample` K > 1.

    Args:
        images: a source (see `gesso.sources`), or a folder of photos.
        seed: what is random follows from it.
        count: how many different images; None: as many of noise as a sample holds, all of a folder, unlimited ones of
            other sources. Of a folder they are drawn by `seed`.
        per_sample: different images in one sample.
        channels: channels of an image: 3, or 1 for grey, or 4, which files then have to have.
        white_level: what white is stored as in files of 16 bits; None: 65535, or what they say.
        skip_damaged: leave out files that are damaged, instead of refusing them.
        layout: "photos": the images of a folder are clean photos, though it looks like one of pairs.

    Raises:
        ValueError: if the folder holds no images, pairs with their degraded side, or fewer images than one sample
            needs, or damaged ones.
        FileNotFoundError: if there is no such folder.
    """
    if is_source(images):
        return GeneratedImages(images, seed, count=count, channels=channels, per_sample=per_sample)
    images = str(images)
    if not Path(images).is_dir():
        known = ", ".join(list_sources())
        raise FileNotFoundError(
            f"images: expected {known} or a folder, and there is no folder {images}{advise_colon(images)}"
        )
    check_channels(images, channels)
    format = PixelFormat.of_channels(channels, white_level)
    photos = find_photos(Path(images), refuse=layout is None)
    photos = IntegrityCheck(skip=skip_damaged)(draw_photos(photos, count, seed, images))
    if len(photos) < per_sample:
        raise ValueError(f"{images}: this pretext compares {per_sample} images, and there are {len(photos)}")
    check_white(photos, format)
    for told in left_out(photos, Path(images)):
        warn_once(told, LeftOutWarning)
    return ImageDataset(photos, format=format, seed=seed, per_sample=per_sample)


def draw_photos(photos: list[T], count: int | None, seed: int, folder: str | Path) -> list[T]:
    """`count` photos of a folder's, drawn by `seed` and in their order; None: all. Warns where there are fewer."""
    if count is None or count >= len(photos):
        if count is not None and count > len(photos):
            message = f"{folder} holds {len(photos)} photos, fewer than the {count} asked for (count)"
            warnings.warn(message, FewPhotosWarning, stacklevel=3)
        return photos
    drawn = torch.randperm(len(photos), generator=generator_for(seed, "count"))[:count]
    return [photos[i] for i in sorted(drawn.tolist())]


class SceneWarning(UserWarning):
    """All samples share an image, so none can be held out that is new to the network."""


@dataclass(frozen=True)
class TrainingData:
    """What a task trains on and is measured on.

    Attributes:
        train: {"lq", "gt", "name"} by (sample index, crop_size).
        validation: whole images, {"lq", "gt", "name"} by index; empty where there are too few.
        summary: what was found, in one line.
        from_test: whether the validation images are those of a test split.
    """

    train: Dataset[dict[str, Any]]
    validation: WholeImages
    summary: str
    from_test: bool = False


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where the samples of a task come from: pairs, or clean photos that are degraded on the fly.

    Attributes:
        data: root of pairs, a folder of photos, or a source of images (see `gesso.sources`).
        lq: folder of degraded images, with `gt`; beside `data`, the name of such folders below it.
        gt: folder of ground truths.
        pair_by: how pairs are told, see `gesso.data.layouts.find_pairs`.
        layout: of `data`; None: detected.
        degradation: of clean photos; None: the task's.
        val: root of validation images: pairs, or clean photos degraded like those in training.
        holdout: samples kept back from training where there are no others; None: a tenth, at most 12, at least one of
            four.
        skip_damaged: leave out damaged images, and pairs whose sides do not fit.
    """

    data: SourceSpec | None = None
    lq: str | Path | None = None
    gt: str | Path | None = None
    pair_by: PairBy = "stem"
    layout: LayoutSpec | None = None
    degradation: Any = None
    val: str | Path | None = None
    holdout: int | None = None
    skip_damaged: bool = False

    @property
    def paths(self) -> list[Path | None]:
        """The places `data`, `lq`, `gt` and `val`, where they are given as such."""
        return as_paths(self.data if isinstance(self.data, str | Path) else None, self.lq, self.gt, self.val)


def open_training_data(task: Task, options: DataOptions, *, seed: int = 0) -> TrainingData:
    """The samples of a task to train on and to validate on.

    Validation images are those of `val`, of its validation or else its test split where it is divided; else those of
    these splits of `data`; else samples that are held out.

    Raises:
        ValueError: if there is nothing to train on, or images are damaged; the message says what was found.
    """
    data = options.data
    if data is not None and is_source(data) and options.lq is None and options.gt is None and options.val is None:
        return open_generated(task, data, options.degradation, options.holdout, seed)
    if not isinstance(data, str | Path | NoneType):
        raise ValueError(f"data: images of {spell_source(data)} are validated on others; leave out lq, gt and val")
    data, lq, gt, val = options.paths
    if data is not None and (advice := advise_colon(str(data))) and not data.exists():
        raise FileNotFoundError(f"data: there is no folder {data}{advice}")
    two_views = task.format.has_two_views
    if two_views and (data is None or options.degradation is not None):
        raise ValueError(ONE_VIEW.format(task.name))
    options = dataclasses.replace(
        options, data=data, lq=lq, gt=gt, val=val, layout="dual_pixel" if two_views else options.layout
    )
    check = IntegrityCheck(task.scale, skip=options.skip_damaged)
    of_validation = partial(
        find_validation, pair_by=options.pair_by, layout=own_layout(options.layout), scale=task.scale
    )
    if options.degradation is None:
        how = {"lq": lq, "gt": gt, "pair_by": options.pair_by, "layout": options.layout, "scale": task.scale}
        pairs = pairs_if_any(data, "train", **how)
        if pairs is not None:
            find = of_validation if val is not None else partial(find_pairs, **how)
            return open_pairs(task, options, pairs, find, check, seed)
    return open_photos(task, options, of_validation, check, seed)


def rehearse(task: Task, samples: Dataset[Any], share: float, *, images: SourceSpec = "leaves", seed: int) -> Rehearsal:
    """Training samples of a task with procedural images among them, degraded as the task says.

    Raises:
        ValueError: if the samples are procedural themselves, or of two views.
    """
    if isinstance(samples, GeneratedPairs):
        raise ValueError(f"rehearse: it puts procedural images among yours, and all are such already ({samples.name})")
    if task.format.has_two_views:
        raise ValueError(ONE_VIEW.format(task.name))
    own = {"scale": task.scale, "channels": task.channels, "seed": seed_for(seed, "rehearse")}
    return Rehearsal(samples, GeneratedPairs(images, task.degradation, **own), share)


def open_pairs(
    task: Task,
    options: DataOptions,
    pairs: list[Pair],
    find: Callable[..., list[Pair]],
    check: IntegrityCheck,
    seed: int,
) -> TrainingData:
    """Training data of pairs; `find` finds those to validate on."""
    data, lq, gt, _ = options.paths
    splits = partial(find_splits, layout=options.layout)
    whole = check(pairs)
    train, held, of_test, note = divide(whole, options, seed, lambda *where: check(find(*where)), splits)
    summary = "; ".join(filter(None, [f"{len(train)} pairs to train, {len(held)} to validate{check}", note]))
    if alone := find_unpaired(pairs):
        summary += f"; images without a partner are left out: {len(alone)}, such as {alone[0]}"
    sides = [side for pair in whole for side in (pair.lq, pair.gt)]
    summary = "; ".join([summary, *left_out(sides, data, lq, gt)])
    check_white(sides, task.format)
    samples = PairDataset(train, scale=task.scale, format=task.format, seed=seed)
    return TrainingData(samples, whole_pairs(task, held), summary, of_test)


def open_photos(
    task: Task, options: DataOptions, of_validation: Callable[..., list[Pair]], check: IntegrityCheck, seed: int
) -> TrainingData:
    """Training data of clean photos, which are degraded on the fly; `of_validation` finds pairs to validate on.

    Raises:
        ValueError: if there is no folder of photos.
    """
    data, _, _, val = options.paths
    if data is None:
        raise ValueError("degradation: it is for clean photos, so a folder of them is needed (--data)")
    degradation = task.degradation if options.degradation is None else degradation_in(task, options.degradation)
    said = options.degradation is not None or options.layout == "photos"
    photos, held, note = check(find_photos(data)), list[Path](), ""
    split, of_test = ("val", False) if val is None else measured_split(val)
    pairs = None if val is None else pairs_if_any(val, split, of_validation, photos=said)
    if pairs is None:
        photos, held, of_test, note = divide(photos, options, seed, lambda *where: check(find_photos(*where)))
        validation = whole_photos(task, held, degradation, seed=seed)
    else:
        validation = whole_pairs(task, check(pairs))
    summary = f"{len(photos)} photos to train, {len(validation)} to validate, degraded with {degradation}{check}"
    summary = "; ".join([summary, *filter(None, [note]), *left_out([*photos, *held], data)])
    check_white(photos, task.format)
    train = CleanDataset(photos, degradation, scale=task.scale, format=task.format, seed=seed)
    return TrainingData(train, validation, summary, of_test)


def open_generated(task: Task, source: SourceSpec, degradation: Any, holdout: int | None, seed: int) -> TrainingData:
    """Images of a source for a task, and others to measure on: `holdout` of them, or 8."""
    if task.format.has_two_views:
        raise ValueError(ONE_VIEW.format(task.name))
    degradation = task.degradation if degradation is None else degradation_in(task, degradation)
    options = {"scale": task.scale, "channels": task.channels}
    train = GeneratedPairs(source, degradation, seed=seed, **options)
    held = GeneratedPairs(source, degradation, seed=seed_for(0, "validation"), **options)
    validation = WholeGenerated(held, 8 if holdout is None else holdout)
    made = f"procedural images ({spell_source(source)}) to train"
    summary = f"{made}, {len(validation)} to validate, degraded with {degradation}"
    return TrainingData(train, validation, summary)


def check_white(refs: Sequence[ImageRef], format: PixelFormat) -> None:
    """Warns where the white of a set is in doubt, unless it has been given."""
    if format.white_level is None and (doubt := doubt_of_white(refs)):
        warn_once(doubt, WhiteLevelWarning)


def warn_once(told: str, kind: type[Warning]) -> None:
    """Warns in the first process of a run."""
    if rank_info().rank == 0:
        warnings.warn(told, kind, stacklevel=3)


def whole_pairs(task: Task, pairs: Sequence[Pair]) -> WholePairs:
    """Whole images of pairs in the format of the task."""
    return WholePairs(pairs, scale=task.scale, format=task.format)


def whole_photos(task: Task, photos: Sequence[Path], degradation: Degradation, *, seed: int = 0) -> WholePhotos:
    """Whole photos in the format of the task, degraded."""
    return WholePhotos(photos, degradation, scale=task.scale, format=task.format, seed=seed)


def pairs_if_any(
    root: Path | None,
    split: str,
    find: Callable[..., list[Pair]] = find_pairs,
    *,
    photos: bool = False,
    **how: Any,
) -> list[Pair] | None:
    """The pairs of a data set, found as `find_pairs` does; None if there are but clean photos under `root`.

    What only looks like pairs is taken for `photos` if the user has said that there are such.

    Raises:
        ValueError: if there are neither.
    """
    try:
        return find(root, split, **how)
    except NoPairsError:
        if root is None:
            raise
        return None
    except LooksLikePairsError:
        if not photos:
            raise
        return None


def find_validation(root: Path, split: str, *, pair_by: PairBy, **how: Any) -> list[Pair]:
    """The pairs of a set of its own to measure on, which are not those of a list, and need not fit a template.

    Raises:
        ValueError: if there are none.
    """
    if is_template(pair_by):
        try:
            return find_pairs(root, split, pair_by=pair_by, **how)
        except ValueError:  # its inputs are called otherwise than those in training
            pair_by = "stem"
    return find_pairs(root, split, pair_by="stem" if is_list(pair_by) else pair_by, **how)


def measured_split(root: Path, splits: Callable[[Path], list[str]] = find_splits) -> tuple[str, bool]:
    """The split of a set that is there to measure on, and whether it is one for tests, as the folder may be called.

    It is the set's own for validation, else that for tests; "val" where it is not divided.
    """
    found = splits(root)
    split = next((split for split in ("val", "test") if split in found), None)
    return split or "val", split == "test" or (split is None and root.name.lower() in ("test", "testing"))


class Divided(NamedTuple, Generic[Item]):
    """What to train on, what to measure on, whether that is a test split, and what is to be said of it, or ""."""

    train: list[Item]
    held: list[Item]
    of_test: bool = False
    note: str = ""


def divide(
    samples: list[Item],
    options: DataOptions,
    seed: int,
    find: Callable[[Path, str], list[Item]],
    splits: Callable[[Path], list[str]] = find_splits,
) -> Divided[Item]:
    """What to train on and what to measure on, see `open_training_data`."""
    data, _, _, root = options.paths
    if root is None and data is not None and options.holdout is None and {"val", "test"} & {*splits(data)}:
        root = data
    if root is None:
        return hold_out(samples, options.holdout, seed)
    split, of_test = measured_split(root, splits)
    return Divided(samples, find(root, split), of_test)


def hold_out(samples: list[Item], count: int | None, seed: int) -> Divided[Item]:
    """What is left to train on, and what is kept back, drawn by `seed`; samples that share an image stay together.

    So nothing is measured on what was trained on. What shares an image with too many others to be kept back with all of
    them is trained on; where that holds for everything, the smallest group is kept back, whatever the count.

    Raises:
        ValueError: if nothing would be left to train on.
    """
    if count is None:
        count = min(MOST_HELD_OUT, max(1, round(len(samples) / 10))) if len(samples) >= 4 else 0
    if not 0 <= count < len(samples):
        raise ValueError(f"holdout: expected less than the {len(samples)} samples there are, got {count}")
    if count == 0:
        return Divided(samples, [])
    order = torch.randperm(len(samples), generator=generator_for(seed, "holdout")).tolist()
    group_of = group_copies(samples)
    groups: dict[int, list[int]] = {}
    for number in order:
        groups.setdefault(group_of[number], []).append(number)
    held: set[int] = set()
    for group in groups.values():
        if len(held) + len(group) <= count:
            held.update(group)
    shared = sum(len(group) for group in groups.values() if len(group) > 1)
    note = f"{shared} share an image with another and stay on one side" if shared else ""
    if len(groups) == 1:
        warn_once(
            f"all {len(samples)} samples share one image, so what is held out is no test: give --val", SceneWarning
        )
        held, note = set(order[:count]), ""
    held = held or set(min(groups.values(), key=len))
    train = [sample for number, sample in enumerate(samples) if number not in held]
    return Divided(train, [samples[number] for number in sorted(held)], note=note)


def total_pixels(images: WholeImages) -> int:
    """Pixels of all the degraded images, as their headers declare them, or as the first has them."""
    sizes = images.sizes()
    known = [math.prod(size) for size in sizes if size]
    if not known:
        return len(sizes) * math.prod(images[0]["lq"].shape[-2:])
    return sum(known) * len(sizes) // len(known)


def largest(images: WholeImages) -> tuple[int, int] | None:
    """Height and width of the largest of the degraded images, as their headers declare them; None where none does."""
    return max((size for size in images.sizes() if size), key=math.prod, default=None)
