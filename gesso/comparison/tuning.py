"""Options that every arm chooses for itself, such as its learning rate: on its training pairs, never on test images.

A learning rate that is right for random weights makes a network forget that restores already, so one rate for all is
no fair question. The training pairs of a run are divided once more; each value is tried on the inner parts in turn, and
the highest mean PSNR on the pairs that were left out decides.
"""

import csv
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from gesso._recipes import Loader
from gesso.commands.finetune import Finetune
from gesso.comparison.arms import SAME_FOR_ALL, Arm, check_decided
from gesso.comparison.jobs import Job
from gesso.comparison.splits import Fold, divided, drawn, training_source
from gesso.metrics import mean_psnr
from gesso.options import check_options

TuneSpec = str | Mapping[str, Sequence[Any]]
Values = dict[str, Any]


def parse_grid(spec: TuneSpec | None) -> list[Values]:
    """Every combination of the values that a user wants tried.

    Args:
        spec: `lr=1e-4,3e-4` with semicolons between options, or values by option.

    Raises:
        ValueError: for anything else, an option that the arms have in common, a value that it does not take, or a
            single combination, among which there is nothing to choose.

    Example:
        >>> parse_grid("lr=1e-4,3e-4; augment=mixup,cutblur")[:2]
        [{'lr': 0.0001, 'augment': 'mixup'}, {'lr': 0.0001, 'augment': 'cutblur'}]
    """
    if spec is None:
        return []
    by_option = split_words(spec) if isinstance(spec, str) else dict(spec)
    for name, values in by_option.items():
        check_decided("tune", [name], {*SAME_FOR_ALL, "init"})
        for value in values:
            check_options(Finetune, {name: value}, "tune")
    combinations = [dict(zip(by_option, values, strict=True)) for values in itertools.product(*by_option.values())]
    if len(combinations) < 2:
        raise ValueError("tune: expected two values or more to choose among, such as lr=1e-4,3e-4,1e-3")
    return combinations


def check_tuning(spec: TuneSpec | None, counts: Sequence[int]) -> None:
    """Checks that there are values to choose among, and pairs to choose them on.

    Raises:
        ValueError: if not, see `parse_grid`.
    """
    if parse_grid(spec) and min(counts) < 2:
        raise ValueError("tune: values are chosen on training pairs left out, and of one pair none can be; give more")


def split_words(text: str) -> dict[str, list[Any]]:
    """Values by option: `lr=1e-4,3e-4; augment=mixup,cutblur`."""
    found = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        name, equals, values = part.partition("=")
        if not equals:
            raise ValueError(f"tune: expected OPTION=VALUE,VALUE with semicolons between options, got {part!r}")
        found[name.strip()] = [yaml.load(word.strip(), Loader) for word in values.split(",")]
    return found


def in_words(values: Values) -> str:
    """Values in words.

    Example:
        >>> in_words({"lr": 3e-4, "augment": "mixup"})
        'lr 0.0003, augment mixup'
    """
    words = {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}
    return ", ".join(f"{name} {word}" for name, word in words.items())


def combinations_for(arms: Sequence[Arm], grid: Sequence[Values]) -> Iterator[tuple[Arm, Values]]:
    """Each arm with what is tried for it, once each: of what it fixes itself nothing, and none if nothing is left."""
    for arm in arms:
        tried: list[Values] = []
        for values in grid:
            own = {name: value for name, value in values.items() if name not in arm.changes}
            if own not in tried:
                tried.append(own)
        if len(tried) > 1:
            yield from ((arm, values) for values in tried)


