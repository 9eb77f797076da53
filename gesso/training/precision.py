"""Precision "auto": bf16 where a probe at the start of a run finds it faster than float32, and what was found is kept.

A processor that multiplies in bf16 gains from it on most networks, but small ones lose: casts take their time. So a
few steps of the network are timed in both, and their memory is counted: it grows in bf16 where weights are large, for
autocast keeps copies of them. What they draw and change is put back, and a run that resumes asks nothing.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins import MixedPrecision

from gesso.backbones import Backbone
from gesso.functional.memory import peak_bytes
from gesso.functional.processes import in_comparison, rank_info
from gesso.functional.random import generator_for
from gesso.report.console import say
from gesso.restorer import computes_in_bf16
from gesso.training.compiling import CompiledFeatures
from gesso.training.needs import Line, free_bytes, padded, still_to_come
from gesso.training.price import size
from gesso.training.step_time import time_step

Chosen = Literal["float32", "bf16"]

NAMES: tuple[Chosen, Chosen] = ("float32", "bf16")

ROUNDS = 5  # steps in each precision
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


def choose_for(module: Any) -> Chosen:
    """The precision of a run that begins.

    Runs of a comparison all have that which the processor is made for, so that arms differ in nothing else; so have
    runs on a GPU, and networks that are compiled.
    """
    network, stages = module.backbone, module.sampler.stages
    if not computes_in_bf16(module.device):
        return "float32"
    if module.device.type != "cpu" or in_comparison() or isinstance(network.feature_hook, CompiledFeatures):
        return "bf16"
    if count_work(module) < SHORT:
        return "float32"
    stage = max(stages, key=lambda one: one.batch_size * one.crop_size**2)
    images = max(1, stage.batch_size // rank_info().world_size)
    free = free_bytes(module.device) - still_to_come(module)
    return choose_precision(network, images, stage.crop_size, free)


def count_work(module: Any) -> int:
    """Parameters x pixels x steps that a run has still to do, at its largest stage."""
    pixels = max(stage.batch_size * stage.crop_size**2 for stage in module.sampler.stages)
    parameters = sum(parameter.numel() for parameter in module.backbone.parameters())
    return parameters * pixels * (module.sampler.batches - module.batches_done)


def choose_precision(network: Backbone, batch_size: int, crop_size: int, free: float = math.inf) -> Chosen:
    """Precision bf16 where training steps on the CPU are faster in it, beyond noise, and fit; says what was measured.

    Where neither fits, the faster one is taken: steps are cut then, see `gesso.training.needs`.

    Args:
        network: what is trained; it is left as it is.
        batch_size: images of a step.
        crop_size: side of their crops in pixels.
        free: bytes that a step may take.
    """
    side = min(crop_size, SIDE)
    images = torch.rand(
        min(batch_size, IMAGES), network.in_channels, side, side, generator=generator_for(0, "precision")
    )
    needs = count_bytes(network, images, batch_size * padded(network, crop_size) ** 2)  # which warms up
    seconds = time_steps(network, images)
    faster = seconds["bf16"] < (1 - NOISE) * seconds["float32"]
    too_large = needs["float32"] <= free < needs["bf16"]
    chosen, other = NAMES[::-1] if faster and not too_large else NAMES
    told = ", ".join(f"{1000 * taken:.0f} ms in {name}" for name, taken in seconds.items())
    if needs[chosen] > needs[other]:
        told += f"; memory: a step needs about {size(needs[chosen])}, in {other} {size(needs[other])}"
    elif faster and too_large:
        told += f"; memory: a step in bf16 needs about {size(needs['bf16'])}, and {size(free)} are free"
    say(f"precision: {chosen}; a step of {len(images)} crops of {side} pixels takes {told}")
    return chosen


def count_bytes(network: Backbone, images: torch.Tensor, pixels: int) -> dict[Chosen, float]:
    """What a step of so many pixels needs in memory in each precision, from steps of half the images and of all."""
    needs = dict.fromkeys(NAMES, 0.0)
    with unchanged(network):
        for name in NAMES:
            points: list[tuple[int, int]] = []
            for few in (images[: (len(images) + 1) // 2], images):
                step = partial(time_step, network, few, autocast=name == "bf16")
                points.append((len(few) * padded(network, few.shape[-1]) ** 2, peak_bytes(step)))
            needs[name] = Line.through(*points).bytes(pixels)
    return needs


def time_steps(network: Backbone, images: torch.Tensor) -> dict[Chosen, float]:
    """The shortest time in seconds of a forward and backward pass in each precision, taken in turns."""
    seconds = dict.fromkeys(NAMES, float("inf"))
    began = time.perf_counter()
    with unchanged(network):
        for _ in range(ROUNDS):
            for name in NAMES:
                seconds[name] = min(seconds[name], time_step(network, images, autocast=name == "bf16"))
            if time.perf_counter() - began > LIMIT:
                break
    return seconds


@contextmanager
def unchanged(network: Backbone) -> Iterator[None]:
    """Puts back, afterwards, the buffers of a network and the state of torch's generator."""
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        yield
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
