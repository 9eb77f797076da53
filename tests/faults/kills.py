"""SIGKILL at random moments of writing: every file is the old one or the new one, whole, and nothing else is left.

python -m tests.faults.kills --writes 200 --runs 20      files written in a loop, and trainings, killed so many times
"""

import argparse
import contextlib
import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import gesso
from gesso.backbones import create_backbone
from gesso.checkpoint import read_state
from gesso.checkpoint.files import save
from gesso.data.folders import find_images
from gesso.data.io import read_picture
from gesso.report.results import Facts, write_scores
from gesso.report.sheets import write_sheet
from gesso.report.statistics import Score
from gesso.training.table import Table

SMALL = {"backbone": "restormer_tiny", "backbone_args": {"dim": 8, "num_blocks": [1, 1, 1, 1]}, "precision": "float32"}
SIDE = 200


def write(folder: Path, version: int) -> None:
    """Writes every kind of result with `version` in it."""
    value = version % 256 / 255
    picture = torch.full((3, SIDE, SIDE), value)
    gesso.write_image(folder / "restored.png", picture, overwrite=True)
    gesso.write_image(folder / "deep.tif", picture, bits=16, overwrite=True)
    write_sheet(folder / "sheet.png", [{"input": picture, "output": picture}])
    net = create_backbone("nafnet_tiny", width=4)
    for parameter in net.parameters():
        parameter.data.fill_(version)
    save(net, folder / "net.safetensors", step=version)
    Facts(str(version), "t" * 50_000, "p", version, 1.0).write(folder)
    write_scores(folder / "comparison.csv", [Score(*fields(version))] * 2000)
    table = Table(folder / "metrics.csv", 10**9)
    table.log_metrics({"loss": float(version), "grown": 1.0}, version)
    table.save()


def fields(version: int) -> list:
    """A score of the comparison whose text fields hold `version`."""
    numbers = {"psnr": 1.0, "ssim": 0.5}
    return [numbers.get(name, version) for name in Score._fields]


def check(folder: Path) -> set[int]:
    """The versions that lie in the folder, every file read whole.

    Raises:
        Exception: of the reader, for a file that is not whole.
    """
    versions = set()
    for path in folder.iterdir():
        if path.name.startswith("."):
            assert ".tmp" in path.name, path
        elif path.suffix in (".png", ".tif"):
            pixels = read_picture(path).pixels
            assert path.name == "sheet.png" or bool((pixels == pixels[0, 0, 0]).all()), path
        elif path.suffix == ".safetensors":
            versions |= {int(tensor.flatten()[0]) for name, tensor in read_state(path).items() if "weight" in name}
        elif path.suffix == ".json":
            versions.add(int(Facts.read(folder).command))
        elif path.name == "comparison.csv":
            with path.open(newline="") as file:
                assert len(list(csv.DictReader(file))) == 2000
        else:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [float(row["loss"]) for row in rows] == [float(row["step"]) for row in rows]
    shown = {path.name for path in find_images(folder)} if (folder / "restored.png").exists() else set()
    assert shown <= {"restored.png", "deep.tif", "sheet.png"}, shown
    return versions


def kill(work: Callable[[], None], seconds: float, written: Path | None = None) -> None:
    """Lets a child work for so long, counted from when it has written a file, and kills it."""
    before = written.stat().st_mtime_ns if written is not None and written.exists() else None
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work()
        os._exit(0)
    try:
        while written is not None and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if written.exists() and written.stat().st_mtime_ns != before:
                break
            time.sleep(0.001)
        time.sleep(seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def kill_writes(count: int, folder: Path, seed: int = 0) -> int:
    """Kills a child that writes files in a loop, `count` times; returns how many times it was caught in a file."""
    torch.set_num_threads(1)
    drawn, caught, version = random.Random(seed), 0, 1
    write(folder, version)  # everything is imported now
    begin = time.perf_counter()
    write(folder, version)
    seconds = time.perf_counter() - begin

    def work() -> None:
        at = version
        while True:
            at += 1
            write(folder, at)

    for _ in range(count):
        kill(work, drawn.uniform(0, 2 * seconds))
        leftovers = list(folder.glob(".*.tmp*"))
        caught += bool(leftovers)
        version = max([version, *check(folder)])
        for path in leftovers:
            path.unlink()
    return caught


def train(out: Path) -> None:
    """A training without end that writes every file at every step."""
    every = {"crop_size": 16, "save_every": 1, "log_every": 1, "sample_every": 1, "resume": True}
    gesso.pretrain(out=out, pretext="ifp", steps=10**6, **SMALL, **every)


def kill_runs(count: int, out: Path, seed: int = 0) -> int:
    """Kills a training that saves at every step, `count` times, and lets it go on each time; returns the last step."""
    torch.set_num_threads(1)
    drawn, before = random.Random(seed), 0
    for _ in range(count):
        kill(lambda: train(out), drawn.uniform(0, 1), out / "last.ckpt")
        if not (out / "last.ckpt").exists():
            continue
        step = torch.load(out / "last.ckpt", weights_only=True)["gesso"]["batches_done"]
        assert step >= before, (step, before)
        before = step
        gesso.load(out / "backbone.safetensors") if (out / "backbone.safetensors").exists() else None
        for path in out.glob("samples/[!.]*.png"):
            read_picture(path)
        if (out / "metrics.csv").exists():
            with (out / "metrics.csv").open(newline="") as file:
                steps = [int(row["step"]) for row in csv.DictReader(file)]
            assert steps == sorted(set(steps)), steps
    return before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--writes", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        caught = kill_writes(options.writes, Path(folder))
        sys.stdout.write(f"{options.writes} kills while writing, {caught} of them within a file: every file whole\n")
    with tempfile.TemporaryDirectory() as folder:
        step = kill_runs(options.runs, Path(folder) / "run")
        sys.stdout.write(f"{options.runs} kills while training, up to step {step}: every file whole\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
