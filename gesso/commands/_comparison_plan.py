"""What a comparison would take, and how large one is that has a time to keep to."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gesso._discovery import UnknownNameError
from gesso._values import seconds_in
from gesso.commands import _finetune, _pretrain
from gesso.commands._defaults import fill, reason_to_be_small, tell_choice, values_of
from gesso.commands.compare import Compare
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.comparison.arms import Arm
from gesso.comparison.jobs import mark_as_comparison
from gesso.comparison.price import Pretraining, Prices, Size, fit_into, lay_out
from gesso.comparison.side_by_side import share_of_cores
from gesso.options import began, options_of
from gesso.primed import find_primed
from gesso.report.console import console, say, warn
from gesso.tasks import spell_task
from gesso.training.price import LONG, Cost, seconds_of, show_plan
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
            command, kept = dataclasses.replace(command, budget=None), (*kept, *CHOSEN)
        command = dataclasses.replace(command, **{name: before[name] for name in kept if name in before})
        return fill(command, before)
    why = reason_to_be_small(command, on_cpu=False)
    chosen = values_of(command, small=bool(why))
    if command.budget is not None and "steps" in chosen:
        chosen["steps"] = options_of(Compare)["steps"].usual
    if "steps" in (command.pretrain_args or {}) and "pretrain_steps" in chosen:
        chosen["pretrain_steps"] = None
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


@contextmanager
def silence() -> Iterator[None]:
    """Prints nothing meanwhile."""
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def measure(arms: Sequence[Arm], finetuning: Finetune, runs: int, pictures: int, devices: int) -> Prices:
    """What the parts of a comparison take here; nothing is written."""
    with silence(), mark_as_comparison(), share_of_cores(devices):
        pretrainings = {}
        for arm in arms:
            if arm.pretraining:
                options = {"sample_every": 0, **arm.pretraining}
                with contextlib.suppress(
                    ValueError, OSError, RuntimeError
                ):  # it fails alone, and says why, when it is run
                    command = fill(Pretrain(out="unwritten", **options), {})
                    pretrainings[arm.pretraining_folder] = Pretraining(price(command), command.steps)
        run = price(fill(finetuning, {}))
    since = began.get()
    spent = time.monotonic() - since if since else 0.0
    return Prices(spent, run, runs, pictures, list(pretrainings.values()), devices)


def price(command: Pretrain | Finetune) -> Cost:
    """What the parts of a run take."""
    since = time.monotonic()
    training = _pretrain.prepare(command) if isinstance(command, Pretrain) else _finetune.prepare(command)
    return price_of(training, command, since)


def plan(command: Compare, prices: Prices, seeds: Sequence[int]) -> Compare:
    """Prints what a comparison takes, and returns the command as large as its budget has room for; says what it chose.

    Raises:
        ValueError: if the budget is too small.
    """
    usual = command.val_every or max(1, command.steps // 10)
    size = Size(command.steps, len(seeds), usual, command.pretrain_steps)
    if command.budget is not None:
        size = fit_into(seconds_in(command.budget), prices, size, choose_measuring=command.val_every is None)
        chosen: dict[str, Any] = {"steps": size.steps, "val_every": size.val_every}
        chosen |= {"seeds": list(seeds[: size.seeds])}
        chosen |= {"pretrain_steps": size.pretrain_steps} if prices.pretrainings else {}
        command = dataclasses.replace(command, **chosen)
        told = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in chosen.items()}
        say(f"budget {command.budget}: " + ", ".join(f"--{name} {value}" for name, value in told.items()))
    parts = lay_out(prices, size)
    saved = prices.run.disk * prices.runs * size.seeds + sum(one.cost.disk for one in prices.pretrainings)
    show_plan("plan", parts, prices.run, saved)
    if (seconds := seconds_of(parts)) > LONG:
        steps = max(1, int(command.steps * LONG / seconds))
        smaller = "" if command.backbone == "nafnet_tiny" else " or --backbone nafnet_tiny"
        warn(f"longer than an hour; shorter: --budget 1h or --seeds {seeds[0]} or --steps {steps}{smaller}")
    return command
