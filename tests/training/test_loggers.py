"""What shows the numbers of a run: by name, checked before anything is read, and never a reason to lose a run."""

import importlib.util

import pytest

from gesso import cli
from gesso.training import loggers
from gesso.training.loggers import Tracker, logger_names, open_loggers


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("csv", ["csv"]),
        ("tensorboard", ["tensorboard"]),
        (" CSV, tensorboard,csv", ["csv", "tensorboard"]),
        (["csv"], ["csv"]),
        (None, ["csv", "tensorboard"]),
    ],
)
def test_loggers_are_named(spec, names):
    assert logger_names(spec) == names


@pytest.mark.parametrize("verb", ["finetune", "pretrain", "refine"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tensorbord", "logger: unknown name 'tensorbord'; did you mean tensorboard?"),
        ("csv,wandb", "logger wandb needs wandb, which is not installed; pip install 'gesso[wandb]'"),
        ("mlflow", "logger mlflow needs mlflow, which is not installed; pip install 'gesso[mlflow]'"),
    ],
)
def test_what_is_unknown_or_not_installed_is_said_before_anything_is_read(
    verb, name, message, tmp_path, capsys, monkeypatch
):
    find = importlib.util.find_spec
    extras = {"wandb", "mlflow"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda asked, *more: None if asked in extras else find(asked, *more)
    )
    words = ["--out", str(tmp_path / "run"), "--logger", name]
    if verb != "pretrain":
        words += ["--task", "derain", "--data", str(tmp_path / "none")]
    if verb == "refine":
        words += ["--checkpoint", str(tmp_path / "none.safetensors"), "--prior", "none"]
    assert cli.main([verb, *words]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_csv_is_the_table_alone(tmp_path):
    assert len(open_loggers(tmp_path, 0, "csv", {})) == 1
    assert len(open_loggers(tmp_path, 0, "tensorboard", {})) == 2


class Service:
    """A logger whose service is gone."""

    def log_metrics(self, metrics, step):
        raise ConnectionError("the server\nis gone")

    def finalize(self, status):
        raise ConnectionError("still gone")


def test_a_service_that_is_lost_is_said_once_and_ends_no_run(capsys):
    tracker = Tracker(Service(), "mlflow")
    for step in range(3):
        tracker.log_metrics({"loss": 0.1}, step)
    tracker.finalize("success")
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("the server is gone; the run goes on, and metrics.csv has every number") == 1
    assert "still gone" in said


def test_a_service_that_cannot_be_reached_is_an_error_with_advice(tmp_path, monkeypatch):
    def refuse(*_):
        raise RuntimeError("api_key not configured")

    monkeypatch.setattr(loggers, "_wandb", refuse)
    with pytest.raises(ValueError, match="logger wandb: api_key not configured; `wandb login`, or WANDB_MODE=offline"):
        loggers.open_tracker("wandb", tmp_path, {})


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs mlflow: pip install 'gesso[mlflow]'")
def test_mlflow_goes_on_with_a_run_of_its_own(tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "run"
    out.mkdir()
    for step in (1, 2):
        tracker = loggers.open_tracker("mlflow", out, {"steps": 2})
        tracker.log_metrics({"train/loss": 1.0 / step}, step)
        tracker.finalize("success")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("gesso").experiment_id])
    assert (run.info.run_name, run.info.status, run.data.params["steps"]) == ("run", "FINISHED", "2")
    assert [one.value for one in client.get_metric_history(run.info.run_id, "train/loss")] == [1.0, 0.5]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: pip install 'gesso[wandb]'")
def test_wandb_goes_on_with_a_run_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    identities = []
    for step in (1, 2):
        tracker = loggers.open_tracker("wandb", tmp_path, {"steps": 2})
        identities.append(tracker.identify())
        tracker.log_metrics({"train/loss": 1.0 / step}, step)
        tracker.finalize("success")
    assert identities[0] == identities[1]
    assert list(tmp_path.glob("wandb/offline-run-*"))
