"""What options are that nobody has named: as the run was begun, or by what there is: a GPU and many pairs, or not."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from gesso import _discovery
from gesso._discovery import UnknownNameError
from gesso._recipes import read_recipe
from gesso.backbones import spell_backbone
from gesso.commands.finetune import Finetune
from gesso.data.io import as_paths
from gesso.data.training_data import pairs_if_any
from gesso.functional.processes import rank_info
from gesso.options import Command, options_of
from gesso.options.data import TaskPairs
from gesso.options.run import TrainingRun
from gesso.primed import ANY, PREFIX, Primed, find_primed, for_task, is_primed, restores
from gesso.report.console import say
from gesso.sources import is_source
from gesso.tasks import spell_task
from gesso.training.recipe import Recipe

Given = TypeVar("Given", bound=Command[Any])
Run = TypeVar("Run", bound=TrainingRun)

FEW_PAIRS = 200
SIZE = ("backbone", "steps")  # who names one of them has chosen how large a run is
RECIPE_FOR_FEW = "few_pairs"
PRIMED_RATE = 1e-4  # keeps what a primed network knows, see docs/tutorials/few_pairs.md


def settle(command: Run) -> Run:
    """The command with a value for every option: as named, else of the run that it resumes, else by what there is.

    With a time to keep to (`budget`), the steps are at first the most that there may be, and how often to measure is
    left open; a run that is resumed has chosen both.

    Raises:
        ValueError: if the folder of the run that is resumed holds another's.
    """
    if isinstance(command, Finetune) and command.init is not None:
        task = ANY if spell_task(command.task) == "all-in-one" else spell_task(command.task)
        command = dataclasses.replace(command, init=for_task(str(command.init), task))
    config = Path(command.out) / "config.yaml"
    if command.resume and config.exists():
        before = Recipe.of(command).earlier(config)
        if command.budget is not None and "steps" in before:
            command = dataclasses.replace(command, budget=None, steps=before["steps"])
        return fill(command, before)
    why = reason_to_be_small(command, on_cpu=command.accelerator == "cpu")
    chosen = values_of(command, small=bool(why))
    if command.budget is not None:
        chosen.pop("val_every", None)
        chosen |= {"steps": options_of(type(command))["steps"].usual} if "steps" in chosen else {}
    how = ""
    if isinstance(command, Finetune):
        start, how = primed_start(command, chosen, small=bool(why))
        chosen |= start
    settled = dataclasses.replace(command, **chosen)
    if why:
        tell_choice(settled, why, str(chosen.get("init", "")), how)
    return settled


def fill(command: Given, before: Mapping[str, Any]) -> Given:
    """The command with the values that options had before, where they are unnamed, else with the usual ones."""
    usual = values_of(command, small=False)
    return dataclasses.replace(command, **{name: before.get(name, value) for name, value in usual.items()})


def values_of(command: Command[Any], *, small: bool) -> dict[str, Any]:
    """Values of the options that are not named."""
    found = {}
    for name, option in options_of(type(command)).items():
        if option.if_unnamed is not None and getattr(command, name) is None:
            own = option.if_unnamed.small if small else None
            found[name] = option.if_unnamed.usual if own is None else own
    return found


def reason_to_be_small(command: Any, *, on_cpu: bool) -> str:
    """Why a run is small, in words; "" if it is not: then size or length are named, or there are GPU and pairs."""
    deciding = [name for name in SIZE if name in options_of(type(command))]
    if any(getattr(command, name) is not None for name in deciding):
        return ""
    if on_cpu or not torch.cuda.is_available():
        return "a CPU is to train" if on_cpu else "there is no GPU"
    count = count_pairs(command) if isinstance(command, TaskPairs) else None
    return f"there are {count} pairs, fewer than {FEW_PAIRS}" if count is not None and count < FEW_PAIRS else ""


def count_pairs(command: TaskPairs) -> int | None:
    """How many pairs there are to train on; None where there are none, or they cannot be found, which is said later."""
    if getattr(command, "mix", None) or (command.data is not None and is_source(command.data)):
        return None
    data, lq, gt = as_paths(command.data, command.lq, command.gt)
    how = {"lq": lq, "gt": gt, "pair_by": command.pair_by, "layout": command.layout, "scale": command.scale}
    try:
        pairs = pairs_if_any(data, "train", **how)
    except (ValueError, OSError):
        return None
    return None if pairs is None else len(pairs)


def primed_start(command: Finetune, chosen: Mapping[str, Any], *, small: bool) -> tuple[dict[str, Any], str]:
    """What a start from a primed network decides of what nobody has named, and a line on how it goes on, "" for none.

    A small run begins with the best network of the package for the task unless it is said what to begin with. From one
    that restores the task it goes on at a low rate, and with few pairs by the recipe `few_pairs`.

    Raises:
        UnknownNameError: if the one that is named does not exist.
    """
    named = command.init is not None and is_primed(command.init)
    primed = find_primed(str(command.init), network_of(command)) if named else best_start(command) if small else None
    if primed is None:
        return {}, ""
    start = {"backbone": primed.network} if "backbone" in chosen else {}
    start |= {} if named else {"init": f"{PREFIX}{primed.name}"}
    goes_on = command.transfer == "network" and command.keep_last is not False
    if not (small and goes_on and restores(primed.header, spell_task(command.task))):
        return start, ""
    count = count_pairs(command)
    if count is None or count >= FEW_PAIRS:
        return start | ({"lr": PRIMED_RATE} if "lr" in chosen else {}), ""
    recipe = read_recipe(_discovery.recipe_file("finetune", RECIPE_FOR_FEW))
    unnamed = {name for name in recipe if name in chosen or getattr(command, name) is None}
    return {name: value for name, value in recipe.items() if name in unnamed} | start, (
        f"chosen: the recipe {RECIPE_FOR_FEW} for {count} pairs; --config names another"
    )


def network_of(command: Finetune) -> str | None:
    """The name of the network that a run is told to train; None where it is told none."""
    return None if command.backbone is None else spell_backbone(command.backbone)


def best_start(command: Finetune) -> Primed | None:
    """The network of the package that a small run begins with; None where another is named, or there is none."""
    if command.init is not None or command.transfer != "network" or command.backbone_args or command.scale != 1:
        return None
    try:
        primed = find_primed(spell_task(command.task))
    except UnknownNameError:
        return None
    return None if primed.worsens else primed


def tell_choice(command: Any, why: str, start: str = "", how: str = "") -> None:
    """Says in a line each what a small run is, what start it has been given, and how it goes on from it."""
    if rank_info().rank > 0:
        return
    size = [spell_backbone(command.backbone)] if hasattr(command, "backbone") else []
    size += [f"{command.batch_size} crops of {command.crop_size} pixels", f"lr {command.lr:g}"]
    if command.budget is None:
        size.insert(-2, f"{command.steps:,} steps")
    name = spell_task(command.task) if hasattr(command, "task") else ""
    recipe = f", or take a recipe (--config {name})" if name in _discovery.recipes(command.verb()) else ""
    named = " and ".join(f"--{name}" for name in SIZE if hasattr(command, name))
    say(f"chosen because {why}: {', '.join(size)}; for another size name {named}{recipe}")
    if start.startswith(PREFIX):
        say(f"chosen: --init {start}, which restores this task already; --init random does without")
    if how:
        say(how)
