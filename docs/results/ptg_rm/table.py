"""Prints what the refiner was worth: refined against as many further steps without it.

usage: python docs/results/ptg_rm/table.py OUT      (OUT: the folder that run.sh filled)
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev

from scipy import stats


def main(out: Path) -> None:
    """Prints one row for each task and network, PSNR in dB."""
    print("| task | network | before | longer | refined | refined - longer, each seed | mean, 95 % |")
    print("|---|---|---|---|---|---|---|")
    runs = defaultdict(list)
    for folder in sorted(out.glob("*/*/[0-9]*")):
        if (folder / "refined" / "images.csv").exists():
            runs[folder.parent].append([final(folder / name) for name in ("base", "longer", "refined")])
    for network, scores in runs.items():
        gains = [refined - longer for _, longer, refined in scores]
        half = stats.t.ppf(0.975, len(gains) - 1) * stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        columns = [f"{fmean(column):.2f}" for column in zip(*scores, strict=True)]
        each = ", ".join(f"{gain:+.2f}" for gain in gains)
        cells = [network.parent.name, f"`{network.name}`", *columns, each, f"{fmean(gains):+.2f} ± {half:.2f}"]
        print(f"| {' | '.join(cells)} |")


def final(run: Path) -> float:
    """Mean PSNR in dB of the held-out images at the end of a run."""
    with (run / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    last = max(int(row["step"]) for row in rows)
    return fmean(float(row["psnr"]) for row in rows if int(row["step"]) == last)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
