"""Does pre-training help on your pairs? Trains from several starts, all else equal, and says what it found."""

import contextlib
import csv
import dataclasses
import itertools
import math
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import torch

from gesso import checkpoint
from gesso._names import readable
from gesso.backbones import Backbone, create_backbone
from gesso.checkpoint.files import plain
from gesso.commands._comparison_plan import measure, plan, settle, shorten
from gesso.commands._defaults import fill
from gesso.commands._finetune import restores_already
from gesso.commands._finetune import start as starting_network
from gesso.commands._supervised import check_images
from gesso.commands.compare import Compare
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.comparison.arms import SAME_FOR_ALL, Arm, Common, check_decided, find_arms
from gesso.comparison.jobs import Job, run_jobs
from gesso.comparison.next_command import command_line, spell_value, train_on_all
from gesso.comparison.side_by_side import settle_devices
from gesso.comparison.splits import (
    DegradedPhoto,
    Fold,
    check_counts,
    check_first,
    check_integrity,
    claim_pairs,
    degraded_folder,
    drawn,
    link,
    link_training,
    open_folds,
    write_tests,
)
from gesso.comparison.tuning import (
    Choice,
    Trial,
    check_tuning,
    choose,
    chosen_arm,
    combinations_for,
    divide_training,
    find_unable,
    parse_grid,
)
from gesso.comparison.tuning import (
    in_words as spelled_values,
)
from gesso.data.integrity import IntegrityCheck
from gesso.data.io import write_image
from gesso.data.training_data import whole_pairs
from gesso.degradations import Degradation
from gesso.functional.mimetic import MIMETIC
from gesso.functional.resize import enlarge
from gesso.metrics import beside, mean_psnr
from gesso.options import check_options, options_of
from gesso.perceptual import open_metrics
from gesso.primed import is_primed
from gesso.report.comparison import Comparison, Cost, Facts, file_stem, write_report, write_scores
from gesso.report.console import say, show_table, warn
from gesso.report.statistics import BASELINE, Score
from gesso.restorer import Restorer, in_words
from gesso.tasks import Task, degradation_in, find_task
from gesso.training.recipe import Recipe
from gesso.training.run import claimed

