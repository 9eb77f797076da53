"""DC-guided training on dead leaves: six pairs source -> target, with and without critic, with and without clipping.

    python -m benchmarks.dc_guided --backbone nafnet_tiny --steps 200 --out runs/dc_guided

Three networks learn to undo rain, noise and motion blur; for each a critic learns five degradations on its frozen
features (recipe dc_critic), and one learns two, clean and degraded (`--classes 2`). Then every network goes on with the
degradations of the two others (recipe dc_guided). The table holds the PSNR on held-out leaves.
"""

import argparse
import contextlib
import csv
import io
from pathlib import Path
from typing import Any

import torch
import yaml

import gesso
from gesso._discovery import ROOT

TASKS = {"derain": "rain", "denoise": {"name": "gaussian_noise", "sigma": 25}, "deblur": "motion_blur"}
PAIRS = [f"{source}-{target}" for source in TASKS for target in TASKS if source != target]
VARIANTS = {"plain": (False, None), "clipped": (False, 0.01), "critic": (True, None), "critic, clipped": (True, 0.01)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dc_guided"))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--backbone", default="nafnet_tiny")
    parser.add_argument("--source_steps", type=int, default=400, help="of each of the three networks")
    parser.add_argument("--steps", type=int, default=200, help="of each critic and each pair")
    parser.add_argument("--crop_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--classes", type=int, choices=[5, 2], default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small = {"steps": arguments.steps, "crop_size": arguments.crop_size, "batch_size": arguments.batch_size}
    small |= {"backbone": arguments.backbone, "precision": "float32", "overwrite": True, "sample_every": 0}
    pairs = [tuple(name.split("-")) for name in arguments.pairs]
    for source in dict.fromkeys(source for source, _ in pairs):
        first = small | {"steps": arguments.source_steps}
        finetune(arguments.out / source, task=source, degradation=TASKS[source], init="random", **first)
        critic = read_recipe("pretrain/dc_critic") | small
        critic["pretext_args"] |= {"preset": {5: "five", 2: "two"}[arguments.classes]}
        init = arguments.out / source / "backbone.safetensors"
        with contextlib.redirect_stdout(io.StringIO()):
            gesso.pretrain(out=arguments.out / f"critic-{source}", init=init, **critic)
    plan = f"{arguments.source_steps} steps on the source, {arguments.steps} on the target"
    print(f"{arguments.backbone}, {plan}, critic of {arguments.classes} classes: PSNR in dB\n")
    print(f"| source -> target | before | {' | '.join(VARIANTS)} |\n|---|---|{'---|' * len(VARIANTS)}")
    for source, target in pairs:
        print_row(arguments, source, target, small)


def print_row(arguments: argparse.Namespace, source: str, target: str, small: dict[str, Any]) -> None:
    spoil = TASKS[target]
    before = finetune(arguments.out / "before", task=target, degradation=spoil, **still(arguments, source, small))
    row = [pair(arguments, source, target, spoil, small, *variant) for variant in VARIANTS.values()]
    print(f"| {source} -> {target} | {before:.2f} | {' | '.join(f'{psnr:.2f}' for psnr in row)} |", flush=True)


def pair(
    arguments: argparse.Namespace, source: str, target: str, spoil: Any, small: dict[str, Any], guided: bool, clip: Any
) -> float:
    """The PSNR that one pair reaches."""
    recipe = read_recipe("finetune/dc_guided") | small
    recipe |= {"task": target, "degradation": spoil, "clip_norm": clip, "ema_decay": None}
    recipe |= {"init": str(arguments.out / source / "backbone.safetensors")}
    if guided:
        recipe |= {"critic": arguments.out / f"critic-{source}" / "classifier.safetensors"}
        recipe |= {"critic_target": 0} if arguments.classes == 2 else {}
    return finetune(arguments.out / f"{source}-{target}", **recipe)


def still(arguments: argparse.Namespace, source: str, small: dict[str, Any]) -> dict[str, Any]:
    """Options that measure a network on another task without changing it."""
    init = str(arguments.out / source / "backbone.safetensors")
    return small | {"init": init, "keep_last": True, "steps": 1, "lr": 1e-12}


def finetune(out: Path, **options: Any) -> float:
    """Fine-tunes on procedural images; the PSNR in dB at the end."""
    with contextlib.redirect_stdout(io.StringIO()):
        gesso.finetune(out=out, **{"lr": 1e-3, "val_every": 0, **options, "data": "leaves", "holdout": 4})
    with (out / "metrics.csv").open(newline="") as file:
        return float(
            [row[f"{options['task']}/psnr"] for row in csv.DictReader(file) if row[f"{options['task']}/psnr"]][-1]
        )


def read_recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())


if __name__ == "__main__":
    main()
