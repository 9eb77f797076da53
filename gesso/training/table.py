"""Tables of a run by step, whole at any moment, with the rows from before it was interrupted.

Rows can be written again: those of the same step give way. So a run that was killed behind a row, and goes on from
before it, leaves the table of an unbroken one.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gesso.data.io import atomic_path, atomic_text

RECENT = 3  # rows back in which one of the same step may stand: what a step writes, it writes in a few rows


class Table(Logger):
    """`metrics.csv`: every save replaces the file at once; columns come as they are first written.

    Args:
        path: the file, in a folder that exists.
        step: rows after this step are dropped; a run that goes on from there writes them again.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        self.path, self.is_saved, self.metrics = path, False, list[dict[str, Any]]()
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))  # words, which are written again as they are
            self.metrics = [{k: v for k, v in row.items() if v} for row in rows if int(row["step"]) <= step]

    @property
    def name(self) -> str:
        """None: it stands in the folder of the run itself."""
        return ""

    @property
    def version(self) -> str:
        """None likewise."""
        return ""

    @property
    def save_dir(self) -> str:
        """The folder of the run."""
        return str(self.path.parent)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Adds a row; one of the same step with one of its numbers gives way."""
        new = {**metrics, "step": step}
        shared = {"step"}
        self.metrics[-RECENT:] = [
            row for row in self.metrics[-RECENT:] if int(row["step"]) != step or row.keys() & new.keys() == shared
        ]
        self.metrics.append(new)
        self.is_saved = False

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's, and empty: `config.yaml` has the options."""

    @rank_zero_only
    def save(self) -> None:
        """Writes all rows, if there are new ones."""
        if self.is_saved or not self.metrics:
            return
        columns = sorted({name: None for row in self.metrics for name in row})
        with atomic_path(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.metrics)
        self.is_saved = True

    def finalize(self, status: str) -> None:
        """Writes what there is at the end."""
        self.save()


def record_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
    """Adds the rows of a step to a CSV file that has a column `step`; what it has of this step and later gives way."""
    before = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            before = [list(row.values()) for row in csv.DictReader(file) if int(row["step"]) < step]
    with atomic_text(path) as file:
        csv.writer(file, lineterminator="\n").writerows([header, *before, *rows])
