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
        degradation: what spoils its images, where they are clean photos.
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
        spoilt = f"; photos degraded by {self.degradation}" if self.degradation else ""
        white = f"; white level {self.task.format.white_level}" if self.task.format.white_level else ""
        return f"{self.task.protocol}{spoilt}{white}"


def open_test_sets(
    task: TaskSpec, mix: Sequence[Mapping[str, Any]] | None, *, channels: int = 3, seed: int = 0, **options: Any
) -> list[TestSet]:
    """The test sets of a task, or for the task "all-in-one" those of each part of a mix.

    Args:
        task: name of the task.
        mix: parts as `finetune` takes them, or with the options of `open_sets`.
        channels: what the network takes.
        seed: the draws of degradations follow from it.
        options: of `open_sets`, for a single task.

    Raises:
        ValueError: if there are no images, or two sets have one name; all parts that are missing are named.
    """
    if (task == "all-in-one") != bool(mix):
        raise ValueError(
            f"mix: it belongs to the task all-in-one, got the task {spell_task(task)} and {len(mix or [])} parts"
        )
    if not mix:
        sets = open_sets(task=task, channels=channels, seed=seed, **options)
    else:
        given = {name: value for name, value in options.items() if name not in ("scale", "skip_damaged")}
        check_unused(open_sets, given)
        sets, missing = [], []
        for name, entry in zip(check_mix(mix), mix, strict=True):
            entry = {option: value for option, value in entry.items() if option not in FOR_TRAINING}
            check_options(open_sets, entry, f"mix part {name}")
            try:
                sets += open_part(
                    {"skip_damaged": options.get("skip_damaged", False), **entry}
                    | {"name": name, "channels": channels, "seed": seed}
                )
            except (ValueError, OSError) as error:
                missing.append(f"mix part {name}: {error}")
        if missing:
            raise ValueError("\n".join(missing))
    names = [one.name for one in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"data: two sets are called {' and '.join(sorted(twice))}; evaluate them one by one")
    return sets


def open_part(part: dict[str, Any]) -> list[TestSet]:
    """The sets of one part of a mix; clean photos that come without a degradation are spoilt by that of their task."""
    try:
        return open_sets(**part)
    except NoPairsError:
        if part.get("data") is None or "degradation" in part:
            raise
        return open_sets(**part, degradation=find_task(part["task"], part.get("scale", 1)).degradation)


def open_sets(
    *,
    task: TaskSpec,
    name: str | None = None,
    data: str | Path | list[str] | list[Path] | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    split: str = "test",
    pair_by: PairBy = "stem",
    layout: str | None = None,
    degradation: Any = None,
    scale: int = 1,
    protocol: Mapping[str, Any] | None = None,
    white_level: int | None = None,
    channels: int = 3,
    skip_damaged: bool = False,
    seed: int = 0,
) -> list[TestSet]:
    """The sets of one task: pairs as they lie, or clean photos or procedural images that a degradation spoils.

    A root that holds several published test sets gives each of them. With a `name` all is one set of that name.

    Raises:
        ValueError: if there are no images.
    """
    goal = adjusted(find_task(task, scale).with_channels(channels, white_level), protocol)
    roots = as_paths(*data) if isinstance(data, list) else as_paths(data)
    lq, gt = as_paths(lq, gt)
    if degradation is not None and roots == [None]:
        raise ValueError("degradation: it spoils clean photos, so a folder of them is needed (--data)")
    spoil = None if degradation is None else degradation_in(goal, degradation)
    own = "dual_pixel" if goal.format.has_two_views else layout
    sets: list[TestSet] = []
    for root in roots:
        title = name or (root or lq or Path("images")).resolve().name
        folders = [folder.resolve().name for folder in ((root,) if root else (lq, lq and lq.parent)) if folder]
        known = tuple(found for found in (known_set(goal.name, *folders), known_set(goal.name, title)) if found)
        if root is not None and is_source(root):
            images, spoil = (
                open_generated(goal, root, degradation, None, seed).validation,
                spoil or goal.degradation,
            )
            sets.append(TestSet(title, goal, images, (), spoil))
        elif root is not None and spoil is not None:
            photos = find_photos(root, split)
            photos = IntegrityCheck(skip=True)(photos) if skip_damaged else photos
            tell(goal, photos, root)
            images = whole_photos(goal, photos, spoil, seed=seed)
            sets.append(TestSet(title, goal, images, known, spoil))
        else:
            pairs = find_pairs(root, split, lq=lq, gt=gt, pair_by=pair_by, layout=own, scale=goal.scale)
            pairs = IntegrityCheck(goal.scale, skip=True)(pairs) if skip_damaged else pairs
            tell(goal, [side for pair in pairs for side in (pair.lq, pair.gt)], root, lq, gt)
            groups = published_sets(pairs, goal.name, root) if root is not None else {None: pairs}
            if name is not None:  # one set, whatever it holds
                known += tuple(group for group in groups if group)
                groups = {None: pairs}
            for group, members in groups.items():
                images = whole_pairs(goal, members)
                sets.append(TestSet(group or title, goal, images, (group,) if group else known))
    return sets


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
