"""What a comparison would take, and how large one is that has a time to keep to."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gesso._discovery import UnknownNameError
from gesso._values import seconds_in
from gesso.commands import _finetune, _pretrain
from gesso.commands._defaults import fill, reason_to_be_small, tell_choice, values_of
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.comparison._runs import Design, Run, fine_tuning, link_data, numbered
from gesso.comparison.arms import Arm
from gesso.comparison.compare import Compare
from gesso.comparison.jobs import Job, mark_as_comparison
from gesso.comparison.price import Item, Plan, Size, fit_into, lay_out
from gesso.comparison.side_by_side import share_of_cores
from gesso.comparison.splits import DegradedPhoto
from gesso.comparison.tuning import choose
from gesso.options import began, options_of
from gesso.primed import find_primed
from gesso.report.console import console, say, warn
from gesso.report.statistics import BASELINE
from gesso.tasks import spell_task
from gesso.training.price import LONG, Cost, Length, seconds_of, show_plan
from gesso.training.recipe import Recipe
from gesso.training.run import price_of

CHOSEN = ("steps", "seeds", "val_every", "pretrain_steps")  # by a budget


def settle(command: Compare) -> Compare:
    """The command with a value for every option: as named, as the comparison began, or by what there is.

    Raises:
        ValueError: if its folder holds something else.
    """
    config = Path(command.out) / "config.yaml"
    own_starts = command.starts is None and command.arms is None
    if config.exists():
        before = Recipe.of(command).earlier(config)
        kept = ("starts",) if own_starts else ()
        if command.budget is not None:
            tell_cut(command, numbered("seeds", command.seeds), before)
            command, kept = dataclasses.replace(command, budget=None), (*kept, *CHOSEN)
        command = dataclasses.replace(command, **{name: before[name] for name in kept if name in before})
        return fill(command, before)
    why = reason_to_be_small(command, on_cpu=False)
    chosen = values_of(command, small=bool(why))
    if command.budget is not None and "steps" in chosen:
        chosen["steps"] = options_of(Compare)["steps"].usual
    if "steps" in (command.pretrain_args or {}) and "pretrain_steps" in chosen:
        chosen["pretrain_steps"] = None
    if "lr" not in chosen and "restoring_lr" in chosen:
        chosen["restoring_lr"] = None
    if why and own_starts:
        chosen |= primed_too(spell_task(command.task), chosen["backbone"], command)
    command = dataclasses.replace(command, **chosen)
    if why:
        tell_choice(command, why)
    return command


def primed_too(task: str, network: str, command: Compare) -> dict[str, Any]:
    """The starts with the network of the package for the task among them, where there is one; else nothing."""
    if command.backbone_args or command.transfer != "network" or command.scale != 1:
        return {}
    try:
        primed = find_primed(task, network)
    except UnknownNameError:
        return {}
    say(f"chosen: --starts random,ifp,primed:{primed.task}; the last comes with the package and restores already")
    return {"starts": f"random,ifp,primed:{primed.task}"}


@contextmanager
def silence() -> Iterator[None]:
    """Prints nothing meanwhile."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


# ------------------------------------------------------------------------------------------------------- what is left


@dataclass(frozen=True)
class Left:
    """What a comparison has not done yet.

    Attributes:
        pretrainings: jobs of pre-training, once each.
        trials: runs that choose what arms choose for themselves.
        runs: of fine-tuning.
        count: runs of the whole comparison, of any kind.
    """

    pretrainings: Sequence[Job]
    trials: Sequence[Job]
    runs: Sequence[Run]
    count: int

    @property
    def number(self) -> int:
        """How many runs are left."""
        return len(self.pretrainings) + len(self.trials) + len(self.runs)


