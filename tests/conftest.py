"""What all tests share: no test depends on how busy the machine is, and none leaves a process behind."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests._processes import Start, owned_processes

settings.register_profile("gesso", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gesso")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes, like `subprocess.Popen`, that end with the test."""
    with owned_processes() as start_process:
        yield start_process
