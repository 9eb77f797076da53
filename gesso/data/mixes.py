"""Several data sets as one: for all-in-one training, and for classes of degradations."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from gesso._discovery import check_names, check_options
from gesso._specs import Sampling, TaskSpec
from gesso._values import Enlargement, Pixels, PositiveInt, check_range, check_values, declared
from gesso.data.datasets import Key, Sample, shuffled
from gesso.data.training_data import DataOptions, TrainingData, open_training_data
from gesso.functional.checks import check_choice
from gesso.metrics import Protocol
from gesso.tasks import Task, find_task, spell_task

OWN = (
    "task",
    "name",
    "scale",
    "repeats",
    "crop_size",
    "protocol",
    "white_level",
)  # what an entry of a mix says beside its data


@dataclass(frozen=True)
class Part:
    """One data set of a mix.

    Attributes:
        name: what its numbers are called.
        task: what is restored, and how it is measured.
        samples: what it is trained on and measured on.
        repeats: how often each of its samples occurs in an epoch of the mix; or its turns, where parts take turns.
        crop_size: side of its crops in pixels, where it has its own.
    """

    name: str
    task: Task
    samples: TrainingData
    repeats: int = 1
    crop_size: int | None = None


class MixDataset(Dataset[Sample]):
    """Samples of all parts in one random order: what a part gives, and `label`, its number.

    Args:
        parts: data sets indexed by (sample index, crop_size), with a length.
        repeats: how often each sample of a part occurs in an epoch; with `balanced` its turns in a round.
        seed: the order follows from it.
        balanced: parts take turns, however many samples they have; in every round each has as many as its `repeats`.
        crop_sizes: crops of the parts in pixels; None: what the key says.
        together: samples in a row that are of one part; a whole batch where parts have crops of their own.
    """

    def __init__(
        self,
        parts: Sequence[Any],
        repeats: Sequence[int],
        *,
        seed: int = 0,
        balanced: bool = False,
        crop_sizes: Sequence[int | None] = (),
        together: int = 1,
    ) -> None:
        self.parts, self.seed, self.together = list(parts), seed, together
        if empty := [i for i, part in enumerate(self.parts) if len(part) == 0]:
            raise ValueError(f"mix: part {empty[0]} holds no samples")
        counts = [1 if balanced else len(part) for part in self.parts]
        self.shares = [count * times for count, times in zip(counts, repeats, strict=True)]
        self.crop_sizes = list(crop_sizes) or [None] * len(self.parts)

    def __len__(self) -> int:
        return self.together * sum(self.shares)

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        turn, offset = divmod(index, self.together)
        epoch, position = turn // sum(self.shares), shuffled(turn, sum(self.shares), self.seed)
        for label, (part, share) in enumerate(zip(self.parts, self.shares, strict=True)):
            if position < share:
                number = (epoch * share + position) * self.together + offset
                return part[(number, self.crop_sizes[label] or crop_size)] | {"label": label}
            position -= share
        raise IndexError(index)


def open_part(
    *,
    task: TaskSpec,
    name: str | None = None,
    scale: Enlargement = 1,
    repeats: PositiveInt = 1,
    crop_size: Pixels | None = None,
    protocol: Mapping[str, Any] | None = None,
    channels: int = 3,
    white_level: int | None = None,
    seed: int,
    **data: Any,
) -> Part:
    """One part of a mix from its YAML form: a task, where its data is (`DataOptions`), and `Part`'s.

    A task on RGB images becomes one on as many `channels` as the network takes, see `Task.with_channels`.

    Raises:
        ValueError: if there is nothing to train on, or a number is not positive.
    """
    for option, number in (("repeats", repeats), ("crop_size", crop_size), ("scale", scale)):
        check_range(declared(open_part)[option], option, number, f"mix: {name or spell_task(task)}")
    goal = adjusted(find_task(task, scale=scale).with_channels(channels, white_level), protocol)
    return Part(name or goal.name, goal, open_training_data(goal, DataOptions(**data), seed=seed), repeats, crop_size)


def adjusted(task: Task, protocol: Mapping[str, Any] | None) -> Task:
    """The task, measured otherwise: `protocol` holds options of `Protocol`."""
    check_options(Protocol, protocol or {}, "protocol")
    return dataclasses.replace(task, protocol=dataclasses.replace(task.protocol, **(protocol or {})))


def check_mix(mix: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the parts of a mix.

    Raises:
        ValueError: for fewer than two parts, a part without a task, or two parts of one name.
    """
    if len(mix) < 2:
        raise ValueError(f"mix: expected a list of two parts or more, got {mix!r}")
    for entry in mix:
        if "task" not in entry:
            raise ValueError(f"mix: every part needs a task, got {dict(entry)}")
    names = [entry.get("name", spell_task(entry["task"])) for entry in mix]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"mix: two parts are called {' and '.join(sorted(twice))}; give each a name of its own")
    return names