def find_left(design: Design) -> Left:
    """What a comparison has not done yet; what runs depend on that is still to be chosen has not been."""
    pretrainings = {job.name: job for job in design.pretrainings.values()}
    runs = design.runs(choose(design.trials))
    return Left(
        [job for job in pretrainings.values() if not job.done],
        [trial.job for trial in design.trials if not trial.job.done],
        [run for run in runs if not run.job.done],
        len(pretrainings) + len(design.trials) + len(runs),
    )


# ---------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Costs:
    """What the parts of runs take here.

    Attributes:
        pretrainings: of each arm that has one which can be measured, by its name.
        run: of fine-tuning.
    """

    pretrainings: dict[str, Cost]
    run: Cost


def measure(design: Design, left: Left) -> Costs:
    """What the parts of the runs that are left take here; nothing is written beside a temporary folder.

    Raises:
        ValueError: if runs of fine-tuning cannot be measured; OSError and RuntimeError likewise.
    """
    found: dict[str, Cost] = {}
    by_job: dict[str, Cost] = {}
    names = {job.name for job in left.pretrainings}
    with silence(), mark_as_comparison(), share_of_cores(design.command.devices or 1):
        for arm, job in design.pretrainings.items():
            if job.name not in names:
                continue
            with contextlib.suppress(ValueError, OSError, RuntimeError):  # it fails alone, and says why, when it is run
                if job.name not in by_job:
                    by_job[job.name] = price(dataclasses.replace(job.command, out="unwritten"))
                found[arm] = by_job[job.name]
        with tempfile.TemporaryDirectory(prefix="gesso-") as name:
            run = price(fill(run_to_measure(design, Path(name)), {}))
    return Costs(found, run)


def run_to_measure(design: Design, folder: Path) -> Finetune:
    """A run of fine-tuning with data of its own in a folder."""
    first = design.folds[0].test
    if isinstance(first[0], DegradedPhoto):  # whose test images are made later
        given = {"data": str(design.command.data), "holdout": len(first)}
        return fine_tuning(folder, Arm(BASELINE), None, design.options, given)
    there = dataclasses.replace(design, command=dataclasses.replace(design.command, out=folder))
    run = there.run(Arm(BASELINE), design.seeds[0], 0, design.counts[-1])
    link_data([run], design.folds)
    return run.command


def price(command: Any) -> Cost:
    """What the parts of a run take."""
    since = time.monotonic()
    training = _pretrain.prepare(command) if isinstance(command, Pretrain) else _finetune.prepare(command)
    return price_of(training, command, since)


# ----------------------------------------------------------------------------------------------------------- planning


def plan_with(design: Design, left: Left) -> tuple[Design, Plan | None]:
    """The comparison as large as its budget has room for, and what is left of it, once this was measured and printed.

    Raises:
        ValueError: if the budget is too small, or if what has a budget, or is only to be planned, cannot be measured.
    """
    command = design.command
    try:
        costs = measure(design, left)
    except (ValueError, OSError, RuntimeError):
        if command.budget is not None or command.dry_run:
            raise
        return design, None  # the runs fail by themselves, and the page says why
    plan = lay_out_runs(design, left, costs)
    if command.budget is not None:
        design = keep_to_budget(design, plan)
        plan = lay_out_runs(design, find_left(design), costs)
    show(plan, design, costs, left)
    return design, plan


def lay_out_runs(design: Design, left: Left, costs: Costs) -> Plan:
    """The plan of what is left."""
    items = []
    by_job = {design.pretrainings[arm].name: cost for arm, cost in costs.pretrainings.items()}
    for job in left.pretrainings:
        if job.name in by_job:
            items.append(Item(job.name, "pre-training", by_job[job.name], length_of(job)))
    tested = len(design.folds[0].test)
    shares = {inner.folder: len(inner.pairs.test) / tested for inner in design.inner}
    for job in left.trials:
        measured = costs.run.measurement * shares[job.folder.parent]
        cost = dataclasses.replace(costs.run, measurement=measured)
        items.append(Item(job.name, "tuning runs", cost, length_of(job)))
    seeds = design.seeds
    for run in left.runs:
        is_shown = run.seed == seeds[0] and run.count == design.counts[-1]
        item = Item(run.job.name, "fine-tuning runs", costs.run, length_of(run.job), seeds.index(run.seed), is_shown)
        items.append(item)
    since = began.get()
    return Plan(time.monotonic() - since if since else 0.0, items, design.command.devices or 1)


