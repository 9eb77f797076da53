"""Runs that are killed at any moment leave, once resumed, what an unbroken run leaves."""

import contextlib
import csv
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.refine import refine
from gesso.training import callbacks, finetune_module, table
from gesso.training.callbacks import Samples, SaveCheckpoint
from gesso.training.launch import stop_signals
from tests._processes import wait_for_child
from tests._runs import NAFNET, SMALL_NETWORK, write_pairs

pytestmark = pytest.mark.usefixtures("one_thread")

RUN = {"steps": 4, "crop_size": 16, "batch_size": 2, "precision": "float32", "accelerator": "cpu"}
EVERY = {"save_every": 1, "sample_every": 2, "log_every": 3}
MEASURED = EVERY | {"val_every": 2, "val_images": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six pairs, and a restorer."""
    folder = write_pairs(tmp_path_factory.mktemp("data"), 6)
    torch.manual_seed(0)
    checkpoint.save(create_backbone("nafnet_tiny", **NAFNET), folder / "net.safetensors")
    return folder


def finetune(out: Path, data: Path, **more: Any) -> None:
    options = {"task": "derain", "data": data, "holdout": 2, **SMALL_NETWORK, **RUN, **MEASURED, **more}
    gesso.finetune(out=out, **options)


def refine_shortly(out: Path, data: Path, **more: Any) -> None:
    options = {"task": "derain", "data": data, "holdout": 2, "loss": "l1", **RUN, **MEASURED, **more}
    refine(out=out, checkpoint=data / "net.safetensors", prior="none", **options)


def pretrain(out: Path, data: Path, **more: Any) -> None:
    options = {"pretext": "ifp", "images": str(data / "target"), **SMALL_NETWORK, **RUN, **EVERY, **more}
    gesso.pretrain(out=out, **options)


VERBS: dict[str, Callable[..., None]] = {"finetune": finetune, "refine": refine_shortly, "pretrain": pretrain}


def left(out: Path) -> dict[str, Any]:
    """What a run leaves, as bytes; of `metrics.csv` its rows without times."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    kept = {name: path.read_bytes() for name, path in files.items() if name.endswith((".safetensors", ".png"))}
    if "images.csv" in files:
        kept["images.csv"] = files["images.csv"].read_bytes()
    if "metrics.csv" in files:
        with files["metrics.csv"].open(newline="") as file:
            kept["metrics.csv"] = [
                {name: value for name, value in row.items() if name != "validation_seconds"}
                for row in csv.DictReader(file)
            ]
    return kept


@pytest.fixture(scope="module")
def unbroken(data):
    """What unbroken runs leave, by verb."""
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, run in VERBS.items():
            run(Path(folder) / name, data)
            found[name] = left(Path(folder) / name)
        return found


def killing(module: Any, name: str, when: Callable[..., bool], *, after: bool = False) -> tuple[Any, str, Any]:
    """What `monkeypatch.setattr` takes to be killed at the first call of a function for which `when` says so."""
    function = getattr(module, name)
    alive = True

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal alive
        dies = alive and when(*args, **options)
        alive = alive and not dies
        if dies and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **options)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return module, name, deadly


def ends_by(run: Callable[[], Any]) -> int:
    """The signal that ends a run in a process of its own; 0 if none does."""
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with contextlib.suppress(BaseException):
            run()
        os._exit(0)
    return os.WTERMSIG(wait_for_child(child))


def at(step: int) -> Callable[..., bool]:
    """Whether a method of a callback is called at a step."""
    return lambda callback, trainer, module, *_, **__: module.step == step


def of_module(step: int) -> Callable[..., bool]:
    """Whether a method of the module itself is called at a step."""
    return lambda module, *_, **__: module.step == step


def named(name: str, count: int = 1) -> Callable[..., bool]:
    """Whether a file of that name is written, for the time `count`."""
    seen = 0

    def when(first: Any, second: Any = None, *_: Any, **__: Any) -> bool:
        nonlocal seen
        seen += any(isinstance(part, str | Path) and Path(part).name == name for part in (first, second))
        return seen == count

    return when


