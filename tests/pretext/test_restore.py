"""Restore: any degradation, the network as it is."""

import pytest
import torch

from gesso._discovery import UnknownNameError
from gesso.degradations import create_degradation
from gesso.functional.random import generator_for
from gesso.pretext.restore import MIX, Restore
from tests.pretext._plain import Plain


def test_the_network_is_kept_as_it_is():
    backbone = Plain()
    restore = Restore(backbone)
    assert backbone.out_channels == 3
    assert backbone.image_residual
    assert set(restore.state_dict()) == {f"backbone.{key}" for key in backbone.state_dict()}


def test_default_mix_draws_every_degradation():
    degradation = Restore(Plain()).degradation
    assert [choice.name for choice in degradation.choices] == list(MIX)
    _, label = degradation.labelled(torch.rand(60, 3, 16, 16), generator_for(0))
    assert set(label.tolist()) == set(range(len(MIX)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, lambda error: error.abs().mean()), ({"loss": "mse"}, lambda error: error.square().mean())],
)
def test_loss_is_the_mean_absolute_error_or_another(options, expected):
    restore = Restore(Plain(), degradation={"name": "gaussian_noise", "sigma": 25}, **options)
    gt = torch.rand(2, 3, 16, 18)
    lq = create_degradation("gaussian_noise", sigma=25)(gt, generator_for(7))
    expected = expected(restore.backbone(lq) - gt)
    assert restore({"image": gt}, generator_for(7))["loss"].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("source", ["noise", "photo"])
def test_preview(source):
    image = torch.randn(2, 3, 15, 17) if source == "noise" else torch.rand(2, 3, 15, 17)
    shown = Restore(Plain(scale=2)).preview({"image": image}, generator_for(0))
    assert list(shown) == ["original", "degraded", "restored"]
    assert all(picture.shape == image.shape and 0 <= picture.min() <= picture.max() <= 1 for picture in shown.values())


def test_a_task_degrades_by_its_own_degradation():
    assert Restore(Plain(), task="dehaze").degradation == create_degradation("haze")


def test_a_super_resolver_enlarges_what_the_task_has_made_smaller():
    restore = Restore(Plain(scale=2), task="sr")
    gt = torch.rand(2, 3, 16, 18)
    lq = create_degradation("bicubic", scale=2, up=False)(gt, generator_for(7))
    expected = (restore.backbone(lq) - gt).abs().mean()
    assert restore({"image": gt}, generator_for(7))["loss"].item() == pytest.approx(expected.item())
    shown = restore.preview({"image": gt}, generator_for(0))
    assert all(picture.shape == gt.shape for picture in shown.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "rain", "degradation": "rain"}, "got both"),
        ({"task": "derian"}, "did you mean derain"),
        ({"task": "sr"}, "sr enlarges 2, 3, 4 or more times, got 1"),
    ],
)
def test_tasks_that_cannot_be_prepared_for_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Restore(Plain(), **options)


def test_unknown_degradation():
    with pytest.raises(UnknownNameError, match="did you mean rain"):
        Restore(Plain(), degradation="rian")


def test_unknown_loss():
    with pytest.raises(UnknownNameError, match="did you mean mse"):
        Restore(Plain(), loss="msse")
