"""What only a GPU can show, `pytest -m gpu`: skipped where there is none, so never needed to pass.

That everything is moved there is shown without one, see test_on_a_pretended_gpu.py.
"""

import copy
import csv

import pytest
import torch
from safetensors.torch import load_file

import gesso
from gesso.backbones import create_backbone
from gesso.commands.evaluate import evaluate
from gesso.commands.refine import refine
from gesso.data.generated import GeneratedImages
from gesso.degradations import create_degradation, list_degradations
from gesso.functional.random import ImageGenerators, generator_for
from gesso.pretext import list_pretexts
from gesso.restorer import Restorer
from tests._networks import photo_like
from tests._streaks import rainy_pairs
from tests.backbones import test_contract as networks
from tests.pretext.test_contract import build, make_batch
from tests.training._shared_jobs import prepare

GPU = torch.device("cuda")
WITHOUT_CHANCE = ("bicubic", "compose", "mosaic")
MIX = {"choices": ["gaussian_noise", "rain", ["gaussian_blur", "jpeg"]]}
OPTIONS = {
    "mix": MIX,
    "random_order": {"choices": MIX["choices"], "prob": 0.7},
    "rain_streaks": {"folder": rainy_pairs()},
}
RUN = {
    "backbone": "restormer_tiny", "crop_size": 48, "log_every": 1, "sample_every": 0, "accelerator": "gpu", "workers": 0
}  # fmt: skip

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


# ------------------------------------------------------------------------------------------------- one step of each


@pytest.mark.parametrize("name", list_degradations())
def test_degradations(name):
    degradation = create_degradation(name, **OPTIONS.get(name, {}))
    image = torch.stack([photo_like(3, 60, 76, seed=seed) for seed in (0, 1)]).to(GPU)

    def degraded(*own):
        return degradation(image[: len(own)], ImageGenerators([draws(seed) for seed in own], draws(9)))

    def draws(seed):
        return generator_for(seed, device=GPU)

    both = degraded(7, 8)
    assert both.device.type == "cuda"
    assert both.isfinite().all()
    assert both.shape[0] == 2
    torch.testing.assert_close(degraded(7, 8), both)
    torch.testing.assert_close(degraded(7), both[:1], rtol=0, atol=1e-4)
    if name in WITHOUT_CHANCE:
        torch.testing.assert_close(both.cpu(), degradation(image.cpu(), generator_for(0)), rtol=0, atol=1e-4)
    else:
        assert any(not torch.equal(degraded(seed)[0], both[0]) for seed in range(8))


@networks.names
def test_backbones_compute_what_they_do_on_the_cpu(name):
    net = networks.build(name)
    image = networks.image_for(net, *networks.ODD)
    there = copy.deepcopy(net).to(GPU)
    restored, expected = there(image.to(GPU)), net(image)
    largest = expected.abs().max().item()
    torch.testing.assert_close(restored.cpu(), expected, rtol=0, atol=2e-3 * largest)
    restored.square().mean().backward()
    expected.square().mean().backward()
    for (key, own), (_, other) in zip(there.named_parameters(), net.named_parameters(), strict=True):
        if other.grad is not None:
            assert own.grad is not None, key
            torch.testing.assert_close(own.grad.cpu(), other.grad, rtol=0, atol=1e-2 * other.grad.abs().max().item())
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        rounded = there(image.to(GPU)).float().cpu()
    torch.testing.assert_close(rounded, expected.detach(), rtol=0, atol=5e-2 * largest)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", list_pretexts())
def test_pretexts(name, precision):
    pretext = build(name, "swinir_tiny").to(GPU)
    batch = {key: images.to(GPU) for key, images in make_batch(pretext).items()}

    def losses():
        with torch.autocast("cuda", precision, enabled=precision is not torch.float32):
            return pretext(batch, generator_for(5, device=GPU))

    first = losses()
    first["loss"].backward()
    gradients = [p.grad for p in pretext.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    again = {key: value.item() for key, value in losses().items()}
    assert again == pytest.approx({key: value.item() for key, value in first.items()}, rel=1e-2)
    assert {picture.device.type for picture in pretext.preview(batch, generator_for(5, device=GPU)).values()} == {
        "cuda"
    }


# -------------------------------------------------------------------------------------------------------- whole runs


def losses_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file)]


def primed(out, *, steps=20, **options):
    gesso.pretrain(out=out, pretext="ifp", steps=steps, **RUN, **options)
    return losses_of(out)


def test_pre_training_learns_in_either_precision_and_alike(tmp_path):
    rounded, exact = (primed(tmp_path / name, steps=60, precision=name) for name in ("bf16", "float32"))
    assert exact[-1] < 0.9 * exact[0]
    assert rounded == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_steps_are_those_of_eager_ones(mode, tmp_path):
    eager, compiled = (
        primed(tmp_path / str(compile), compile=compile, precision="float32") for compile in (None, mode)
    )
    assert compiled == pytest.approx(eager, rel=1e-2)


def test_a_run_that_was_stopped_ends_where_it_would_have(tmp_path, monkeypatch):
    whole, load = primed(tmp_path / "whole", ema_decay=0.9), GeneratedImages.__getitem__

    def broken(self, key):
        if key[0] == 11:
            raise OSError("cannot read it")
        return load(self, key)

    monkeypatch.setattr(GeneratedImages, "__getitem__", broken)
    with pytest.raises(OSError, match="cannot read it"):
        primed(tmp_path / "parts", ema_decay=0.9)
    monkeypatch.undo()
    assert primed(tmp_path / "parts", ema_decay=0.9, resume=True) == pytest.approx(whole, rel=1e-2)


def test_finetuned_refined_measured_and_restored(tmp_path):
    prepare(tmp_path)
    pairs = {"task": "derain", "data": tmp_path / "data", "holdout": 3, "batch_size": 2}
    run = RUN | {"crop_size": 16, "steps": 4, **pairs}
    tuned = gesso.finetune(out=tmp_path / "tuned", val_every=2, ema_decay=0.9, clip_norm=0.1, **run)
    options = {key: value for key, value in run.items() if key != "backbone"}
    refined = refine(out=tmp_path / "refined", checkpoint=tuned, prior=str(tmp_path / "net.safetensors"), **options)
    assert all(tensor.isfinite().all() for file in (tuned, refined) for tensor in load_file(file).values())

    scores = {}
    for device in ("cuda", "cpu"):
        out = tmp_path / device
        evaluate(task="derain", data=tmp_path / "data", checkpoint=refined, device=device, out=out, precision="float32")
        with (out / "scores.csv").open(newline="") as file:
            scores[device] = [float(row["psnr"]) for row in csv.DictReader(file)]
    assert scores["cuda"] == pytest.approx(scores["cpu"], abs=0.02)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_restoring_whole_and_in_tiles(precision):
    torch.manual_seed(0)
    net, image = create_backbone("nafnet_tiny"), photo_like(3, 170, 185, seed=0)
    expected = Restorer(copy.deepcopy(net), device="cpu", precision="float32")(image)
    for tile in (None, 96):
        restored = Restorer(copy.deepcopy(net), device="cuda", precision=precision, tile=tile)(image)
        assert restored.device.type == "cpu"
        torch.testing.assert_close(restored, expected, rtol=0, atol=2e-2)
