"""Adds a row to scores.csv for one measured set of one run of `no_pair.sh`; the run's scores.json is read.

usage: python no_pair_row.py SCORES.csv TASK NETWORK IMAGES STEPS LR DEGRADATION FOLDER
"""

import csv
import json
import sys
from pathlib import Path

HEADER = ["task", "network", "images", "steps", "lr", "degradation", "set", "count", "psnr", "ssim"]


def main(table: Path, run: list[str], folder: Path) -> None:
    """Appends the means of `folder/scores.json` to the table, which is begun with its header."""
    scores = json.loads((folder / "scores.json").read_text())
    new = not table.exists()
    with table.open("a", newline="") as file:
        lines = csv.writer(file)
        if new:
            lines.writerow(HEADER)
        for row in scores["sets"]:
            count = sum(one["set"] == row["set"] for one in scores["rows"])
            lines.writerow([*run, row["set"], count, f"{row['psnr']:.3f}", f"{row['ssim']:.4f}"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:8], Path(sys.argv[8]))
