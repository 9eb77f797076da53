"""What `evaluate` measures on: test sets, each with the task that says how."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gesso._discovery import check_options
from gesso._specs import TaskSpec
from gesso.data.image_ref import ImageRef, files_of
from gesso.data.integrity import IntegrityCheck
from gesso.data.io import as_paths
from gesso.data.layouts import NoPairsError, Pair, PairBy, find_pairs, find_photos
from gesso.data.left_out import doubt_of_white, left_out
from gesso.data.mixes import adjusted, check_mix, check_unused
from gesso.data.training_data import WholeImages, open_generated, whole_pairs, whole_photos
from gesso.degradations import Degradation
from gesso.degradations.noise import GaussianNoise
from gesso.published import Measured, known_set
from gesso.report.console import say, warn
from gesso.sources import is_source
from gesso.tasks import Task, degradation_in, find_task, spell_task

FOR_TRAINING = ("repeats", "crop_size", "val", "holdout")  # what a mix says that a test does not need


@dataclasses.dataclass(frozen=True)
class TestSet:
    """Images that are measured, and how.

    Attributes:
        name: what its numbers are called.
        task: what is restored, with the protocol.
        images: `{"lq", "gt", "name"}` of whole images.
        known: the published test sets that it may be, by its name and its folders'.
        degradation: what degrades its images, where they are clean photos.
    """

    name: str
    task: Task
    images: WholeImages
    known: tuple[str, ...] = ()
    degradation: Degradation | None = None

    @property
    def measured(self) -> list[Measured]:
        """What published numbers it is compared with."""
        sigma = self.degradation.sigma if isinstance(self.degradation, GaussianNoise) else None
        sigma = None if isinstance(sigma, tuple) else sigma
        task = self.task
        return [Measured(task.name, known, task.protocol.channel, sigma, task.scale) for known in self.known]

    def __str__(self) -> str:
        degraded = f"; photos degraded by {self.degradation}" if self.degradation else ""
        white = f"; white level {self.task.format.white_level}" if self.task.format.white_level else ""
        return f"{self.task.protocol}{degraded}{white}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetOptions:
    """Where test images lie, and how they are measured: the options of `gesso evaluate`, or of a part of its mix.

    Attributes:
        task: what is restored.
        name: what all of it is called; None: each published set below `data` by its name.
        data: root of pairs, or several, or of clean photos, or a source of images.
        lq: folder of degraded images, with `gt`.
        gt: folder of ground truths.
        split: of `data`.
        pair_by: how pairs are told, see `gesso.data.layouts.find_pairs`.
        layout: of `data`; None: detected.
        degradation: what degrades clean photos; None: they are pairs.
        scale: enlargement.
        protocol: options of `Protocol` that replace the task's.
        white_level: of files of 16 bits.
        skip_damaged: leave out damaged images.
    """

    task: TaskSpec
    name: str | None = None
    data: str | Path | list[str] | list[Path] | None = None
    lq: str | Path | None = None
    gt: str | Path | None = None
    split: str = "test"
    pair_by: PairBy = "stem"
    layout: str | None = None
    degradation: Any = None
    scale: int = 1
    protocol: Mapping[str, Any] | None = None
    white_level: int | None = None
    skip_damaged: bool = False


def open_test_sets(
    options: SetOptions, mix: Sequence[Mapping[str, Any]] | None, *, channels: int = 3, seed: int = 0
) -> list[TestSet]:
    """The test sets of a task, or for the task "all-in-one" those of each part of a mix.

    Args:
        options: of a single task.
        mix: parts as `finetune` takes them, or with options of `SetOptions`.
        channels: what the network takes.
        seed: the draws of degradations follow from it.

    Raises:
        ValueError: if there are no images, or two sets have one name; all parts that are missing are named.
    """
    task = options.task
    if (task == "all-in-one") != bool(mix):
        raise ValueError(
            f"mix: it belongs to the task all-in-one, got the task {spell_task(task)} and {len(mix or [])} parts"
        )
    if not mix:
        sets = open_sets(options, channels, seed)
    else:
        given = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        check_unused(SetOptions, {name: given[name] for name in given.keys() - {"task", "scale", "skip_damaged"}})
        sets, missing = [], []
        for name, entry in zip(check_mix(mix), mix, strict=True):
            entry = {option: value for option, value in entry.items() if option not in FOR_TRAINING}
            check_options(SetOptions, entry, f"mix part {name}")
            try:
                part = SetOptions(**{"skip_damaged": options.skip_damaged, **entry, "name": name})
                sets += open_part(part, channels, seed)
            except (ValueError, OSError) as error:
                missing.append(f"mix part {name}: {error}")
        if missing:
            raise ValueError("\n".join(missing))
    names = [one.name for one in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"data: two sets are called {' and '.join(sorted(twice))}; evaluate them one by one")
    return sets


def open_part(part: SetOptions, channels: int, seed: int) -> list[TestSet]:
    """The sets of one part of a mix; clean photos without a degradation are degraded by that of their task."""
    try:
        return open_sets(part, channels, seed)
    except NoPairsError:
        if part.data is None or part.degradation is not None:
            raise
        own = find_task(part.task, part.scale).degradation
        return open_sets(dataclasses.replace(part, degradation=own), channels, seed)


def open_sets(options: SetOptions, channels: int, seed: int) -> list[TestSet]:
    """The sets of one task: pairs as they lie, or clean photos or procedural images that a degradation makes pairs of.

    A root that holds several published test sets gives each of them. With a `name` all is one set of that name.

    Raises:
        ValueError: if there are no images.
    """
    task = find_task(options.task, options.scale).with_channels(channels, options.white_level)
    task, data = adjusted(task, options.protocol), options.data
    roots = as_paths(*data) if isinstance(data, list) else as_paths(data)
    if options.degradation is not None and roots == [None]:
        raise ValueError("degradation: it is for clean photos, so a folder of them is needed (--data)")
    return [one for root in roots for one in open_root(task, root, options, seed)]


def open_root(task: Task, root: Path | None, options: SetOptions, seed: int) -> list[TestSet]:
    """The sets of one root, or of the folders `lq` and `gt` where there is none."""
    lq, gt = as_paths(options.lq, options.gt)
    degradation = None if options.degradation is None else degradation_in(task, options.degradation)
    title = options.name or (root or lq or Path("images")).resolve().name
    folders = [folder.resolve().name for folder in ((root,) if root else (lq, lq and lq.parent)) if folder]
    known = tuple(found for found in (known_set(task.name, *folders), known_set(task.name, title)) if found)
    if root is not None and is_source(root):
        images = open_generated(task, root, options.degradation, None, seed).validation
        return [TestSet(title, task, images, (), degradation or task.degradation)]
    if root is not None and degradation is not None:
        photos = find_photos(root, options.split)
        photos = IntegrityCheck(skip=True)(photos) if options.skip_damaged else photos
        tell(task, photos, root)
        return [TestSet(title, task, whole_photos(task, photos, degradation, seed=seed), known, degradation)]
    layout = "dual_pixel" if task.format.has_two_views else options.layout
    pairs = find_pairs(root, options.split, lq=lq, gt=gt, pair_by=options.pair_by, layout=layout, scale=task.scale)
    pairs = IntegrityCheck(task.scale, skip=True)(pairs) if options.skip_damaged else pairs
    tell(task, [side for pair in pairs for side in (pair.lq, pair.gt)], root, lq, gt)
    groups = published_sets(pairs, task.name, root) if root is not None else {None: pairs}
    if options.name is not None:  # one set, whatever it holds
        known += tuple(group for group in groups if group)
        groups = {None: pairs}
    return [
        TestSet(group or title, task, whole_pairs(task, members), (group,) if group else known)
        for group, members in groups.items()
    ]


def tell(task: Task, refs: Sequence[ImageRef], *folders: Path | None) -> None:
    """Says what is left out of a set, and warns where its white is in doubt and has not been given."""
    for told in left_out(refs, *folders):
        say(told)
    if task.format.white_level is None and (doubt := doubt_of_white(refs)):
        warn(doubt)


def published_sets(pairs: Sequence[Pair], task: str, root: Path) -> dict[str | None, list[Pair]]:
    """Pairs by the published test set in whose folder below the root they lie; None: in none."""
    groups: dict[str | None, list[Pair]] = {}
    for pair in pairs:
        folder = files_of(pair.lq)[0].parent
        folder = folder.relative_to(root) if folder.is_relative_to(root) else folder  # of a list it may lie anywhere
        groups.setdefault(known_set(task, *reversed(folder.parts)), []).append(pair)
    return groups