Tuned = finetune_module.FinetuneModule
MOMENTS: dict[str, Callable[[], tuple[Any, str, Any]]] = {
    "before the state is written": lambda: killing(SaveCheckpoint, "save", at(2)),
    "behind the state, before anything that is due": lambda: killing(SaveCheckpoint, "save", at(2), after=True),
    "before validation": lambda: killing(Tuned, "measure", of_module(2)),
    "within validation": lambda: killing(Tuned, "score", of_module(4)),
    "within a picture of validation": lambda: killing(finetune_module, "write_sheet", named("0000.png", 2)),
    "behind images.csv": lambda: killing(finetune_module, "record_rows", lambda *a: a[-1] == 4, after=True),
    "before the best": lambda: killing(Tuned, "keep_best", of_module(2)),
    "within the best": lambda: killing(checkpoint, "save", named("best.safetensors")),
    "behind the best": lambda: killing(checkpoint, "save", named("best.safetensors"), after=True),
    "behind the first validation": lambda: killing(Tuned, "measure", of_module(2), after=True),
    "before the sheet": lambda: killing(Samples, "draw", at(2)),
    "within the sheet": lambda: killing(callbacks, "write_sheet", named("000002.png")),
    "behind the sheet": lambda: killing(Samples, "draw", at(4), after=True),
    "within metrics.csv": lambda: killing(table, "atomic_path", named("metrics.csv")),
    "within backbone.safetensors": lambda: killing(checkpoint, "save", named("backbone.safetensors", 2)),
    "before the last validation": lambda: killing(Tuned, "measure", of_module(4)),
    "behind the last validation": lambda: killing(Tuned, "measure", of_module(4), after=True),
    "within the last sheet": lambda: killing(callbacks, "write_sheet", named("000004.png")),
    "before the last state": lambda: killing(SaveCheckpoint, "on_train_end", at(4)),
    "behind the last state": lambda: killing(SaveCheckpoint, "on_train_end", at(4), after=True),
}
OF_PRETRAINING = [name for name in MOMENTS if not any(word in name for word in ("valid", "best", "images.csv"))]


