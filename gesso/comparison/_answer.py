"""The answer of a comparison: tables, pictures and the page, from the runs that are done."""

import csv
import math
import os
import platform
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from gesso import checkpoint
from gesso._names import readable
from gesso.backbones import Backbone
from gesso.checkpoint.files import plain
from gesso.commands._finetune import restores_already
from gesso.comparison._runs import Design, Run
from gesso.comparison.arms import Arm
from gesso.comparison.compare import Compare
from gesso.comparison.jobs import Job
from gesso.comparison.next_command import command_line, spell_value, train_on_all
from gesso.comparison.splits import DegradedPhoto, Fold
from gesso.comparison.tuning import Choice
from gesso.data.io import write_image
from gesso.data.training_data import whole_pairs
from gesso.functional.mimetic import MIMETIC
from gesso.functional.resize import enlarge
from gesso.metrics import beside, mean_psnr
from gesso.primed import for_task, is_primed, spell_file
from gesso.report.comparison import Comparison
from gesso.report.console import say, show_table, warn
from gesso.report.page import write_report
from gesso.report.results import Cost, Facts, file_stem, write_scores
from gesso.report.statistics import BASELINE, Score
from gesso.report.tables import gain_table
from gesso.restorer import Restorer, in_words
from gesso.tasks import Task
from gesso.training.recipe import Recipe

MOST_PICTURES = 200  # test images whose restored pictures are kept


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
    design: Design, runs: Sequence[Run], failures: dict[str, str], left_out: dict[str, str], choices: Sequence[Choice]
) -> Outcome:
    """Writes tables, pictures and the page from the runs that are done, and prints the verdicts.

    Raises:
        ValueError: if nothing could be compared.
    """
    recipe, out, folds, goal = Recipe.of(design.command), design.out, design.folds, design.task
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
        next_commands=next_commands(design.command, whole, len(folds) > 1),
        restoring_commands=restoring_commands(design.command, whole),
        title=title_of(recipe, goal, f"{counts[-1]} {what}"),
        protocol=str(goal.protocol) + in_words(recipe.options.get("tile")),
        channels=goal.channels,
        pairs=counts[-1],
        input_psnr=mean_psnr(inputs),
        input_identical=beside(inputs),
        costs=costs(whole, design.pretrainings),
        arms={run.arm.name: in_one_line(run.arm) for run in runs},
        reference=next(iter({run.arm.name: run for run in runs})),
        failures=failures,
        left_out=left_out,
        machine=machine(),
        perceptual=perceptual_means(whole),
        choices=[choice.as_fact() for choice in choices],
    ).write(out)
    write_report(out)
    return tell(out)


def tell(out: Path) -> Outcome:
    """Prints what the comparison in a folder has found, from its files."""
    comparison = Comparison.read(out)
    table = gain_table(comparison)
    header, *rows = [row[: table[0].index("SSIM")] for row in table]
    show_table(header, rows)
    verdicts = tuple(str(verdict) for verdict in comparison.verdicts)
    for sentence in verdicts:
        say(sentence, "bold")
    for doubt in comparison.doubts:
        warn(doubt)
    for name, why in comparison.facts.failures.items():
        warn(f"{name} failed: {why}")
    for name, why in comparison.left_out.items():
        warn(f"left out of the gains: {name}: {why}")
    say("\n".join(comparison.next_step))
    page = out / "comparison.html"
    say(f"the whole answer: {page}")
    return Outcome(page, verdicts, comparison.facts.failures)


def scores_of(run: Run, folds: Sequence[Fold]) -> Iterator[Score]:
    """What a run reached on each test image at each measurement."""
    names = [readable(pair.name) for pair in folds[run.fold].test]
    with (run.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            step, image = int(row["step"]), names[int(row["image"])]
            yield Score(run.seed, run.fold, run.arm.name, step, image, float(row["psnr"]), float(row["ssim"]))


def perceptual_means(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Means over runs and test images of what they measured at last beside PSNR and SSIM, by start and metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        with (run.job.folder / "images.csv").open(newline="", encoding="utf-8") as file:
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
    if arm.init not in (None, BASELINE) and str(arm.init) != arm.name and not is_primed(for_task(arm.name, "")):
        changes = {"init": spell_file(str(arm.init)), **changes}
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
    """For each arm the line that does with all pairs what its runs did with theirs.

    Where the runs of folds have chosen for themselves, it is what most of them chose.
    """
    found = {}
    for name in dict.fromkeys(run.arm.name for run in runs):
        own = [run for run in runs if run.arm.name == name]
        chosen = Counter(str(run.arm.changes) for run in own).most_common(1)[0][0]
        typical = next(run for run in own if str(run.arm.changes) == chosen)
        found[name] = train_on_all(typical.command, command, seed=own[0].seed, holds_out=holds_out)
    return found


def restoring_commands(command: Compare, runs: Sequence[Run]) -> dict[str, str]:
    """For each arm whose start restores the task already the line that restores pictures with it, untrained."""
    found = {}
    for run in {run.arm.name: run for run in runs}.values():
        init, transfer = str(run.command.init), run.command.transfer
        if restores_already(init, [str(command.task)], transfer):
            line = ["gesso", "restore", "PHOTOS", "RESTORED", "--checkpoint", spell_file(init)]
            found[run.arm.name] = shlex.join(line)
    return found


def machine() -> str:
    """What this machine computes with."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} processor cores ({platform.machine()})"
