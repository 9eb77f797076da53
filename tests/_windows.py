"""gesso as if on Windows: what only POSIX has is hidden from its modules, and from no other package.

`python -m tests._windows DATA OUT` has every main verb do its work so, and prints the exit statuses.
"""

import builtins
import importlib
import json
import multiprocessing
import os
import pkgutil
import signal
import sys
import types
from pathlib import Path
from typing import Any

from tests._runs import SMALL_WORDS

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
HIDDEN: dict[str, set[str]] = {
    "signal": {
        *("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCHLD", "SIGQUIT", "SIGALRM", "SIGPIPE"),
        *("pthread_sigmask", "pthread_kill", "sigwait", "alarm", "setitimer", "siginterrupt"),
    },
    "os": {
        *("fork", "memfd_create", "getuid", "geteuid", "getgid", "getpgid", "killpg", "setsid", "setpgrp", "nice"),
        *("sched_getaffinity", "sched_setaffinity", "mkfifo", "statvfs", "fchmod", "chown", "getloadavg", "uname"),
        *("WTERMSIG", "WEXITSTATUS", "WNOHANG", "posix_fadvise", "sysconf", "sync"),
    },
    "sys": {"getdlopenflags", "setdlopenflags"},
}
INSTEAD: dict[str, dict[str, Any]] = {
    "os": {"name": "nt", "linesep": "\r\n"},
    "sys": {"platform": "win32"},
    "signal": {},
}
SMALL = [*SMALL_WORDS, "--crop_size", "16", "--batch_size", "1", "--steps", "2"]
EXACT = ["--precision", "float32"]
COMPARED = ["--starts", "random,ifp", "--seeds", "0", "--folds", "2"]
COMPARED += ["--pretrain_args.steps", "2", "--pretrain_args.crop_size", "16"]


class OnWindows(types.ModuleType):
    """A module of the standard library as gesso finds it on Windows."""

    def __init__(self, module: types.ModuleType) -> None:
        super().__init__(module.__name__)
        vars(self)["module"] = module

    def __getattr__(self, name: str) -> Any:
        if name in HIDDEN[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return INSTEAD[self.__name__].get(name, getattr(self.module, name))

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.module, name, value)


def hide_posix() -> None:
    """From now on gesso's modules are imported, anew, as on Windows; other packages know their way by themselves."""
    for name in [name for name in sys.modules if name.split(".")[0] == "gesso"]:
        del sys.modules[name]
    stand_ins = {module.__name__: OnWindows(module) for module in (os, signal, sys)}
    import_module = builtins.__import__

    def import_on_windows(name: str, globals: Any = None, *others: Any, **named: Any) -> Any:
        if (globals or {}).get("__name__", "").split(".")[0] != "gesso":
            return import_module(name, globals, *others, **named)
        if name in MODULES:
            raise ImportError(f"no module {name} on this platform")
        return stand_ins.get(name) or import_module(name, globals, *others, **named)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    builtins.__import__ = import_on_windows
    Path.symlink_to = Path.hardlink_to = os.symlink = refuse


def import_all() -> int:
    """How many modules gesso has, all of which have been imported."""
    import gesso

    found = [info.name for info in pkgutil.walk_packages(gesso.__path__, "gesso.")]
    for name in found:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    return len(found)


def commands(data: Path, out: Path) -> dict[str, list[str]]:
    """A command line for every main verb, by what it shows; each after those that it needs."""
    pairs = ["--data", str(data), "--task", "derain"]
    start = str(out / "primed/backbone.safetensors")
    tuned = str(out / "tuned/backbone.safetensors")
    finetune = ["finetune", *pairs, "--out", str(out / "tuned"), "--init", start, *SMALL, *EXACT]
    return {
        "check-data": ["check-data", "--data", str(data)],
        "pretrain": ["pretrain", "--out", str(out / "primed"), "--pretext", "ifp", *SMALL, *EXACT],
        "finetune": [*finetune, "--workers", "1"],
        "again": [*finetune, "--overwrite"],
        "resume": [*finetune, "--resume"],
        "evaluate": ["evaluate", "--checkpoint", tuned, *pairs, "--out", str(out / "scores")],
        "restore": ["restore", str(data / "input"), str(out / "restored"), "--checkpoint", tuned],
        "degrade": ["degrade", str(data / "target"), str(out / "degraded"), "--degradation", "rain"],
        "export": ["export", tuned, str(out / "exported.pth")],
        "inspect": ["inspect", start, "--images", str(data / "input"), "--out", str(out / "inspected")],
        "compare": ["compare", *pairs, "--out", str(out / "compared"), *COMPARED, "--devices", "1", *SMALL],
        "beside": ["compare", *pairs, "--out", str(out / "beside"), *COMPARED, "--devices", "2", *SMALL],
        "list": ["list"],
    }


def main(data: str, out: str) -> None:
    """Runs all of them; the last line is a JSON object of exit statuses."""
    import lightning.pytorch  # noqa: F401 (before anything is hidden)
    import matplotlib.pyplot  # noqa: F401

    multiprocessing.set_start_method("spawn")
    hide_posix()
    from gesso import cli

    statuses = {name: cli.main(words) for name, words in commands(Path(data), Path(out)).items()}
    sys.stdout.write(json.dumps(statuses) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
