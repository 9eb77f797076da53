"""Precision "auto": what a probe finds is what a run does, and goes on with; the probe itself changes nothing."""

import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.pretrain import Pretrain
from gesso.comparison.jobs import Job, run_jobs
from gesso.functional.memory import peak_bytes
from gesso.functional.processes import PARALLEL_RUNS
from gesso.training import precision
from gesso.training.needs import MARGIN, SCRATCH
from gesso.training.precision import choose_precision, count_bytes, time_steps

RUN = {"pretext": "mfm", "backbone": "nafnet_tiny", "accelerator": "cpu", "crop_size": 16, "batch_size": 1}
RUN |= {"schedule": "constant", "sample_every": 0, "save_every": 0}


@pytest.fixture
def timed(monkeypatch):
    """Has a step take as long as is said, on a processor that computes in bf16; and every run long enough to ask."""

    def say(float32: float, bf16: float) -> None:
        monkeypatch.setattr(precision, "time_step", lambda *_, autocast: bf16 if autocast else float32)

    monkeypatch.delenv(PARALLEL_RUNS, raising=False)
    monkeypatch.setattr(precision, "computes_in_bf16", lambda device: True)
    monkeypatch.setattr(precision, "SHORT", 0)
    return say


def train(out, **options):
    file = gesso.pretrain(out=out, **(RUN | {"steps": 2} | options))
    return load_file(file)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("float32", "bf16", "chosen"), [(1.0, 0.5, "bf16"), (1.0, 0.97, "float32"), (1.0, 1.3, "float32")]
)
def test_bf16_has_to_be_faster_beyond_noise(timed, capsys, float32, bf16, chosen):
    timed(float32, bf16)
    assert choose_precision(create_backbone("nafnet_tiny"), 2, 16) == chosen
    told = f"precision: {chosen}; a step of 2 crops of 16 pixels takes 1000 ms in float32, {1000 * bf16:.0f} ms in bf16"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bf16", "free", "chosen", "told"),
    [
        (0.5, 8, "bf16", "; memory: a step needs about 3.7 GiB, in float32 2.0 GiB"),
        (0.5, 3, "float32", "; memory: a step in bf16 needs about 3.7 GiB, and 3.0 GiB are free"),
        (2.0, 3, "float32", ""),
        (0.5, 1, "bf16", "; memory: a step needs about 3.7 GiB, in float32 2.0 GiB"),  # neither fits: steps are cut
    ],
)
def test_bf16_has_to_fit_where_float32_does(timed, monkeypatch, capsys, bf16, free, chosen, told):
    def step(network, images, *, autocast):
        torch.empty(len(images), 2**28 if autocast else 2**27)  # of which no page is touched
        return bf16 if autocast else 1.0

    monkeypatch.setattr(precision, "time_step", step)
    assert choose_precision(create_backbone("nafnet_tiny"), 3, 16, free=free * 2**30) == chosen
    assert capsys.readouterr().out.strip().endswith(f"{1000 * bf16:.0f} ms in bf16{told}")


def test_what_a_step_needs_grows_with_its_pixels():
    network, images = create_backbone("nafnet_tiny"), torch.rand(2, 3, 32, 32, generator=torch.Generator())
    small, large = count_bytes(network, images, 2 * 32**2), count_bytes(network, images, 200 * 32**2)
    measured = peak_bytes(lambda: precision.time_step(network, images, autocast=False))
    assert small["float32"] == pytest.approx(MARGIN * measured + SCRATCH)
    assert all(large[name] > small[name] for name in small)
    assert small["float32"] != small["bf16"]


def test_a_probe_leaves_weights_gradients_buffers_and_random_numbers_alone():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.drop = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5)
            self.last = nn.Conv2d(4, 3, 3, padding=1)

        def forward(self, image):
            return image + self.last(self.drop(self.norm(self.first(image))))

    network = gesso.wrap(Normed()).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator())
    seconds = time_steps(network, images)
    assert min(count_bytes(network, images, 512).values()) > 0
    assert torch.equal(torch.rand(3), expected)
    assert 0 < min(seconds.values()) < float("inf")
    assert same(before, network.state_dict())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (2.0, "float32")])
def test_a_run_does_and_goes_on_with_what_its_probe_found(tmp_path, timed, monkeypatch, bf16, chosen):
    timed(1.0, bf16)
    asked = train(tmp_path / "auto")
    assert same(asked, train(tmp_path / "told", precision=chosen))
    assert checkpoint.read_header(tmp_path / "auto/backbone.safetensors")["precision"] == chosen
    monkeypatch.setattr(precision, "choose_precision", None)  # nobody asks again
    resumed = train(tmp_path / "auto", steps=4, resume=True)
    assert same(resumed, train(tmp_path / "whole", steps=4, precision=chosen))


def test_a_short_run_and_the_arms_of_a_comparison_ask_no_probe(tmp_path, timed, monkeypatch):
    monkeypatch.setattr(precision, "choose_precision", None)
    with monkeypatch.context() as beside:
        beside.setenv(PARALLEL_RUNS, "2")
        assert same(train(tmp_path / "arm"), train(tmp_path / "bf16", precision="bf16"))
    job = Job("arm", Pretrain(out=tmp_path / "in turn", steps=2, **RUN))
    assert run_jobs([job]) == {}
    assert same(load_file(tmp_path / "in turn/backbone.safetensors"), load_file(tmp_path / "bf16/backbone.safetensors"))
    assert PARALLEL_RUNS not in os.environ
    monkeypatch.setattr(precision, "SHORT", 1e12)
    assert same(train(tmp_path / "short"), train(tmp_path / "float32", precision="float32"))
