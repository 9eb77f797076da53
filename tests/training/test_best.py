"""Which state of a run is the best by any metric, and runs that end once they have waited for a better one."""

import csv
import math
import os

import pytest

import gesso
from gesso import checkpoint, cli
from gesso.perceptual import Perceptual
from gesso.training import callbacks
from gesso.training.best import Best
from tests._runs import SMALL_NETWORK, write_pairs

pytestmark = pytest.mark.usefixtures("one_thread")

RUN = {**SMALL_NETWORK, "crop_size": 16, "batch_size": 2, "precision": "float32"}
RUN |= {"task": "derain", "holdout": 2, "steps": 14, "val_every": 1, "sample_every": 0, "save_every": 1, "lr": 0.03}
RUN |= {"schedule": "constant", "accelerator": "cpu"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six pairs."""
    return write_pairs(tmp_path_factory.mktemp("data"), 6)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run of all its steps."""
    out = tmp_path_factory.mktemp("whole")
    gesso.finetune(out=out, data=data, best_by="loss", **RUN)
    return out


def column(out, metric):
    """What each step reached, in order."""
    with (out / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[metric])) for row in csv.DictReader(file) if row.get(metric)]


def ends(values, patience, *, lower=False):
    """The step at which a run that waits ends, and that of its best."""
    best = Best(lower_is_better=lower, patience=patience)
    for step, value in values:
        best.note(value, step)
        if best.has_waited:
            return step, best.step
    raise AssertionError("it never waits so long; take another learning rate for this test")


def weights(path):
    return {key: tensor.tolist() for key, tensor in checkpoint.load(path).state_dict().items()}


@pytest.mark.parametrize(("metric", "lower"), [("psnr", False), ("ssim", False), ("loss", True)])
def test_a_run_ends_after_measurements_without_a_better_one(metric, lower, whole, data, tmp_path, capsys):
    end, best = ends(column(whole, f"derain/{metric}"), 2, lower=lower)
    gesso.finetune(out=tmp_path, data=data, best_by=metric, patience=2, **RUN)
    assert column(tmp_path, f"derain/{metric}") == column(whole, f"derain/{metric}")[:end]
    said = capsys.readouterr().out
    assert f"step {end}: 2 measurements in a row without a better {metric} (best:" in " ".join(said.split())
    header = checkpoint.read_header(tmp_path / "best.safetensors")
    assert (header["step"], header["best_by"]) == (best, metric)
    assert header[f"validation_{metric}"] == pytest.approx(dict(column(whole, f"derain/{metric}"))[best], abs=1e-4)
    assert checkpoint.read_header(tmp_path / "backbone.safetensors")["step"] == end


def test_the_best_by_each_metric_is_the_extreme_of_its_column(whole):
    header = checkpoint.read_header(whole / "best.safetensors")
    assert header["step"] == min(column(whole, "derain/loss"), key=lambda entry: entry[1])[0]


def test_a_stopped_run_stays_as_it_is_and_goes_on_with_more_patience(whole, data, tmp_path, capsys):
    """With so much that it never waits as long, it is the run that nothing stopped, bit for bit."""
    gesso.finetune(out=tmp_path, data=data, best_by="loss", patience=2, **RUN)
    before = (tmp_path / "backbone.safetensors").read_bytes()
    capsys.readouterr()
    gesso.finetune(out=tmp_path, data=data, best_by="loss", patience=2, resume=True, **RUN)
    assert (tmp_path / "backbone.safetensors").read_bytes() == before
    assert "stopped early: 2 measurements in a row without a better loss" in " ".join(capsys.readouterr().out.split())
    gesso.finetune(out=tmp_path, data=data, best_by="loss", patience=99, resume=True, **RUN)
    for name in ("backbone.safetensors", "best.safetensors"):
        assert weights(tmp_path / name) == weights(whole / name)
    assert column(tmp_path, "derain/loss") == column(whole, "derain/loss")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_as_it_ends_a_run_ends_alike_when_resumed(moment, whole, data, tmp_path, monkeypatch):
    end, _ = ends(column(whole, "derain/psnr"), 2)
    measure = callbacks.Measure.measure

    def killed(self, trainer, module):
        if module.step == end and moment == "before":
            os._exit(9)
        measure(self, trainer, module)
        if module.step == end:
            os._exit(9)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(callbacks.Measure, "measure", killed)
        gesso.finetune(out=tmp_path, data=data, best_by="psnr", patience=2, **RUN)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    gesso.finetune(out=tmp_path, data=data, best_by="psnr", patience=2, resume=True, **RUN)
    assert column(tmp_path, "derain/psnr") == column(whole, "derain/psnr")[:end]
    assert checkpoint.read_header(tmp_path / "backbone.safetensors")["step"] == end


def test_perceptual_metrics_know_their_direction(data, tmp_path, monkeypatch):
    """Less of LPIPS is better; it is measured where the best goes by it."""
    asked = []

    def open_metrics(names, _):
        asked.extend(names)
        return Perceptual({"lpips": lambda one, other: float((one - other).abs().mean())})

    monkeypatch.setattr("gesso.commands._finetune.open_metrics", open_metrics)
    gesso.finetune(out=tmp_path, data=data, best_by="lpips", **RUN | {"steps": 4})
    assert "lpips" in asked
    header = checkpoint.read_header(tmp_path / "best.safetensors")
    values = column(tmp_path, "derain/lpips")
    assert header["step"] == min(values, key=lambda entry: entry[1])[0]


def test_nothing_and_nan_are_no_gain():
    best = Best("loss", lower_is_better=True, patience=3)
    assert [best.note(value, 1) for value in (math.nan, 2.0, 2.0, math.nan, 1.0)] == [False, True, False, False, True]
    assert not best.has_waited


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--best_by", "psnrr"], "best_by: unknown metric 'psnrr'; did you mean psnr?"),
        (["--best_by", "niqe"], "metrics of pyiqa are named in metrics, too"),
        (["--patience", "3", "--val_every", "0"], "patience: it counts measurements"),
        (["--patience", "0"], "patience: expected a positive number, got 0"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_before_anything_is_read(words, message, tmp_path, capsys):
    given = ["--task", "derain", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert cli.main(["finetune", *given, *words]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
