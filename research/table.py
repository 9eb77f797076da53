"""Prints the tables of research/findings.md from the comparisons in OUT: what each start reached, and its gain.

usage: python research/table.py OUT [QUESTION ...]
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from gesso.report.results import read_scores
from gesso.report.statistics import Gains, estimate, paired_gains

DIGITS = {"psnr": 2, "ssim": 4}


def main(out: Path, questions: list[str]) -> None:
    """Prints verdicts and a table for every comparison that there is."""
    for folder in [out / question for question in questions] or sorted(out.iterdir()):
        if (folder / "comparison.md").exists():
            print(f"### `{folder.name}`\n")
            for table in [*sorted(folder.glob("pairs/*/comparison.csv")), folder / "comparison.csv"]:
                print_table(table)
                print_gains(table)
                print_over_starts(table)
            text = (folder / "comparison.md").read_text()
            print("\n".join(f"> {line.strip('*')}\n>" for line in text.splitlines() if line.startswith("**")))
            print(f"\ninput: {json.loads((folder / 'comparison.json').read_text())['input_psnr']:.2f} dB\n")


def print_table(table: Path) -> None:
    """Prints mean PSNR by start and step, and the difference to the first."""
    reached = defaultdict(list)
    for score in read_scores(table):
        reached[score.start, score.step].append(score.psnr)
    reference, *_ = starts = dict.fromkeys(start for start, _ in reached)
    steps = sorted({step for _, step in reached})
    print(f"{table.parent.name}\n\n| start | {' | '.join(map(str, steps))} |\n|---|{'---|' * len(steps)}")
    for start in starts:
        cells = [f"{fmean(reached[start, step]):.2f}" for step in steps]
        if start != reference:
            gains = (fmean(reached[start, step]) - fmean(reached[reference, step]) for step in steps)
            cells = [f"{cell} ({gain:+.2f})" for cell, gain in zip(cells, gains, strict=True)]
        name = start.removesuffix(".yaml")
        print(f"| {name if name == 'random' else f'`{name}`'} | {' | '.join(cells)} |")
    print()


def print_gains(table: Path) -> None:
    """Prints how far each start ends above the first, with 95 % intervals."""
    scores = read_scores(table)
    reference, *others = dict.fromkeys(score.start for score in scores)
    print(f"| start | PSNR (dB) over `{reference}` | SSIM over `{reference}` |\n|---|---|---|")
    for start in others:
        gains = {metric: paired_gains(scores, start, metric, baseline=reference) for metric in DIGITS}
        print(f"| `{start}` | {' | '.join(say_mean(*pair) for pair in gains.items())} |")
    print()


def say_mean(metric: str, gains: Gains) -> str:
    """The mean of gains with its 95 % interval."""
    found, digits = estimate(gains), DIGITS[metric]
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def print_over_starts(table: Path) -> None:
    """Prints how far each arm ends above what it was before its first step, with 95 % intervals."""
    scores = read_scores(table)
    last = max(score.step for score in scores)
    if all(score.step for score in scores):
        return
    print("| start | PSNR (dB) over its step 0 | SSIM over its step 0 |\n|---|---|---|")
    for start in dict.fromkeys(score.start for score in scores):
        own = [score for score in scores if score.start == start and score.step in (0, last)]
        pairs = [s._replace(start="end" if s.step else "begin", step=last) for s in own]
        gains = {metric: paired_gains(pairs, "end", metric, baseline="begin") for metric in DIGITS}
        print(f"| `{start}` | {' | '.join(say_mean(*pair) for pair in gains.items())} |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
