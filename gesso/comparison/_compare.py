"""Does pre-training help on your pairs? Trains from several starts, all else equal, and says what it found."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gesso._extras import check_extra
from gesso._values import seconds_in
from gesso.backbones import Backbone, create_backbone
from gesso.commands._finetune import restores_already
from gesso.commands._finetune import start as starting_network
from gesso.commands._supervised import check_images
from gesso.commands.finetune import Finetune
from gesso.comparison._answer import Outcome, conclude, find_left_out, tell, usable
from gesso.comparison._plan import find_left, plan_with, settle, silence
from gesso.comparison._runs import (
    Design,
    Run,
    divide_for_tuning,
    link_data,
    link_inner,
    listed,
    numbered,
)
from gesso.comparison.arms import SAME_FOR_ALL, Arm, Common, check_decided, find_arms
from gesso.comparison.compare import Compare
from gesso.comparison.jobs import run_jobs
from gesso.comparison.price import Plan
from gesso.comparison.side_by_side import settle_devices
from gesso.comparison.splits import (
    Fold,
    check_counts,
    check_first,
    check_integrity,
    claim_pairs,
    degraded_folder,
    open_folds,
    write_tests,
)
from gesso.comparison.time_left import TimeLeft
from gesso.comparison.tuning import check_tuning, choose, find_unable
from gesso.data.integrity import IntegrityCheck
from gesso.options import began, check_options, options_of
from gesso.report.console import duration, say, warn
from gesso.report.statistics import BASELINE
from gesso.tasks import Task, degradation_in, find_task
from gesso.training.recipe import Recipe
from gesso.training.run import claimed

DEFAULT_STARTS = "random,ifp"

__all__ = ["Outcome", "run"]


def run(command: Compare) -> Outcome:
    """Does what `gesso.comparison.compare.Compare` describes."""
    for package in ("jinja2", "matplotlib"):
        check_extra(package, "compare", "the page")
    design = design_of(settle(command))
    with contextlib.nullcontext() if command.dry_run else claimed(design.out):
        left, plan = find_left(design), None
        if left.number:
            design, plan = plan_with(design, left)
        else:
            say(f"finished already: all {left.count} runs are done")
        if command.dry_run:
            is_there = not left.number and (design.out / "comparison.json").exists()
            return tell(design.out) if is_there else Outcome(design.out / "comparison.html", (), {})
        with advising():
            check_free(design)
            Recipe.of(design.command).write(design.out / "config.yaml")
            claim_pairs(design.folds, design.out)
            write_tests(design.folds, design.task, design.degradation)
            return run_all(design, plan)


def design_of(command: Compare) -> Design:
    """What a command compares, once all of it has been found possible.

    Raises:
        ValueError: for what cannot be compared.
    """
    check_decided("finetune_args", command.finetune_args or {}, {*options_of(Compare), *SAME_FOR_ALL, "init"})
    check_options(Finetune, command.finetune_args or {}, "finetune_args")
    if not numbered("seeds", command.seeds):
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
    splits = open_pairs(command, Path(command.out))
    splits = check_integrity(splits, IntegrityCheck(command.scale, skip=command.skip_damaged))
    check_first(splits, goal, degradation)
    counts = check_counts(numbered("pairs", command.pairs), splits)
    check_tuning(command.tune, counts)
    check_starts(command, arms)
    numbers = len(arms) * len(set(numbered("seeds", command.seeds))) * len(splits) * len(counts)
    command = settle_devices(command, arms, numbers)
    design = Design(command, arms, splits, counts, goal, degradation)
    check_free(design)
    return dataclasses.replace(design, inner=divide_for_tuning(command, splits, counts))


def run_all(design: Design, plan: Plan | None) -> Outcome:
    """Runs what is left of a comparison, and says what it found.

    Raises:
        ValueError: if nothing could be compared.
    """
    time_left, devices = TimeLeft(plan), design.command.devices or 1
    pretrainings = design.pretrainings
    jobs = list({job.name: job for job in pretrainings.values()}.values())
    time_left.expect(job.name for job in jobs)
    why = run_jobs(jobs, devices, time_left)
    failures = {name: f"pre-training: {why[job.name]}" for name, job in pretrainings.items() if job.name in why}
    link_inner(design)
    trials = [trial for trial in design.trials if trial.arm not in failures]
    time_left.expect(trial.job.name for trial in trials)
    run_jobs([trial.job for trial in trials], devices, time_left)
    choices = choose(trials)
    failures |= find_unable(trials, choices)
    runs = [run for run in design.runs(choices) if run.arm.name not in failures]
    link_data(runs, design.folds)
    time_left.expect(run.job.name for run in runs)
    runs, why = run_by_seed(design, runs, time_left)
    why |= {run.job.name: "its images are not finite" for run in runs if run.job.done and not usable(run)}
    failures |= {run.arm.name: f"{why[run.job.name]} ({run.job.name})" for run in runs if run.job.name in why}
    left_out = find_left_out(runs, why, design.arms[0].name)
    return conclude(design, runs, failures, left_out, choices)


def run_by_seed(design: Design, runs: Sequence[Run], time_left: TimeLeft) -> tuple[list[Run], dict[str, str]]:
    """Runs seed by seed as many as there is time for: all where no budget is to be kept, else at least one seed.

    A budget was planned for by what steps took at the beginning; a machine that has more to do since then takes longer.

    Returns:
        The runs of the seeds that were begun, and why runs failed, by the names of their jobs.
    """
    command, begun, why = design.command, list[Run](), dict[str, str]()
    if command.budget is None:
        return list(runs), run_jobs([run.job for run in runs], command.devices or 1, time_left)
    end = (began.get() or time.monotonic()) + seconds_in(command.budget)
    for number, seed in enumerate(design.seeds):
        jobs = [run.job for run in runs if run.seed == seed]
        late = time.monotonic() + time_left.seconds_for(job.name for job in jobs if not job.done) - end
        if number and late > 0:
            rest = ", seed ".join(map(str, design.seeds[number:]))
            said = f"{design.seeds[number]} alone would end {duration(late)} late"
            warn(f"budget {command.budget}: left out: seed {rest}, for {said}; give the same command again for them")
            break
        why |= run_jobs(jobs, command.devices or 1, time_left)
        begun += [run for run in runs if run.seed == seed]
    return begun, why


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
            with silence():  # every run says what it has loaded
                starting_network(net, arm.init, transfer, keep_last=bool(kept))


def check_free(design: Design) -> None:
    """Checks that the folder is free, or this comparison's.

    Raises:
        ValueError: if another comparison, or something else, stands there.
    """
    out, recipe = design.out, Recipe.of(design.command)
    config = out / "config.yaml"
    may_change = {name for name, option in options_of(Compare).items() if option.role in ("extent", "machine")}
    if config.exists() and (rows := recipe.differences(recipe.earlier(config), allowed=may_change)):
        raise ValueError(f"{out} contains another run ({rows}); repeat its options, or choose another folder")


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
