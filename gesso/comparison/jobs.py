"""Runs as jobs in folders: each is done once, resumes where it was stopped, and fails alone."""

import contextlib
import csv
import dataclasses
import functools
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from gesso._recipes import read_recipe
from gesso.checkpoint.files import read_pickle
from gesso.comparison.time_left import TimeLeft
from gesso.data.io import atomic_path
from gesso.functional.processes import PARALLEL_RUNS
from gesso.options import command_of, options_of
from gesso.options.run import SupervisedRun, TrainingRun
from gesso.report.console import MINUTE, part_of, say, warn
from gesso.training.launch import stop_signals
from gesso.training.recipe import Recipe, change

LEFTOVERS = ("last.ckpt", "best.safetensors")  # what a finished job needs no more


@dataclass(frozen=True)
class Job:
    """A run of `gesso pretrain` or `gesso finetune`.

    Attributes:
        name: what it is called while it runs.
        command: what is run; its folder also remembers whether it is done.
    """

    name: str
    command: TrainingRun

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.command.out)

    @property
    def done(self) -> bool:
        """Whether it has been finished, now or before, with its last measurement on record."""
        return (self.folder / "done.json").exists() and self.measured

    @property
    def measured(self) -> bool:
        """Whether the measurement of its last step is on record; pre-training has none."""
        if not isinstance(self.command, SupervisedRun):
            return True
        images = self.folder / "images.csv"
        if not images.exists():
            return False
        with images.open(newline="", encoding="utf-8") as file:
            return any(int(row["step"]) == self.command.steps for row in csv.DictReader(file))

    @property
    def steps_done(self) -> int:
        """The steps that are done of one that was stopped, by its saved state."""
        state = self.folder / "last.ckpt"
        if not state.exists():
            return 0
        try:
            return read_pickle(state)["gesso"]["batches_done"] // self.command.accumulate
        except (ValueError, OSError, KeyError):  # it fails by itself, and says why, when it is run
            return 0

    @property
    def seconds(self) -> float:
        """How long it has run, over all the times it was taken up, measurements on test images included."""
        spent = self.folder / "seconds.json"
        return json.loads(spent.read_text(encoding="utf-8")) if spent.exists() else 0.0

    @property
    def training_seconds(self) -> float:
        """Likewise without these measurements."""
        metrics = self.folder / "metrics.csv"
        if not metrics.exists():  # nothing was measured, and too few steps to log
            return self.seconds
        with metrics.open(newline="", encoding="utf-8") as file:
            return self.seconds - sum(float(row.get("validation_seconds") or 0) for row in csv.DictReader(file))

    def write(self) -> None:
        """Writes `job.yaml`, from which another process can read it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Recipe.of(self.command).write(self.folder / "job.yaml")

    @classmethod
    def read(cls, folder: Path) -> "Job":
        """The job whose `job.yaml` lies in a folder."""
        verb = (folder / "job.yaml").read_text(encoding="utf-8").split(maxsplit=3)[2]
        module = importlib.import_module(f"gesso.commands.{verb}")
        kind = cast(type[TrainingRun], command_of(getattr(module, verb)))
        return cls(str(folder), kind(out=folder, **read_recipe(folder / "job.yaml")))

    def settle(self) -> None:
        """Writes into the recipe of a run that has begun where its data and its start lie now.

        They may have moved with the comparison; that they are the same, the folder of the run says by its name.
        """
        config, recipe = self.folder / "config.yaml", Recipe.of(self.command).options
        if config.exists():
            places = [name for name, option in options_of(type(self.command)).items() if option.role == "place"]
            change(config, {name: recipe[name] for name in places if name in recipe})

    def run(self) -> None:
        """Runs it here, from where it was stopped; when it ends well, `done.json` says so."""
        begin, before = time.perf_counter(), self.seconds
        self.settle()
        try:
            dataclasses.replace(self.command, resume=True).run()
        finally:
            with atomic_path(self.folder / "seconds.json") as path:
                path.write_text(json.dumps(before + time.perf_counter() - begin), encoding="utf-8")
        if not self.measured:
            raise RuntimeError(f"{self.folder}: the measurement of the last step is not on record")
        with atomic_path(self.folder / "done.json") as path:
            path.write_text(json.dumps({"seconds": self.seconds}), encoding="utf-8")
        for name in LEFTOVERS:
            (self.folder / name).unlink(missing_ok=True)


def run_jobs(jobs: Sequence[Job], devices: int = 1, left: TimeLeft | None = None) -> dict[str, str]:
    """Runs what is not done yet; returns why jobs failed, by name. One failure does not stop the others.

    Args:
        jobs: of one kind.
        devices: how many are run side by side.
        left: knows, and is told, how long the whole takes.
    """
    todo, left = [job for job in jobs if not job.done], left or TimeLeft(None)
    return run_parallel(todo, devices, left) if devices > 1 else run_in_turn(todo, left)


def run_in_turn(jobs: Sequence[Job], left: TimeLeft) -> dict[str, str]:
    """Runs jobs in this process, one after another."""
    failures = {}
    with mark_as_comparison():
        for number, job in enumerate(jobs, start=1):
            left.begin(job.name)
            say(f"\nrun {number} of {len(jobs)}: {job.name}", "bold")
            tell_left(left, "")
            try:
                with part_of(functools.partial(left.after, job.name)):
                    job.run()
            except Exception as error:
                failures[job.name] = f"{error}" or type(error).__name__
                warn(f"{job.name} failed: {failures[job.name]}")
            left.end(job.name, well=job.name not in failures)
    return failures


@contextlib.contextmanager
def mark_as_comparison() -> Iterator[None]:
    """Says that runs are of one comparison, one at a time: none chooses a precision that the others have not."""
    before = os.environ.get(PARALLEL_RUNS)
    os.environ[PARALLEL_RUNS] = before or "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[PARALLEL_RUNS]


def run_parallel(jobs: Sequence[Job], devices: int, left: TimeLeft) -> dict[str, str]:
    """Runs as many jobs at a time as there are devices, each in a process and with a device of its own.

    What a job prints goes to `log.txt` in its folder. When this process is told to stop, or is no more, the jobs save
    where they stand.
    """
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for device in range(devices):
        free.put(device)
    running: set[subprocess.Popen[bytes]] = set()
    stopping = threading.Event()
    failures: dict[str, str] = {}
    ended: list[str] = []

    def run(job: Job) -> None:
        job.write()
        device = free.get()
        left.begin(job.name)
        with log_of(job).open("wb") as log:
            words = [sys.executable, "-m", __spec__.name, str(job.folder)]
            process = subprocess.Popen(
                words, env=environment(device, devices), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )
            running.add(process)
            if stopping.is_set():
                ask_to_stop(process)
            code = process.wait()
            ask_to_stop(process)
            running.discard(process)
        free.put(device)
        left.end(job.name, well=job.done)
        ended.append(job.name)
        if job.done:
            say(f"done: {job.name}")
        elif stopping.is_set():
            say(f"stopped: {job.name}")
        else:
            failures[job.name] = last_line(log_of(job)) or f"ended with exit status {code}"
            warn(f"{job.name} failed: {failures[job.name]} (all that it said: {log_of(job)})")
        tell_left(left, f"{len(ended)} of {len(jobs)} runs; ")

    before = {number: signal.signal(number, signal.default_int_handler) for number in stop_signals()}
    pool = ThreadPoolExecutor(devices)
    if jobs:
        tell_left(left, f"{min(devices, len(jobs))} of {len(jobs)} runs side by side; ")
    try:
        under_way = {pool.submit(run, job) for job in jobs}
        while under_way:
            done, under_way = wait(under_way, timeout=MINUTE, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            if not done:
                tell_left(left, f"{len(ended)} of {len(jobs)} runs; ")
    finally:
        stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(running):
            ask_to_stop(process)
        pool.shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)
    return failures


def tell_left(left: TimeLeft, how_far: str) -> None:
    """Prints how far a comparison is, and how long all of it still takes, where that is known."""
    if words := str(left):
        say(f"{how_far}the whole comparison: {words}")


def environment(device: int, devices: int) -> dict[str, str]:
    """Variables that give a process its share of the memory, and a GPU of its own or else its share of the cores."""
    import torch

    inherited = {**os.environ, PARALLEL_RUNS: str(devices), "PYTHONIOENCODING": "utf-8:backslashreplace"}  # of its log
    if torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        gpus = visible if visible != [""] else [str(number) for number in range(torch.cuda.device_count())]
        return {**inherited, "CUDA_VISIBLE_DEVICES": gpus[device % len(gpus)]}
    threads = max(1, torch.get_num_threads() // devices)
    return {**inherited, "OMP_NUM_THREADS": str(threads)}


def log_of(job: Job) -> Path:
    """Where a job that is one of several side by side prints."""
    return job.folder / "log.txt"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    """Closes the pipe to a job's process, which it takes for a request to stop: Windows has no signal for one."""
    assert process.stdin is not None
    process.stdin.close()


def stop_when_alone() -> None:
    """Asks this process to stop once the pipe from the one that started it is closed: it wants that, or is gone."""
    sys.stdin.read()
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGTERM)  # os.kill would end it on the spot, its state unsaved
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # wakes the main thread, whatever it waits for


def main() -> int:
    """Runs the job in the folder that the command line names."""
    threading.Thread(target=stop_when_alone, daemon=True).start()
    try:
        Job.read(Path(sys.argv[1])).run()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        sys.stderr.write(f"{error or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
