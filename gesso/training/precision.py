"""Precision "auto": bf16 where a probe at the start of a run finds it faster than float32, and what was found is kept.

A processor that multiplies in bf16 gains from it on most networks, but small ones lose: casts take their time. So a
few steps of the network are timed in both. What they draw and change is put back, and a run that resumes asks nothing.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision

from gesso.backbones import Backbone
from gesso.functional.processes import PARALLEL_RUNS
from gesso.functional.random import generator_for
from gesso.report.console import say
from gesso.restorer import computes_in_bf16
from gesso.training.compiling import CompiledFeatures

Chosen = Literal["float32", "bf16"]

ROUNDS = 5  # steps in each precision, after one that warms up
LIMIT = 5.0  # seconds after which no further round begins
NOISE = 0.05  # share by which bf16 has to be faster
SIDE, IMAGES = 64, 4  # of a probe at most: a crop as small networks are trained on, and seconds for large ones
SHORT = 1e12  # parameters x pixels x steps of a run that is over before a probe has paid for itself


class AutoPrecision(MixedPrecision):
    """Autocast to bf16 that is switched off where float32 has been chosen."""

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)
        self.chosen: Chosen = "bf16"

    def autocast_context_manager(self) -> torch.autocast:
        """The context that every step runs in."""
        return (
            super().autocast_context_manager() if self.chosen == "bf16" else torch.autocast(self.device, enabled=False)
        )


class ChoosePrecision(Callback):
    """Chooses the precision of a run before its first step: as it began, or as a probe on the first device finds."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Chooses, and has the choice kept with the run's state and named in its files."""
        if not isinstance(plugin := trainer.precision_plugin, AutoPrecision):
            return
        if pl_module.precision is None:
            pl_module.precision = trainer.strategy.broadcast(choose_for(pl_module) if trainer.is_global_zero else None)
        plugin.chosen = cast(Chosen, pl_module.precision)
        pl_module.facts["precision"] = pl_module.precision


def choose_for(module: Any) -> Chosen:
    """The precision of a run that begins.

    Runs of a comparison all have that which the processor is made for, so that arms differ in nothing else; so have
    runs on a GPU, and networks that are compiled.
    """
    network, stages = module.backbone, module.sampler.stages
    if not computes_in_bf16(module.device):
        return "float32"
    if module.device.type != "cpu" or PARALLEL_RUNS in os.environ or isinstance(network.feature_hook, CompiledFeatures):
        return "bf16"
    stage = max(stages, key=lambda one: one.batch_size * one.crop_size**2)
    pixels = stage.batch_size * stage.crop_size**2 * (module.sampler.batches - module.batches_done)
    if pixels * sum(parameter.numel() for parameter in network.parameters()) < SHORT:
        return "float32"
    return choose_precision(network, stage.batch_size, stage.crop_size)


def choose_precision(network: Backbone, batch_size: int, crop_size: int) -> Chosen:
    """Precision bf16 where training steps on the CPU are faster in it, beyond noise; says what was measured.

    Args:
        network: what is trained; it is left as it is.
        batch_size: images of a step.
        crop_size: side of their crops in pixels.
    """
    side = min(crop_size, SIDE)
    images = torch.rand(
        min(batch_size, IMAGES), network.in_channels, side, side, generator=generator_for(0, "precision")
    )
    seconds = time_steps(network, images)
    chosen: Chosen = "bf16" if seconds["bf16"] < (1 - NOISE) * seconds["float32"] else "float32"
    told = ", ".join(f"{1000 * taken:.0f} ms in {name}" for name, taken in seconds.items())
    say(f"precision: {chosen}; a step of {len(images)} crops of {side} pixels takes {told}")
    return chosen


def time_steps(network: Backbone, images: torch.Tensor) -> dict[Chosen, float]:
    """The shortest time in seconds of a forward and backward pass in each precision, taken in turns."""
    names: tuple[Chosen, Chosen] = ("float32", "bf16")
    seconds = dict.fromkeys(names, float("inf"))
    began = time.perf_counter()
    with unchanged(network):
        for round_number in range(1 + ROUNDS):
            for name in names:
                taken = time_step(network, images, autocast=name == "bf16")
                if round_number > 0:
                    seconds[name] = min(seconds[name], taken)
            if round_number > 0 and time.perf_counter() - began > LIMIT:
                break
    return seconds


def time_step(network: Backbone, images: torch.Tensor, *, autocast: bool) -> float:
    """Seconds of one forward and backward pass, which leave no gradient behind."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    began = time.perf_counter()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        loss = network(images).float().square().mean()
    if parameters:
        torch.autograd.grad(loss, parameters, allow_unused=True)
    return time.perf_counter() - began


@contextmanager
def unchanged(network: Backbone) -> Iterator[None]:
    """Puts back, afterwards, the buffers of a network and the state of torch's generator."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        yield
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
