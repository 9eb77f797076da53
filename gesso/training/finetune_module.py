"""Supervised training on a restoration task."""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gesso import checkpoint
from gesso._names import portable
from gesso.backbones import Backbone
from gesso.data.augment import Augment
from gesso.data.training_data import total_pixels
from gesso.functional.color import as_rgb
from gesso.functional.processes import gather_in_order, rank_info, shard
from gesso.functional.random import BatchGenerator, shared
from gesso.functional.resize import enlarge
from gesso.losses import FeatureLoss
from gesso.metrics import Protocol, beside, mean_psnr
from gesso.options.run import SupervisedRun
from gesso.perceptual import Perceptual
from gesso.report.console import say, show_table, warn
from gesso.report.sheets import write_sheet
from gesso.restorer import Restorer
from gesso.training._module import TrainingModule, Watch
from gesso.training.best import LOSS, Best
from gesso.training.resume import list_names
from gesso.training.table import record_rows

Loss = Callable[[Tensor, Tensor], Tensor]

TIMED_SIDE = 256  # of the window of an image that a measurement is timed on
SLOW = 2.0  # seconds after which it is timed once


@dataclass(frozen=True)
class Validation:
    """Whole images that a run is measured on.

    Attributes:
        name: what the numbers are called in logs.
        pictures: `{"lq", "gt", "name"}` of whole images.
        protocol: how they are measured.
        input_psnrs: PSNR in dB of each unrestored input, in their order.
    """

    name: str
    pictures: Dataset[dict[str, Any]]
    protocol: Protocol
    input_psnrs: Sequence[float]

    def gain(self, psnrs: Sequence[float]) -> float:
        """By how many dB restored images are better than their inputs, mean over those of which both are finite."""
        pairs = zip(psnrs, self.input_psnrs, strict=True)
        gains = [psnr - before for psnr, before in pairs if math.inf not in (psnr, before)]
        return fmean(gains) if gains else 0.0


