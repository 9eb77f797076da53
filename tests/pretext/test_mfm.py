"""MFM: the published reductions, its masks, and its siblings."""

import pytest
import torch

from gesso.functional.random import generator_for
from gesso.functional.spectrum import disc_mask
from gesso.pretext import create_pretext
from gesso.pretext.mfm import MFM, short_blur
from tests._golden import case_id, cases, check_gradients, check_output, make_inputs
from tests.pretext._plain import Plain

SIBLINGS = ("sr", "deblur", "denoise")


def photo(*shape, seed=0):
    return torch.rand(*shape, generator=generator_for(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("case", cases("mfm", name="MFM forward with its loss reduction"), ids=case_id)
def test_equals_the_official_forward(case, dtype):
    mfm = MFM(Plain(), clamp=True, normalise=True, loss=case["args"]["target_type"])
    inputs = make_inputs(case, dtype, requires_grad=True)
    size = case["args"]["size"]
    disc = disc_mask(size, size, case["args"]["radius1"], case["args"]["radius2"])
    mask = torch.cat([disc if low_pass else 1 - disc for low_pass in case["args"]["low_pass"]])
    original = mfm.scaled(inputs["x"])
    check_output(mfm.scaled(mfm.corrupt(inputs["x"], mask, generator_for(0))), case["out"]["normalised_corrupted"])
    check_output(original, case["out"]["normalised_target"])
    losses = mfm.losses(inputs["pred"], original, mask)
    check_output(losses["loss"], case["out"]["loss"])
    check_gradients(case, inputs, losses)


def test_the_disc_has_the_published_size_at_224():
    mask = MFM(Plain(), low_pass_prob=1.0).draw_mask(torch.zeros(1, 3, 224, 224), generator_for(0))
    assert mask.sum() == 793
    mask = MFM(Plain(), low_pass_prob=0.0).draw_mask(torch.zeros(1, 3, 224, 224), generator_for(0))
    assert mask.sum() == 224**2 - 793


@pytest.mark.parametrize("prob", [0.3, 0.5])
def test_share_of_low_pass(prob):
    masks = MFM(Plain(), low_pass_prob=prob).draw_mask(torch.zeros(2000, 3, 8, 8), generator_for(0))
    assert masks[:, 0, 4, 4].mean().item() == pytest.approx(prob, abs=0.03)


@pytest.mark.parametrize("shape", [(16, 16), (15, 21), (24, 17)])
@pytest.mark.parametrize("corruption", ["mask", *SIBLINGS])
@pytest.mark.parametrize("preset", [None, "official_code"])
def test_any_size_and_corruption(shape, corruption, preset):
    mfm = create_pretext("mfm", Plain(), preset=preset, corruption=corruption)
    losses = mfm({"image": photo(2, 3, *shape)}, generator_for(0))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in mfm.parameters())


@pytest.mark.parametrize("corruption", SIBLINGS)
def test_siblings_corrupt_and_stay_images(corruption):
    image = photo(2, 3, 32, 32)
    mfm = MFM(Plain(), corruption=corruption)
    first, again = (mfm.corrupt(image, torch.ones(2, 1, 32, 32), generator_for(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert 0 <= first.min() <= first.max() <= 1
    assert (first - image).abs().mean() > 0.05


def test_short_blur_is_a_cut_gaussian():
    """A point spreads over a square of odd side from 7 to 21 pixels, nearly evenly."""
    point = torch.zeros(64, 3, 41, 41)
    point[:, :, 20, 20] = 1
    spread = short_blur(point, generator_for(0))
    sides = (spread[:, 0, 20] > 1e-6).sum(1)
    assert set(sides.tolist()) == {7, 9, 11, 13, 15, 17, 19, 21}
    torch.testing.assert_close(spread.sum((2, 3)), torch.ones(64, 3), rtol=1e-4, atol=0)


def test_focal_options_reach_the_loss():
    original, reconstructed = photo(2, 3, 16, 16), photo(2, 3, 16, 16, seed=1)
    mask = torch.ones(2, 1, 16, 16)
    plain = MFM(Plain(), loss="normal").losses(reconstructed, original, mask)["loss"]
    focal = MFM(Plain(), loss="normal", focal=True, patch_factor=2).losses(reconstructed, original, mask)["loss"]
    assert 0 < focal < plain


def test_a_mask_needs_whole_images():
    with pytest.raises(ValueError, match="loss='masked' needs 1, got 2"):
        MFM(Plain(), patch_factor=2)


def test_noise_is_brought_into_range():
    shown = MFM(Plain()).preview({"image": torch.randn(1, 3, 16, 16)}, generator_for(0))
    assert list(shown) == ["original", "corrupted", "reconstructed"]
    assert all(0 <= picture.min() <= picture.max() <= 1 for picture in shown.values())


@pytest.mark.parametrize(("option", "value"), [("low_pass_prob", 1.5), ("radius", -1.0), ("corruption", "rain")])
def test_options_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"{option}: expected"):
        MFM(Plain(), **{option: value})