def length_of(job: Job) -> Length:
    """The length of a job, and how much of it is done."""
    return Length.of(fill(job.command, {}), job.steps_done)


def keep_to_budget(design: Design, plan: Plan) -> Design:
    """The comparison as large as its budget has room for; says what it chose.

    Raises:
        ValueError: if the budget is too small.
    """
    command, seeds = design.command, design.seeds
    assert command.budget is not None
    most = Size(command.steps, len(seeds), design.options["val_every"], command.pretrain_steps)
    size = fit_into(seconds_in(command.budget), plan, most, choose_measuring=command.val_every is None)
    chosen: dict[str, Any] = {"steps": size.steps, "val_every": size.val_every, "seeds": seeds[: size.seeds]}
    chosen |= {"pretrain_steps": size.pretrain_steps} if design.pretrainings else {}
    told = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in chosen.items()}
    say(f"budget {command.budget}: " + ", ".join(f"--{name} {value}" for name, value in told.items()))
    tell_cut(command, seeds, chosen)
    return dataclasses.replace(design, command=dataclasses.replace(command, **chosen))


def tell_cut(command: Compare, seeds: Sequence[int], chosen: Mapping[str, Any]) -> None:
    """Says what a budget leaves out of what was asked for."""
    if cut := what_is_cut(command, seeds, chosen):
        again = "the same command without --budget runs the rest"
        warn(f"budget {command.budget} leaves out some of what was asked for: {cut}; {again}")


def what_is_cut(command: Compare, seeds: Sequence[int], chosen: Mapping[str, Any]) -> str:
    """What a budget leaves out of the seeds, and of steps that were named, in words; "" if nothing."""
    cut, usual = [], options_of(Compare)
    for name in ("steps", "pretrain_steps"):
        asked, kept = getattr(command, name), chosen.get(name)
        if None not in (asked, kept) and kept < asked and asked != usual[name].usual:
            cut.append(f"{kept:,} of {asked:,} {name}")
    if left_out := [seed for seed in seeds if seed not in chosen["seeds"]]:
        cut.append(f"{len(chosen['seeds'])} of {len(seeds)} seeds, without {', '.join(map(str, left_out))}")
    return "; ".join(cut)


def show(plan: Plan, design: Design, costs: Costs, left: Left) -> None:
    """Prints what is left of a comparison and what it takes, and beyond an hour how it could be shorter."""
    parts, command, side_by_side = lay_out(plan), design.command, max(1, plan.devices)
    largest = max([costs.run, *costs.pretrainings.values()], key=lambda cost: cost.peak)
    together = dataclasses.replace(largest, state=largest.state * side_by_side, peak=largest.peak * side_by_side)
    if left.number < left.count:
        say(f"{left.count - left.number} of {left.count} runs are done already")
    show_plan("plan" if left.number == left.count else "what is left", parts, together, disk_of(plan))
    if left.number < left.count or seconds_of(parts) <= LONG:
        return
    advice = ["--budget 1h"] + ([f"--seeds {design.seeds[0]}"] if len(design.seeds) > 1 else [])
    advice.append(f"--steps {max(1, int(command.steps * LONG / seconds_of(parts)))}")
    advice += ["--backbone nafnet_tiny"] if command.backbone != "nafnet_tiny" else []
    warn(f"longer than an hour; shorter: {' or '.join(advice)}")


def disk_of(plan: Plan) -> int:
    """Bytes that the runs of a plan leave, when what they need to be resumed is gone."""
    return sum(item.cost.disk for item in plan.items)
