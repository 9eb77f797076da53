"""Tests leave no process behind, even where they fail."""

import sys

import psutil
import pytest

from tests._processes import is_alive, owned_processes, wait_until

CHILD = "import time; time.sleep(600)"
PARENT = f"""
import subprocess, sys, time
children = [subprocess.Popen([sys.executable, "-c", {CHILD!r}], start_new_session=own) for own in (False, True)]
print(*(child.pid for child in children), flush=True)
"""


@pytest.mark.parametrize("last", ["time.sleep(600)", "sys.exit(0)"], ids=["with their parent", "without it"])
def test_a_process_and_its_descendants_end_with_the_test_that_fails(last):
    children = []

    def fail():
        with owned_processes() as start:
            process = start([sys.executable, "-c", PARENT + last], stdout=-1, text=True)
            children.extend(psutil.Process(int(number)) for number in process.stdout.readline().split())
            raise RuntimeError("the test fails")

    with pytest.raises(RuntimeError, match="the test fails"):
        fail()
    assert len(children) == 2
    wait_until(lambda: not any(is_alive(child) for child in children))


def test_waiting_ends_with_the_process(start):
    process = start([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(AssertionError, match="ended with 3"):
        wait_until(lambda: False, process)
