"""Processes for several devices: who they are, and how they end."""

import signal
import threading

import psutil
import pytest

import gesso
from gesso.functional.processes import RankInfo, rank_info, shard
from gesso.training.launch import ProcessError, has_to_launch, launch, portable
from tests._processes import end, forked, is_alive, wait_until
from tests.training._launched import fail_on_the_second, save_when_asked, vanish_on_the_second, wait_for_ever

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


@pytest.mark.parametrize("variables", [TORCHRUN, SLURM])
def test_launchers_say_where_a_process_stands(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rank_info() == RankInfo(rank=5, world_size=8, local_rank=1, local_world_size=4)
    assert rank_info().nodes == 2
    assert shard(range(20)) == range(5, 20, 8)
    assert not has_to_launch({})
    assert not has_to_launch({"devices": 4, "num_nodes": 2})
    with pytest.raises(ValueError, match="asked for 3 on each of 2 machines, but 8 processes have been started"):
        has_to_launch({"devices": 3, "num_nodes": 2})


def test_a_shell_inside_an_allocation_is_alone(monkeypatch):
    for name, value in (SLURM | {"SLURM_JOB_NAME": "interactive"}).items():
        monkeypatch.setenv(name, value)
    assert rank_info() == RankInfo()
    assert has_to_launch({"devices": 2, "accelerator": "cpu"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_nodes": 2}, "2 machines need torchrun or srun"),
        ({"devices": 0}, "expected positive numbers, got 0 and 1"),
        ({"devices": 99, "accelerator": "gpu"}, "asked for 99, but this machine has"),
    ],
)
def test_devices_that_are_not_there_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        has_to_launch(options)


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_other_strategies_than_ddp_are_refused(tmp_path, strategy):
    with pytest.raises(ValueError, match=f"strategy: expected auto or ddp, got '{strategy}'"):
        gesso.pretrain(out=tmp_path / "run", backbone="restormer_tiny", strategy=strategy)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (fail_on_the_second, FileNotFoundError, "no picture 7.png"),
        (vanish_on_the_second, ProcessError, r"the process of device 1 was killed by signal 9 \(SIGKILL\)"),
    ],
)
def test_the_error_of_one_process_ends_all_and_is_the_error_of_the_run(function, error, message):
    before = set(psutil.Process().children())
    try:
        with pytest.raises(error, match=message) as raised:
            launch(function, {"devices": 2})
        assert set(psutil.Process().children()) == before
    finally:
        end(set(psutil.Process().children()) - before)
    if error is FileNotFoundError:
        assert any("fail_on_the_second" in note for note in raised.value.__notes__), "where it happened"


def test_processes_do_not_outlive_the_one_that_started_them(tmp_path, one_thread):
    files = [tmp_path / f"{rank}.pid" for rank in range(2)]
    with forked(lambda: launch(wait_for_ever, {"devices": 2, "folder": tmp_path}), tmp_path) as parent:
        wait_until(lambda: all(file.exists() and file.read_text() for file in files), parent)
        children = [psutil.Process(int(file.read_text())) for file in files]
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_until(lambda: not any(is_alive(child) for child in children))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_reaches_every_process_and_all_are_waited_for(tmp_path, one_thread, number):
    def ends_with_its_signals_given_back() -> int:
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        before = [signal.getsignal(number) for number in numbers]
        with pytest.raises(KeyboardInterrupt):
            launch(save_when_asked, {"devices": 2, "folder": tmp_path})
        return 130 if [signal.getsignal(number) for number in numbers] == before else 1

    with forked(ends_with_its_signals_given_back, tmp_path) as parent:
        wait_until(lambda: all((tmp_path / f"{rank}.pid").exists() for rank in range(2)), parent)
        parent.send_signal(number)
        assert parent.wait() == 130
    assert all((tmp_path / f"{rank}.saved").exists() for rank in range(2))


def test_an_error_that_cannot_travel_is_told_in_words():
    error = portable(ValueError(threading.Lock()))
    assert isinstance(error, RuntimeError)
    assert "ValueError: <unlocked _thread.lock" in str(error)
