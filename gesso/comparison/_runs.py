"""The runs of a comparison: which there are, what each is told, and the data sets that they are given.

What is here only describes: nothing is written before `link_data`.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from gesso.checkpoint.files import plain
from gesso.commands._defaults import fill
from gesso.commands._finetune import restores_already
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.comparison.arms import Arm
from gesso.comparison.compare import Compare
from gesso.comparison.jobs import Job
from gesso.comparison.splits import Fold, drawn, link_pairs, link_training, training_source, write_tests
from gesso.comparison.tuning import (
    Choice,
    Inner,
    Trial,
    chosen_arm,
    combinations_for,
    divide_training,
    parse_grid,
)
from gesso.comparison.tuning import (
    in_words as spelled_values,
)
from gesso.data.layouts import Pair
from gesso.degradations import Degradation
from gesso.options import options_of
from gesso.perceptual import open_metrics
from gesso.primed import restores
from gesso.tasks import Task

FOLD_STRIDE = 10_000  # runs of one seed on different folds draw different numbers


@dataclass(frozen=True)
class Run:
    """One fine-tuning run of a comparison.

    Attributes:
        arm: with what it has chosen for itself.
        seed: of the comparison.
        fold: its number.
        count: training pairs.
        job: what is run.
        train: the pairs that it trains on.
        folders: of the data sets that it trains on and is measured on.
    """

    arm: Arm
    seed: int
    fold: int
    count: int
    job: Job
    train: Sequence[Pair]
    folders: tuple[Path, Path]

    @property
    def command(self) -> Finetune:
        """What is run."""
        return cast(Finetune, self.job.command)


@dataclass(frozen=True)
class Design:
    """What is compared, on what, and how often.

    Attributes:
        command: with a value for every option.
        arms: what is compared, the reference first, with their whole pre-training.
        folds: what is trained and tested on.
        counts: numbers of training pairs, ascending.
        task: the task as the network sees it.
        degradation: what degrades clean photos.
        inner: the parts of the training pairs on which arms choose for themselves; none where nothing is to be chosen.
    """

    command: Compare
    arms: Sequence[Arm]
    folds: Sequence[Fold]
    counts: Sequence[int]
    task: Task
    degradation: Degradation
    inner: Sequence[Inner] = ()

    @property
    def out(self) -> Path:
        """The folder of the comparison."""
        return Path(self.command.out)

    @property
    def seeds(self) -> list[int]:
        """One repetition each."""
        return list(dict.fromkeys(numbered("seeds", self.command.seeds)))

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """The options that all runs of fine-tuning have in common."""
        command = self.command
        shared = ("task", "scale", "backbone", "transfer", "crop_size", "batch_size", "steps", "lr", "schedule")
        options = {name: getattr(command, name) for name in shared}
        options["backbone_args"] = command.backbone_args or {}
        options["val_every"] = command.val_every or max(1, command.steps // 10)
        options["sample_every"], options["val_at_start"] = 0, True
        given = {name: getattr(command, name) for name in ("degradation", "white_level", "tile")}
        options |= {name: plain(value) for name, value in given.items() if value is not None}
        return options | further_metrics(command.metrics, command.metric_weights) | (command.finetune_args or {})

    @functools.cached_property
    def ready_arms(self) -> list[Arm]:
        """The arms with no longer a pre-training than is asked for, and their own learning rate."""
        return [with_own_rate(arm, self) for arm in shorten(self.arms, self.command.pretrain_steps)]

    @functools.cached_property
    def pretrainings(self) -> dict[str, Job]:
        """The pre-training of the arms that have one, by their names; arms of one recipe share theirs."""
        cache = Path(self.command.cache or self.out / "starts")
        return {arm.name: pretraining_job(arm, cache) for arm in self.ready_arms if arm.pretraining}

    @functools.cached_property
    def trials(self) -> list[Trial]:
        """The runs that choose what each arm chooses for itself, for the first seed."""
        options = {**self.options, "val_every": self.command.steps, "val_at_start": False}
        grid, trials = parse_grid(self.command.tune), []
        for inner in self.inner:
            given = {**inner.source, "val": str(inner.val), "seed": inner.seed}
            for arm, values in combinations_for(self.ready_arms, grid):
                tried = dataclasses.replace(arm, changes={**arm.changes, **values})
                words = f"{arm.name} with {spelled_values(values)}"
                name = f"{words}, fold {inner.fold}, {inner.count} pairs, {inner.folder.name}"
                command = fine_tuning(
                    inner.folder / tried.folder, tried, self.pretrainings.get(arm.name), options, given
                )
                trials.append(Trial(arm.name, inner.fold, inner.count, values, Job(name, command)))
        return trials

    def runs(self, choices: Sequence[Choice]) -> list[Run]:
        """The runs of fine-tuning, when arms have chosen so for themselves."""
        return [
            self.run(chosen_arm(arm, choices, number, count), seed, number, count)
            for count in self.counts
            for seed in self.seeds
            for number in range(len(self.folds))
            for arm in self.ready_arms
        ]

    def run(self, arm: Arm, seed: int, number: int, count: int) -> Run:
        """The run of fine-tuning of an arm, for a seed, the number of a fold, and so many training pairs."""
        below = f"{count:04d}-pairs/seed-{seed}-fold-{number}"
        train, test = self.out / "data" / below, self.out / "data" / f"test-{number}"
        run_seed = seed + FOLD_STRIDE * number
        pairs = drawn(self.folds[number].train, count, run_seed)
        given = {**training_source(pairs, train), "val": str(test), "seed": run_seed}
        folder = self.out / "runs" / below / arm.folder
        command = fine_tuning(folder, arm, self.pretrainings.get(arm.name), self.options, given)
        name = f"{arm.name}, seed {seed}, fold {number}, {count} pairs"
        return Run(arm, seed, number, count, Job(name, command), pairs, (train, test))


def divide_for_tuning(command: Compare, folds: Sequence[Fold], counts: Sequence[int]) -> list[Inner]:
    """The parts of the training pairs on which arms choose for themselves; none where nothing is to be chosen."""
    if not command.tune:
        return []
    first, found = numbered("seeds", command.seeds)[0], []
    for count, (number, fold) in itertools.product(counts, enumerate(folds)):
        place = (number, count, first + FOLD_STRIDE * number)
        found += divide_training(Path(command.out), fold, place, command.tune_folds)
    return found


def numbered(name: str, values: int | str | Sequence[Any] | None) -> list[int]:
    """The whole numbers that a user has listed as the option `name`.

    Raises:
        ValueError: for anything else.
    """
    words = [str(value) for value in listed(values)]
    if wrong := [word for word in words if not re.fullmatch(r"-?\d+", word)]:
        raise ValueError(f"{name}: expected whole numbers separated by commas, got {wrong[0]}")
    return [int(word) for word in words]


def listed(values: int | str | Sequence[Any] | None) -> list[Any]:
    """What a user has listed: `0,1,2`, one number, or a list.

    Example:
        >>> listed("random, ifp"), listed(3), listed(None)
        (['random', 'ifp'], [3], [])
    """
    if values is None:
        return []
    if isinstance(values, str):
        return [word.strip() for word in values.split(",") if word.strip()]
    return [values] if isinstance(values, int) else list(values)


def further_metrics(metrics: str | list[str], weights: str | Path | None) -> dict[str, Any]:
    """Options of fine-tuning that ask for more than PSNR and SSIM, once they have been found possible; else none."""
    if open_metrics(metrics, weights) is None:
        return {}
    return {"metrics": metrics, "metric_weights": None if weights is None else str(weights)}


def shorten(arms: Sequence[Arm], most: int | None) -> list[Arm]:
    """The arms with no pre-training of more steps than `most`; None: as they are."""
    return [
        dataclasses.replace(arm, pretraining={**arm.pretraining, "steps": min(own_steps(arm), most)})
        if arm.pretraining and most is not None and own_steps(arm) > most
        else arm
        for arm in arms
    ]


def own_steps(arm: Arm) -> int:
    """The steps of an arm's pre-training."""
    return (arm.pretraining or {}).get("steps") or options_of(Pretrain)["steps"].usual


