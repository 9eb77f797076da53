"""What a step of a run takes on this machine, timed before the run begins, with everything left as it was.

The batches are the first of the run, so that what is loaded for them is loaded once. A first one warms up.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from functools import partial
from statistics import median
from typing import Any, Protocol

import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch import Tensor, nn

from gesso.data.cache import reserved_memory
from gesso.functional.memory import is_out_of_memory, peak_memory
from gesso.functional.processes import all_gather, computing_with, rank_info
from gesso.options.run import TrainingRun
from gesso.restorer import computes_in_bf16
from gesso.training._module import TrainingModule
from gesso.training.compiling import CompiledFeatures
from gesso.training.needs import MOMENTS, check_steps, free_bytes, padded, still_to_come
from gesso.training.precision import choose_for
from gesso.training.price import Cost
from gesso.training.resume import list_names
from gesso.training.sampling import Stage

Batch = dict[str, Any]

ROUNDS = 3  # batches that are timed, after one that warms up
LIMIT = 5.0  # seconds after which no further one is
LOOP = 0.004  # seconds of the loop around a batch
BEGIN_AND_END = 2.0  # seconds for setting up what trains, and for closing it
WRITING = 200e6  # bytes that a disk writes in a second, at least
SHEET_IMAGES, SHEET = 4, 0.3  # of a sample sheet, and seconds to draw it


class Batches(Protocol):
    """Where the batches of a run come from."""

    train: Any
    workers: int

    def batch(self, number: int) -> Batch:
        """This device's part of a batch of the run."""
        ...

    def example(self, images: int | None = None, crop_size: int | None = None) -> Batch:
        """The first batch, or less of it."""
        ...

    def stages(self) -> list[Stage]:
        """The stages of the run."""
        ...


def device_of(accelerator: str) -> torch.device:
    """What a run computes on, as Lightning chooses it."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", rank_info().local_rank)
    if accelerator != "cpu" and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def unchanged(module: TrainingModule) -> Iterator[None]:
    """Puts back, afterwards, the buffers of a module and torch's random numbers, and takes its gradients away."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    devices = [module.device] if module.device.type == "cuda" and torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        module.zero_grad()
        for name, buffer in module.named_buffers():
            buffer.copy_(before[name])


@contextmanager
def as_in_training(module: TrainingModule, run: TrainingRun) -> Iterator[None]:
    """The threads and the precision that a step of a run is computed in."""
    with computing_with(module.threads), in_precision(module, run):
        yield


def in_precision(module: TrainingModule, run: TrainingRun) -> AbstractContextManager[Any]:
    """The precision of a step of a run; "auto" is chosen here where one process trains."""
    chosen = run.precision
    if chosen == "auto":
        if module.precision is None and rank_info().world_size == 1:
            module.precision = choose_for(module)
        chosen = module.precision or ("bf16" if computes_in_bf16(module.device) else "float32")
    return torch.autocast(module.device.type, torch.bfloat16) if chosen == "bf16" else nullcontext()


def check_memory(module: TrainingModule, data: Batches, run: TrainingRun) -> None:
    """Checks that steps fit into the memory that is free; see `gesso.training.needs`.

    What has to be compiled is left to the steps themselves.

    Raises:
        ValueError: if they do not, and a batch cannot be cut; it says what would fit.
    """
    if isinstance(module.backbone.feature_hook, CompiledFeatures):
        return
    free = free_bytes(module.device) - still_to_come(module)
    with as_in_training(module, run), unchanged(module):
        check_steps(module, lambda images, side: on_device(module, data.example(images, side)), data.stages(), free)


