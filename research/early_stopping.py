"""What stopping on one validation pair would have done, told from the measurements of the comparisons.

Each test image in turn is the validation pair: a run stops at the step that is best for it and is scored on the others.
Prints for every start the mean PSNR at the last step, at the step so chosen, and at the best of all, had one known.

usage: python research/early_stopping.py [QUESTION ...]
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from gesso.report.results import read_scores

RESULTS = Path(__file__).parent / "results"


def main(questions: list[str]) -> None:
    """Prints one table."""
    print(
        "| question | start | last step | stopped on one pair | best step | stopped after |\n|---|---|---|---|---|---|"
    )
    for question in questions or sorted(table.parent.name for table in RESULTS.glob("*/comparison.csv")):
        for start, rows in outcomes(RESULTS / question / "comparison.csv").items():
            last, stopped, best, step = (fmean(column) for column in zip(*rows, strict=True))
            name = start.removesuffix(".yaml")
            print(f"| `{question}` | {name} | {last:.2f} | {stopped:.2f} | {best:.2f} | {step:.0f} |")


def outcomes(table: Path) -> dict[str, list[tuple[float, float, float, int]]]:
    """By start, for each run and validation image: PSNR at the last, chosen and best step; and the chosen step."""
    runs = defaultdict(lambda: defaultdict(dict))
    for score in read_scores(table):
        runs[score.start, score.seed, score.fold][score.step][score.image] = score.psnr
    by_start = defaultdict(list)
    for (start, _, _), steps in runs.items():
        last = max(steps)
        for held in steps[last]:
            means = {
                step: fmean(psnr for image, psnr in scores.items() if image != held) for step, scores in steps.items()
            }
            chosen = max(steps, key=lambda step: steps[step][held])
            by_start[start].append((means[last], means[chosen], max(means.values()), chosen))
    return by_start


if __name__ == "__main__":
    main(sys.argv[1:])
