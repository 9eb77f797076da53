"""One command on several devices of this machine: torch's elastic launcher starts a process for each.

Processes are told who they are by the variables that torchrun sets. Where torchrun or srun has started them already,
nothing is started here. What is ours is what a command line needs around the launcher: the error of a process is raised
in the parent as it is, with its type, and a request to stop reaches every process once, whose state it then saves.
"""

import atexit
import contextlib
import importlib
import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import psutil
import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, PContext, SignalException, start_processes
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.utils.distributed import get_free_port

from gesso.data.io import atomic_path
from gesso.functional.processes import has_process_group, rank_info, under_slurm

POLL = 0.1  # seconds between two looks at the processes
TAKEN = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")  # signals that torch's launcher handles, where a system has them


class ProcessError(RuntimeError):
    """A process died without reporting an error."""


def has_to_launch(options: Mapping[str, Any]) -> bool:
    """Whether a command with these options must start a process for each of several devices.

    Args:
        options: of which `devices`, `num_nodes` and `accelerator` are looked at, where they are given.

    Raises:
        ValueError: if there are not as many devices, a launcher has started another number of processes, or several
            machines are asked for and no launcher has started any.
    """
    devices, num_nodes = options.get("devices", 1), options.get("num_nodes", 1)
    accelerator, here = options.get("accelerator", "auto"), rank_info()
    if min(devices, num_nodes) < 1:
        raise ValueError(f"devices, num_nodes: expected positive numbers, got {devices} and {num_nodes}")
    if here.world_size > 1:
        if devices * num_nodes not in (1, here.world_size):
            raise ValueError(
                f"devices, num_nodes: asked for {devices} on each of {num_nodes} machines, but {here.world_size} "
                "processes have been started; leave both out, or say the same as torchrun or srun"
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
        ProcessError: if a process died without reporting an error.
        Exception: whatever the first process to fail has raised.
    """
    world = options["devices"]
    with tempfile.TemporaryDirectory(prefix="gesso-") as name:
        folder = Path(name)
        (folder / "job").write_bytes(pickle.dumps((function.__module__, function.__qualname__, dict(options))))
        try:
            with running(folder, world) as (context, requests):
                result = context.wait(period=POLL)
        except SignalException:  # while the processes were being started
            raise KeyboardInterrupt from None
        files = [folder / f"{rank}.report" for rank in range(world)]
        reports: list[Report | None] = [pickle.loads(file.read_bytes()) if file.exists() else None for file in files]
    if requests:
        raise KeyboardInterrupt
    assert result is not None  # without a time limit
    if result.failures:
        raise first_error(result.failures, reports)
    assert reports[0] is not None
    if reports[0].error is not None:  # it was asked to stop by another than this process
        raise reports[0].error
    return reports[0].value


class Report(NamedTuple):
    """What came of one process, in its own words: the value of the function, or the error that it raised, and when."""

    value: Any = None
    error: BaseException | None = None
    time: float = 0.0


@contextlib.contextmanager
def running(folder: Path, world: int) -> Iterator[tuple[PContext, list[int]]]:
    """Starts the processes, whose job lies in `folder`; yields the launcher, and the requests to stop as they come.

    A request is passed on to the processes alone, and not, as the launcher would do, to those that load their samples,
    and there is no limit to the time in which they may save their state. Only a main thread can listen to signals.
    """
    requests: list[int] = []
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # an error is raised, not logged
    alone = threading.current_thread() is not threading.main_thread()
    taken = [] if alone else [getattr(signal, name) for name in TAKEN if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in taken}
    listened = stop_signals()
    context = None

    def pass_on(number: int, frame: Any) -> None:
        requests.append(number)
        assert context is not None
        for process in context.pids().values():
            with contextlib.suppress(OSError):  # it has ended
                os.kill(process, number)

    try:
        context = start(folder, world)
        for number, handler in before.items():
            signal.signal(number, pass_on if number in listened else handler)
        yield context, requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if context is not None:
            context.close()


def start(folder: Path, world: int) -> PContext:
    """Starts the processes, whose job lies in `folder`."""
    shared = {
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(get_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // world))),
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
    }
    command = ("-P", "-m", "gesso.training.launch", str(folder), str(os.getpid()))
    return start_processes(
        name="gesso",
        entrypoint=sys.executable,
        args=dict.fromkeys(range(world), command),
        envs={rank: {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)},
        logs_specs=DefaultLogsSpecs(str(folder / "logs")),
    )


def first_error(failures: Mapping[int, ProcessFailure], reports: Sequence[Report | None]) -> BaseException:
    """The error that ended the run: a death without a report, which others may have reported to miss, or the first.

    But of those that were left, the launcher itself ends each with SIGTERM.
    """
    raised = sorted((report.time, rank) for rank in failures if (report := reports[rank]) is not None)
    died = [failed for rank, failed in failures.items() if reports[rank] is None]
    died.sort(key=lambda failed: failed.exitcode == -signal.SIGTERM)
    if died and not (raised and died[0].exitcode == -signal.SIGTERM):
        code = died[0].exitcode
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exited with {code}"
        hint = "; it may have wanted more memory than there is" if "SIGKILL" in how else ""
        return ProcessError(f"the process of device {died[0].local_rank} {how}{hint}")
    report = reports[raised[0][1]]
    assert report is not None
    return cast(BaseException, report.error)


def stop_signals() -> list[int]:
    """The signals that ask a run to save its state and stop: Ctrl-C, SIGTERM, and where there is one SIGHUP.

    SIGHUP comes when the terminal is closed; nohup has it ignored, which is left so.
    """
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def init_process_group(backend: str = "gloo") -> None:
    """Joins the process group of a launcher, which Lightning takes as it is; does nothing in a single process.

    Args:
        backend: of torch.distributed; on a GPU, gradients need NCCL.
    """
    here = rank_info()
    if here.world_size == 1 or has_process_group():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(here.local_rank)
    if under_slurm():
        from lightning.pytorch.plugins.environments import SLURMEnvironment

        cluster = SLURMEnvironment(auto_requeue=False)
        os.environ |= {"MASTER_ADDR": cluster.main_address, "MASTER_PORT": str(cluster.main_port)}
    distributed.init_process_group(backend, rank=here.rank, world_size=here.world_size)
    leave_at_exit()


@cache
def leave_at_exit() -> None:
    """Has this process leave its group when Python ends: gloo's threads would abort it then, now and then.

    Lightning sees to that for NCCL alone.
    """
    atexit.register(lambda: distributed.destroy_process_group() if has_process_group() else None)


# --------------------------------------------------------------------------------------------- in the process


def work(folder: Path, parent: int) -> None:
    """Does the job that lies in `folder`, leaves a report of what came of it there, and ends this process.

    A process whose error can be reported ends with 1, which ends the others; one that was asked to stop ends with 0,
    for the others have been asked, too, and may not have saved their state yet.
    """
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    module, name, options = pickle.loads((folder / "job").read_bytes())
    code = 0
    try:
        report = Report(getattr(importlib.import_module(module), name)(**options))
    except KeyboardInterrupt as error:
        report = Report(error=error)
    except BaseException as error:
        error.add_note(f"on device {rank_info().rank}:\n{traceback.format_exc()}")
        report, code = Report(error=portable(error), time=time.time()), 1
    with atomic_path(folder / f"{rank_info().rank}.report") as temporary:
        temporary.write_bytes(pickle.dumps(report))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: other processes may be gone, and nothing may wait for them


def end_with(parent: int) -> None:
    """Ends this process when the one that has started it is gone."""
    while os.getppid() == parent and psutil.pid_exists(parent):
        time.sleep(1)
    os._exit(1)


def portable(error: BaseException) -> BaseException:
    """The error itself if it survives pickling, else a RuntimeError that says the same."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    from gesso.training import launch as imported  # whose classes the parent knows

    imported.work(Path(sys.argv[1]), int(sys.argv[2]))
