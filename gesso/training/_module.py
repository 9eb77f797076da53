"""One optimisation loop for pre-training, fine-tuning and refining."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gesso.backbones._base import Backbone
from gesso.functional.random import generator_for, seed_for
from gesso.training.schedules import Schedule

MAX_SKIPPED_IN_A_ROW = 10


class TrainingError(RuntimeError):
    """A run that cannot go on; what it saved before stays loadable."""


class TrainingModule(LightningModule):
    """What every run shares: the optimiser step, skipped steps, the average of weights, and where the run stands.

    Optimisation is by hand because two things need it: a non-finite step is skipped and its samples are named, and
    the learning rate is a pure function of the step.
    All random numbers of a batch come from (seed, batch number, rank), so a resumed run repeats an unbroken one.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.backbone = backbone
        self.average: AveragedModel | None = None
        self.batches_done = 0
        self.skipped = Counter[str]()
        self.skipped_in_a_row = 0
        self.running: dict[str, Tensor] = {}  # losses summed since the last log line
        self.note = ""  # what stands behind the progress bar
        self.facts: dict[str, Any] = {}  # what the file's header will say of this run

    def plan(
        self,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Schedule,
        clip_norm: float | None,
        accumulate: int,
        ema_decay: float | None,
        log_every: int,
        seed: int,
    ) -> None:
        """Sets how to optimise; `gesso.training.run.fit` calls it, so no module repeats these options."""
        self.make_optimizer, self.schedule, self.clip_norm = optimizer, schedule, clip_norm
        self.accumulate, self.log_every, self.seed = accumulate, log_every, seed
        if ema_decay:
            self.average = AveragedModel(self.backbone, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))

    def losses(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch: `loss` and its parts."""
        raise NotImplementedError

    def preview(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) for the sample sheet by label."""
        raise NotImplementedError

    @property
    def deliverable(self) -> Backbone:
        """The network that the run is for: the averaged one where there is an average."""
        return cast(Backbone, self.average.module) if self.average is not None else self.backbone

    def keepsakes(self) -> dict[str, nn.Module]:
        """What else is worth keeping of a run, by file name."""
        return {}

    @property
    def step(self) -> int:
        """Optimiser steps done, skipped ones included."""
        return self.batches_done // self.accumulate

    def trained(self) -> list[nn.Parameter]:
        """Parameters that the optimiser changes."""
        frozen = set() if self.average is None else set(self.average.parameters())
        return [p for p in self.parameters() if p.requires_grad and p not in frozen]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser of the plan, over everything that is trained."""
        return self.make_optimizer(self.trained())

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Forward and backward of one batch, and the optimiser step when enough batches have been accumulated."""
        torch.manual_seed(seed_for(self.seed, "batch", self.batches_done, self.global_rank))  # for stochastic depth
        generator = generator_for(self.seed, "losses", self.batches_done, self.global_rank, device=self.device)
        losses = self.losses(batch, generator)
        self.manual_backward(losses["loss"] / self.accumulate)
        self.batches_done += 1
        if self.batches_done % self.accumulate == 0:
            self.optimise(batch)
        self.log_losses(losses)

    def log_losses(self, losses: dict[str, Tensor]) -> None:
        """Sums the losses on the device; writes their mean every `log_every` steps, the only time it waits for it."""
        batches = self.log_every * self.accumulate
        for name, value in losses.items():
            value = value.detach().float() / batches
            self.running[name] = self.running[name] + value if name in self.running else value
        if self.batches_done % batches == 0:
            self.note = f"loss {self.running['loss'].item():.4g}"
            self.write({f"train/{name}": value.item() for name, value in self.running.items()} | {"lr": self.rate})
            self.running = {}

    def write(self, metrics: dict[str, float]) -> None:
        """Writes metrics of the present step to metrics.csv and TensorBoard."""
        for logger in self.loggers:
            logger.log_metrics(metrics, step=self.step)

    @property
    def rate(self) -> float:
        """The learning rate of the step that is being computed."""
        return self.schedule(max(self.step - 1, 0))

    def optimise(self, batch: dict[str, Any]) -> None:
        """One optimiser step, or none where the gradient is not finite."""
        optimizer = cast(torch.optim.Optimizer, self.optimizers())
        parameters = self.trained()
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm or float("inf"))
        if torch.isfinite(norm):
            for group in optimizer.param_groups:
                group["lr"] = self.rate
            optimizer.step()
            self.skipped_in_a_row = 0
            if self.average is not None:
                self.average.update_parameters(self.backbone)
        else:
            self.skip(batch)
        optimizer.zero_grad()

    def skip(self, batch: dict[str, Any]) -> None:
        """Counts a step whose gradient was not finite, remembers its samples, and gives up after ten in a row.

        Raises:
            TrainingError: after `MAX_SKIPPED_IN_A_ROW` skipped steps in a row.
        """
        names = batch.get("name", ["a generated image"])
        self.skipped.update(names)
        self.skipped_in_a_row += 1
        self.running = {}
        if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise TrainingError(
                f"the loss was not finite in {self.skipped_in_a_row} steps in a row, last at step {self.step} "
                f"(samples: {', '.join(names)}); lower the learning rate, clip gradients (clip_norm), or look at these "
                "samples. The last saved state is still loadable"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds where the run stands to the state that `--resume` reads."""
        checkpoint["gesso"] = {"batches_done": self.batches_done, "skipped": dict(self.skipped)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up where the run stood."""
        self.batches_done = checkpoint["gesso"]["batches_done"]
        self.skipped = Counter(checkpoint["gesso"]["skipped"])
