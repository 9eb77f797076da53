"""How many runs of a comparison go on side by side: as named, as it began, or as a measurement finds."""

import pytest
import torch
import yaml

from gesso.comparison import side_by_side
from gesso.comparison.arms import Arm
from gesso.comparison.compare import Compare
from gesso.comparison.side_by_side import settle_devices, share_of_cores
from gesso.comparison.step_times import time_processes
from gesso.training.recipe import Recipe

LONG = {"task": "derain", "backbone": "nafnet_tiny", "crop_size": 64, "batch_size": 4, "steps": 600}
PRETRAINED = Arm("ifp", init=None, pretraining={"pretext": "ifp", "steps": 6_400})

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is not shared")


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)


@pytest.fixture
def timed(monkeypatch):
    """What a step takes, by how many processes take steps at a time; and the numbers that were asked for."""

    def pretend(seconds):
        asked = []

        def time_processes(question, numbers, cores):
            asked.extend(numbers)
            return {number: seconds[number] for number in numbers if number in seconds}

        monkeypatch.setattr(side_by_side, "time_processes", time_processes)
        return asked

    return pretend


@pytest.mark.parametrize(
    ("seconds", "runs", "chosen"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.0}, 24, 8),  # threads gain nothing: 24 runs in three rows
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 24, 1),  # threads gain all there is: no gain by more runs
        ({1: 1.0, 2: 1.97, 4: 4.0, 8: 8.0}, 24, 1),  # what two gain is noise
        ({1: 1.0, 2: 1.5, 4: 2.2, 8: 4.6}, 24, 4),
        ({1: 1.0, 2: 1.1}, 24, 2),  # memory holds two
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 1.3}, 4, 4),  # there are no more runs than four
        ({1: 1.0, 2: 1.1, 4: 1.3, 5: 1.3}, 5, 5),
    ],
)
def test_as_many_runs_as_finish_first(seconds, runs, chosen, timed, tmp_path, capsys):
    asked = timed(seconds)
    assert settle_devices(Compare(out=tmp_path, **LONG), [Arm("random")], runs).devices == chosen
    assert asked[0] == 1
    assert asked[-1] == min(runs, 8)
    words = " ".join(capsys.readouterr().out.split())
    assert f"side by side: {chosen} runs on 8 cores, {8 // chosen} to each" in words
    assert "1000 ms with 1" in words


def test_a_pretraining_that_runs_alone_counts_too(timed, tmp_path):
    """Eight threads finish its 6,400 steps far sooner than the one it has where eight runs go on."""
    timed({1: 1.0, 2: 1.8, 4: 2.8, 8: 4.0})
    command = Compare(out=tmp_path, **LONG)
    assert settle_devices(command, [Arm("random")], 8).devices == 8
    assert settle_devices(command, [Arm("random"), PRETRAINED], 8).devices == 1


def test_what_is_named_is_not_measured(timed, tmp_path):
    asked = timed({})
    assert settle_devices(Compare(out=tmp_path, **LONG, devices=3), [Arm("random")], 24).devices == 3
    assert not asked


@pytest.mark.parametrize("shorter", [{"steps": 1}, {"budget": "60s"}])
def test_a_short_comparison_is_not_measured(shorter, timed, tmp_path):
    asked = timed({})
    assert settle_devices(Compare(out=tmp_path, **{**LONG, **shorter}), [Arm("random")], 24).devices == 1
    assert not asked


@pytest.mark.parametrize(("began", "cores", "kept"), [(4, 8, 4), (8, 2, 2), (1, 8, 1), (None, 8, 1)])
def test_a_comparison_keeps_what_it_began_with(began, cores, kept, timed, tmp_path, monkeypatch):
    """On fewer cores, fewer runs: the threads of each stay one. One of an older version ran one at a time."""
    command = Compare(out=tmp_path, **LONG)
    Recipe.of(Compare(out=tmp_path, **LONG, devices=began)).write(tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()).get("devices") == began
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    asked = timed({})
    assert settle_devices(command, [Arm("random")], 24).devices == kept
    assert not asked


def test_a_network_that_cannot_be_timed_runs_and_says_itself_why(monkeypatch, tmp_path):
    def fail(*_):
        raise RuntimeError("a process that times steps has ended")

    monkeypatch.setattr(side_by_side, "time_processes", fail)
    assert settle_devices(Compare(out=tmp_path, **LONG), [Arm("random")], 24).devices == 1


def test_prices_are_measured_with_the_threads_of_a_run(monkeypatch):
    monkeypatch.undo()
    before = torch.get_num_threads()
    with share_of_cores(64 * before):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.fixture
def small():
    return {"backbone": "nafnet_tiny", "backbone_args": {"width": 4}, "batch_size": 1, "crop_size": 16}


def test_steps_are_timed_in_processes_of_their_own(small):
    seconds = time_processes(small, [1, 2], cores=2)
    assert list(seconds) == [1, 2]
    assert all(taken > 0 for taken in seconds.values())


def test_no_more_processes_are_timed_than_memory_holds(small, monkeypatch):
    monkeypatch.setattr("gesso.comparison.step_times.free_memory", lambda: 2**20)
    assert list(time_processes(small, [1, 2], cores=2)) == [1]


def test_a_process_that_ends_is_an_error(small):
    with pytest.raises(RuntimeError, match="has ended"):
        time_processes({**small, "backbone": "nobody"}, [1], cores=1)
