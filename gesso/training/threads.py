"""Threads of a training step on a CPU: as many as finish one first, timed before the run begins, and kept with it.

A small network gives a thread so little to do that waiting for the others takes longer, and where other work runs on
the machine, all wait for the one that has lost its core. Measurements on whole images keep all threads.
"""

import os
import time
from statistics import median
from typing import Any

import torch

from gesso.backbones import Backbone
from gesso.functional.processes import computing_with, in_comparison, rank_info
from gesso.functional.random import generator_for
from gesso.options.run import TrainingRun
from gesso.report.console import say
from gesso.training.compiling import CompiledFeatures
from gesso.training.precision import IMAGES, LIMIT, NOISE, ROUNDS, SHORT, SIDE, count_work, unchanged
from gesso.training.step_time import time_step

TOLD_OTHERWISE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # variables by which a person has chosen


def choose_threads_for(module: Any, run: TrainingRun) -> int | None:
    """The threads of a run that begins; None: those that torch takes.

    Nothing is asked where a variable has named a number, where several processes share the work, and in runs that are
    over before a probe has paid for itself.
    """
    told = any(os.environ.get(name) for name in TOLD_OTHERWISE)
    alone = rank_info().world_size == 1 and not in_comparison()
    if told or not alone or module.device.type != "cpu" or torch.get_num_threads() == 1:
        return None
    network, stages = module.backbone, module.sampler.stages
    if isinstance(network.feature_hook, CompiledFeatures) or count_work(module) < SHORT:
        return None
    stage = max(stages, key=lambda one: one.batch_size * one.crop_size**2)
    return choose_threads(network, stage.batch_size, stage.crop_size, bf16=run.precision == "bf16")


def choose_threads(network: Backbone, batch_size: int, crop_size: int, *, bf16: bool = False) -> int:
    """The fewest threads that steps take no longer with than with any other number, beyond noise; says what was timed.

    Args:
        network: what is trained; it is left as it is.
        batch_size: images of a step.
        crop_size: side of their crops in pixels.
        bf16: whether steps are taken in it.
    """
    count, side = min(batch_size, IMAGES), min(crop_size, SIDE)
    images = torch.rand(count, network.in_channels, side, side, generator=generator_for(0, "threads"))
    most = torch.get_num_threads()
    taken: dict[int, list[float]] = {number: [] for number in halves(most)}
    began = time.perf_counter()
    with unchanged(network):
        time_step(network, images, autocast=bf16)  # which warms up
        for number in list(taken) * ROUNDS:
            with computing_with(number):
                taken[number].append(time_step(network, images, autocast=bf16))
            if time.perf_counter() - began > LIMIT and all(taken.values()):
                break
    seconds = {number: median(times) for number, times in taken.items()}
    least = min(seconds.values())
    chosen = min(number for number in seconds if seconds[number] <= least / (1 - NOISE))
    told = ", ".join(f"{1000 * each:.0f} ms with {number}" for number, each in seconds.items())
    step = f"a step of {count} crops of {side} pixels takes {told}"
    say(f"threads: {chosen} of {most}; {step} (OMP_NUM_THREADS=N sets them)")
    return chosen


def halves(most: int) -> list[int]:
    """Numbers of threads to time: all, half of them, and so on.

    Example:
        >>> halves(12), halves(1)
        ([12, 6, 3, 1], [1])
    """
    return [most, *halves(most // 2)] if most > 1 else [1]
