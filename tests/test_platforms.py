"""Nothing that only POSIX has is needed to import gesso: what Windows lacks is hidden, and every module imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from gesso.comparison.splits import link_pairs
from gesso.data.layouts import find_pairs
from tests._runs import write_pairs

HIDE_AND_IMPORT = """
import builtins, importlib, os, pkgutil, signal, sys

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
ATTRIBUTES = {
    signal: ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCHLD", "SIGQUIT", "pthread_sigmask"),
    os: ("fork", "memfd_create", "getuid", "geteuid", "killpg", "setsid", "sched_getaffinity", "mkfifo", "WTERMSIG"),
}

before = builtins.__import__


def without_posix(name, globals=None, *others):
    if name in MODULES and (globals or {}).get("__name__", "").startswith("gesso"):  # other packages know their way
        raise ImportError(f"no module {name} on this platform")
    return before(name, globals, *others)


import gesso, gesso.cli, lightning.pytorch, matplotlib.pyplot, psutil, torch.distributed.run

own = [info.name for info in pkgutil.walk_packages(gesso.__path__, "gesso.") if not info.name.endswith("__main__")]
for name in [name for name in sys.modules if name.startswith("gesso")]:
    del sys.modules[name]
builtins.__import__ = without_posix
for module, names in ATTRIBUTES.items():
    for name in names:
        delattr(module, name)
for name in own:
    importlib.import_module(name)
print(len(own))
"""


@pytest.fixture(scope="module")
def imported():
    """What a process has said that imports every module of gesso as if on Windows."""
    return subprocess.run([sys.executable, "-c", HIDE_AND_IMPORT], capture_output=True, text=True)


def test_every_module_can_be_imported_without_posix(imported):
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 100


@pytest.mark.parametrize("links", [True, False])
def test_a_comparison_lays_out_its_pairs_where_links_are_not_allowed(tmp_path, monkeypatch, links):
    """Windows grants them to administrators and developers alone."""
    pairs = find_pairs(write_pairs(tmp_path / "pairs", 2), "train")
    if not links:
        monkeypatch.setattr(Path, "symlink_to", refuse)
    link_pairs(pairs, tmp_path / "set")
    again = find_pairs(tmp_path / "set", "train")
    assert [pair.gt.read_bytes() for pair in again] == [pair.gt.read_bytes() for pair in pairs]
    assert [pair.lq.is_symlink() for pair in again] == [links] * 2


def refuse(*_):
    raise OSError(1314, "A required privilege is not held by the client")
