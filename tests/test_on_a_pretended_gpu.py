"""Whatever runs on a GPU, on one that is pretended: all of it is moved there, and the numbers are those of the CPU."""

import contextlib
import copy

import pytest
import torch
from safetensors.torch import load_file

import gesso
from gesso.backbones import create_backbone, list_backbones
from gesso.commands.evaluate import evaluate
from gesso.commands.refine import refine
from gesso.degradations import create_degradation, list_degradations
from gesso.functional.random import ImageGenerators, generator_for
from gesso.pretext import list_pretexts
from gesso.restorer import Restorer
from tests import _pretend_gpu
from tests._pretend_gpu import pretended_gpu
from tests._runs import SMALL_NETWORK
from tests._streaks import rainy_pairs
from tests.pretext.test_contract import build, make_batch
from tests.training._shared_jobs import NARROW, prepare

MIX = {"choices": ["gaussian_noise", "rain", ["gaussian_blur", "jpeg"]], "weights": [1, 1, 2]}
OPTIONS = {
    "mix": MIX,
    "random_order": {"choices": MIX["choices"], "prob": 0.7},
    "rain_streaks": {"folder": rainy_pairs()},
}
RUN = {"steps": 2, "log_every": 1, "save_every": 0, "sample_every": 0, "precision": "float32", "workers": 0}

pytestmark = [
    pytest.mark.filterwarnings("ignore:'pin_memory' argument"),
    pytest.mark.skipif(torch.version.cuda is not None, reason="a build for GPUs asks for their driver"),
]


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


def test_what_is_left_on_the_cpu_is_found_out(gpu):
    there = torch.rand(2, 3, device=gpu, generator=generator_for(0, device=gpu))
    assert (there.device, (there + 1).device) == (gpu, gpu)
    assert torch.equal(there.cpu(), torch.rand(2, 3, generator=generator_for(0)))
    with pytest.raises(RuntimeError, match="on one device"):
        there + torch.rand(3)
    with pytest.raises(RuntimeError, match="generator of the device"):
        torch.rand(2, device=gpu, generator=generator_for(0))


@pytest.mark.parametrize("name", list_degradations())
def test_degradations(name, gpu):
    degradation, image = create_degradation(name, **OPTIONS.get(name, {})), torch.rand(2, 3, 24, 31)

    def degraded(device, several):
        draws = [generator_for(seed, device=device) for seed in (7, 8, 9)]
        return degradation(image.to(device), ImageGenerators(draws[:2], draws[2]) if several else draws[0])

    for several in (False, True):
        there = degraded(gpu, several)
        assert there.device == gpu
        assert torch.equal(there.cpu(), degraded("cpu", several))


