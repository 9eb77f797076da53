"""Every pretext on small networks and dead leaves: what a step costs, what 200 do, and whether the file is of use.

    python -m benchmarks.pretexts --steps 200 --backbones restormer_tiny nafnet_tiny swinir_tiny

Each row is one run of `gesso pretrain`. Its loss is the mean over the same held-out images and draws before and after.
The run's folder is copied as it lay at nine tenths, as a killed run leaves it, and `--resume` goes on there: the row
says whether both end with the same bits. The file is then fine-tuned by `gesso finetune --init`.

Time is that of one core, as the processor counts it, so that other work on the machine matters little. Memory is how
far the resident size of a fresh process rises from before the network is built to the end of a few steps.
"""

import argparse
import contextlib
import io
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.data.generated import GeneratedImages
from gesso.functional.random import generator_for, seed_for
from gesso.pretext import Pretext, create_pretext
from gesso.sources.leaves import leaves
from gesso.training.callbacks import SaveCheckpoint

# DegAE's networks are far larger than these backbones; a quarter of their width keeps the table comparable.
SMALL_DEGAE = {"representor_width": 16, "representor_blocks": 4, "decoder_width": 16, "feature_channels": 16}
# What degrades detail and leaves brightness and contrast, which a crop of leaves does not tell; see docs/pretexts.md.
DETAIL = {"name": "mix", "choices": ["rings", "gaussian_noise", "gaussian_blur", "rain", "jpeg"]}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ifp": ("ifp", {}),
    "mfm": ("mfm", {}),
    "mfm-sr": ("mfm", {"corruption": "sr"}),
    "mfm-deblur": ("mfm", {"corruption": "deblur"}),
    "mfm-denoise": ("mfm", {"corruption": "denoise"}),
    "degae": ("degae", SMALL_DEGAE),
    "dcpt": ("dcpt", {}),
    "maskdcpt": ("maskdcpt", {"decoder_width": 16}),  # beside networks as small as these
    "ipt": ("ipt", {}),
    "restore": ("restore", {}),
    "restore-detail": ("restore", {"degradation": DETAIL}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretexts", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--backbones", nargs="+", default=["restormer_tiny", "nafnet_tiny", "swinir_tiny"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--crop_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--schedule", default="constant", choices=["constant", "cosine"])
    parser.add_argument("--warmup_steps", type=int, default=0)
    parser.add_argument("--precision", default="float32", choices=["float32", "bf16"])
    arguments = parser.parse_args()
    names = ("crop_size", "batch_size", "steps", "lr", "schedule", "warmup_steps", "precision")
    recipe = {name: getattr(arguments, name) for name in names}
    print(f"{', '.join(f'{name} {value}' for name, value in recipe.items())}, Adam, one core, images: leaves\n")
    print("| pretext | network | ms a step | MiB | loss before | after | ratio | resumed run | fine-tunes from |")
    print("|---|---|---|---|---|---|---|---|---|")
    for pretext in arguments.pretexts:
        for backbone in arguments.backbones:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                rows = process.submit(measure, pretext, backbone, recipe).result()
            for row in rows:
                print("| " + " | ".join(row) + " |", flush=True)


def measure(label: str, backbone: str, recipe: dict[str, Any]) -> list[list[str]]:
    """The rows of one pretext on one network, for options of `gesso pretrain`."""
    torch.set_num_threads(1)
    milliseconds, mebibytes = measure_cost(label, backbone, recipe)
    steps, size = recipe["steps"], recipe["crop_size"]
    name, options = ROWS[label]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out, killed = Path(folder, "run"), Path(folder, "killed")
        recipe = recipe | {"pretext": name, "pretext_args": options, "backbone": backbone, "images": "leaves"}
        recipe |= {"save_every": steps // 10, "sample_every": 0}
        with copy_run_at(killed, steps - steps // 10):
            file = gesso.pretrain(out=out, **recipe)
        resumed = gesso.pretrain(out=killed, resume=True, **recipe)
        loaded = count_loaded(file, backbone, Path(folder))
        before, after = build(label, backbone), build(label, backbone)
        state = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
        prefix = "pretext."
        after.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        same = are_equal(file, resumed)
    facts = [f"{milliseconds:.0f}", f"{mebibytes:.0f}"]
    proofs = ["same bits" if same else "DIFFERS", loaded]
    rows = [[label, backbone, *facts, *measure_losses(before, after, size), *proofs]]
    if label == "mfm":  # nearly all of its loss is detail that nothing tells; see docs/pretexts.md
        for probability, what in ((0.0, "coarse removed"), (1.0, "detail removed")):
            before.low_pass_prob = after.low_pass_prob = probability
            rows.append([f"{label}, {what}", backbone, "", "", *measure_losses(before, after, size), "", ""])
    return rows


def build(label: str, backbone: str) -> Any:
    """The pretext as `gesso pretrain` begins with it."""
    name, options = ROWS[label]
    torch.manual_seed(seed_for(0, "weights"))
    return create_pretext(name, create_backbone(backbone), **options)


def measure_cost(label: str, backbone: str, recipe: dict[str, Any]) -> tuple[float, float]:
    """Milliseconds and MiB of a training step: the median of some, and the largest resident size of all."""
    resident = psutil.Process().memory_info().rss
    pretext = build(label, backbone)
    optimizer = torch.optim.Adam([p for p in pretext.parameters() if p.requires_grad], recipe["lr"], fused=True)
    images = GeneratedImages("leaves", per_sample=pretext.images_per_sample)
    batch = make_batch(images, range(recipe["batch_size"]), recipe["crop_size"])
    times = []
    for step in range(7):
        begin = time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe["precision"] == "bf16"):
            loss = pretext(batch, generator_for(0, step))["loss"]
        loss.backward()
        optimizer.step()
        times.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return 1000 * statistics.median(times[2:]), (peak - resident) / 2**20


@contextlib.contextmanager
def copy_run_at(folder: Path, step: int) -> Any:
    """Copies a run's folder right after it has saved this step: what a run killed then would leave."""
    save: Callable[..., None] = SaveCheckpoint.save

    def save_and_copy(self: SaveCheckpoint, trainer: Any, module: Any) -> None:
        save(self, trainer, module)
        if module.step == step and not folder.exists():
            shutil.copytree(self.out, folder)

    SaveCheckpoint.save = save_and_copy
    yield
    SaveCheckpoint.save = save


def count_loaded(file: Path, backbone: str, folder: Path) -> str:
    """Fine-tunes the file for two steps; returns how many tensors of the network came from it."""
    for number in range(4):
        gesso.write_image(folder / "photos" / f"{number}.png", leaves(1, number, 48))
    options = {"task": "denoise", "data": folder / "photos", "degradation": "gaussian_noise", "val_every": 0}
    options |= {"crop_size": 16, "batch_size": 1, "steps": 2, "backbone": backbone, "precision": "float32"}
    gesso.finetune(out=folder / "finetuned", init=str(file), **options)
    report = str(checkpoint.load_features(create_backbone(backbone), file))
    return report.removeprefix("loaded ").split(",")[0]


def are_equal(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors, bit by bit."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def measure_losses(before: Pretext, after: Pretext, size: int) -> list[str]:
    """The mean loss of held-out images over four generators, untrained and trained, and their ratio."""
    images = GeneratedImages("leaves", per_sample=before.images_per_sample)
    batch = make_batch(images, range(10**6, 10**6 + 8), size)
    first, last = (mean_loss(pretext, batch) for pretext in (before, after))
    return [f"{first:.4f}", f"{last:.4f}", f"{last / first:.2f}"]


def make_batch(images: GeneratedImages, indices: range, size: int) -> dict[str, torch.Tensor]:
    return {"image": torch.stack([images[(index, size)]["image"] for index in indices])}


@torch.no_grad()
def mean_loss(pretext: Pretext, batch: dict[str, torch.Tensor]) -> float:
    """The mean loss of a batch over four generators."""
    return statistics.mean(pretext(batch, generator_for(1, draw))["loss"].item() for draw in range(4))


if __name__ == "__main__":
    main()