@pytest.mark.parametrize(
    ("verb", "moment"),
    [
        *(("finetune", moment) for moment in MOMENTS),
        *(("refine", moment) for moment in ("within validation", "within the best", "before the last validation")),
        *(("pretrain", moment) for moment in OF_PRETRAINING),
    ],
)
def test_killed_at_any_moment_a_run_leaves_what_an_unbroken_one_leaves(
    tmp_path, data, unbroken, verb, moment, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(*MOMENTS[moment]())
        assert ends_by(lambda: VERBS[verb](tmp_path, data)) == signal.SIGKILL
    VERBS[verb](tmp_path, data, resume=True)
    assert left(tmp_path) == unbroken[verb]


def test_a_state_of_an_older_version_is_made_up_for_too(tmp_path, data, unbroken, monkeypatch):
    """It does not say what is on record, nor which images there were, and has no running mean."""
    with monkeypatch.context() as patch:
        patch.setattr(*MOMENTS["before validation"]())
        assert ends_by(lambda: finetune(tmp_path, data)) == signal.SIGKILL
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    best = {"best_psnr": state["gesso"]["best"]["value"] or -math.inf}
    state["gesso"] = {name: state["gesso"][name] for name in ("batches_done", "skipped")} | best
    torch.save(state, tmp_path / "last.ckpt")
    finetune(tmp_path, data, resume=True)
    assert all(left(tmp_path)[name] == unbroken["finetune"][name] for name in left(tmp_path) if name != "metrics.csv")


def test_a_finished_run_is_left_as_it_is(tmp_path, data, unbroken, monkeypatch, capsys):
    finetune(tmp_path, data)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    capsys.readouterr()
    finetune(tmp_path, data, resume=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")} == before
    assert left(tmp_path) == unbroken["finetune"]
    assert "takes about" not in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_asked_to_stop_while_it_measures_stops_and_makes_up_for_it(
    tmp_path, data, unbroken, number, monkeypatch
):
    def ask(module, *args, score=Tuned.score):
        os.kill(os.getpid(), number)
        return score(module, *args)

    before = signal.getsignal(number)
    if number == signal.SIGHUP:
        signal.signal(number, signal.SIG_DFL)  # the suite itself may run under nohup, which runs respect
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Tuned, "score", ask)
            with pytest.raises(KeyboardInterrupt):
                finetune(tmp_path, data, save_every=0)
    finally:
        signal.signal(number, before)
    assert not (tmp_path / "images.csv").exists()
    finetune(tmp_path, data, save_every=0, resume=True)
    assert left(tmp_path) == unbroken["finetune"]


def test_nohup_is_respected(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
    monkeypatch.delattr(signal, "SIGHUP")
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize("schedule", [{"schedule": "constant"}, {"schedule": "step", "milestones": [3]}])
def test_more_steps_of_a_schedule_that_does_not_depend_on_them(tmp_path, data, schedule):
    finetune(tmp_path / "run", data, **{**RUN, "steps": 2}, **schedule)
    finetune(tmp_path / "run", data, resume=True, **schedule)
    finetune(tmp_path / "unbroken", data, **schedule)
    assert left(tmp_path / "run") == left(tmp_path / "unbroken")
    assert "steps: 4" in (tmp_path / "run/config.yaml").read_text()
    with pytest.raises(
        ValueError,
        match=r"steps: was 4, is 3\); the schedule .* laid out over 4 steps; to go on from its weights: --init",
    ):
        finetune(tmp_path / "run", data, resume=True, **{**RUN, "steps": 3}, **schedule)


@pytest.mark.parametrize(
    ("verb", "options", "advice"),
    [
        ("finetune", {}, r"--init .*backbone\.safetensors --keep_last --out"),
        ("refine", {}, r"--checkpoint .*backbone\.safetensors --out"),
        ("pretrain", {"schedule": "cosine"}, r"--init .*backbone\.safetensors --out"),
    ],
)
def test_more_steps_of_another_schedule_are_another_run(tmp_path, data, verb, options, advice):
    VERBS[verb](tmp_path, data, **{**RUN, "steps": 1}, **options)
    with pytest.raises(ValueError, match=r"steps: was 1, is 2\); the schedule and the stages are laid out.*" + advice):
        VERBS[verb](tmp_path, data, resume=True, **{**RUN, "steps": 2}, **options)


@pytest.mark.parametrize("verb", list(VERBS))
def test_images_that_have_changed_are_noticed(tmp_path, data, verb):
    shutil.copytree(data, tmp_path / "data")
    VERBS[verb](tmp_path / "run", tmp_path / "data", **{**RUN, "steps": 2})
    (tmp_path / "data/input/3.png").rename(tmp_path / "data/input/x.png")
    (tmp_path / "data/target/3.png").rename(tmp_path / "data/target/x.png")
    with pytest.raises(ValueError, match=r"images of .* have changed .*gone: \d.*; new: .*bring the old ones back, or"):
        VERBS[verb](tmp_path / "run", tmp_path / "data", resume=True, **{**RUN, "steps": 2})
    for side in ("input", "target"):
        (tmp_path / "data" / side / "x.png").unlink()
    with pytest.raises(ValueError, match=r"they were \d, they are \d"):
        VERBS[verb](tmp_path / "run", tmp_path / "data", resume=True, **{**RUN, "steps": 2})


def test_a_run_that_replaces_another_leaves_nothing_of_it(tmp_path, data):
    finetune(tmp_path, data)
    finetune(tmp_path, data, holdout=0, sample_every=0, **{**RUN, "steps": 1}, overwrite=True)
    assert set(left(tmp_path)) == {"backbone.safetensors", "samples/000001.png"}