@pytest.mark.parametrize("name", [name for name in list_backbones() if "_tiny" in name])
def test_backbones(name, gpu):
    torch.manual_seed(0)
    net = create_backbone(name).eval()  # nothing is left out at random
    image = torch.rand(2, net.in_channels, 37, 45, generator=generator_for(1))
    there = copy.deepcopy(net).to(gpu)
    restored, expected = there(image.to(gpu)), net(image)
    restored.square().mean().backward()
    expected.square().mean().backward()
    assert restored.device == gpu
    torch.testing.assert_close(restored.detach().cpu(), expected.detach(), rtol=1e-3, atol=1e-4)
    for (key, own), (_, other) in zip(there.named_parameters(), net.named_parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None), key
        if own.grad is not None:
            torch.testing.assert_close(own.grad.cpu(), other.grad, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", list_pretexts())
def test_pretexts_and_their_pictures(name, gpu):
    here = build(name, "swinir_tiny")
    batch = make_batch(here)
    there = copy.deepcopy(here).to(gpu)
    on_gpu = {key: images.to(gpu) for key, images in batch.items()}
    losses, expected = there(on_gpu, generator_for(5, device=gpu)), here(batch, generator_for(5))
    losses["loss"].backward()
    numbers, known = ({key: value.item() for key, value in one.items()} for one in (losses, expected))
    assert numbers == pytest.approx(known, rel=1e-4)
    pictures = there.preview(on_gpu, generator_for(5, device=gpu))
    assert {picture.device for picture in pictures.values()} == {gpu}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_restoring(precision, gpu):
    torch.manual_seed(0)
    net, image = create_backbone("nafnet_tiny"), torch.rand(3, 70, 85)
    expected = Restorer(copy.deepcopy(net), device="cpu", precision=precision)(image)
    for tile in (None, 48):
        restored = Restorer(copy.deepcopy(net), device="cuda", precision=precision, tile=tile)(image)
        assert restored.device.type == "cpu"
        if tile is None:
            torch.testing.assert_close(restored, expected, rtol=1e-2, atol=1e-2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs, on the CPU in `cpu` and on the pretended GPU in `gpu`."""
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder)
    pairs = {"task": "derain", "data": folder / "data", "holdout": 3, "crop_size": 16, "batch_size": 2}
    for accelerator, device in (("cpu", contextlib.nullcontext()), ("gpu", pretended_gpu())):
        with device:
            out, run = folder / accelerator, RUN | {"accelerator": accelerator}
            first = {"crop_size": 24, **run, **SMALL_NETWORK}
            gesso.pretrain(out=out / "ifp", pretext="ifp", pretext_args=NARROW, batch_size=1, **first)
            gesso.pretrain(out=out / "dcpt", pretext="dcpt", batch_size=2, **first)
            once = run | SMALL_NETWORK | pairs | {"init": str(out / "ifp/backbone.safetensors")}
            gesso.finetune(out=out / "tuned", val_every=1, ema_decay=0.9, clip_norm=0.1, **once)
            gesso.finetune(out=out / "guided", critic=out / "dcpt/classifier.safetensors", **once)
            net = {"checkpoint": folder / "net.safetensors", "prior": str(folder / "net.safetensors")}
            refine(out=out / "refined", loss="l1", prior_view="image", **net, **pairs, **run)
            measured = {"device": "cuda" if accelerator == "gpu" else "cpu", "out": out / "measured"}
            evaluate(task="derain", data=folder / "data", checkpoint=out / "refined/backbone.safetensors", **measured)
    return folder


@pytest.mark.parametrize("name", ["ifp", "dcpt", "tuned", "guided", "refined"])
def test_runs_end_with_the_weights_of_the_cpu(name, runs):
    files = {path.name for path in (runs / "cpu" / name).glob("*.safetensors")}
    assert "backbone.safetensors" in files
    for file in files:
        there, here = (load_file(runs / where / name / file) for where in ("gpu", "cpu"))
        assert there.keys() == here.keys()
        for key in here:
            torch.testing.assert_close(there[key], here[key], rtol=1e-4, atol=1e-6)


def test_measuring_gives_the_numbers_of_the_cpu(runs):
    assert (runs / "gpu/measured/scores.csv").read_text() == (runs / "cpu/measured/scores.csv").read_text()


@pytest.mark.parametrize(("name", "count"), {"ifp": 0, "mfm": 0, "restore": 1, "ipt": 1, "dcpt": 1}.items())
def test_losses_wait_for_what_was_drawn_and_no_more(name, count, gpu):
    pretext = build(name, "restormer_tiny").to(gpu)
    batch = {key: images.to(gpu) for key, images in make_batch(pretext).items()}
    _pretend_gpu.waits.clear()
    pretext(batch, generator_for(5, device=gpu))["loss"].backward()
    assert len(_pretend_gpu.waits) == count


@pytest.mark.parametrize("name", ["ifp", "finetune"])
def test_a_step_waits_for_one_number(name, gpu, tmp_path):
    """Whether the gradient is finite, see docs/performance.md."""
    prepare(tmp_path)
    run = SMALL_NETWORK | RUN | {"log_every": 100, "save_every": 0, "crop_size": 16, "batch_size": 2}

    def waited(steps):
        _pretend_gpu.waits.clear()
        options = run | {"steps": steps, "out": tmp_path / str(steps), "accelerator": "gpu"}
        if name == "finetune":
            gesso.finetune(task="derain", data=tmp_path / "data", holdout=1, val_every=0, **options)
        else:
            gesso.pretrain(pretext=name, pretext_args=NARROW, **options)
        return list(_pretend_gpu.waits)

    assert len(waited(3)) - len(waited(1)) == 2