DEFAULT_STARTS = "random,ifp"
MOST_PICTURES = 200  # test images whose restored pictures are kept
FOLD_STRIDE = 10_000  # runs of one seed on different folds draw different numbers


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        page: the HTML page.
        verdicts: one sentence for each start.
        failures: why starts failed.
    """

    page: Path
    verdicts: tuple[str, ...]
    failures: dict[str, str]

    @property
    def exit_code(self) -> int:
        """1 if a start failed, else 0."""
        return int(bool(self.failures))


@dataclass(frozen=True)
class Run:
    """One fine-tuning run of a comparison: where it stands in it, and its job."""

    arm: Arm
    seed: int
    fold: int
    count: int
    job: Job

    @property
    def command(self) -> Finetune:
        """What is run."""
        return cast(Finetune, self.job.command)


def run(command: Compare) -> Outcome:
    """Does what `gesso.commands.compare.Compare` describes."""
    command, out = settle(command), Path(command.out)
    check_decided("finetune_args", command.finetune_args or {}, {*options_of(Compare), *SAME_FOR_ALL, "init"})
    check_options(Finetune, command.finetune_args or {}, "finetune_args")
    repetitions = list(dict.fromkeys(numbered("seeds", command.seeds)))
    if not repetitions:
        raise ValueError("seeds: expected one number or more, one for each repetition, got none")
    network = {"backbone": command.backbone, "backbone_args": command.backbone_args or {}}
    if not isinstance(command.task, str):
        name = command.task.name
        raise ValueError(f"task: every run of a comparison is a process of its own; give {name} as module:NAME")
    goal = task_for(create_backbone(command.backbone, **network["backbone_args"]), command.task, command.scale)
    goal = goal.with_channels(goal.channels, command.white_level)
    starts = listed(command.starts if command.starts or command.arms else DEFAULT_STARTS)
    common = Common(network, command.pretrain_args or {}, command.task)
    arms = find_arms(starts, command.start_args or {}, command.arms or {}, common)
    degradation = goal.degradation if command.degradation is None else degradation_in(goal, command.degradation)
    splits = check_integrity(open_pairs(command, out), IntegrityCheck(command.scale, skip=command.skip_damaged))
    check_first(splits, goal, degradation)
    counts = check_counts(numbered("pairs", command.pairs), splits)
    check_tuning(command.tune, counts)
    check_starts(command, arms)
    command = settle_devices(command, arms, len(arms) * len(repetitions) * len(splits) * len(counts))
    command = plan_with(command, arms, splits, counts, repetitions)
    if command.dry_run:
        return Outcome(out / "comparison.html", (), {})
    repetitions = list(dict.fromkeys(numbered("seeds", command.seeds)))
    arms = shorten(arms, command.pretrain_steps)
    options, devices = finetuning_options(command), command.devices or 1
    with claimed(out), advising():
        claim(out, Recipe.of(command))
        claim_pairs(splits, out)
        write_tests(splits, goal, degradation)
        cache = Path(command.cache or out / "starts")
        pretrainings = {arm.name: pretraining_job(arm, cache) for arm in arms if arm.pretraining}
        why = run_jobs(list({job.name: job for job in pretrainings.values()}.values()), devices)
        failures = {name: f"pre-training: {why[job.name]}" for name, job in pretrainings.items() if job.name in why}
        able = [arm for arm in arms if arm.name not in failures]
        trials = plan_trials(command, able, splits, counts, pretrainings, (goal, degradation))
        run_jobs([trial.job for trial in trials], devices)
        choices = choose(trials)
        failures |= find_unable(trials, choices)
        runs = [
            finetuning_run(
                out,
                chosen_arm(arm, choices, number, count),
                pretrainings.get(arm.name),
                (seed, number, count),
                fold,
                options,
            )
            for count in counts
            for seed in repetitions
            for number, fold in enumerate(splits)
            for arm in able
            if arm.name not in failures
        ]
        why = run_jobs([run.job for run in runs], devices)
        why |= {run.job.name: "its images are not finite" for run in runs if run.job.done and not usable(run)}
        failures |= {run.arm.name: f"{why[run.job.name]} ({run.job.name})" for run in runs if run.job.name in why}
        left_out = find_left_out(runs, why, arms[0].name)
        return conclude(command, goal, splits, pretrainings, runs, failures, left_out, choices)


# --------------------------------------------------------------------------------------------------------- before


def plan_with(
    command: Compare, arms: Sequence[Arm], splits: Sequence[Fold], counts: Sequence[int], seeds: Sequence[int]
) -> Compare:
    """The command as large as its budget has room for, once what it takes has been measured and printed."""
    if command.budget is not None and command.tune:
        raise ValueError("budget: how many runs --tune needs is not counted yet; give --steps instead, or no --tune")
    per_seed, trained = len(arms) * len(splits) * len(counts), shorten(arms, command.pretrain_steps)
    with tempfile.TemporaryDirectory(prefix="gesso-") as name:
        folder, options = Path(name), finetuning_options(command)
        if isinstance(splits[0].test[0], DegradedPhoto):  # whose test images are made later
            given = {"data": str(command.data), "holdout": len(splits[0].test)}
            tuning = fine_tuning(folder, Arm(BASELINE), None, options, given)
        else:
            tuning = finetuning_run(folder, Arm(BASELINE), None, (seeds[0], 0, counts[-1]), splits[0], options).command
        try:
            prices = measure(trained, tuning, per_seed, len(arms) * len(splits), command.devices or 1)
        except (ValueError, OSError, RuntimeError):
            if command.budget is not None or command.dry_run:
                raise
            return command  # the runs fail by themselves, and the page says why
    return plan(command, prices, seeds)


@contextlib.contextmanager
def advising() -> Iterator[None]:
    """Says how a comparison goes on that is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            say("Interrupted; give the same command again to continue: runs that are done stay done")
        raise


def task_for(network: Backbone, name: str, scale: int) -> Task:
    """The task of this name on images with the channels that a network takes, see `Task.with_channels`.

    Raises:
        ValueError: if it sees others, or two views.
    """
    task = find_task(name, scale=scale).with_channels(network.in_channels)
    if task.format.has_two_views:
        raise ValueError(f"{name}: a comparison shows images of one view, and this task has two of each scene")
    check_images(network, task, name)
    return task


def check_starts(command: Compare, arms: Sequence[Arm]) -> None:
    """Checks that every file to start from fits the network, before anything is trained.

    Raises:
        ValueError: for the first that does not.
    """
    for arm in arms:
        if arm.init not in (None, BASELINE):
            net = create_backbone(command.backbone, **(command.backbone_args or {}))
            transfer = arm.changes.get("transfer", command.transfer)
            kept = arm.changes.get("keep_last", restores_already(arm.init, [str(command.task)], transfer))
            starting_network(net, arm.init, transfer, keep_last=bool(kept))


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


