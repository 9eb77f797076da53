"""What all tests share: no test depends on how busy the machine is, and none leaves a process behind."""

import multiprocessing
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests._processes import Start, owned_processes

settings.register_profile("gesso", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gesso")

METHOD = os.environ.get("GESSO_START_METHOD")  # `spawn`, as on Windows and macOS; see CONTRIBUTING.md
if METHOD:
    multiprocessing.set_start_method(METHOD, force=True)


@pytest.fixture(autouse=bool(METHOD))
def with_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every run that names none a process that loads samples, begun by that method."""
    from gesso.training import run

    count = run.workers_for
    monkeypatch.setattr(run, "workers_for", lambda train, on, asked: count(train, on, 1 if asked is None else asked))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, like `subprocess.Popen`, that end with the test."""
    with owned_processes() as start_process:
        yield start_process
