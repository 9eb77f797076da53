"""Does pre-training help on your pairs? Trains from several starts, all else equal, and says what it found."""

import csv
import dataclasses
import inspect
import json
import math
import os
import platform
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from gesso import checkpoint
from gesso._names import readable
from gesso.backbones import Backbone, create_backbone
from gesso.checkpoint.files import plain
from gesso.comparison.splits import (
    Fold,
    SpoiltPhoto,
    check_counts,
    check_first,
    check_integrity,
    claim_pairs,
    drawn,
    link,
    link_training,
    open_folds,
    write_tests,
)
from gesso.comparison.jobs import Job, run_jobs
from gesso.commands._parser import check_call, checked
from gesso.comparison.arms import Start, check_unset, find_starts
from gesso.commands._supervised import check_images
from gesso.commands.finetune import finetune
from gesso.commands.finetune import start as starting_network
from gesso.data.integrity import IntegrityCheck
from gesso.data.io import write_image
from gesso.data.training_data import whole_pairs
from gesso.degradations import DegradationSpec
from gesso.functional.resize import enlarge
from gesso.metrics import beside, mean_psnr
from gesso.perceptual import open_metrics
from gesso.report.comparison import Comparison, Cost, Facts, file_stem, write_report, write_scores
from gesso.report.console import say, show_table, warn
from gesso.report.statistics import BASELINE, Score
from gesso.restorer import Restorer, in_words
from gesso.tasks import Task, degradation_in, find_task, seen_with
from gesso.training.recipe import Recipe
from gesso.training.run import claimed

MOST_PICTURES = 200  # test images whose restored pictures are kept
FOLD_STRIDE = 10_000  # runs of one seed on different folds draw different numbers
OF_A_RUN = ("seed", "init", "val", "holdout", "mix", "resume", "overwrite")  # options of fine-tuning that it decides
MAY_CHANGE = {"starts", "seeds", "pairs", "devices", "cache"}  # a comparison can be enlarged


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

    start: Start
    seed: int
    fold: int
    count: int
    job: Job