@dataclass(frozen=True)
class Trial:
    """A run that tries values on a part of the training pairs.

    Attributes:
        arm: the name of the arm.
        fold: of the comparison.
        count: training pairs of the comparison's runs.
        values: what is tried.
        job: the run, measured on the training pairs that it leaves out.
    """

    arm: str
    fold: int
    count: int
    values: Values
    job: Job

    @property
    def psnrs(self) -> list[float]:
        """PSNR in dB of the pairs left out, after the last step; none where the run failed or is not a number."""
        if not self.job.done:
            return []
        with (self.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
            rows = [(int(row["step"]), float(row["psnr"])) for row in csv.DictReader(file)]
        last = [psnr for step, psnr in rows if step == self.job.command.steps]
        return [] if any(map(math.isnan, last)) else last


@dataclass(frozen=True)
class Inner:
    """A part of the training pairs of a run that is left out, and the others.

    Attributes:
        fold: of the comparison.
        count: training pairs of the comparison's runs.
        seed: of the runs that try values.
        pairs: the part that is left out is what they test on.
        train: folder of the pairs to train on.
        val: folder of the pairs that are left out.
        folder: of the runs.
    """

    fold: int
    count: int
    seed: int
    pairs: Fold
    train: Path
    val: Path
    folder: Path

    @property
    def source(self) -> dict[str, str]:
        """Options of `gesso finetune` that open the pairs to train on."""
        return training_source(self.pairs.train, self.train)


def divide_training(out: Path, fold: Fold, place: tuple[int, int, int], parts: int) -> list[Inner]:
    """Divides the training pairs of the runs of a fold.

    Args:
        out: folder of the comparison.
        fold: whose training pairs these are; its test pairs are not looked at.
        place: number of the fold, of training pairs, and the seed that draws these.
        parts: how many; as many as there are pairs, at most.
    """
    number, count, seed = place
    pairs = drawn(fold.train, count, seed)
    found = []
    for part, each in enumerate(divided(pairs, None, "training pairs", most=parts)):
        below = f"{count:04d}-pairs/tuning-{number}-{part}"
        data = out / "data" / below
        found.append(Inner(number, count, seed, each, data / "train", data / "test", out / "runs" / below))
    return found


@dataclass(frozen=True)
class Choice:
    """What an arm has chosen for the runs of a fold.

    Attributes:
        arm: its name.
        fold: of the comparison.
        count: training pairs.
        psnrs: mean PSNR in dB on the training pairs left out, by what was tried, in words; None where a run failed.
        values: the best of it.
    """

    arm: str
    fold: int
    count: int
    psnrs: dict[str, float | None]
    values: Values

    @property
    def best(self) -> str:
        """What was chosen, in words."""
        return in_words(self.values)

    @property
    def at_the_edge(self) -> bool:
        """Whether the first or the last of three numbers or more is the best, so that others might be better."""
        tried = list(self.psnrs)
        is_number = [isinstance(value, int | float) and not isinstance(value, bool) for value in self.values.values()]
        return is_number == [True] and len(tried) > 2 and self.best in (tried[0], tried[-1])

    def as_fact(self) -> dict[str, Any]:
        """What `comparison.json` keeps of it."""
        return asdict(self) | {"best": self.best, "at_the_edge": self.at_the_edge}


def choose(trials: Sequence[Trial]) -> list[Choice]:
    """The best values for each arm, fold and number of pairs; the first of equals. Where all runs failed, none."""
    groups: dict[tuple[str, int, int], dict[str, list[Trial]]] = {}
    for trial in trials:
        group = groups.setdefault((trial.arm, trial.fold, trial.count), {})
        group.setdefault(in_words(trial.values), []).append(trial)
    choices = []
    for place, by_values in groups.items():
        means = {
            words: mean_psnr([psnr for one in tried for psnr in one.psnrs]) if all(one.psnrs for one in tried) else None
            for words, tried in by_values.items()
        }
        reached = {words: mean for words, mean in means.items() if mean is not None}
        if reached:
            best = max(reached, key=lambda words: reached[words])
            choices.append(Choice(*place, means, by_values[best][0].values))
    return choices


def chosen_arm(arm: Arm, choices: Sequence[Choice], fold: int, count: int) -> Arm:
    """The arm with what it has chosen for the runs of a fold."""
    for choice in choices:
        if (choice.arm, choice.fold, choice.count) == (arm.name, fold, count):
            return replace(arm, changes={**arm.changes, **choice.values})
    return arm


def find_unable(trials: Sequence[Trial], choices: Sequence[Choice]) -> dict[str, str]:
    """Arms that could choose nothing for a fold, because every run failed, and why."""
    able = {(choice.arm, choice.fold, choice.count) for choice in choices}
    lost = [trial for trial in trials if (trial.arm, trial.fold, trial.count) not in able]
    return {trial.arm: f"no run that tries values was finished, fold {trial.fold}" for trial in lost}