def numbered(name: str, values: int | str | Sequence[Any] | None) -> list[int]:
    """The whole numbers that a user has listed as the option `name`.

    Raises:
        ValueError: for anything else.
    """
    words = [str(value) for value in listed(values)]
    if wrong := [word for word in words if not re.fullmatch(r"-?\d+", word)]:
        raise ValueError(f"{name}: expected whole numbers separated by commas, got {wrong[0]}")
    return [int(word) for word in words]


def claim(out: Path, recipe: Recipe) -> None:
    """Makes `out` the folder of this comparison, or takes up the one that stands there.

    Raises:
        ValueError: if another comparison, or something else, stands there.
    """
    config = out / "config.yaml"
    may_change = {name for name, option in options_of(Compare).items() if option.role in ("extent", "machine")}
    if config.exists() and (rows := recipe.differences(recipe.earlier(config), allowed=may_change)):
        raise ValueError(f"{out} contains another run ({rows}); repeat its options, or choose another folder")
    recipe.write(config)


def open_pairs(command: Compare, out: Path) -> list[Fold]:
    """What is trained and tested on, see `gesso.comparison.splits.open_folds`."""
    return open_folds(
        command.data,
        lq=command.lq,
        gt=command.gt,
        pair_by=command.pair_by,
        layout=command.layout,
        degradation=command.degradation,
        scale=command.scale,
        folds=command.folds,
        made=degraded_folder(out),
    )