def measure_cost(module: TrainingModule, data: Batches, run: TrainingRun, began: float) -> Cost:
    """What the parts of a run take, on this machine as it is now; of several devices, on the slowest.

    Args:
        module: what is trained, on its device.
        data: where its batches come from.
        run: the command.
        began: when the command began, by `time.monotonic`.
    """
    if module.sampler.first >= module.sampler.batches:
        return Cost()
    with as_in_training(module, run), unchanged(module):
        first, loading, computing = time_batches(module, data)
    compute = computing * mean_pixels(module, data.stages())
    batch = max(compute, loading / data.workers) if data.workers else compute + loading
    images = len(module.sampler.part(module.sampler.first).keys)
    decoding = max(0.0, first - loading) / images * min(len(list_names(data.train)), module.sampler.batches * images)
    trained = sum(p.numel() * p.element_size() for p in module.trained())
    weights = sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
    kept = sum(t.numel() * t.element_size() for t in module.deliverable.state_dict().values())
    once_loaded = reserved_memory() if module.device.type == "cpu" else 0
    measurement = module.time_measurement()
    cost = Cost(
        once=time.monotonic() - began + decoding + BEGIN_AND_END,
        step=run.accumulate * (batch + LOOP) + time_optimizer(module),
        measurement=measurement,
        sheet=SHEET + SHEET_IMAGES * computing / (3 * images),
        saving=0.05 + (weights + MOMENTS * trained + kept) / WRITING,
        state=weights + (1 + MOMENTS) * trained,
        peak=peak_memory(module.device) + once_loaded,
        disk=weights + MOMENTS * trained + (2 if measurement else 1) * kept,
        snapshot=kept,
    )
    others = all_gather(cost)
    return Cost(**{one.name: max(getattr(other, one.name) for other in others) for one in fields(Cost)})


def time_batches(module: TrainingModule, data: Batches) -> tuple[float, float, float]:
    """Seconds that it takes to load the first batch of a run, to load a later one, and to compute one."""
    first, left = module.sampler.first, module.sampler.batches - module.sampler.first
    loads, computes = [], []
    for round_number in range(1 + ROUNDS):
        number = first + round_number % left
        begin = time.perf_counter()
        batch = data.batch(number)
        loads.append(time.perf_counter() - begin)
        computes.append(timed(module, partial(rehearse, module, number, batch)))
        if sum(loads) + sum(computes) > LIMIT:
            break
    return loads[0], median(loads[1:] or loads), median(computes[1:] or computes)


def timed(module: TrainingModule, work: Callable[[], Any]) -> float:
    """Seconds that something takes on the device of a module."""
    begin = time.perf_counter()
    work()
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter() - begin


def rehearse(module: TrainingModule, number: int, batch: Batch) -> None:
    """Forward and backward of a batch, as many images at a time as memory holds."""
    batch = on_device(module, batch)
    count = len(module.sampler.part(number).keys)
    while True:
        size = module.at_a_time or count
        try:
            for begin in range(0, count, size):
                losses = module.losses_of(number, batch, slice(begin, min(begin + size, count)))
                losses["loss"].backward()
            return module.zero_grad()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        module.make_room(number)  # the error is gone by now, and with it what it held on to


def time_optimizer(module: TrainingModule) -> float:
    """Seconds that the optimiser takes for a step, on copies of what is trained."""
    copies = [nn.Parameter(parameter.detach().clone()) for parameter in module.trained()]
    for copied in copies:
        copied.grad = torch.zeros_like(copied)
    optimizer = module.make_optimizer(copies)
    timed(module, optimizer.step)
    return timed(module, optimizer.step) * (2 if module.average is not None else 1)


def mean_pixels(module: TrainingModule, stages: Sequence[Stage]) -> float:
    """How many pixels a batch of the run has in the mean, by those of the batches that are timed."""

    def pixels(stage: Stage) -> int:
        return stage.batch_size * padded(module.backbone, stage.crop_size) ** 2

    ends = module.sampler.stage_ends()
    now = next(stage for stage, end in zip(stages, ends, strict=True) if module.sampler.first < end)
    total, begin = 0.0, module.sampler.first
    for stage, end in zip(stages, ends, strict=True):
        total += max(0, end - begin) * pixels(stage)
        begin = max(begin, end)
    return total / pixels(now) / (module.sampler.batches - module.sampler.first)


def on_device(module: TrainingModule, batch: Batch) -> Batch:
    """A batch where a module is, in the precision of its weights where that is float64."""
    exact = next(module.parameters()).dtype == torch.float64
    moved = move_data_to_device(batch, module.device)
    return {k: v.double() if exact and isinstance(v, Tensor) and v.is_floating_point() else v for k, v in moved.items()}
