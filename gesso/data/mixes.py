"""Several data sets as one: for all-in-one training, and for classes of degradations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from gesso._discovery import check_options
from gesso.data.datasets import Key, Sample, shuffled
from gesso.data.sources import TrainingData, open_training_data
from gesso.tasks import Task, find_task


@dataclass(frozen=True)
class Part:
    """One data set of a mix.

    Attributes:
        name: what its numbers are called.
        task: what is restored, and how it is measured.
        samples: what it is trained on and measured on.
        repeats: how often each of its samples occurs in an epoch of the mix.
    """

    name: str
    task: Task
    samples: TrainingData
    repeats: int = 1


class MixDataset(Dataset[Sample]):
    """Samples of all parts, each epoch in one random order: what a part gives, and `label`, its number.

    Args:
        parts: data sets indexed by (sample index, crop_size), with a length.
        repeats: how often each sample of a part occurs in an epoch.
        seed: the order follows from it.
    """

    def __init__(self, parts: Sequence[Any], repeats: Sequence[int], *, seed: int = 0) -> None:
        self.parts, self.repeats, self.seed = list(parts), list(repeats), seed
        if empty := [i for i, part in enumerate(self.parts) if len(part) == 0]:
            raise ValueError(f"mix: part {empty[0]} holds no samples")

    def __len__(self) -> int:
        return sum(len(part) * count for part, count in zip(self.parts, self.repeats, strict=True))

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        epoch, position = index // len(self), shuffled(index, len(self), self.seed)
        for label, (part, repeats) in enumerate(zip(self.parts, self.repeats, strict=True)):
            share = len(part) * repeats
            if position < share:
                return part[(epoch * share + position, crop_size)] | {"label": label}
            position -= share
        raise IndexError(index)


def open_part(*, task: str, name: str | None = None, scale: int = 1, repeats: int = 1, seed: int, **data: Any) -> Part:
    """One part of a mix from its YAML form: a task, where its data is (options of `open_training_data`), repeats.

    Raises:
        ValueError: if there is nothing to train on, or `repeats` is not positive.
    """
    if repeats < 1:
        raise ValueError(f"mix: repeats must be positive, got {repeats} for {name or task}")
    goal = find_task(task, scale=scale)
    return Part(name or task, goal, open_training_data(goal, seed=seed, **data), repeats)


def open_mix(mix: Sequence[Mapping[str, Any]], *, seed: int) -> list[Part]:
    """The parts of a mix from its YAML form, a list of {task, data, repeats, ...}.

    Raises:
        ValueError: for fewer than two parts, a part that is not found (it is named, with what was searched), or two
            parts of one name.
    """
    if len(mix) < 2:
        raise ValueError(f"mix: expected a list of two parts or more, got {mix!r}")
    parts = []
    for entry in mix:
        if "task" not in entry:
            raise ValueError(f"mix: every part needs a task, got {dict(entry)}")
        name = entry.get("name", entry["task"])
        own = {option for option in entry if option in ("name", "scale", "repeats")}
        check_options(open_training_data, entry.keys() - own, f"mix part {name}")
        try:
            parts.append(open_part(**entry, seed=seed))
        except (ValueError, OSError) as error:
            raise ValueError(f"mix part {name}: {error}") from error
    names = [part.name for part in parts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"mix: two parts are called {' and '.join(sorted(twice))}; give each a name of its own")
    return parts


def open_parts(
    task: str, mix: Sequence[Mapping[str, Any]] | None, *, scale: int = 1, seed: int, **data: Any
) -> list[Part]:
    """What a run trains on: the parts of `mix` for the task "all-in-one", else the one part of its task.

    Raises:
        ValueError: if there is nothing to train on; the message says what was found.
    """
    if task == "all-in-one":
        return open_mix(mix or [], seed=seed)
    return [open_part(task=task, scale=scale, seed=seed, **data)]


def mixed(parts: Sequence[Part], datasets: Sequence[Any], *, seed: int) -> Any:
    """The data sets of all parts as one; a single one as it is."""
    return MixDataset(datasets, [part.repeats for part in parts], seed=seed) if len(parts) > 1 else datasets[0]