def finetuning_options(command: Compare) -> dict[str, Any]:
    """The options that all runs of fine-tuning have in common."""
    shared = ("task", "scale", "backbone", "transfer", "crop_size", "batch_size", "steps", "lr", "schedule")
    options = {name: getattr(command, name) for name in shared}
    options["backbone_args"] = command.backbone_args or {}
    options["val_every"] = command.val_every or max(1, command.steps // 10)
    options["sample_every"], options["val_at_start"] = 0, True
    given = {name: getattr(command, name) for name in ("degradation", "white_level", "tile")}
    options |= {name: plain(value) for name, value in given.items() if value is not None}
    return options | further_metrics(command.metrics, command.metric_weights) | (command.finetune_args or {})


def pretraining_job(arm: Arm, cache: Path) -> Job:
    """The pre-training of an arm."""
    folder = arm.pretraining_folder
    options = {"sample_every": 0, **(arm.pretraining or {})}
    return Job(f"pre-training {folder}", fill(Pretrain(out=cache / folder, **options), {}))


def finetuning_run(
    out: Path, arm: Arm, pretrained: Job | None, place: tuple[int, int, int], fold: Fold, options: dict[str, Any]
) -> Run:
    """One fine-tuning run, whose pairs it links into a data set of their own; its place is seed, fold and pairs."""
    seed, number, count = place
    below = f"{count:04d}-pairs/seed-{seed}-fold-{number}"
    train, test = out / "data" / below, out / "data" / f"test-{number}"
    run_seed = seed + FOLD_STRIDE * number
    source = link_training(drawn(fold.train, count, run_seed), train)
    link(fold.test, test)
    folder = out / "runs" / below / arm.folder
    name = f"{arm.name}, seed {seed}, fold {number}, {count} pairs"
    given = {**source, "val": str(test), "seed": run_seed}
    return Run(arm, seed, number, count, Job(name, fine_tuning(folder, arm, pretrained, options, given)))


def fine_tuning(
    folder: Path, arm: Arm, pretrained: Job | None, options: dict[str, Any], given: dict[str, Any]
) -> Finetune:
    """The fine-tuning of an arm in a folder: the options of all, what it changes, and what is `given` to this run.

    A last layer that restores the task already is kept, unless somebody says otherwise.
    """
    init = str(pretrained.folder / "backbone.safetensors") if pretrained else str(arm.init)
    kept = restores_already(init, [str(options["task"])], options["transfer"])
    own = {"keep_last": kept, **options, "init": init, **arm.changes, **given}
    return Finetune(out=folder, **own)


def plan_trials(
    command: Compare,
    arms: Sequence[Arm],
    folds: Sequence[Fold],
    counts: Sequence[int],
    pretrainings: Mapping[str, Job],
    made_by: tuple[Task, Degradation],
) -> list[Trial]:
    """The runs that choose what each arm chooses for itself, for the first seed: none where nothing is to be chosen."""
    options = {**finetuning_options(command), "val_every": command.steps, "val_at_start": False}
    seed, trials = numbered("seeds", command.seeds)[0], []
    for count, (number, fold) in itertools.product(counts, enumerate(folds if command.tune else ())):
        place = (number, count, seed + FOLD_STRIDE * number)
        for inner in divide_training(Path(command.out), fold, place, command.tune_folds, made_by):
            given = {**inner.source, "val": str(inner.val), "seed": place[2]}
            for arm, values in combinations_for(arms, parse_grid(command.tune)):
                tried = dataclasses.replace(arm, changes={**arm.changes, **values})
                folder = inner.folder / tried.folder
                name = f"{arm.name} with {spelled_values(values)}, fold {number}, {count} pairs, {inner.folder.name}"
                run = fine_tuning(folder, tried, pretrainings.get(arm.name), options, given)
                trials.append(Trial(arm.name, number, count, values, Job(name, run)))
    return trials


# ---------------------------------------------------------------------------------------------------------- after


def find_left_out(runs: Sequence[Run], why: Mapping[str, str], reference: str) -> dict[str, str]:
    """Why runs do not enter the gains, by their names: they failed, or one that they are compared with did.

    A seed counts for an arm where it and the reference have all their folds.
    """
    failed: dict[tuple[int, int, str], list[str]] = {}
    for run in runs:
        if run.job.name in why:
            failed.setdefault((run.count, run.seed, run.arm.name), []).append(run.job.name)
    left_out = {}
    for run in runs:
        name, seed = run.job.name, (run.count, run.seed)
        missing = failed.get((*seed, run.arm.name), []) + failed.get((*seed, reference), [])
        if missing:
            left_out[name] = why.get(name) or f"there is no result of {' and '.join(dict.fromkeys(missing))}"
    return left_out


def conclude(
    command: Compare,
    goal: Task,
    folds: Sequence[Fold],
    pretrainings: Mapping[str, Job],
    runs: Sequence[Run],
    failures: dict[str, str],
    left_out: dict[str, str],
    choices: Sequence[Choice],
) -> Outcome:
    """Writes tables, pictures and the page from the runs that are done, and prints the verdicts.

    Raises:
        ValueError: if nothing could be compared.
    """
    recipe, out = Recipe.of(command), Path(command.out)
    counts = sorted({run.count for run in runs})
    shutil.rmtree(out / "pairs", ignore_errors=True)
    for count in counts:
        scores = [score for run in runs if run.count == count and usable(run) for score in scores_of(run, folds)]
        write_scores(out / "comparison.csv" if count == counts[-1] else out / f"pairs/{count}/comparison.csv", scores)
    whole = [run for run in runs if run.count == counts[-1] and usable(run)]
    for run in whole:
        if run.seed == runs[0].seed:
            keep_pictures(out, run, folds[run.fold], goal)
    inputs = list(input_psnrs(folds, goal))
    what = "photos" if isinstance(folds[0].train[0], DegradedPhoto) else "pairs"
    Facts(
        command=command_line("compare", recipe.given, out),
        next_commands=next_commands(command, whole, len(folds) > 1),
        title=title_of(recipe, goal, f"{counts[-1]} {what}"),
        protocol=str(goal.protocol) + in_words(recipe.options.get("tile")),
        channels=goal.channels,
        pairs=counts[-1],
        input_psnr=mean_psnr(inputs),
        input_identical=beside(inputs),
        costs=costs(whole, pretrainings),
        arms={run.arm.name: in_one_line(run.arm) for run in runs},
        reference=next(iter({run.arm.name: run for run in runs})),
        failures=failures,
        left_out=left_out,
        machine=machine(),
        perceptual=perceptual_means(whole),
        choices=[choice.as_fact() for choice in choices],
    ).write(out)
    page = write_report(out)
    comparison = Comparison.read(out)
    ssim = comparison.table[0].index("SSIM")
    header, *rows = [row[:ssim] for row in comparison.table]
    show_table(header, rows)
    verdicts = tuple(str(verdict) for verdict in comparison.verdicts)
    for sentence in verdicts:
        say(sentence, "bold")
    for doubt in filter(None, (comparison.few_seeds, comparison.rising)):
        warn(doubt)
    for name, why in failures.items():
        warn(f"{name} failed: {why}")
    for name, why in left_out.items():
        warn(f"left out of the gains: {name}: {why}")
    say("\n".join(comparison.next_step))
    say(f"the whole answer: {page}")
    return Outcome(page, verdicts, failures)


def scores_of(run: Run, folds: Sequence[Fold]) -> Iterator[Score]:
    """What a run reached on each test image at each measurement."""
    names = [readable(pair.name) for pair in folds[run.fold].test]
    with (run.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step, image = int(row["step"]), names[int(row["image"])]
            yield Score(run.seed, run.fold, run.arm.name, step, image, float(row["psnr"]), float(row["ssim"]))


def further_metrics(metrics: str | list[str], weights: str | Path | None) -> dict[str, Any]:
    """Options of fine-tuning that ask for more than PSNR and SSIM, once they have been found possible; else none."""
    if open_metrics(metrics, weights) is None:
        return {}
    return {"metrics": metrics, "metric_weights": None if weights is None else str(weights)}


def perceptual_means(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Means over runs and test images of what they measured at last beside PSNR and SSIM, by start and metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        with (run.job.folder / "images.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if row["step"] == rows[-1]["step"]:
                for name in row.keys() - {"set", "step", "image", "psnr", "ssim"}:
                    found.setdefault(run.arm.name, {}).setdefault(name, []).append(float(row[name]))
    return {start: {name: fmean(numbers) for name, numbers in by.items()} for start, by in found.items()}


def usable(run: Run) -> bool:
    """Whether a run came to its end, and everything that it measured is a number."""
    if not run.job.done:
        return False
    with (run.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
        return not any(math.isnan(float(row["psnr"])) for row in csv.DictReader(file))


def keep_pictures(out: Path, run: Run, fold: Fold, goal: Task) -> None:
    """Writes input, truth and what the run makes of it for every test image, unless that has been done."""
    finished = (run.job.folder / "done.json").stat().st_mtime
    restorer = None
    samples = whole_pairs(goal, fold.test[:MOST_PICTURES])
    for number, pair in enumerate(samples.pairs):
        folder = out / "images" / readable(pair.name)
        picture = folder / f"{file_stem(run.arm.name)}.png"
        if picture.exists() and picture.stat().st_mtime > finished:
            continue
        # as the run was measured: no other tiles, and no other precision
        restorer = restorer or Restorer(trained(run), run.command.tile, precision="float32", adapt=False)
        sample = samples[number]
        write_image(picture, restorer(sample["lq"]), overwrite=True)
        write_image(folder / "input.png", enlarge(sample["lq"], goal.scale).clamp(0, 1), overwrite=True)
        write_image(folder / "truth.png", sample["gt"], overwrite=True)


def trained(run: Run) -> Backbone:
    """The network that a run has trained; a class of the user's own may be run, for `backbone` names it."""
    name = str(run.command.backbone)
    return checkpoint.load(run.job.folder / "backbone.safetensors", **({"target": name} if ":" in name else {}))


def input_psnrs(folds: Sequence[Fold], goal: Task) -> Iterator[float]:
    """PSNR in dB of the unrestored test images."""
    samples = whole_pairs(goal, [pair for fold in folds for pair in fold.test])
    for number in range(len(samples)):
        sample = samples[number]
        yield goal.protocol(enlarge(sample["lq"], goal.scale).clamp(0, 1), sample["gt"])["psnr"]


def title_of(recipe: Recipe, goal: Task, data: str) -> str:
    """What a comparison asks."""
    what = "What helps" if recipe.options.get("arms") else "Does pre-training help"
    return f"{what} {recipe.options['backbone']} to {goal.goal}, with {data}?"


def in_one_line(arm: Arm) -> str:
    """What an arm changes beside its start, as on a command line; nothing where it is named after all it is."""
    changes = dict(arm.changes)
    if arm.init not in (None, BASELINE) and str(arm.init) != arm.name and not is_primed(arm.name):
        changes = {"init": arm.init, **changes}
    return ", ".join(f"{name} {spell_value(value)}" for name, value in plain(changes).items())


def costs(runs: Sequence[Run], pretrainings: Mapping[str, Job]) -> dict[str, Cost]:
    """What each arm took."""
    found = {}
    for arm in {run.arm.name: run.arm for run in runs}.values():
        job = pretrainings.get(arm.name)
        nothing = 0.0 if arm.init in (BASELINE, MIMETIC) else None
        seconds = fmean(run.job.training_seconds for run in runs if run.arm.name == arm.name)
        steps = job.command.steps if job else None
        found[arm.name] = Cost(job.training_seconds if job else nothing, steps, seconds, arm.recipe_steps)
    return found


def next_commands(command: Compare, runs: Sequence[Run], holds_out: bool) -> dict[str, str]:
    """For each arm the line that does with all pairs what its run of the first seed and fold did with its own."""
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.arm.name, run)
    return {name: train_on_all(run.command, name, command, holds_out=holds_out) for name, run in first.items()}


def machine() -> str:
    """What this machine computes with."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} processor cores ({platform.machine()})"
