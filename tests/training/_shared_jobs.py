"""Runs that one process and several must end alike: `torchrun -m tests.training._shared_jobs FOLDER` does them all."""

import atexit
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.evaluate import evaluate
from gesso.commands.refine import refine
from gesso.commands.restore import restore
from tests._networks import photo_like

SMALL = {"backbone": "restormer_tiny", "backbone_args": {"dim": 8, "num_blocks": [1, 1, 1, 1]}}
RUN = {"steps": 2, "log_every": 2, "precision": "float64", "accelerator": "cpu", "workers": 0}


def prepare(folder: Path) -> None:
    """Seven pairs, a restorer and a network to measure."""
    for i in range(7):
        photo = photo_like(3, 24 + i, 32, seed=i)
        for name, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(folder / "data" / name / f"{i}.png", image)
    torch.manual_seed(0)
    checkpoint.save(create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1)), folder / "net.safetensors")


Job = Callable[[Path, Path, str], Any]


def pretrain(**options: Any) -> Job:
    common = {"crop_size": 24, "batch_size": 4, **RUN, **SMALL}
    return lambda data, out, strategy: gesso.pretrain(**{"out": out, "strategy": strategy, **common, **options})


TRAININGS: dict[str, Job] = {
    "ifp": pretrain(pretext="ifp", ema_decay=0.9, clip_norm=0.1),
    "mfm": pretrain(pretext="mfm", accumulate=2),
    # SwinIR leaves branches out at random.
    "restore": pretrain(pretext="restore", backbone="swinir_tiny", backbone_args={"drop_path_rate": 0.5}),
    "dcpt": pretrain(pretext="dcpt", pretext_args={"mode": "alternate"}),
    "degae": pretrain(
        pretext="degae", pretext_args={"representor_width": 8, "representor_blocks": 4, "decoder_width": 16}
    ),
    "ipt": pretrain(pretext="ipt", pretext_args={"contrastive_weight": 0.0}, accumulate=2),
    "finetune": lambda data, out, strategy: gesso.finetune(
        out=out,
        strategy=strategy,
        task="derain",
        data=data / "data",
        holdout=3,
        val_every=1,
        crop_size=16,
        batch_size=2,
        **RUN,
        **SMALL,
    ),
    "refine": lambda data, out, strategy: refine(
        out=out,
        checkpoint=data / "net.safetensors",
        prior=str(data / "net.safetensors"),
        task="derain",
        loss="l1",
        data=data / "data",
        holdout=3,
        crop_size=16,
        batch_size=2,
        strategy=strategy,
        **RUN,
    ),
}
MEASUREMENTS: dict[str, Callable[[Path, Path], Any]] = {
    "evaluated": lambda data, out: evaluate(
        task="derain", data=data / "data", checkpoint=data / "net.safetensors", device="cpu", out=out, save_images=True
    ),
    "restored": lambda data, out: restore(
        data / "data/input", out, checkpoint=data / "net.safetensors", device="cpu", precision="float32"
    ),
}  # fmt: skip


def train(data: Path, out: Path, strategy: str = "auto", names: Iterable[str] = TRAININGS) -> None:
    """Does trainings, each into its own folder."""
    for name in names:
        TRAININGS[name](data, out / name, strategy)


def measure(data: Path, out: Path) -> None:
    """Does all measurements, each into its own folder."""
    for name, job in MEASUREMENTS.items():
        job(data, out / name)


def check_that_it_has_left() -> None:
    """Ends with 3 if Python is about to end while this process belongs to a group."""
    if distributed.is_initialized():
        os._exit(3)


if __name__ == "__main__":
    atexit.register(check_that_it_has_left)  # the first to be registered is the last to be called
    run_all(*map(Path, sys.argv[1:]))