class FinetuneModule(TrainingModule):
    """Trains a backbone to turn `lq` into `gt`, and measures it on whole images by the protocol of the task.

    Args:
        backbone: the network.
        loss: compares restored and gt (B, 3, H, W).
        validations: what to measure on; the mean over them, of the PSNR or what `best_by` says, decides about the best.
        run: the command, which says how it is optimised and measured.
        facts: what the headers of its files say of the run, beside what is chosen on the way.
        perceptual: what is measured beside PSNR and SSIM.
        augment: what is done to a batch; each of several devices does it to the images of its own share.
        critic: what a frozen classifier sees in the features, as a second loss (DC-guided training), and its factor.
        features_lr: factor of the learning rate for everything but the head.
        start_counts: whether the start may be the best state, and is measured unless the command says otherwise: one
            that restores the task already.
    """

    def __init__(
        self,
        backbone: Backbone,
        loss: Loss,
        validations: Sequence[Validation],
        run: SupervisedRun,
        facts: Mapping[str, Any] | None = None,
        *,
        perceptual: Perceptual | None = None,
        augment: Augment | None = None,
        critic: tuple[FeatureLoss, float] | None = None,
        features_lr: float = 1.0,
        start_counts: bool = False,
    ) -> None:
        super().__init__(backbone, run, facts)
        self.critic, self.critic_weight = critic or (None, 0.0)
        self.features_lr = features_lr
        self.loss, self.validations, self.out, self.augment = loss, validations, Path(run.out), augment
        self.val_images, self.tile = run.val_images, run.tile
        self.start_counts, self.perceptual, self.best = start_counts, perceptual, Best.of(run, perceptual)
        self.val_at_start = start_counts if run.val_at_start is None else run.val_at_start

    def image_names(self, train: Dataset[Any]) -> dict[str, list[str]]:
        """Those of each validation, and of the training."""
        names = {f"{validation.name}'s validation": list_names(validation.pictures) for validation in self.validations}
        return names | super().image_names(train)

    @property
    def batch_coupling(self) -> str:
        """An augmentation of batches."""
        return "an augmentation combines its images" if self.augment is not None else ""

    def groups(self) -> list[dict[str, Any]]:
        """The features with their own learning rate, and the head."""
        if self.features_lr == 1:
            return super().groups()
        named = [(name, parameter) for name, parameter in self.backbone.named_parameters() if parameter.requires_grad]
        features = [parameter for name, parameter in named if not self.backbone.is_head(name)]
        head = [parameter for name, parameter in named if self.backbone.is_head(name)]
        return [{"params": features, "lr_factor": self.features_lr}, {"params": head}]

    def losses(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """The loss between the restored image and the ground truth."""
        lq, gt = batch["lq"], batch["gt"]
        if not any(p.requires_grad for name, p in self.backbone.named_parameters() if not self.backbone.is_head(name)):
            self.backbone.eval()  # frozen features must not draw stochastic depth either
        if self.augment is not None:
            lq, gt = self.augment(lq, gt, shared(generator))
        if self.critic is None:
            return {"loss": self.loss(self.backbone(lq), gt)}
        padded = self.backbone.pad(lq)
        features = self.backbone.features(padded)
        pixel = self.loss(self.backbone.crop(self.backbone.reconstruct(features[-1], padded), lq), gt)
        criticism = self.critic(self.backbone, features, padded)
        return {"loss": pixel + self.critic_weight * criticism, "pixel": pixel.detach(), "critic": criticism.detach()}

    @torch.no_grad()
    def preview(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """Input, restored and ground truth of a batch."""
        lq = batch["lq"]
        self.deliverable.eval()
        restored = self.deliverable(lq)
        self.backbone.train()
        return {"input": enlarge(lq, self.backbone.scale), "restored": restored, "ground truth": batch["gt"]}

    def measure(self, watch: Watch) -> None:
        """Measures whole images; logs the means over all devices, and keeps the best state."""
        if not self.validations:
            return
        began = time.perf_counter()
        network = self.deliverable
        exact = next(network.parameters()).dtype == torch.float64
        precision = "float64" if exact else "float32"
        restorer = Restorer(network, self.tile, device=self.device, precision=precision, adapt=False)
        gathered = [self.score(restorer, validation, watch) for validation in self.validations]
        names = [validation.name for validation in self.validations]
        psnrs = {name: [row["psnr"] for row in rows] for name, rows in zip(names, gathered, strict=True)}
        reached = {
            name: (mean_psnr(psnrs[name]), mean(rows, "ssim")) for name, rows in zip(names, gathered, strict=True)
        }
        self.reached = ", ".join(f"{name} {psnr:.2f} dB{beside(psnrs[name])}" for name, (psnr, _) in reached.items())
        if self.trainer.is_global_zero:
            self.record(gathered)
            self.announce(reached, psnrs)
            self.announce_others(names, gathered)
        metrics = {
            f"{name}/{metric}": mean(rows, metric)
            for name, rows in zip(names, gathered, strict=True)
            for metric in self.measured
        }
        self.write(metrics | {"validation_seconds": time.perf_counter() - began})
        self.keep_best({metric: mean_psnr(mean(rows, metric) for rows in gathered) for metric in self.measured})

    def time_measurement(self) -> float:
        """Seconds that a measurement takes, by the pixels that there are and what a window of each set takes."""
        return sum(map(self.time_validation, self.validations)) / rank_info().world_size

    @torch.no_grad()
    def time_validation(self, validation: Validation) -> float:
        """Seconds that a set takes."""
        pictures: Any = validation.pictures
        sample, network = pictures[0], self.deliverable
        window = sample["lq"][..., :TIMED_SIDE, :TIMED_SIDE].contiguous()
        height, width = window.shape[-2:]
        gt = sample["gt"][..., : network.scale * height, : network.scale * width].contiguous()
        precision = "float64" if next(network.parameters()).dtype == torch.float64 else "float32"
        restorer = Restorer(network, device=self.device, precision=precision, adapt=False)
        taken = math.inf
        for _ in range(2):  # the first warms up
            begin = time.perf_counter()
            restored = restorer(window)
            with contextlib.suppress(ValueError):  # a window may be none that the protocol measures
                self.measure_image(restored, gt, validation.protocol)
            taken = time.perf_counter() - begin
            if taken > SLOW:
                break
        return taken * total_pixels(pictures) / (height * width)

    def score(self, restorer: Restorer, validation: Validation, watch: Watch) -> list[dict[str, Any]]:
        """What each image of a set reaches, in their order; the devices share them out."""
        count = len(validation.pictures)  # pyright: ignore[reportArgumentType]
        rows = []
        for number in watch(shard(range(count))):
            sample = validation.pictures[number]
            restored = restorer(sample["lq"])
            rows.append({"name": sample["name"], **self.measure_image(restored, sample["gt"], validation.protocol)})
            if number < self.val_images:
                path = self.out / "val_images" / f"{self.step:06d}" / portable(validation.name) / f"{number:04d}.png"
                write_triple(path, sample, restored, validation.protocol, rows[-1]["psnr"])
        return gather_in_order(rows, count)

    def measure_image(self, restored: Tensor, gt: Tensor, protocol: Protocol) -> dict[str, float]:
        """PSNR, SSIM, and whatever else is asked for, of one restored image."""
        values = protocol(restored, gt) | (self.perceptual(restored, gt, protocol) if self.perceptual else {})
        if self.best.metric == LOSS:
            with torch.no_grad():
                values[LOSS] = float(self.loss(restored[None].to(self.device), gt[None].to(self.device)))
        return values

    def keep_best(self, means: dict[str, float]) -> None:
        """Writes `best.safetensors` if no state before was better; `means` are those over the sets, by metric."""
        if (self.step == 0 and not self.start_counts) or not self.best.note(means[self.best.metric], self.step):
            return
        if self.trainer.is_global_zero:
            measured = {f"validation_{metric}": round(means[metric], 4) for metric in ("psnr", self.best.metric)}
            facts = self.header() | {"best_by": self.best.metric, **measured}
            checkpoint.save(self.deliverable, self.out / "best.safetensors", **facts)

    @property
    def has_waited(self) -> bool:
        """Whether no measurement has been better for as long as the run is to wait."""
        return self.best.has_waited

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what is measured."""
        loss = (LOSS,) if self.best.metric == LOSS else ()
        return ("psnr", "ssim", *(self.perceptual.names if self.perceptual else ()), *loss)

    def announce_others(self, names: Sequence[str], scores: Sequence[list[dict[str, Any]]]) -> None:
        """Prints the means of what is measured beside PSNR and SSIM, a line for each set."""
        if others := self.measured[2:]:
            for name, rows in zip(names, scores, strict=True):
                say(f"{name}: {', '.join(f'{metric} {mean(rows, metric):.4f}' for metric in others)}")

    def record(self, scores: list[list[dict[str, Any]]]) -> None:
        """Adds what every image reached to `images.csv`."""
        rows = [
            [validation.name, str(self.step), image["name"], *(f"{image[metric]:.5f}" for metric in self.measured)]
            for validation, images in zip(self.validations, scores, strict=True)
            for image in images
        ]
        record_rows(self.out / "images.csv", ["set", "step", "image", *self.measured], rows, self.step)

    def announce(self, reached: dict[str, tuple[float, float]], psnrs: dict[str, list[float]]) -> None:
        """Prints PSNR and SSIM of each validation: a line, or where there are several a table with their mean.

        Args:
            reached: mean PSNR and SSIM by validation.
            psnrs: that of each image.
        """
        gains = {v.name: v.gain(psnrs[v.name]) for v in self.validations}
        words = {name: f"{psnr:.2f}{beside(psnrs[name])}" for name, (psnr, _) in reached.items()}
        if len(reached) == 1:
            ((name, (_, ssim)),), (gain,) = reached.items(), gains.values()
            same = beside(psnrs[name])
            value = f"{reached[name][0]:.2f} dB{same}"
            say(f"step {self.step}: {name} PSNR {value} ({gain:+.2f} over the input), SSIM {ssim:.4f}")
        else:
            rows = [(name, words[name], f"{gains[name]:+.2f}", f"{ssim:.4f}") for name, (_, ssim) in reached.items()]
            psnr, ssim = mean_psnr(psnr for psnr, _ in reached.values()), fmean(ssim for _, ssim in reached.values())
            rows.append(("mean", f"{psnr:.2f}", f"{fmean(gains.values()):+.2f}", f"{ssim:.4f}"))
            show_table((f"step {self.step}", "PSNR (dB)", "over the input", "SSIM"), rows)
        for validation in self.validations:
            name, inputs = validation.name, validation.input_psnrs
            if gains[name] <= 0 and self.step > 0 and not all(psnr == math.inf for psnr in psnrs[name]):
                numbers = f"{words[name]} of {mean_psnr(inputs):.2f} dB{beside(inputs)}"
                warn(f"{name}: the restored images are no better than their inputs ({numbers})")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the best validation so far."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gesso"]["best"] = self.best.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up the best validation so far."""
        super().on_load_checkpoint(checkpoint)
        self.best.restore(checkpoint["gesso"])


def write_triple(path: Path, sample: dict[str, Any], restored: Tensor, protocol: Protocol, psnr: float) -> None:
    """Writes input, restored image and ground truth of a sample at full size side by side, with PSNR as measured."""
    given = sample["lq"] if len(sample["lq"]) == len(restored) else as_rgb(sample["lq"])
    given = enlarge(given, restored.shape[-1] // given.shape[-1])
    before = protocol(given, sample["gt"])["psnr"]
    labels = {f"input {before:.2f} dB": given, f"restored {psnr:.2f} dB": restored, "ground truth": sample["gt"]}
    write_sheet(path, [labels], [sample["name"]])


def mean(rows: Sequence[dict[str, Any]], metric: str) -> float:
    """The mean of a metric over images, in which identical ones do not count in PSNR."""
    return mean_psnr(row[metric] for row in rows)
