"""Everything that computes does so in float64 as well, with the default type of new tensors left alone."""

import pytest
import torch

from gesso.backbones import create_backbone, list_backbones
from gesso.data.io import write_image
from gesso.degradations import create_degradation, list_degradations
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext, list_pretexts
from gesso.refiner import Refined, open_prior
from gesso.restorer import Restorer
from tests._streaks import rainy_pairs

TINY = [name for name in list_backbones() if name.endswith("_tiny")]
SMALL = {"restormer_tiny": {"dim": 4, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}}


def smooth(height, width, channels=3):
    rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width).view(1, -1) / width
    return torch.stack([(rows * (number + 1) + columns).sin().square() for number in range(channels)]).double()


@pytest.mark.parametrize("name", TINY)
def test_networks(name):
    torch.manual_seed(0)
    net = create_backbone(name).eval()
    image = smooth(40, 56, net.in_channels)[None]
    with torch.no_grad():
        rough, exact = net(image.float()), net.double()(image)
    assert exact.dtype == torch.float64
    assert (exact - rough).abs().max() < 1e-4 * exact.abs().max()
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("tile", [None, 64, "auto"])
def test_restoring_above_the_size_that_is_probed(tile, monkeypatch):
    torch.manual_seed(0)
    net, image = create_backbone("restormer_tiny", **SMALL["restormer_tiny"]), smooth(120, 104)
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 2e7 if tile == "auto" else 1e12)
    exact = Restorer(net, tile, precision="float64", device="cpu")(image)
    rough = Restorer(net, tile, precision="float32", device="cpu")(image)
    assert (exact.dtype, rough.dtype) == (torch.float64, torch.float32)
    assert 0 < (exact - rough).abs().max() < 1e-5
    assert next(net.parameters()).dtype == torch.float32


def test_a_run_measures_in_float64(tmp_path, monkeypatch):
    """Lightning makes float64 the default type for a while: nothing may then be half of each."""
    from gesso.commands.finetune import finetune

    seen = []
    real = Restorer.__call__

    def watched(self, image, watch=iter):
        seen.append((self.dtype, tuple(image.shape[-2:])))
        return real(self, image, watch)

    monkeypatch.setattr(Restorer, "__call__", watched)
    for side in ("input", "target"):
        for number in range(4):
            write_image(tmp_path / side / f"{number}.png", smooth(100, 104).float() * (0.5 + number / 8))
    finetune(
        out=tmp_path / "run", task="denoise", lq=tmp_path / "input", gt=tmp_path / "target", holdout=1,
        backbone="restormer_tiny", backbone_args=SMALL["restormer_tiny"], steps=1, val_every=1, crop_size=16,
        batch_size=1, precision="float64", accelerator="cpu", tile=64,
    )  # fmt: skip
    assert (torch.float64, (100, 104)) in seen
    assert torch.get_default_dtype() == torch.float32


PRETEXTS = {"degae": {"representor_width": 8, "representor_blocks": 4, "decoder_width": 16}}


@pytest.mark.parametrize("name", list_pretexts())
def test_pretexts(name):
    torch.manual_seed(0)
    method = create_pretext(
        name, create_backbone("restormer_tiny", **SMALL["restormer_tiny"]), **PRETEXTS.get(name, {})
    )
    method = method.double().train()
    images = smooth(32, 32).expand(2, 3, 32, 32).clone()
    if method.images_per_sample > 1:
        images = images[:, None].expand(-1, method.images_per_sample, -1, -1, -1).clone()
    losses = method({"image": images}, generator_for(0, "test"))
    assert losses["loss"].dtype == torch.float64
    losses["loss"].backward()


@pytest.mark.parametrize("name", list_degradations())
def test_degradations(name):
    needs = {
        "mix": {"choices": ["jpeg"]},
        "random_order": {"choices": ["jpeg", "rain"]},
        "rain_streaks": {"folder": rainy_pairs()},
    }
    image = smooth(64, 64)[None]
    degradation = create_degradation(name, **needs.get(name, {}))
    degraded = degradation(image, generator_for(0, "test"))
    assert degraded.dtype == torch.float64
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)  # as in a run in float64
        assert torch.isfinite(degradation(image.float(), generator_for(0, "test"))).all()
    finally:
        torch.set_default_dtype(default)


@pytest.mark.parametrize("view", ["crop", "image"])
def test_a_refined_network(view):
    torch.manual_seed(0)
    prior = open_prior("tests.refiner._models:Brightness", lambda path: create_backbone("restormer_tiny"))
    net = Refined.around(create_backbone("restormer_tiny", **SMALL["restormer_tiny"]), prior, view, width=4)
    image = smooth(100, 104)
    exact = Restorer(net, 64, precision="float64", device="cpu")(image)
    rough = Restorer(net, 64, precision="float32", device="cpu")(image)
    assert exact.dtype == torch.float64
    assert (exact - rough).abs().max() < 1e-4
