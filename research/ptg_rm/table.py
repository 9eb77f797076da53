"""Measures what the refiner was worth, on the images that a run did not train on, each restored as a whole.

Refined against as many further steps without it; and refined with the prior against its stored mean feature.

usage: python research/ptg_rm/table.py DATA OUT      (OUT: the folder that run.sh filled)
"""

import csv
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev

from scipy import stats

import gesso
from gesso.data.layouts import Pair, find_pairs

SETS = {"derain": "derain_rain100h", "lowlight": "lowlight_lol_train"}
WEIGHTS = "backbone.safetensors"


def main(data: Path, out: Path) -> None:
    """Prints a row for each task and network: PSNR in dB, mean over the seeds."""
    rows = []
    for task, folder in SETS.items():
        pairs = {pair.name: pair for pair in find_pairs(data / folder)}
        for network in sorted((out / task).iterdir()):
            runs = [measured(task, run, pairs) for run in sorted(network.iterdir())]
            gains = [refined - longer for _, longer, refined, *_ in runs]
            half = stats.t.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5
            columns = [f"{fmean(column):.2f}" for column in zip(*runs, strict=True)]
            each = ", ".join(f"{gain:+.2f}" for gain in gains)
            rows.append([task, f"`{network.name}`", *columns, each, f"{fmean(gains):+.2f} ± {half:.2f}"])
    print("| task | network | before | longer | refined | with the mean | alone | refined - longer | mean, 95 % |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def measured(task: str, run: Path, pairs: dict[str, Pair]) -> list[float]:
    """PSNR in dB of one seed: before, longer, refined, refined with the mean feature, the restorer alone."""
    with (run / "refined" / "images.csv").open(newline="") as file:
        held_out = {row["image"] for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as place:
        for name in held_out:
            for side, file in (("input", pairs[name].lq), ("target", pairs[name].gt)):
                (Path(place) / side).mkdir(exist_ok=True)
                (Path(place) / side / f"{name}{file.suffix}").symlink_to(file.resolve())
        whole = {"task": task, "data": place, "tile": None}
        before, longer = (gesso.evaluate(checkpoint=run / stage / WEIGHTS, **whole) for stage in ("base", "longer"))
        refined = gesso.evaluate(checkpoint=run / "refined" / WEIGHTS, prior_cost=True, **whole)
    return [scores.psnr for scores in (before.mean, longer.mean, refined.mean, *refined.instead.values())]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
