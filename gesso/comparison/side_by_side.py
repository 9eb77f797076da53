"""How many runs of a comparison go on side by side: as many as a few timed steps find to be fastest.

Many threads finish a step of a small network hardly sooner than one, so that cores do more with a run each. How far
that holds depends on the network, the crops and the machine: it is measured, in processes as the runs will be, and
what was chosen is in the comparison's recipe, which later calls keep.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gesso._values import seconds_in
from gesso.backbones import create_backbone, list_backbones
from gesso.comparison.arms import Arm
from gesso.comparison.compare import Compare
from gesso.comparison.step_times import time_processes
from gesso.functional.processes import computing_with
from gesso.report.console import say
from gesso.training.precision import NOISE, SHORT
from gesso.training.recipe import Recipe

SHORT_BUDGET = 180.0  # seconds of a comparison whose time is not spent on timing


@dataclass(frozen=True)
class Work:
    """Runs that can go on side by side, of so many steps each."""

    runs: int
    steps: int


def settle_devices(command: Compare, arms: Sequence[Arm], runs: int) -> Compare:
    """The command with a number of runs side by side: as named, as the comparison began, or as measured here.

    Args:
        command: what is asked for; `devices` may be None.
        arms: what is compared, some with a pre-training.
        runs: of fine-tuning, over all arms, seeds, folds and numbers of pairs.
    """
    if command.devices is not None:
        return command
    config, cores = Path(command.out) / "config.yaml", torch.get_num_threads()
    if config.exists():
        before = Recipe.of(command).earlier(config).get("devices") or 1
        return replace(command, devices=before if torch.cuda.is_available() else min(before, cores))
    pretrainings = {arm.pretraining_folder: arm.pretraining.get("steps") or 0 for arm in arms if arm.pretraining}
    longest = max(pretrainings.values(), default=0) or command.steps
    work = [Work(len(pretrainings), min(longest, command.pretrain_steps or longest)), Work(runs, command.steps)]
    if cores == 1 or torch.cuda.is_available() or is_short(command, work):
        return replace(command, devices=1)
    return replace(command, devices=choose_number(command, work, cores))


def share_of_cores(runs: int) -> AbstractContextManager[None]:
    """Computes meanwhile with the threads that a run has while so many go on side by side."""
    return computing_with(max(1, torch.get_num_threads() // runs))


def is_short(command: Compare, work: Sequence[Work]) -> bool:
    """Whether a comparison is over before a measurement has paid for itself."""
    if command.budget is not None:
        return seconds_in(command.budget) < SHORT_BUDGET
    without_weights = command.backbone in list_backbones()  # one's own has to run, to be wrapped
    with torch.device("meta") if without_weights else nullcontext():
        network = create_backbone(command.backbone, **(command.backbone_args or {}))
    pixels = command.batch_size * command.crop_size**2 * sum(part.runs * part.steps for part in work)
    return pixels * sum(parameter.numel() for parameter in network.parameters()) < 10 * SHORT


def choose_number(command: Compare, work: Sequence[Work], cores: int) -> int:
    """How many runs side by side finish the work first, beyond noise; says what was measured."""
    most = min(cores, max(part.runs for part in work))
    question = {name: getattr(command, name) for name in ("backbone", "backbone_args", "batch_size", "crop_size")}
    try:
        seconds = time_processes(question, candidates(most), cores)
    except RuntimeError:
        return 1  # the runs fail by themselves, and the page says why
    total = {number: sum(math.ceil(part.runs / number) * part.steps for part in work) * seconds[number]
             for number in seconds}  # fmt: skip
    least = min(total.values())
    chosen = next(number for number in sorted(total) if total[number] <= least / (1 - NOISE))
    told = ", ".join(f"{1000 * taken:.0f} ms with {number}" for number, taken in seconds.items())
    threads = max(1, cores // chosen)
    say(f"side by side: {chosen} runs on {cores} cores, {threads} to each; a step takes {told} (--devices)")
    return chosen


def candidates(most: int) -> list[int]:
    """Numbers of runs to time: powers of two, and the most there may be.

    Example:
        >>> candidates(1), candidates(6), candidates(8)
        ([1], [1, 2, 4, 6], [1, 2, 4, 8])
    """
    return sorted({*(2**power for power in range(most.bit_length()) if 2**power <= most), most})
