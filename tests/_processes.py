"""Processes of tests: they end with the test that started them, and are waited for however busy the machine is."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

MARK = "GESSO_TEST_PROCESS"
JUST_BORN = 5  # seconds
HANGS = 900
"""Seconds after which what a test waits for will never come; no load reaches it."""

Start = Callable[..., subprocess.Popen]


@contextlib.contextmanager
def owned_processes() -> Iterator[Start]:
    """A function like `subprocess.Popen`, whose processes and all their descendants are killed at the end.

    They inherit a word in their environment, by which those are found, too, that have begun a session of their own, as
    torchrun's workers do, or whose parent is gone.
    """
    word, started = uuid.uuid4().hex, list[subprocess.Popen]()

    def start(command: Sequence[str], **options: Any) -> subprocess.Popen:
        environment = {**(options.pop("env", None) or os.environ), MARK: word}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True, **options))
        return started[-1]

    try:
        yield start
    finally:
        end(process for process in psutil.process_iter() if word_of(process) == word)
        for process in started:
            with process:  # waits, and closes its pipes
                process.kill()


def word_of(process: psutil.Process) -> str | None:
    """The word that a process has inherited."""
    with contextlib.suppress(psutil.Error):
        environment = process.environ()
        while not environment and is_alive(process) and time.time() - process.create_time() < JUST_BORN:
            time.sleep(0.01)  # between its `exec` and its first instruction a program has no environment yet
            environment = process.environ()
        return environment.get(MARK)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process]) -> None:
    """Kills processes."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


class Forked:
    """A function in a process of its own, a fork of this one: what takes a second to import is there already.

    Its streams go into files. There are no other threads in it, see the fixture `one_thread`.

    Args:
        run: returns the exit status.
        folder: where `stdout` and `stderr` are written.
    """

    def __init__(self, run: Callable[[], int], folder: Path) -> None:
        self.args, self.folder, self.status = run, folder, None
        self.pid = os.fork()
        if not self.pid:
            status = 70  # of a fault of the test's own
            try:
                os.setpgrp()
                for number, name in ((1, "stdout"), (2, "stderr")):
                    os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), number)
                    setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1))
                status = run()
            finally:
                os._exit(status)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.status is None and (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            self.status = os.waitstatus_to_exitcode(ended[1])
        return self.status

    def wait(self) -> int | None:
        """Waits for the end, and returns the exit status."""
        wait_until(lambda: self.poll() is not None)
        return self.status

    def send_signal(self, number: int) -> None:
        """Sends a signal to it alone."""
        os.kill(self.pid, number)

    def said(self, stream: str = "stdout") -> str:
        """What it has written so far."""
        return (self.folder / stream).read_text()


@contextlib.contextmanager
def forked(run: Callable[[], int], folder: Path) -> Iterator[Forked]:
    """A `Forked`, which is killed at the end of the block, with what it has started."""
    process = Forked(run, folder)
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.Error):
            end([*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)])
        if process.poll() is None:
            process.wait()


def wait_for_child(number: int) -> int:
    """The status with which a forked process ends; it is killed where the test ends first, as by Ctrl-C."""
    try:
        return os.waitpid(number, 0)[1]
    except BaseException:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
        raise


def wait_until(happened: Callable[[], Any], process: subprocess.Popen | Forked | None = None) -> None:
    """Waits for something that a process brings about.

    Raises:
        AssertionError: if the process ends before, or it never comes.
    """
    begin = time.monotonic()
    while not happened():
        ended = process is not None and process.poll() is not None
        assert not ended or happened(), f"{process.args} ended with {process.poll()}" if process else ""
        assert time.monotonic() - begin < HANGS, "it hangs"
        time.sleep(0.01)
