"""One command on several devices of this machine: a process for each, and the first error of any of them is its end.

Processes are told who they are by the variables that torchrun sets. Where torchrun or srun has started them already,
nothing is started here.
"""

import atexit
import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import distributed

from gesso.functional.processes import is_joined, place, under_slurm

GRACE = 3.0  # seconds in which the other processes may say what is wrong with them, too


class ProcessError(RuntimeError):
    """A process died without a word."""


def has_to_launch(options: Mapping[str, Any]) -> bool:
    """Whether a command with these options must start a process for each of several devices.

    Args:
        options: of which `devices`, `num_nodes` and `accelerator` are looked at, where they are given.

    Raises:
        ValueError: if there are not as many devices, a launcher has started another number of processes, or several
            machines are asked for and no launcher has started any.
    """
    devices, num_nodes = options.get("devices", 1), options.get("num_nodes", 1)
    accelerator, here = options.get("accelerator", "auto"), place()
    if min(devices, num_nodes) < 1:
        raise ValueError(f"devices, num_nodes: expected positive numbers, got {devices} and {num_nodes}")
    if here.world > 1:
        if devices * num_nodes not in (1, here.world):
            raise ValueError(
                f"devices, num_nodes: asked for {devices} on each of {num_nodes} machines, but {here.world} processes "
                "have been started; leave both out, or say the same as torchrun or srun"
            )
        return False
    if num_nodes > 1:
        raise ValueError(f"num_nodes: {num_nodes} machines need torchrun or srun, which start gesso on each")
    seen = torch.cuda.device_count() if "cpu" not in (accelerator, options.get("device")) else 0
    if devices > seen and (seen or accelerator == "gpu"):
        raise ValueError(f"devices: asked for {devices}, but this machine has {seen} GPUs")
    return devices > 1


def launch(function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What `function(**options)` returns in the first of `options["devices"]` processes, which run it at the same time.

    A process that fails ends the others, and its error is raised here. Ctrl-C, SIGTERM and SIGHUP are passed on, so
    that a training saves its state.

    Args:
        function: a function of a module.
        options: what it is called with; has to survive pickling.

    Raises:
        KeyboardInterrupt: after a requested stop.
        ProcessError: if a process died without a word.
        Exception: whatever the first process to fail has raised.
    """
    job = pickle.dumps((function.__module__, function.__qualname__, dict(options)))
    port = free_port()
    workers: list[Worker] = []
    try:
        for rank in range(options["devices"]):
            workers.append(start(job, rank, options["devices"], port))
        with passing_signals_on(workers) as received:
            outcomes = collect(workers)
    finally:
        for worker in workers:
            worker.process.kill()  # without effect on those that have ended
            worker.process.wait()
            worker.line.close()
            if worker.process.stdin is not None:
                worker.process.stdin.close()
    if received:
        raise KeyboardInterrupt
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if failed:
        # a process that died without a word may be missed by another before its end is seen here
        cause = min(failed, key=lambda outcome: not isinstance(outcome.error, ProcessError))
        raise cause.error  # pyright: ignore[reportGeneralTypeIssues]
    return next(outcome.value for outcome in outcomes if outcome.rank == 0)


class Outcome(NamedTuple):
    """What came of one process."""

    rank: int
    value: Any = None
    error: BaseException | None = None


class Worker(NamedTuple):
    """A process and the line on which it reports."""

    rank: int
    process: subprocess.Popen[bytes]
    line: Connection

    def outcome(self) -> Outcome:
        """What the process reports, or how it ended if it cannot report any more."""
        try:
            value, error = self.line.recv()
            return Outcome(self.rank, value, error)
        except (EOFError, OSError):
            code = self.process.wait()
            how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exited with {code}"
            hint = "; it may have wanted more memory than there is" if code == -signal.SIGKILL else ""
            return Outcome(self.rank, error=ProcessError(f"the process of device {self.rank} {how}{hint}"))


def start(job: bytes, rank: int, world: int, port: int) -> Worker:
    """Starts one process, which waits for nothing but its job."""
    ours, theirs = Pipe(duplex=False)
    threads = str(max(1, (os.cpu_count() or 1) // world))
    about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    variables = {name: str(value) for name, value in about.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gesso.training.launch", str(theirs.fileno())],
        stdin=subprocess.PIPE,
        env=os.environ | variables,
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on once
    )
    theirs.close()
    assert process.stdin is not None
    process.stdin.write(len(job).to_bytes(8, "big") + job)
    process.stdin.flush()  # and stays open: its end tells the process that its parent is gone
    return Worker(rank, process, ours)


def collect(workers: Sequence[Worker]) -> list[Outcome]:
    """What came of the processes, in the order in which they ended; soon after a failure the rest is not waited for."""
    outcomes: list[Outcome] = []
    waiting = {worker.line: worker for worker in workers}
    deadline = float("inf")
    while waiting and time.monotonic() < deadline:
        for line in wait(list(waiting), timeout=min(1.0, max(0.0, deadline - time.monotonic()))):
            outcomes.append(waiting.pop(line).outcome())  # pyright: ignore[reportArgumentType]
            if outcomes[-1].error is not None:
                deadline = min(deadline, time.monotonic() + GRACE)
    return outcomes


@contextlib.contextmanager
def passing_signals_on(workers: Sequence[Worker]) -> Iterator[list[int]]:
    """Passes the signals that ask to stop on to all processes instead of obeying; yields those that have come."""
    received: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        received.append(number)
        for worker in workers:
            worker.process.send_signal(number)

    before = {}
    with contextlib.suppress(ValueError):  # only a main thread may listen
        for number in stop_signals():
            before[number] = signal.signal(number, pass_on)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_signals() -> list[int]:
    """The signals that ask a run to save its state and stop: Ctrl-C, SIGTERM, and where there is one SIGHUP.

    SIGHUP comes when the terminal is closed; nohup has it ignored, which is left so.
    """
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def join() -> None:
    """Makes this process speak with the others of a launcher, for commands that do not train; alone, does nothing."""
    here = place()
    if here.world == 1 or is_joined():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(here.local_rank)
    if under_slurm():
        from lightning.pytorch.plugins.environments import SLURMEnvironment

        cluster = SLURMEnvironment(auto_requeue=False)
        os.environ |= {"MASTER_ADDR": cluster.main_address, "MASTER_PORT": str(cluster.main_port)}
    distributed.init_process_group("gloo", rank=here.rank, world_size=here.world)
    leave_at_exit()


@cache
def leave_at_exit() -> None:
    """Has this process leave its group when Python ends: gloo's threads would abort it then, now and then.

    Lightning sees to that for NCCL alone.
    """
    atexit.register(lambda: distributed.destroy_process_group() if is_joined() else None)


# --------------------------------------------------------------------------------------------- in the process


def work(line: Connection) -> None:
    """Does the job that stands on the standard input and reports what came of it."""
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    module, name, options = pickle.loads(sys.stdin.buffer.read(size))
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        line.send((getattr(importlib.import_module(module), name)(**options), None))
    except BaseException as error:
        error.add_note(f"on device {place().rank}:\n{traceback.format_exc()}")
        line.send((None, portable(error)))
    line.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # at once: other processes may be gone, and nothing shall wait for them


def end_with_parent() -> None:
    """Ends this process when the one that has started it is gone."""
    sys.stdin.buffer.read(1)
    os._exit(1)


def portable(error: BaseException) -> BaseException:
    """The error itself if it survives pickling, else a RuntimeError that says the same."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    work(Connection(int(sys.argv[1]), readable=False))
