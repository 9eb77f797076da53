"""Keeps what the project holds of a comparison in OUT: its measurements, and curves over steps and numbers of pairs.

usage: python docs/results/keep.py OUT QUESTION
"""

import shutil
import sys
from pathlib import Path

from gesso.report.comparison import Comparison
from gesso.report.figures import standalone

HERE = Path(__file__).parent


def main(out: Path, question: str) -> None:
    """Writes comparison.csv and the curves into docs/results/QUESTION."""
    comparison = Comparison.read(out / question)
    (HERE / question).mkdir(exist_ok=True)
    shutil.copy(out / question / "comparison.csv", HERE / question)
    for table in (out / question / "pairs").glob("*/comparison.csv"):  # with fewer pairs
        shutil.copy(table, HERE / question / f"comparison-{table.parent.name}-pairs.csv")
    for figure in ("learning-curves", "pairs"):
        if figure in comparison.figures:
            (HERE / question / f"{figure}.svg").write_text(standalone(comparison.keyed(figure)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
