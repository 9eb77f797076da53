"""What every refiner owes, behind a real restorer: a new file in gesso/refiner is tested the moment it exists."""

import inspect

import pytest
import torch
from docstring_parser import parse

import gesso
from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.refiner import Prior, Refined, Refiner, ablation_options, list_refiners, refiner_class
from tests._networks import photo_like
from tests.refiner._models import Brightness

NAMES = [*list_refiners(), "tests.extending.own_refiner:Touch"]  # and one of a user's
ABLATIONS = [(name, ablation) for name in NAMES for ablation in refiner_class(name).ablations]
IMAGE = photo_like(3, 21, 30)[None]

pytestmark = pytest.mark.filterwarnings("ignore")


def build(name, prior=True, level="image", **options) -> Refined:
    torch.manual_seed(0)
    brightness = Prior(Brightness(), "mean") if prior else None
    return Refined.around(create_backbone("nafnet_tiny"), brightness, "crop", level, name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_and_documented(name):
    kind = refiner_class(name)
    assert issubclass(kind, Refiner)
    assert "full" in kind.ablations
    documented = {one.arg_name for one in parse(inspect.getdoc(kind) or "").params}
    assert documented == set(inspect.signature(kind).parameters)
    assert gesso.list_refiners() == list_refiners()


@pytest.mark.parametrize("level", ["image", "feature"])
@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_size_are_refined_and_every_weight_learns(name, level):
    net = build(name, level=level)
    restored, refined = net.both(IMAGE)
    assert refined.shape == restored.shape == IMAGE.shape
    optimizer = torch.optim.Adam(net.refiner.parameters(), 1e-3)
    for _ in range(2):  # the last layer may begin at zero
        optimizer.zero_grad()
        (net(IMAGE) - IMAGE).square().mean().backward()
        optimizer.step()
    assert [key for key, weight in net.refiner.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prior", [True, False], ids=["guided", "alone"])
def test_a_file_holds_it(name, prior, tmp_path):
    net = build(name, prior=prior)
    if prior:
        net.refiner.mean_prior = torch.nn.functional.normalize(torch.rand(6), dim=0)
    torch.nn.init.normal_(list(net.refiner.parameters())[-2], std=0.1)
    checkpoint.save(net, tmp_path / "net.safetensors")
    again = checkpoint.load(tmp_path / "net.safetensors", **({"refiner": name} if ":" in name else {}))
    net.prior = None  # the mean stands in for it
    torch.testing.assert_close(again.eval()(IMAGE), net.eval()(IMAGE))
    assert again.refiner.options == net.refiner.options


@pytest.mark.parametrize(("name", "ablation"), ABLATIONS)
def test_every_ablation_is_built(name, ablation):
    options = ablation_options(name, ablation)
    plain = refiner_class(name)(**{"prior_dim": 6, **options})
    prior = torch.ones(1, 6, 3, 3) if plain.sees_map else torch.ones(1, 6)
    assert plain(IMAGE, IMAGE, prior).shape == IMAGE.shape
    if not plain.is_guided:
        with pytest.raises(ValueError, match="guided by nothing; pass the prior none"):
            build(name, **options)
