"""Keeps what the project holds of a comparison in OUT: its measurements, and curves over steps and numbers of pairs.

usage: python research/keep.py OUT QUESTION
"""

import shutil
import sys
from pathlib import Path

from gesso.report.comparison import Comparison
from gesso.report.svg import standalone

RESULTS = Path(__file__).parent / "results"


def main(out: Path, question: str) -> None:
    """Writes comparison.csv and the curves into research/results/QUESTION."""
    comparison = Comparison.read(out / question)
    (RESULTS / question).mkdir(exist_ok=True)
    shutil.copy(out / question / "comparison.csv", RESULTS / question)
    for table in (out / question / "pairs").glob("*/comparison.csv"):  # with fewer pairs
        shutil.copy(table, RESULTS / question / f"comparison-{table.parent.name}-pairs.csv")
    for figure in ("learning-curves", "pairs"):
        if figure in comparison.figures:
            (RESULTS / question / f"{figure}.svg").write_text(standalone(comparison.figures[figure]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
