"""What `launch` is tried with."""

import os
import signal
import threading
import time
from pathlib import Path

from gesso.functional.processes import rank_info
from gesso.training.launch import stop_signals


def fail_on_the_second(devices: int) -> None:
    """The second process cannot read a picture; the others would wait for it for ever."""
    if rank_info().rank == 1:
        raise FileNotFoundError("no picture 7.png")
    time.sleep(600)


def vanish_on_the_second(devices: int) -> None:
    """The second process is killed."""
    if rank_info().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def wait_for_ever(devices: int, folder: Path) -> None:
    """Leaves its process number in `folder` and waits."""
    (folder / f"{rank_info().rank}.pid").write_text(str(os.getpid()))
    time.sleep(600)


def save_when_asked(devices: int, folder: Path) -> None:
    """Waits to be asked to stop, and saves then; the first process takes its time."""
    asked = threading.Event()
    for number in stop_signals():
        signal.signal(number, lambda *_: asked.set())
    rank = rank_info().rank
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
    while not asked.wait(0.01):
        pass
    time.sleep(0 if rank else 0.5)
    (folder / f"{rank}.saved").touch()
    raise KeyboardInterrupt