def with_own_rate(arm: Arm, design: Design) -> Arm:
    """The arm with the learning rate of those that restore the task already, if it is one and has, or chooses, none."""
    command = design.command
    chooses = any("lr" in values for values in parse_grid(command.tune))
    if command.restoring_lr is None or "lr" in arm.changes or chooses:
        return arm
    options = {"keep_last": keeps_last(arm, command.task, command.transfer), **design.options, **arm.changes}
    return (
        dataclasses.replace(arm, changes={**arm.changes, "lr": command.restoring_lr}) if options["keep_last"] else arm
    )


def keeps_last(arm: Arm, task: Any, transfer: str) -> bool:
    """Whether an arm's last layer is kept unless somebody says otherwise: it restores the task already.

    What pre-training will write is known before: it is what it is told.
    """
    if arm.init is not None:
        return restores_already(arm.init, [str(task)], transfer)
    return transfer != "paper" and restores(arm.pretraining or {}, str(task))


def pretraining_job(arm: Arm, cache: Path) -> Job:
    """The pre-training of an arm."""
    folder = arm.pretraining_folder
    options = {"sample_every": 0, **(arm.pretraining or {})}
    return Job(f"pre-training {folder}", fill(Pretrain(out=cache / folder, **options), {}))


def fine_tuning(
    folder: Path, arm: Arm, pretrained: Job | None, options: Mapping[str, Any], given: Mapping[str, Any]
) -> Finetune:
    """The fine-tuning of an arm in a folder: the options of all, what it changes, and what is `given` to this run."""
    init = str(pretrained.folder / "backbone.safetensors") if pretrained else str(arm.init)
    kept = keeps_last(arm, options["task"], options["transfer"])
    own = {"keep_last": kept, **options, "init": init, **arm.changes, **given}
    return Finetune(out=folder, **own)


def link_data(runs: Sequence[Run], folds: Sequence[Fold]) -> None:
    """Makes the data sets that runs train on and are measured on."""
    linked = set()
    for run in runs:
        train, test = run.folders
        if train not in linked:
            link_training(run.train, train)
        if test not in linked:
            link_pairs(folds[run.fold].test, test)
        linked |= {train, test}


def link_inner(design: Design) -> None:
    """Makes the data sets on which arms choose for themselves."""
    for inner in design.inner:
        write_tests([inner.pairs], design.task, design.degradation)
        link_pairs(inner.pairs.test, inner.val)
        link_training(inner.pairs.train, inner.train)