@checked
def compare(
    *,
    out: str | Path,
    task: str,
    steps: int,
    data: str | Path | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: str = "stem",
    layout: str | None = None,
    white_level: int | None = None,
    degradation: DegradationSpec | None = None,
    scale: int = 1,
    backbone: str = "restormer",
    backbone_args: dict[str, Any] | None = None,
    starts: str | list[str] = "random,ifp",
    seeds: int | str | list[int] = "0,1,2",
    folds: int | None = None,
    skip_damaged: bool = False,
    pairs: int | str | list[int] | None = None,
    transfer: Literal["network", "paper"] = "network",
    crop_size: int = 128,
    batch_size: int = 8,
    val_every: int | None = None,
    tile: int | None = None,
    lr: float = 3e-4,
    schedule: Literal["constant", "cosine", "two_phase"] = "cosine",
    metrics: str | list[str] = "psnr,ssim",
    metric_weights: str | Path | None = None,
    finetune_args: dict[str, Any] | None = None,
    pretrain_args: dict[str, Any] | None = None,
    start_args: dict[str, dict[str, Any]] | None = None,
    cache: str | Path | None = None,
    devices: int = 1,
) -> Outcome:
    """Writes `comparison.html`, `comparison.md` and `comparison.csv` into `out`: does a start beat random weights?

    For one seed, every start sees the same batches, crops, augmentations, new last layer, schedule and number of steps;
    only the weights of the body differ, unless a start says how it wants to be transferred. Given again, the command
    does only what is missing: after an interruption, or for more seeds, starts or numbers of pairs.

    Args:
        out: folder of the comparison.
        task: name of the task; `gesso list tasks` shows all with their protocols.
        steps: optimiser steps of every fine-tuning run.
        data: root of a data set of pairs in a published layout, found by itself; or a folder of clean photos, whose
            degraded partners are made: anew in training, once for measurements.
        lq: folder of degraded images, with `gt`, instead of `data`; beside it, how such folders below it are called.
        gt: folder of ground truths, with `lq`.
        pair_by: "stem": by equal names, or names that differ as published ones do; a template of an input's name, as
            '{gt}_s*' or '{gt}x4'; a file that lists pairs, two columns or BasicSR's meta_info; or by sorted "order".
        layout: name of the layout of `data`, or "photos": they are clean photos; none: detected automatically.
        white_level: what white is stored as in files of 16 bits: 4095 for 12 bits; none: 65535, or what they say.
        degradation: what spoils clean photos: a name, or {name: ..., option: ...}; none: that of the task.
        scale: enlargement for super-resolution.
        backbone: name of the network; `gesso list backbones` shows all.
        backbone_args: options of the network, such as `--backbone_args.dim 32`. With `--backbone_args.image_channels 1`
            the images of any task are grey, with 4 they are PNG or TIFF files with a fourth channel of data.
        starts: what to start from, separated by commas: "random", a pretext or a recipe of `gesso pretrain` (by name
            or YAML file), one of these behind the images it shall see ("leaves-mfm", "noise-ifp") or in front of the
            seed of its pre-training ("ifp@1"), a file of weights, "mimetic" (see `gesso finetune`).
        seeds: numbers separated by commas, one repetition each; with one, intervals are over images only.
        folds: parts of the pairs, each of which is tested by runs that train on the others; none: the test or
            validation split of `data` where there is one, else 4.
        skip_damaged: leave out images that are damaged, and pairs whose sides do not fit, instead of refusing them.
        pairs: numbers of training pairs separated by commas, for a curve over them; none: all there are.
        transfer: "network" or "paper", see `gesso finetune`.
        crop_size: side of the training crops in pixels (of the degraded image).
        batch_size: crops in one batch.
        val_every: steps between two measurements on the test images; none: ten in a run.
        tile: side in pixels of the tiles that test images are restored in; none: whole images. Tiles change the
            numbers, so none are taken unasked.
        lr: peak learning rate of fine-tuning.
        schedule: learning rate over a fine-tuning run: "constant", "cosine", or Restormer's "two_phase".
        metrics: what is measured, see `gesso finetune`; gains are of PSNR and SSIM, of others the page has the means.
        metric_weights: folder of the files that such metrics need; none: where torch keeps them. Nothing is downloaded.
        finetune_args: further options of `gesso finetune` for every run, such as `--finetune_args.warmup_steps 20`.
        pretrain_args: options of `gesso pretrain` for every start, such as `--pretrain_args.steps 2000`.
        start_args: options of `gesso pretrain` for single starts, by name; `finetune` among them holds how this start
            is transferred: keep_last, shrink, rescale, features_lr or freeze_features.
        cache: folder of pre-trained starts, by recipe, which comparisons can share; none: `starts` in `out`.
        devices: runs side by side, each on a GPU of its own or on its share of the processor.

    Raises:
        ValueError: for unknown names and options, fewer than 4 pairs or photos, files of another network, or a folder
            that holds another comparison; if nothing could be compared, because random weights or all starts failed.
    """
    recipe = Recipe.of(compare, locals())
    check_unset("finetune_args", finetune_args or {}, {*inspect.signature(compare).parameters, *OF_A_RUN})
    check_call(finetune, finetune_args or {}, "finetune_args")
    out, repetitions = Path(out), list(dict.fromkeys(numbered("seeds", seeds)))
    if not repetitions:
        raise ValueError("seeds: expected one number or more, one for each repetition, got none")
    goal = task_for(create_backbone(backbone, **(backbone_args or {})), task, scale)
    goal = dataclasses.replace(goal, white_level=white_level)
    network = {"backbone": backbone, "backbone_args": backbone_args or {}}
    compared = find_starts(listed(starts), network, pretrain_args or {}, start_args or {}, task)
    spoil = goal.degradation if degradation is None else degradation_in(goal, degradation)
    splits = open_folds(
        data, lq=lq, gt=gt, pair_by=pair_by, layout=layout, degradation=degradation, scale=scale, folds=folds,
        made=out / "data" / "spoilt",
    )  # fmt: skip
    splits = check_integrity(splits, IntegrityCheck(scale, skip=skip_damaged))
    check_first(splits, goal, spoil)
    counts = check_counts(numbered("pairs", pairs), splits)
    for start in compared:
        if start.init != "random":  # what does not fit the network is refused before anything is trained
            starting_network(create_backbone(backbone, **network["backbone_args"]), start.init, transfer)
    options = {
        "task": task, "scale": scale, **network, "transfer": transfer, "crop_size": crop_size, "batch_size": batch_size,
        "steps": steps, "val_every": val_every or max(1, steps // 10), "lr": lr, "schedule": schedule,
        "sample_every": 0, **further_metrics(metrics, metric_weights),
        **({} if degradation is None else {"degradation": plain(degradation)}),
        **({} if white_level is None else {"white_level": white_level}), **({} if tile is None else {"tile": tile}),
        **(finetune_args or {}),
    }  # fmt: skip
    with claimed(out):
        claim(out, recipe)
        claim_pairs(splits, out)
        write_tests(splits, goal, spoil)
        primings = {start.name: priming(start, Path(cache or out / "starts")) for start in compared if start.options}
        why = run_jobs(list({job.name: job for job in primings.values()}.values()), devices)
        failures = {name: f"pre-training: {why[job.name]}" for name, job in primings.items() if job.name in why}
        runs = [
            finetuning(out, start, primings.get(start.name), seed, number, fold, count, options)
            for count in counts
            for seed in repetitions
            for number, fold in enumerate(splits)
            for start in compared
            if start.name not in failures
        ]
        why = run_jobs([run.job for run in runs], devices)
        why |= {run.job.name: "its images are not finite" for run in runs if run.job.done and not usable(run)}
        failures |= {run.start.name: f"{why[run.job.name]} ({run.job.name})" for run in runs if run.job.name in why}
        return conclude(out, goal, recipe, splits, primings, runs, failures, find_left_out(runs, why))


# --------------------------------------------------------------------------------------------------------- before


def task_for(network: Backbone, name: str, scale: int) -> Task:
    """The task of this name on images with the channels that a network takes, see `gesso.tasks.seen_with`.

    Raises:
        ValueError: if it sees others, or two views.
    """
    task = seen_with(find_task(name, scale=scale), network.in_channels)
    if task.sees == "dual_pixel":
        raise ValueError(f"{name}: a comparison shows images of one view, and this task has two of each scene")
    check_images(network, task, name)
    return task


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
    if config.exists() and (rows := recipe.differences(recipe.earlier(config), allowed=MAY_CHANGE)):
        raise ValueError(f"{out} holds another run ({rows}); repeat its options, or choose another folder")
    recipe.write(config)


def priming(start: Start, cache: Path) -> Job:
    """The pre-training of a start."""
    folder = start.pretraining_folder
    return Job(f"pre-training {folder}", "pretrain", cache / folder, {"sample_every": 0, **(start.options or {})})


def finetuning(
    out: Path, start: Start, primed: Job | None, seed: int, number: int, fold: Fold, count: int, options: dict[str, Any]
) -> Run:
    """One fine-tuning run, whose pairs it links into a data set of their own."""
    place = f"{count:04d}-pairs/seed-{seed}-fold-{number}"
    train, test = out / "data" / place, out / "data" / f"test-{number}"
    run_seed = seed + FOLD_STRIDE * number
    source = link_training(drawn(fold.train, count, run_seed), train)
    link(fold.test, test)
    init = primed.folder / "backbone.safetensors" if primed else start.init
    own = {**source, "val": str(test), "init": str(init), **start.transfer}
    name = f"{start.name}, seed {seed}, fold {number}, {count} pairs"
    job = Job(
        name, "finetune", out / "runs" / place / start.folder, {"keep_last": False, **options, **own, "seed": run_seed}
    )
    return Run(start, seed, number, count, job)


# ---------------------------------------------------------------------------------------------------------- after


def find_left_out(runs: Sequence[Run], why: Mapping[str, str]) -> dict[str, str]:
    """Why runs do not enter the gains, by their names: they failed, or one that they are held against did.

    A seed counts for a start where it and random weights have all their folds.
    """
    failed: dict[tuple[int, int, str], list[str]] = {}
    for run in runs:
        if run.job.name in why:
            failed.setdefault((run.count, run.seed, run.start.name), []).append(run.job.name)
    left_out = {}
    for run in runs:
        name, seed = run.job.name, (run.count, run.seed)
        missing = failed.get((*seed, run.start.name), []) + failed.get((*seed, BASELINE), [])
        if missing:
            left_out[name] = why.get(name) or f"there is no result of {' and '.join(dict.fromkeys(missing))}"
    return left_out


def conclude(
    out: Path,
    goal: Task,
    recipe: Recipe,
    folds: Sequence[Fold],
    primings: Mapping[str, Job],
    runs: Sequence[Run],
    failures: dict[str, str],
    left_out: dict[str, str],
) -> Outcome:
    """Writes tables, pictures and the page from the runs that are done, and prints the verdicts.

    Raises:
        ValueError: if nothing could be compared.
    """
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
    what = "photos" if isinstance(folds[0].train[0], SpoiltPhoto) else "pairs"
    Facts(
        command=repeating(out, recipe),
        title=f"Does pre-training help {recipe.options['backbone']} to {goal.goal}, with {counts[-1]} {what}?",
        protocol=str(goal.protocol) + in_words(recipe.options.get("tile")),
        channels=goal.channels,
        pairs=counts[-1],
        input_psnr=mean_psnr(inputs),
        input_identical=beside(inputs),
        costs=costs(whole, primings),
        failures=failures,
        left_out=left_out,
        machine=machine(),
        perceptual=perceptual_means(whole),
    ).write(out)
    page = write_report(out)
    comparison = Comparison.read(out)
    header, *rows = [row[:4] for row in comparison.table]
    show_table(header, rows)
    verdicts = tuple(str(verdict) for verdict in comparison.verdicts)
    for sentence in verdicts:
        say(sentence, "bold")
    for name, why in failures.items():
        warn(f"{name} failed: {why}")
    for name, why in left_out.items():
        warn(f"left out of the gains: {name}: {why}")
    say(f"the whole answer: {page}")
    return Outcome(page, verdicts, failures)


def scores_of(run: Run, folds: Sequence[Fold]) -> Iterator[Score]:
    """What a run reached on each test image at each measurement."""
    names = [readable(pair.name) for pair in folds[run.fold].test]
    with (run.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step, image = int(row["step"]), names[int(row["image"])]
            yield Score(run.seed, run.fold, run.start.name, step, image, float(row["psnr"]), float(row["ssim"]))


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
                    found.setdefault(run.start.name, {}).setdefault(name, []).append(float(row[name]))
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
        picture = folder / f"{file_stem(run.start.name)}.png"
        if picture.exists() and picture.stat().st_mtime > finished:
            continue
        # as the run was measured: no other tiles, and no other precision
        restorer = restorer or Restorer(trained(run), run.job.options.get("tile"), precision="float32", adapt=False)
        sample = samples[number]
        write_image(picture, restorer(sample["lq"]), overwrite=True)
        write_image(folder / "input.png", enlarge(sample["lq"], goal.scale).clamp(0, 1), overwrite=True)
        write_image(folder / "truth.png", sample["gt"], overwrite=True)


def trained(run: Run) -> Backbone:
    """The network that a run has trained; a class of the user's own may be run, for `backbone` names it."""
    name = run.job.options["backbone"]
    return checkpoint.load(run.job.folder / "backbone.safetensors", **({"target": name} if ":" in name else {}))


def input_psnrs(folds: Sequence[Fold], goal: Task) -> Iterator[float]:
    """PSNR in dB of the unrestored test images."""
    samples = whole_pairs(goal, [pair for fold in folds for pair in fold.test])
    for number in range(len(samples)):
        sample = samples[number]
        yield goal.protocol(enlarge(sample["lq"], goal.scale).clamp(0, 1), sample["gt"])["psnr"]


def costs(runs: Sequence[Run], primings: Mapping[str, Job]) -> dict[str, Cost]:
    """What each start took."""
    found = {}
    for name in dict.fromkeys(run.start.name for run in runs):
        primed = primings.get(name)
        steps = primed.options.get("steps") if primed else None
        seconds = fmean(run.job.training_seconds for run in runs if run.start.name == name)
        found[name] = Cost(primed.training_seconds if primed else None, steps, seconds)
    return found


def repeating(out: Path, recipe: Recipe) -> str:
    """The command line that repeats a comparison."""
    options = [word for name, value in recipe.given.items() for word in (f"--{name}", spelled(value))]
    return shlex.join(["gesso", "compare", *options, "--out", str(out)])


def spelled(value: Any) -> str:
    """A value as it stands on a command line."""
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, dict | list) for part in parts):
        return json.dumps(value)
    return ",".join(str(part) for part in parts)


def machine() -> str:
    """What this machine computes with."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} processor cores ({platform.machine()})"
