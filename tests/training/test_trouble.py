"""What goes wrong in a run: memory, processes, files, clocks. The result is the same, or the error says what to do."""

import itertools
import multiprocessing
import os
import signal
import time

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import get_worker_info

import gesso
from gesso.backbones.nafnet import NAFNet
from gesso.data.datasets import PairDataset
from gesso.training._module import TrainingError
from tests._runs import SMALL_NETWORK, write_pairs

RUN = {"steps": 4, "sample_every": 0, "save_every": 0, "log_every": 2, "accelerator": "cpu", "precision": "float32"}

inherited = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="a process that is spawned does not have what a test replaced"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight pairs, `input` darker than `target`."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def finetune(out, data, **options):
    small = {"task": "derain", "holdout": 0, "crop_size": 16, "batch_size": 4}
    return gesso.finetune(**{"out": out, "data": data, **small, **RUN, **SMALL_NETWORK, **options})


def pretrain(out, pretext, **options):
    small = {"crop_size": 24, "batch_size": 4, "images": "noise"}
    return gesso.pretrain(**{"out": out, "pretext": pretext, **small, **RUN, **SMALL_NETWORK, **options})


def distance(one, other):
    a, b = load_file(one), load_file(other)
    return max((a[key] - b[key]).abs().max().item() for key in a)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Runs with all the memory that they ask for, each once."""
    done = {}

    def run(**options):
        key = str(options)
        if key not in done:
            done[key] = finetune(tmp_path_factory.mktemp("whole"), data, precision="float64", **options)
        return done[key]

    return run


def memory_for(images, monkeypatch, *, calls=0):
    """Lets the network ask for more memory than there is where it sees more than so many images, after some calls."""
    features, seen = NAFNet.features, itertools.count()

    def greedy(self, image):
        if next(seen) >= calls and len(image) > images:
            torch.empty(2**50)
        return features(self, image)

    monkeypatch.setattr(NAFNet, "features", greedy)


@pytest.mark.parametrize("options", [{}, {"accumulate": 3, "clip_norm": 0.01, "steps": 2}])
@pytest.mark.parametrize("calls", [0, 4])  # at the rehearsal, or in the middle of the run
def test_a_batch_that_memory_does_not_hold_is_cut_and_changes_nothing(
    tmp_path, data, whole, monkeypatch, capsys, options, calls
):
    unbroken = whole(**options)
    capsys.readouterr()
    memory_for(1, monkeypatch, calls=calls)
    cut = finetune(tmp_path, data, precision="float64", **options)
    assert distance(unbroken, cut) < 1e-12
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("out of memory with") == 2, "once for each time that the parts are made smaller"
    assert "out of memory with 4 images at a time; from here on 2 at a time" in said
    assert "out of memory with 2 images at a time; from here on 1 at a time" in said


def test_the_draws_of_a_pretext_do_not_depend_on_how_a_batch_is_cut(tmp_path, monkeypatch):
    options = {"pretext_args": {"mode": "alternate"}, "precision": "float64"}
    whole = pretrain(tmp_path / "whole", "dcpt", **options)
    memory_for(2, monkeypatch)
    assert distance(whole, pretrain(tmp_path / "cut", "dcpt", **options)) < 1e-12


@pytest.mark.parametrize(
    ("images", "pretext", "message"),
    [
        (3, "mfm", r"out of memory with 4 images, and their batch cannot be cut, for images whose masks remove more"),
        (0, "restore", "out of memory with one image at a time; lower crop_size"),
    ],
)
def test_where_cutting_does_not_help_the_run_ends_with_advice(tmp_path, monkeypatch, images, pretext, message):
    memory_for(images, monkeypatch)
    with pytest.raises(TrainingError, match=message):
        pretrain(tmp_path / "run", pretext)


@inherited
def test_a_dead_worker_ends_the_run_which_goes_on_from_where_it_stood(tmp_path, data, monkeypatch, capsys):
    options = {"steps": 8, "save_every": 2}
    unbroken = finetune(tmp_path / "unbroken", data, **options)
    load = PairDataset.__getitem__

    def deadly(self, key):
        if key[0] == 25 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, key)

    monkeypatch.setattr(PairDataset, "__getitem__", deadly)
    with pytest.raises(TrainingError, match=r"a process that loads samples died, .*take fewer --workers, at step \d"):
        finetune(tmp_path / "run", data, workers=1, **options)
    capsys.readouterr()
    assert distance(unbroken, finetune(tmp_path / "run", data, workers=0, resume=True, **options)) == 0
    assert "resuming at step" in capsys.readouterr().out


@inherited
def test_a_file_that_breaks_during_the_run_is_named_and_nothing_is_lost(tmp_path, data, monkeypatch, capsys):
    unbroken = finetune(tmp_path / "unbroken", data, steps=8)
    load = PairDataset.__getitem__

    def broken(self, key):
        if key[0] == 29:  # of the last batch, behind those that are timed
            raise OSError("cannot read 7.png")
        return load(self, key)

    monkeypatch.setattr(PairDataset, "__getitem__", broken)
    with pytest.raises(OSError, match=r"cannot read 7.png"):
        finetune(tmp_path / "run", data, steps=8)
    assert "state of step 6 saved; use --resume to continue" in capsys.readouterr().out
    monkeypatch.undo()
    assert distance(unbroken, finetune(tmp_path / "run", data, steps=8, resume=True)) == 0


def test_a_clock_that_runs_backwards_changes_nothing(tmp_path, data, monkeypatch):
    unbroken = finetune(tmp_path / "unbroken", data, val_every=2, holdout=2)
    clock = itertools.count(2e9, -1000.0)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    assert distance(unbroken, finetune(tmp_path / "run", data, val_every=2, holdout=2)) == 0
