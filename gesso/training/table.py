"""Tables of a run by step, whole at any moment, with the rows from before it was interrupted.

Rows can be written again: those of the same step give way. So a run that was killed behind a row, and goes on from
before it, leaves the table of an unbroken one.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from gesso.data.io import atomic_path, atomic_text


class Table(ExperimentWriter):
    """Lightning's writer, but that every save replaces the file at once, and that beginning does not remove it.

    Args:
        path: the file, in a folder that exists.
        step: rows after this step are dropped; a run that goes on from there writes them again.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(str(path.parent))
        self.path, self.is_saved = path, False
        if path.exists():
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))  # words, which are written again as they are
            kept: list[Any] = [{k: v for k, v in row.items() if v} for row in rows if int(row["step"]) <= step]
            self.metrics = kept

    def log_metrics(self, metrics_dict: dict[str, float], step: int | None = None) -> None:
        """Adds a row; one of the same step with one of its numbers gives way."""
        super().log_metrics(metrics_dict, step)
        new = self.metrics[-1]
        self.metrics[-4:-1] = [
            row
            for row in self.metrics[-4:-1]
            if int(row["step"]) != int(new["step"]) or row.keys() & new.keys() == {"step"}
        ]
        self.is_saved = False

    def save(self) -> None:
        """Writes all rows, if there are new ones."""
        if self.is_saved or not self.metrics:
            return
        self._record_new_keys()
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(self.metrics)
        self.is_saved = True

    def _check_log_dir_exists(self) -> None:
        """Leaves alone what lies in the folder."""


def record_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
    """Adds the rows of a step to a CSV file that has a column `step`; what it has of this step and later gives way."""
    before = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            before = [list(row.values()) for row in csv.DictReader(file) if int(row["step"]) < step]
    with atomic_text(path) as file:
        csv.writer(file, lineterminator="\n").writerows([header, *before, *rows])
