"""A part of `python -m tests.faults.kills`."""

from tests.faults import kills


def test_files_are_old_or_new_whatever_is_killed(tmp_path):
    kills.kill_writes(15, tmp_path)


def test_a_killed_run_leaves_whole_files_and_goes_on(tmp_path):
    assert kills.kill_runs(1, tmp_path / "run") > 0
