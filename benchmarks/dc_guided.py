"""DC-guided training on dead leaves: six pairs source -> target, with and without critic, with and without clipping.

    python -m benchmarks.dc_guided --backbone nafnet_tiny --steps 200 --out runs/dc_guided

Three networks learn to undo rain, noise and motion blur; for each a critic learns five degradations on its frozen
features (recipe dc_critic), and another one two, clean and degraded. Then every network goes on with the degradations
of the two others (recipe dc_guided). The table holds the PSNR on held-out leaves. Networks and critics that are in
`--out` already are taken from there.
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
PRESETS = {5: "five", 2: "two"}
VARIANTS: dict[str, tuple[int, float | None]] = {"plain": (0, None), "clipped": (0, 0.01)} | {
    title: (classes, clip)
    for classes in PRESETS
    for title, clip in ((f"critic of {classes}", None), (f"critic of {classes}, clipped", 0.01))
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dc_guided"))
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument("--backbone", default="nafnet_tiny")
    parser.add_argument("--source_steps", type=int, default=400, help="of each of the three networks")
    parser.add_argument("--critic_steps", type=int, default=400, help="of each critic")
    parser.add_argument("--critic_lr", type=float, default=1e-3)
    parser.add_argument("--critic_batch_size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200, help="of each pair")
    parser.add_argument("--crop_size", type=int, default=32)
    parser.add_argument("--batch_size", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    small = {"steps": arguments.steps, "crop_size": arguments.crop_size, "batch_size": arguments.batch_size}
    small |= {"backbone": arguments.backbone, "precision": "float32", "overwrite": True, "sample_every": 0}
    pairs = [tuple(name.split("-")) for name in arguments.pairs]
    for source in dict.fromkeys(source for source, _ in pairs):
        learn(arguments, source, small)
    plan = f"{arguments.source_steps} steps on the source, {arguments.steps} on the target"
    print(f"\n{arguments.backbone}, {plan}: PSNR in dB\n")
    print(f"| source -> target | before | {' | '.join(VARIANTS)} |\n|---|---|{'---|' * len(VARIANTS)}")
    for source, target in pairs:
        print_row(arguments, source, target, small)


def learn(arguments: argparse.Namespace, source: str, small: dict[str, Any]) -> None:
    """Trains the network of a source and its critics, and prints how often the critics are right."""
    init = arguments.out / source / "backbone.safetensors"
    if not init.exists():
        options = small | {"steps": arguments.source_steps}
        finetune(init.parent, task=source, degradation=TASKS[source], init="random", **options)
    for classes, preset in PRESETS.items():
        out = arguments.out / f"critic-{source}-{classes}"
        if not (out / "classifier.safetensors").exists():
            critic = read_recipe("pretrain/dc_critic") | small
            critic |= {"steps": arguments.critic_steps, "lr": arguments.critic_lr}
            critic |= {"batch_size": arguments.critic_batch_size}
            critic["pretext_args"] |= {"preset": preset}
            with contextlib.redirect_stdout(io.StringIO()):
                gesso.pretrain(out=out, init=init, **critic)
        with (out / "metrics.csv").open(newline="") as file:
            rights = [float(row["train/accuracy"]) for row in csv.DictReader(file)]
        last = rights[-max(len(rights) // 5, 1) :]
        print(f"{source}: critic of {classes} classes right in {sum(last) / len(last):.0%}", flush=True)


def print_row(arguments: argparse.Namespace, source: str, target: str, small: dict[str, Any]) -> None:
    spoil = TASKS[target]
    before = finetune(arguments.out / "before", task=target, degradation=spoil, **still(arguments, source, small))
    row = [pair(arguments, source, target, spoil, small, *variant) for variant in VARIANTS.values()]
    print(f"| {source} -> {target} | {before:.2f} | {' | '.join(f'{psnr:.2f}' for psnr in row)} |", flush=True)


def pair(
    arguments: argparse.Namespace, source: str, target: str, spoil: Any, small: dict[str, Any], classes: int, clip: Any
) -> float:
    """The PSNR that one pair reaches with a critic of so many classes, 0 for none."""
    recipe = read_recipe("finetune/dc_guided") | small
    recipe |= {"task": target, "degradation": spoil, "clip_norm": clip, "ema_decay": None}
    recipe |= {"init": str(arguments.out / source / "backbone.safetensors")}
    if classes:
        recipe |= {"critic": arguments.out / f"critic-{source}-{classes}" / "classifier.safetensors"}
        recipe |= {"critic_target": 0} if classes == 2 else {}
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
