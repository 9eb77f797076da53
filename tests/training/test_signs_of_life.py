"""Where there is no terminal, long runs say how far they are, and metrics.csv keeps up with them."""

import csv
import itertools
import re
from types import SimpleNamespace

import pytest

import gesso
from gesso.report import console
from gesso.report.console import Pulse, track
from gesso.training.table import Table
from tests._runs import SMALL_NETWORK

RUN = {"task": "denoise", "data": "leaves", "holdout": 3, "crop_size": 16, "batch_size": 1, "steps": 9, "val_every": 6}
RUN |= {**SMALL_NETWORK, "precision": "float32", "accelerator": "cpu"}


@pytest.fixture
def slow(monkeypatch):
    """A clock in which half a minute passes between two looks at it."""
    clock = itertools.count(0.0, 30.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_a_minute_passes_once(slow):
    pulse = Pulse()
    assert [pulse() for _ in range(6)] == [False, True, False, True, False, True]


def test_a_run_says_every_minute_how_far_it_is(tmp_path, slow, capsys, monkeypatch):
    written = []
    save = Table.save
    monkeypatch.setattr(Table, "save", lambda self: (written.append(len(self.metrics)), save(self)))
    gesso.finetune(out=tmp_path, log_every=2, save_every=0, sample_every=0, **RUN)
    said = capsys.readouterr().out
    lines = re.findall(r"denoise nafnet_tiny: step (\d+) of 9, loss [\d.e-]+, lr [\d.e-]+(.*), [\d.]+ \w+ left", said)
    steps = [int(step) for step, _ in lines]
    assert steps[0] == 2, "the first losses"
    assert steps[-1] == 9
    assert len(steps) == len(set(steps)), "no line twice"
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 2
    assert [bool(re.fullmatch(r", denoise [\d.]+ dB", reached)) for _, reached in lines] == [
        step >= 6 for step in steps
    ]
    assert re.search(r"step 6: measured \d of 3, .* left", said)
    assert {1, 2, 4} <= set(written), "rows that were there each time that the table was written"
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6", "6", "8", "9"]


def test_a_short_run_says_little(tmp_path, capsys):
    gesso.finetune(out=tmp_path, log_every=2, **RUN)
    assert len(re.findall("denoise nafnet_tiny: step", capsys.readouterr().out)) == 2


def test_other_long_work_does_so_too(slow, capsys):
    assert list(track([1, 2, 3, 4, 5], "measuring")) == [1, 2, 3, 4, 5]
    assert re.findall(r"measuring: (\d) of 5, .* left", capsys.readouterr().out)[0] == "2"
