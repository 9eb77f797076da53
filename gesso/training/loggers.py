"""What records the numbers of a run: `metrics.csv` always, and what people look at them with.

A service that cannot be reached when a run begins is an error; one that is lost while it trains ends no run.
"""

import importlib.util
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from gesso._discovery import UnknownNameError, suggest
from gesso._extras import check_extra
from gesso._specs import LoggerName
from gesso.data.io import atomic_text
from gesso.functional.processes import rank_info
from gesso.report.console import say, warn
from gesso.training.table import Table

IDENTITIES = "loggers.json"
PROJECT = "gesso"
OFFLINE = {
    "wandb": "`wandb login`, or WANDB_MODE=offline to send it later by `wandb sync`",
    "mlflow": "set MLFLOW_TRACKING_URI, or leave it out: a file beside the run's folder",
}


def logger_names(spec: str | list[str] | None) -> list[str]:
    """The loggers that an option means, once what they need is known to be installed.

    Raises:
        UnknownNameError: for another name.
        ValueError: if a package is missing; the message names the extra that brings it.

    Example:
        >>> logger_names("csv"), logger_names("csv, csv")
        (['csv'], ['csv'])
    """
    if spec is None:
        return ["csv", *(["tensorboard"] if importlib.util.find_spec("tensorboard") else [])]
    listed = spec.split(",") if isinstance(spec, str) else spec
    names = list(dict.fromkeys(name.strip().lower() for name in listed if name.strip()))
    for name in names:
        if name not in get_args(LoggerName):
            raise UnknownNameError(f"logger: unknown name {name!r}; {suggest(name, get_args(LoggerName))}")
        if name != "csv":
            check_extra(name, name, f"logger {name}")
    return names


def open_loggers(out: Path, step: int, spec: str | list[str] | None, options: Mapping[str, Any]) -> list[Logger]:
    """The loggers of a run; in `metrics.csv`, rows after `step`, which come again, are dropped.

    Args:
        out: the folder of the run, which W&B and MLflow call the run by, and where their names for it are kept, so that
            a run that is resumed goes on with theirs.
        step: where the run begins or goes on.
        spec: names, see `logger_names`.
        options: of the run, which W&B and MLflow show beside its numbers.

    Raises:
        ValueError: if a service cannot be reached.
    """
    names = logger_names(spec)
    if spec is None and "tensorboard" not in names:
        say("no events for TensorBoard, which is not installed (pip install 'gesso[tensorboard]'); metrics.csv has all")
    found: list[Logger] = [Table(out / "metrics.csv", step)]
    if "tensorboard" in names:
        found.append(TensorBoardLogger(out, name="", version=""))
    return found + [open_tracker(name, out, options) for name in names if name in ("wandb", "mlflow")]


def open_tracker(name: str, out: Path, options: Mapping[str, Any]) -> "Tracker":
    """W&B or MLflow, with the run there that belongs to a folder.

    Raises:
        ValueError: if it cannot be opened.
    """
    known = _identities(out).get(name)
    try:
        tracker = Tracker(_wandb(out, known), name) if name == "wandb" else _mlflow(out, known)
        if rank_info().rank == 0:
            identity = tracker.identify()
            if identity != known:
                tracker.inner.log_hyperparams(dict(options))
                with atomic_text(out / IDENTITIES) as file:
                    json.dump(_identities(out) | {name: identity}, file)
    except Exception as error:  # of either library, which have no class in common
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"logger {name}: {reason}; {OFFLINE[name]}") from error
    return tracker


def _identities(out: Path) -> dict[str, str]:
    """What W&B and MLflow call the run of a folder."""
    path = out / IDENTITIES
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _wandb(out: Path, known: str | None) -> WandbLogger:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = known or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8]
    return WandbLogger(name=out.name, save_dir=out, project=project, id=run)


def _mlflow(out: Path, known: str | None) -> "Tracker":
    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{out.parent / 'mlflow.db'}"
    uri, _, run = (known or "").rpartition("#")
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    inner = MLFlowLogger(experiment, out.name, tracking_uri=where, run_id=run if uri == where else None)
    return Tracker(inner, "mlflow", where)


class Tracker(Logger):
    """W&B or MLflow, whose failures are said once and end no run.

    Args:
        inner: Lightning's logger.
        called: what it is called in messages.
        uri: where MLflow keeps the run.
    """

    def __init__(self, inner: WandbLogger | MLFlowLogger, called: str, uri: str = "") -> None:
        super().__init__()
        self.inner, self.called, self.uri, self.is_lost = inner, called, uri, False

    @property
    def name(self) -> str | None:
        """Of the project."""
        return PROJECT

    @property
    def version(self) -> str | None:
        """Of the run; none here: it would be asked of the service."""
        return None

    def identify(self) -> str:
        """What the service calls this run, which begins it there."""
        if isinstance(self.inner, MLFlowLogger):
            return f"{self.uri}#{self.inner.run_id}"
        return str(self.inner.experiment.id)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Sends numbers of a step, or says once that they are not sent."""
        try:
            self.inner.log_metrics(metrics, step)
        except Exception as error:
            if not self.is_lost:
                reason = " ".join(str(error).split())[:300]
                warn(f"logger {self.called}: {reason}; the run goes on, and metrics.csv has every number")
            self.is_lost = True

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Lightning's, and empty: options are sent when the run begins."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run there, so that another of the same process has its own."""
        try:
            self.inner.finalize(status)
            if isinstance(self.inner, WandbLogger):
                self.inner.experiment.finish(exit_code=int(status == "failed"))
        except Exception as error:
            warn(f"logger {self.called}: {' '.join(str(error).split())[:300]}")