def check_unused(opening: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Checks that no data of a single task is given with a mix, whose parts have their own.

    Args:
        opening: what opens data, whose defaults mean that nothing was given.
        options: of `opening`.

    Raises:
        ValueError: naming the first option that would change nothing.
    """
    parameters = inspect.signature(opening).parameters
    for name, value in options.items():
        if value != parameters[name].default:
            raise ValueError(f"{name}: it has no effect with --mix; give it to the parts that it is for")


def open_mix(
    mix: Sequence[Mapping[str, Any]], *, channels: int = 3, skip_damaged: bool = False, seed: int
) -> list[Part]:
    """The parts of a mix from its YAML form, a list of {task, data, repeats, ...}.

    Raises:
        ValueError: as `check_mix`, for options that a part does not have, and for parts that are not found: all of them
            are named, with what was searched.
    """
    parts, missing = [], []
    kinds = declared(DataOptions) | declared(open_part)
    known = {*OWN, *declared(DataOptions)}
    for name, entry in zip(check_mix(mix), mix, strict=True):
        check_names(entry, known, f"mix part {name}")
        check_values(kinds, entry, f"mix part {name}")
        try:
            parts.append(open_part(**{"skip_damaged": skip_damaged, **entry}, channels=channels, seed=seed))
        except (ValueError, OSError) as error:
            missing.append(f"mix part {name}: {error}")
    if missing:
        raise ValueError("\n".join(missing))
    return parts


def open_parts(
    task: TaskSpec,
    mix: Sequence[Mapping[str, Any]] | None,
    *,
    scale: int = 1,
    channels: int = 3,
    skip_damaged: bool = False,
    seed: int,
    **data: Any,
) -> list[Part]:
    """What a run trains on: the parts of `mix` for the task "all-in-one", else the one part of its task.

    Raises:
        ValueError: if there is nothing to train on; the message says what was found.
    """
    if task == "all-in-one":
        check_unused(DataOptions, {name: value for name, value in data.items() if name != "white_level"})
        if data.get("white_level") is not None:
            raise ValueError("white_level: it has no effect with --mix; give it to the parts that it is for")
        return open_mix(mix or [], channels=channels, skip_damaged=skip_damaged, seed=seed)
    if mix:
        raise ValueError(f"mix: it is for the task all-in-one, got the task {spell_task(task)}")
    return [open_part(task=task, scale=scale, channels=channels, seed=seed, skip_damaged=skip_damaged, **data)]


def mixed(
    parts: Sequence[Part],
    datasets: Sequence[Any],
    *,
    seed: int,
    sampling: Sampling = "repeats",
    batch_sizes: Sequence[int],
) -> Any:
    """The data sets of all parts as one; a single one as it is.

    Where parts have crops of their own, each batch is of one part.

    Args:
        parts: the parts.
        datasets: the samples of each.
        seed: the order follows from it.
        sampling: "repeats": as often as there are samples, times `repeats`; "balanced": parts take turns.
        batch_sizes: of each stage of the run.

    Raises:
        ValueError: if crops of their own meet batches of changing size.
    """
    check_choice("sampling", sampling, Sampling)
    if len(parts) == 1:
        return datasets[0]
    crops = [part.crop_size for part in parts]
    if any(crops) and len(batch_sizes) > 1:
        raise ValueError("mix: parts have a crop_size of their own, so stages, which set the crops, cannot be given")
    return MixDataset(
        datasets,
        [part.repeats for part in parts],
        seed=seed,
        balanced=sampling == "balanced",
        crop_sizes=crops,
        together=batch_sizes[0] if any(crops) else 1,
    )
