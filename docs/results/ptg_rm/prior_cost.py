"""Prints what it costs to refine with the stored mean feature instead of the prior, and without the refiner.

usage: python docs/results/ptg_rm/prior_cost.py DATA OUT      (OUT: the folder that run.sh filled)
"""

import csv
import sys
import tempfile
from pathlib import Path
from statistics import fmean

import gesso
from gesso.data.layouts import find_pairs

SETS = {"derain": "derain_rain100h", "lowlight": "lowlight_lol_train"}


def main(data: Path, out: Path) -> None:
    """Prints one row for each task and network: mean PSNR in dB of the held-out images over the seeds."""
    print("| task | network | refined | with the mean feature | restorer alone |")
    print("|---|---|---|---|---|")
    for task, folder in SETS.items():
        pairs = {pair.name: pair for pair in find_pairs(data / folder)}
        for network in sorted((out / task).iterdir()):
            scores = [held_out(task, run, pairs) for run in sorted(network.glob("*/refined"))]
            print(f"| {task} | `{network.name}` | {' | '.join(f'{fmean(s):.2f}' for s in zip(*scores, strict=True))} |")


def held_out(task: str, run: Path, pairs: dict) -> list[float]:
    """PSNR in dB of the images that a run did not train on: refined, with the mean feature, the restorer alone."""
    with (run / "images.csv").open(newline="") as file:
        names = {row["image"] for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            for side, file in (("input", pairs[name].lq), ("target", pairs[name].gt)):
                (Path(place) / side).mkdir(exist_ok=True)
                (Path(place) / side / f"{name}{file.suffix}").symlink_to(file.resolve())
        scores = gesso.evaluate(task=task, data=place, checkpoint=run / "backbone.safetensors", prior_cost=True)
    return [scores.mean.psnr, *(other.psnr for other in scores.instead.values())]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
