"""Threads of a step: what a probe finds is what a run does, and goes on with; measurements keep all of them."""

import pytest
import torch
from safetensors.torch import load_file

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.functional.processes import PARALLEL_RUNS, computing_with
from gesso.training import precision, threads
from gesso.training._module import TrainingModule
from gesso.training.finetune_module import FinetuneModule
from gesso.training.threads import choose_threads
from tests._runs import NAFNET, SMALL_NETWORK, write_pairs

RUN = {"pretext": "mfm", **SMALL_NETWORK, "accelerator": "cpu", "crop_size": 16, "batch_size": 1}
RUN |= {"schedule": "constant", "sample_every": 0, "save_every": 0, "precision": "float32"}


@pytest.fixture(autouse=True)
def four():
    """Four threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def timed(monkeypatch):
    """Has a step take as long as is said by the number of threads; nobody has named a number, and every run asks."""

    def say(seconds: dict[int, float]) -> None:
        monkeypatch.setattr(threads, "time_step", lambda *_, autocast: seconds[torch.get_num_threads()])

    for name in (*threads.TOLD_OTHERWISE, PARALLEL_RUNS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "SHORT", 0)
    monkeypatch.setattr(precision, "SHORT", 0)
    return say


@pytest.fixture
def used(monkeypatch):
    """The number of threads of every training step."""
    found, learn = [], TrainingModule.learn

    def watched(*args, **options):
        found.append(torch.get_num_threads())
        return learn(*args, **options)

    monkeypatch.setattr(TrainingModule, "learn", watched)
    return found


def train(out, **options):
    return gesso.pretrain(out=out, **(RUN | {"steps": 2} | options))


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({4: 1.0, 2: 2.0, 1: 4.0}, 4),
        ({4: 1.0, 2: 1.02, 1: 1.4}, 2),  # the fewest of those that are alike
        ({4: 9.0, 2: 5.0, 1: 1.0}, 1),
        ({4: 1.0, 2: 1.1, 1: 1.04}, 1),
    ],
)
def test_the_fewest_threads_that_are_as_fast_as_any(timed, capsys, seconds, chosen):
    timed(seconds)
    assert choose_threads(create_backbone("nafnet_tiny"), 2, 16) == chosen
    told = ", ".join(f"{1000 * taken:.0f} ms with {number}" for number, taken in seconds.items())
    assert f"threads: {chosen} of 4; a step of 2 crops of 16 pixels takes {told}" in capsys.readouterr().out
    assert torch.get_num_threads() == 4


def test_a_run_does_and_goes_on_with_what_its_probe_found(tmp_path, timed, used, monkeypatch):
    timed({4: 3.0, 2: 1.0, 1: 2.0})
    file = train(tmp_path / "run")
    assert used == [2, 2]
    assert checkpoint.read_header(file)["threads"] == 2
    monkeypatch.setattr(threads, "choose_threads", None)  # nobody asks again
    train(tmp_path / "run", steps=4, resume=True)
    assert used == [2] * 4
    assert torch.get_num_threads() == 4


def test_a_machine_with_fewer_threads_goes_on_with_those_it_has(tmp_path, timed, used):
    timed({4: 1.0, 2: 2.0, 1: 4.0})
    train(tmp_path / "run")
    torch.set_num_threads(3)
    train(tmp_path / "run", steps=3, resume=True)
    assert used == [4, 4, 3]


def test_measurements_keep_all_threads(tmp_path, timed, used, monkeypatch):
    timed({4: 3.0, 2: 2.0, 1: 1.0})
    measured, score = [], FinetuneModule.score

    def watched(*args, **options):
        measured.append(torch.get_num_threads())
        return score(*args, **options)

    monkeypatch.setattr(FinetuneModule, "score", watched)
    options = {name: value for name, value in RUN.items() if name != "pretext"}
    gesso.finetune(
        task="derain", data=write_pairs(tmp_path / "pairs", 4), out=tmp_path / "run", **options, steps=2, val_every=1
    )
    assert used == [1, 1]
    assert set(measured) == {4}


def test_a_step_that_fails_gives_the_threads_back(tmp_path, timed, monkeypatch):
    timed({4: 3.0, 2: 2.0, 1: 1.0})
    monkeypatch.setattr(TrainingModule, "learn", _fail)
    with pytest.raises(LookupError):
        train(tmp_path / "run")
    assert torch.get_num_threads() == 4


def _fail(*_, **__):
    raise LookupError("a step that fails")


@pytest.mark.parametrize("why", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", PARALLEL_RUNS, "short", "one"])
def test_who_has_chosen_or_has_no_choice_is_not_asked(tmp_path, timed, used, monkeypatch, why):
    monkeypatch.setattr(threads, "choose_threads", None)
    if why == "short":
        monkeypatch.setattr(threads, "SHORT", 1e12)
    elif why == "one":
        torch.set_num_threads(1)
    else:
        monkeypatch.setenv(why, "4")
    file = train(tmp_path / "run")
    assert used == [1 if why == "one" else 4] * 2
    assert "threads" not in checkpoint.read_header(file)


def test_no_more_threads_than_there_are():
    with computing_with(9):
        assert torch.get_num_threads() == 4
    with computing_with(2), computing_with(None):
        assert torch.get_num_threads() == 2


def test_a_probe_leaves_the_network_and_random_numbers_alone():
    network = create_backbone("nafnet_tiny", **NAFNET)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    assert choose_threads(network, 1, 16) in (1, 2, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_weights_are_those_of_a_run_that_was_told_the_number(tmp_path, timed):
    timed({4: 3.0, 2: 2.0, 1: 1.0})
    chosen = load_file(train(tmp_path / "chosen"))
    torch.set_num_threads(1)
    told = load_file(train(tmp_path / "told"))
    assert all(torch.equal(chosen[name], told[name]) for name in told)
