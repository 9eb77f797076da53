"""`metrics.csv`, whole at any moment: the rows of a run, with those from before it was interrupted."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from gesso.data.io import atomic_path


class Table(ExperimentWriter):
    """Lightning's writer, but that every save replaces the file at once, and that beginning does not remove it.

    Args:
        path: the file, in a folder that exists.
        step: rows after this step are dropped; a run that goes on from there writes them again.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(str(path.parent))
        self.path, self.saved = path, 0
        if path.exists():
            with path.open(newline="") as file:
                rows: list[Any] = list(csv.DictReader(file))  # words, which are written again as they are
            self.metrics = [row for row in rows if int(row["step"]) <= step]

    def save(self) -> None:
        """Writes all rows, if there are new ones."""
        if len(self.metrics) == self.saved:
            return
        self._record_new_keys()
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(self.metrics)
        self.saved = len(self.metrics)

    def _check_log_dir_exists(self) -> None:
        """Leaves alone what lies in the folder."""
