"""Runs that one process and several must end alike: `torchrun -m tests.training._shared_jobs FOLDER` does them."""

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import distributed

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.evaluate import evaluate
from gesso.commands.refine import refine
from gesso.commands.restore import restore
from gesso.formats import PixelFormat
from gesso.functional.processes import rank_info
from gesso.training.callbacks import Samples
from tests._networks import photo_like
from tests._runs import NAFNET, SMALL_NETWORK

NARROW = {"decoder_width": 4, "feature_channels": 8}
DROPPING = {"embed_dim": 8, "depths": [2], "num_heads": [2], "drop_path_rate": 0.5}
RUN = {"steps": 2, "log_every": 2, "precision": "float64", "accelerator": "cpu", "workers": 0}


def prepare(folder: Path) -> None:
    """Seven pairs, a restorer and a network to measure."""
    for i in range(7):
        photo = photo_like(3, 24 + i, 32, seed=i)
        for name, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(folder / "data" / name / f"{i}.png", image)
    torch.manual_seed(0)
    checkpoint.save(create_backbone("nafnet_tiny", **NAFNET), folder / "net.safetensors")


Job = Callable[..., Any]  # of the data, the folder of the run, and what else the run is told


def pretrain(**options: Any) -> Job:
    common = {"crop_size": 24, "batch_size": 4, **RUN, **SMALL_NETWORK}
    return lambda data, out, **more: gesso.pretrain(**{"out": out, **common, **options, **more})


def refine_shortly(data: Path, out: Path, **more: Any) -> None:
    net = data / "net.safetensors"
    options = {"crop_size": 16, "batch_size": 2, "holdout": 1, "loss": "l1", **RUN, **more}
    refine(out=out, checkpoint=net, prior=str(net), task="derain", data=data / "data", **options)


def refine_by_images(data: Path, out: Path, **more: Any) -> None:
    """Refines by what the prior says of whole images; `looked_at_RANK` lists those that it was shown here."""
    from gesso.commands._refine import read_tensor

    def noted(image: Path, format: PixelFormat) -> torch.Tensor:
        with (out / f"looked_at_{rank_info().rank}").open("a") as file:
            file.write(f"{image.name}\n")
        return read_tensor(image, format)

    with mock.patch("gesso.commands._refine.read_tensor", noted):
        refine_shortly(data, out, prior_view="image", **more)


TRAININGS: dict[str, Job] = {
    "ifp": pretrain(pretext="ifp", pretext_args=NARROW, ema_decay=0.9, clip_norm=0.1),
    "mfm": pretrain(pretext="mfm", pretext_args=NARROW, accumulate=2),
    # SwinIR leaves branches out at random.
    "restore": pretrain(pretext="restore", backbone="swinir_tiny", backbone_args=DROPPING),
    "dcpt": pretrain(pretext="dcpt", pretext_args={"mode": "alternate"}),
    "degae": pretrain(
        pretext="degae", pretext_args={"representor_width": 8, "representor_blocks": 4, "decoder_width": 16}
    ),
    "ipt": pretrain(pretext="ipt", pretext_args={"contrastive_weight": 0.0}, accumulate=2),
    "finetune": lambda data, out, **more: gesso.finetune(
        out=out, task="derain", data=data / "data", holdout=3, val_every=1, crop_size=16, batch_size=2,
        clip_norm=0.1, ema_decay=0.9, sample_every=1, **{**RUN, **SMALL_NETWORK, "log_every": 1}, **more,
    ),
    "refine": refine_shortly,
    "refine_by_images": refine_by_images,
}  # fmt: skip
MEASUREMENTS: dict[str, Callable[[Path, Path], Any]] = {
    "evaluated": lambda data, out: evaluate(
        task="derain", data=data / "data", checkpoint=data / "net.safetensors", device="cpu", out=out, save_images=True
    ),
    "restored": lambda data, out: restore(
        data / "data/input", out, checkpoint=data / "net.safetensors", device="cpu", precision="float32"
    ),
}  # fmt: skip


def run_all(data: Path, out: Path) -> None:
    """Does all jobs, each into its own folder."""
    for name, job in (TRAININGS | MEASUREMENTS).items():
        job(data, out / name)


def run_halves(data: Path) -> None:
    """Does two halves of a training, one of which is begun here, and one goes on from elsewhere."""
    begin(data, data / "begun_by_two")
    TRAININGS["finetune"](data, data / "begun_by_one", resume=True)


def begin(data: Path, out: Path) -> None:
    """Fine-tunes until Ctrl-C comes behind the first step."""
    draw = Samples.on_train_batch_end

    def interrupt(self: Samples, trainer: Any, module: Any, *others: Any) -> None:
        draw(self, trainer, module, *others)
        if module.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with mock.patch.object(Samples, "on_train_batch_end", interrupt), contextlib.suppress(KeyboardInterrupt):
        TRAININGS["finetune"](data, out)


def check_that_it_has_left() -> None:
    """Ends with 3 if Python is about to end while this process belongs to a group."""
    if distributed.is_initialized():
        os._exit(3)


if __name__ == "__main__":
    atexit.register(check_that_it_has_left)  # the first to be registered is the last to be called
    folder = Path(sys.argv[1])
    run_all(folder, folder / "two")
    run_halves(folder)
