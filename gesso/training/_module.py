"""One optimisation loop for pre-training, fine-tuning and refining."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from gesso.backbones import Backbone, part_of_batch
from gesso.functional.memory import is_out_of_memory
from gesso.functional.processes import all_gather, computing_with, mean_over_processes, rank_info
from gesso.functional.random import BatchGenerator, ImageGenerators, generator_for, seed_for
from gesso.options.run import TrainingRun
from gesso.report.console import warn
from gesso.restorer import computes_in_bf16
from gesso.training.best import Best
from gesso.training.resume import list_names
from gesso.training.sampling import StepSampler, plan_stages
from gesso.training.schedules import schedule

MAX_SKIPPED_IN_A_ROW = 10

Batch = dict[str, Any]
Watch = Callable[[Sequence[Any]], Iterable[Any]]


class TrainingError(RuntimeError):
    """A run that cannot go on; what it saved before stays loadable."""


class TrainingModule(LightningModule):
    """What every run shares: the optimiser step, skipped steps, the average of weights, and where the run stands.

    Optimisation is by hand because three things need it: a non-finite step is skipped and its samples are named, a
    batch that memory does not hold is cut in parts, and the learning rate is a pure function of the step.

    Random numbers come from (seed, sample index), or from (seed, batch number) where a batch shares them. So a resumed
    run repeats an unbroken one, and neither the number of devices nor the cutting of batches changes it.

    Args:
        backbone: the network.
        run: the command, which says how it is optimised.
        facts: what the headers of its files say of the run, beside what is chosen on the way.
    """

    def __init__(self, backbone: Backbone, run: TrainingRun, facts: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone, self.facts = backbone, dict(facts or {})
        self.accumulate, self.log_every, self.seed = run.accumulate, run.log_every, run.seed
        self.decay_norm_bias, self.clip_norm = run.decay_norm_bias, run.clip_norm
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[run.optimizer]
        self.make_optimizer = partial(kind, lr=run.lr, betas=run.betas, weight_decay=run.weight_decay, fused=True)
        self.set_length(run)
        self.average: AveragedModel | None = None
        if run.ema_decay:
            self.average = AveragedModel(backbone, multi_avg_fn=get_ema_multi_avg_fn(run.ema_decay))
            self.average.requires_grad_(False)
        self.batches_done = 0
        self.recorded = 0  # batches up to which all that was due is on record
        self.collected: list[tuple[int, Batch]] = []  # batches, with their numbers, of the step that is being computed
        self.every_parameter: list[nn.Parameter] = []  # in their order, once the run has begun
        self.has_choice = run.precision == "auto"
        self.precision: str | None = None  # chosen for precision "auto"
        self.threads: int | None = None  # of a step on a CPU; none: all
        self.at_a_time: int | None = None  # images that memory holds; none: a whole batch
        self.skipped = Counter[str]()
        self.skipped_in_a_row = 0
        self.running: dict[str, Tensor] = {}  # losses summed since the last log line,
        self.summed = 0  # over so many batches
        self.val_at_start = False  # whether to measure before the first step
        self.val_images = 0  # of each set that is measured, how many are written
        self.best = Best()  # of its measurements
        self.note = ""  # what stands behind the progress bar
        self.reached = ""  # what was last measured

    def set_length(self, run: TrainingRun, first: int = 0) -> None:
        """Lays samples and learning rate out over the steps of a run, also once a budget has chosen how many they are.

        Args:
            run: the command.
            first: the batch that it goes on with.
        """
        here = rank_info()
        batches = run.steps * run.accumulate
        self.sampler = StepSampler(plan_stages(run), batches, first=first, rank=here.rank, world=here.world_size)
        shape = {"warmup_steps": run.warmup_steps, "min_lr": run.min_lr}
        shape |= {"milestones": run.milestones, "gamma": run.gamma}
        self.schedule = schedule(run.schedule, run.lr, steps=run.steps, **shape)

    def losses(self, batch: Batch, generator: BatchGenerator) -> dict[str, Tensor]:
        """The losses of a batch: `loss` and its parts."""
        raise NotImplementedError

    def preview(self, batch: Batch, generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) for the sample sheet by label."""
        raise NotImplementedError

    def measure(self, watch: Watch) -> None:
        """Measures the run on the images that it is held against, and records it; nothing where there are none.

        Args:
            watch: is given the images and yields them, one at a time.
        """

    def get_ready(self) -> None:
        """Computes what steps need beside batches; the module is on its device, and can speak with other processes."""

    def time_measurement(self) -> float:
        """Seconds that a measurement takes, from a small part of it, which leaves everything as it is."""
        return 0.0

    @property
    def deliverable(self) -> Backbone:
        """The network that the run is for: the averaged one where there is an average."""
        return cast(Backbone, self.average.module) if self.average is not None else self.backbone

    def header(self) -> dict[str, Any]:
        """What a file that is written now says of the run."""
        chosen = {"threads": self.threads, "precision": self.precision if self.has_choice else None}
        return self.facts | {name: value for name, value in chosen.items() if value is not None} | {"step": self.step}

    def image_names(self, train: Dataset[Any]) -> dict[str, list[str]]:
        """Names of the images that a run reads from files, by what they are for; `train` are its samples."""
        return {"training": list_names(train)}

    @property
    def batch_coupling(self) -> str:
        """What ties the images of a batch together in the loss, in words; empty where nothing does."""
        return ""

    @property
    def find_unused_parameters(self) -> bool:
        """Whether a step may leave parameters without gradient."""
        return self.backbone.find_unused_parameters

    def extra_modules(self) -> dict[str, nn.Module]:
        """What else is worth keeping of a run, by file name."""
        return {}

    @property
    def step(self) -> int:
        """Optimiser steps done, skipped ones included."""
        return self.batches_done // self.accumulate

    @property
    def has_waited(self) -> bool:
        """Whether the run has waited for a better measurement as long as it is to."""
        return False

    @property
    def is_done(self) -> bool:
        """Whether no step is to come."""
        return self.batches_done == self.sampler.batches or self.has_waited

    @property
    def is_whole(self) -> bool:
        """Whether weights and optimiser stand between two steps, as a state must to go on from."""
        begun = self.collected[0][0] if self.collected else self.batches_done
        return begun == self.batches_done

    def trained(self) -> list[nn.Parameter]:
        """Parameters that the optimiser changes."""
        return [p for p in self.every_parameter or self.parameters() if p.requires_grad]

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, in groups for the optimiser; the `lr_factor` of a group multiplies the learning rate."""
        return [{"params": self.trained()}]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the run, over everything that is trained."""
        self.every_parameter = list(self.parameters())  # a walk through all modules takes 1 % of a small step
        groups = self.groups()
        return self.make_optimizer(groups if self.decay_norm_bias else split_weight_decay(groups))

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Forward and backward of one batch, and the optimiser step when enough batches have been accumulated."""
        self.collected.append((self.batches_done, batch))
        with computing_with(self.threads):
            losses = self.learn(self.collected, step=len(self.collected) == self.accumulate)
            self.batches_done += 1
            if len(self.collected) == self.accumulate:
                self.optimise([name for _, seen in self.collected for name in seen.get("name", ["a generated image"])])
                self.collected = []
        self.log_losses(losses)

    # ------------------------------------------------------------------------------------------------- gradients

    def learn(self, batches: list[tuple[int, Batch]], *, step: bool = False) -> dict[str, Tensor]:
        """Adds the gradients of the last of `batches` to those of the others, and returns its losses.

        Where memory does not suffice, gradients are computed anew for all of them, half as many images at a time.

        Args:
            batches: the batches, with their numbers in the run, whose gradients belong together.
            step: whether the optimiser steps next, so that the devices have to agree on the gradients.
        """
        missing, losses = batches[-1:], {}
        while True:
            try:
                for number, batch in missing:
                    losses = self.backward_of(number, batch, agree=step and number == batches[-1][0])
                return losses
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # The error is gone by now, and with it what it held on to.
            self.make_room(batches[-1][0])
            missing = batches

    def backward_of(self, number: int, batch: Batch, *, agree: bool) -> dict[str, Tensor]:
        """Forward and backward of one batch, as many images at a time as memory holds; returns the losses."""
        count = len(self.sampler.part(number).keys)
        sums: dict[str, Tensor] = {}
        size = self.at_a_time or count
        for begin in range(0, count, size):
            rows = slice(begin, min(begin + size, count))
            share = (rows.stop - begin) / count
            losses = self.losses_of(number, batch, rows)
            loss = losses["loss"] * (share / self.accumulate)
            if self.find_unused_parameters or (agree and rows.stop == count):
                self.manual_backward(loss)  # devices average their gradients here, and only here
            else:
                loss.backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + share * value.detach().float()
        return sums

    def losses_of(self, number: int, batch: Batch, rows: slice) -> dict[str, Tensor]:
        """The losses of some images of a batch, whose draws do not depend on which are computed at a time."""
        keys, first, total = self.sampler.part(number)
        own = [generator_for(self.seed, "losses", index, 0, device=self.device) for index, _ in keys[rows]]
        torch.manual_seed(seed_for(self.seed, "network", number))  # for stochastic depth
        shared = generator_for(self.seed, "batch", number, device=self.device)
        generator = ImageGenerators(own, shared, step=number // self.accumulate)
        with part_of_batch(self, first + rows.start, len(own), total):
            return self.losses({name: values[rows] for name, values in batch.items()}, generator)

    def rehearse(self, batch: Batch) -> None:
        """Forward and backward of images that stand for the first of the run, to see what they take."""
        self.losses_of(0, batch, slice(0, len(next(iter(batch.values())))))["loss"].backward()
        self.zero_grad()

    def make_room(self, number: int) -> None:
        """Halves the images that are computed at a time, and says so; gradients begin anew.

        Raises:
            TrainingError: if a batch cannot be cut any further.
        """
        keys = self.sampler.part(number).keys
        size = min(self.at_a_time or len(keys), len(keys))
        advice = f"lower crop_size (now {keys[0][1]}), or batch_size and raise accumulate. --resume goes on"
        if rank_info().world_size > 1:
            raise TrainingError(f"out of memory on device {rank_info().rank} with {size} images; {advice}")
        if size == 1:
            raise TrainingError(f"out of memory with one image at a time; {advice}")
        if self.batch_coupling:
            raise TrainingError(
                f"out of memory with {size} images, and their batch cannot be cut, for {self.batch_coupling}; {advice}"
            )
        self.at_a_time = size // 2
        warn(
            f"out of memory with {size} images at a time; from here on {self.at_a_time} at a time, whose gradients are "
            "accumulated: the same result but for rounding"
        )
        self.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # ------------------------------------------------------------------------------------------------------ steps

    def log_losses(self, losses: dict[str, Tensor]) -> None:
        """Sums the losses on the device; writes their mean every `log_every` steps, the only time it waits for it."""
        for name, value in losses.items():
            self.running[name] = value + self.running[name].to(value) if name in self.running else value
        self.summed += 1
        if self.batches_done % (self.log_every * self.accumulate) == 0:
            values = mean_over_processes(torch.stack(list(self.running.values())) / self.summed).tolist()
            means = dict(zip(self.running, values, strict=True))
            self.note = f"loss {means['loss']:.4g}"
            self.write({f"train/{name}": value for name, value in means.items()} | {"lr": self.rate})
            self.running, self.summed = {}, 0

    def write(self, metrics: dict[str, float]) -> None:
        """Writes metrics of the present step to metrics.csv and TensorBoard."""
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.step)

    @property
    def rate(self) -> float:
        """The learning rate of the step that is being computed."""
        return self.schedule(max(self.step - 1, 0))

    def optimise(self, names: list[str]) -> None:
        """One optimiser step, or none where the gradient is not finite; `names` are the samples of the step."""
        optimizer = cast(torch.optim.Optimizer, self.optimizers())
        trained = self.trained()
        gradients = [parameter.grad for parameter in trained if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if torch.isfinite(norm):
            if self.clip_norm is not None:
                torch.nn.utils.clip_grads_with_norm_(trained, self.clip_norm, norm)
            for group in optimizer.param_groups:
                group["lr"] = self.rate * group.get("lr_factor", 1)
            optimizer.step()
            self.skipped_in_a_row = 0
            if self.average is not None:
                self.average.update_parameters(self.backbone)
        else:
            self.skip(names)
        optimizer.zero_grad()

    def skip(self, names: list[str]) -> None:
        """Counts a step whose gradient was not finite, remembers its samples, and gives up after ten in a row.

        Raises:
            TrainingError: after `MAX_SKIPPED_IN_A_ROW` skipped steps in a row.
        """
        names = [name for share in all_gather(names) for name in share]
        self.skipped.update(names)
        self.skipped_in_a_row += 1
        self.running, self.summed = {}, 0
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"the loss was not finite in {self.skipped_in_a_row} steps in a row, last at step {self.step} "
                f"(samples: {', '.join(names)}); lower the learning rate, clip gradients (clip_norm), or look at these "
                "samples. The last saved state is still loadable"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds where the run stands to the state that `--resume` reads."""
        checkpoint["gesso"] = {
            "batches_done": self.batches_done,
            "recorded": self.recorded,
            "precision": self.precision,
            "threads": self.threads,
            "at_a_time": self.at_a_time,
            "skipped": dict(self.skipped),
            "skipped_in_a_row": self.skipped_in_a_row,
            # of each device, for their sums are rounded apart
            "running": all_gather({name: float(value) for name, value in self.running.items()}),
            "summed": self.summed,
            "images": self.image_names(cast(Any, self.trainer).datamodule.train),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores where the run stood; older states lack some of it, and their last measurement may be missing."""
        state = checkpoint["gesso"]
        self.batches_done = state["batches_done"]
        self.recorded = state.get("recorded", -1)
        # older states do not say; their runs went by what the processor computes in
        self.precision = state.get("precision", "bf16" if computes_in_bf16(self.device) else "float32")
        self.threads = state.get("threads")
        sizes = [size for size in (state.get("at_a_time"), self.at_a_time) if size]  # then, and as memory holds now
        self.at_a_time = min(sizes, default=None)
        self.skipped = Counter(state["skipped"])
        self.skipped_in_a_row = state.get("skipped_in_a_row", 0)
        self.summed = state.get("summed", 0)
        self.running = own_running(state.get("running", []))
        # The loop of a resumed run has only the batches that are left; Lightning's counters of the first are not its.
        checkpoint.pop("loops", None)


def own_running(all_devices: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    """This device's sums of losses from those of all devices, or their mean where there were others."""
    here = rank_info()
    if len(all_devices) == here.world_size:
        own = all_devices[here.rank]
    else:
        own = {name: fmean(sums[name] for sums in all_devices) for name in (all_devices[0] if all_devices else {})}
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in own.items()}


def split_weight_decay(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups for an optimiser in two parts each: what has two axes or more, and what has fewer and does not decay."""
    parted = []
    for group in groups:
        vectors = [parameter for parameter in group["params"] if parameter.ndim < 2]
        others = [parameter for parameter in group["params"] if parameter.ndim >= 2]
        parted += [group | {"params": others}, group | {"params": vectors, "weight_decay": 0.0}]
    return [group for group in parted if group["params"]]
