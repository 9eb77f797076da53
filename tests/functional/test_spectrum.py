"""Masks, transforms and distances in the Fourier domain."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gesso.functional.random import generator_for
from gesso.functional.spectrum import (
    FocalWeight,
    amplitude,
    apply_mask,
    disc_mask,
    draw_rings,
    frequency_distance,
    mean_where_removed,
    radial_profile,
    ring_mask,
    ring_total,
    split_tiles,
)
from tests._golden import case_id, cases, check_gradients, check_mask, check_output, make_inputs

COMPONENTS = {
    "FrequencyLoss": ("real", "imaginary"),
    "FrequencyLoss1": ("real", "imaginary"),
    "FrequencyLoss2": ("pixel", "amplitude"),
    "FrequencyLoss3": ("amplitude",),
}
OPTIONS = {
    "loss_gamma": "loss_gamma",
    "patch_factor": "patch_factor",
    "ave_spectrum": "average_spectrum",
    "with_matrix": "focal",
    "matrix_gamma": "focal_gamma",
    "log_matrix": "focal_log",
    "batch_matrix": "focal_over_batch",
}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
sides = st.integers(2, 40)


def distance_options(case):
    options = {ours: case["args"][theirs] for theirs, ours in OPTIONS.items() if theirs in case["args"]}
    focal = {
        name: options.pop(f"focal_{name}") for name in ("gamma", "log", "over_batch") if f"focal_{name}" in options
    }
    return options | {"focal": FocalWeight(**focal) if options.get("focal") else None}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=generator_for(seed))


# --------------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("case", cases("ifp", name="ring mask, given rings"), ids=case_id)
def test_published_ring_mask(case):
    size, rings = case["args"]["size"], case["args"]["rings"]
    check_mask(ring_mask(size, size, torch.tensor([rings]), "published")[0, 0], case["out"])


@pytest.mark.parametrize("case", cases("mfm", name="disc mask (low-pass form)"), ids=case_id)
def test_disc_mask(case):
    size, radius, outer_radius = (case["args"][name] for name in ("size", "radius1", "radius2"))
    low_pass = disc_mask(size, size, radius, outer_radius)[0, 0]
    check_mask(low_pass, case["out"])
    check_mask(1 - low_pass, {"zeros": case["out"]["ones"], "crc32_uint8": case["out"]["high_pass_crc32_uint8"]})


def test_eight_by_eight_by_hand():
    """Ring 2 of 8 x 8: the outline of the square from row and column 2 to 6, 16 frequencies; published, 15."""
    expected = torch.ones(8, 8)
    expected[[2, 6], 2:7] = 0
    expected[2:7, [2, 6]] = 0
    ring = torch.tensor([[2]])
    assert torch.equal(ring_mask(8, 8, ring)[0, 0], expected)
    expected[6, 6] = 1
    assert torch.equal(ring_mask(8, 8, ring, "published")[0, 0], expected)


@pytest.mark.parametrize("ring", [1, 2, 5, 111])
def test_a_ring_of_224_has_8i_frequencies(ring):
    assert (ring_mask(224, 224, torch.tensor([[ring]])) == 0).sum() == 8 * ring
    assert (ring_mask(224, 224, torch.tensor([[ring]]), "published") == 0).sum() == 8 * ring - 1


def test_ring_zero_and_the_nyquist_frequency_stay():
    every_ring = torch.arange(112)[None]
    kept = ring_mask(224, 224, every_ring, "published")
    assert kept.sum() == 559  # frequency zero, 111 corners, row 0 and column 0
    assert ring_mask(224, 224, every_ring).sum() == 559 - 111
    assert ring_mask(224, 224, torch.tensor([[0]])).all()


@given(height=sides, width=sides, ratio=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_symmetric_masks_are_point_symmetric_for_any_size(height, width, ratio, seed):
    mask = ring_mask(height, width, draw_rings(2, height, width, ratio, generator_for(seed)))
    natural = torch.fft.ifftshift(mask, dim=(-2, -1))
    mirrored = natural.flip(-2, -1).roll((1, 1), (-2, -1))  # frequency k becomes -k
    assert torch.equal(natural, mirrored)
    assert natural[..., 0, 0].all()


@given(height=sides, width=sides, ratio=st.floats(0.05, 0.95), replacement=st.booleans())
def test_rings_drawn(height, width, ratio, replacement):
    rings = draw_rings(3, height, width, ratio, generator_for(1), replacement=replacement)
    total = ring_total(height, width)
    assert rings.shape == (3, int(total * ratio))
    assert ((rings >= 0) & (rings < total)).all()
    if not replacement:
        assert all(len(set(row)) == len(row) for row in rings.tolist())


def test_every_image_has_its_own_mask_and_the_same_seed_the_same():
    first, second = (ring_mask(64, 64, draw_rings(2, 64, 64, 0.5, generator_for(3))) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(("ratio", "share"), [(0.25, 0.2478), (0.5, 0.4955), (0.75, 0.7433)])
def test_expected_share_removed_without_replacement(ratio, share):
    mask = ring_mask(224, 224, draw_rings(400, 224, 224, ratio, generator_for(0)))
    assert 1 - mask.mean().item() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("ratio", "share"), [(0.25, 0.222), (0.5, 0.395), (0.75, 0.529), (0.9, 0.592)])
def test_expected_share_of_distinct_rings_with_replacement(ratio, share):
    rings = draw_rings(400, 224, 224, ratio, generator_for(0), replacement=True)
    distinct = sum(len(set(row)) for row in rings.tolist()) / 400 / 112
    assert distinct == pytest.approx(share, abs=0.01)


# ---------------------------------------------------------------------------------------------------------- transforms


@DTYPES
@pytest.mark.parametrize("case", cases("ifp", name="corrupt by masking the spectrum"), ids=case_id)
def test_published_corruption(case, dtype):
    x = make_inputs(case, dtype)["x"]
    size = case["args"]["size"]
    mask = torch.cat([ring_mask(size, size, torch.tensor([rings]), "published") for rings in case["args"]["rings"]])
    for part, name in (("modulus", "modulus"), ("real", "real_part")):
        check_output(apply_mask(x, mask, part).clamp(*case["args"]["clamp"]), case["out"][name])


@given(height=sides, width=sides, seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_symmetric_mask_keeps_the_image_real(height, width, seed):
    image = noise(1, 2, height, width, seed=seed).double()
    mask = ring_mask(height, width, draw_rings(1, height, width, 0.5, generator_for(seed)))
    real, modulus = apply_mask(image, mask), apply_mask(image, mask, "modulus")
    torch.testing.assert_close(real.abs(), modulus)  # nothing imaginary was dropped
    torch.testing.assert_close(apply_mask(real, mask), real)  # what is gone is gone: a projection
    torch.testing.assert_close(real.mean((-2, -1)), image.mean((-2, -1)))  # frequency zero stays


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_what_is_left_of_noise(ratio):
    """Deviation and correlation with the original are both the root of the share of coefficients kept."""
    image = noise(1, 3, 224, 224)
    mask = ring_mask(224, 224, draw_rings(1, 224, 224, ratio, generator_for(5)))
    left = apply_mask(image, mask)
    deviation = (left.std() / image.std()).item()
    correlation = torch.corrcoef(torch.stack([left.flatten(), image.flatten()]))[0, 1].item()
    assert deviation == pytest.approx(math.sqrt(mask.mean()), abs=1e-2)
    assert correlation == pytest.approx(deviation, abs=1e-2)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_modulus_and_clamp_lose_zero_mean_noise(ratio):
    image = noise(1, 3, 224, 224)
    mask = ring_mask(224, 224, draw_rings(1, 224, 224, ratio, generator_for(5)), "published")
    left = apply_mask(image, mask, "modulus").clamp(0, 1)
    assert abs(torch.corrcoef(torch.stack([left.flatten(), image.flatten()]))[0, 1].item()) < 0.02


def test_amplitudes_of_noise():
    amplitudes = amplitude(noise(1, 3, 224, 224))
    assert amplitudes.mean().item() == pytest.approx(0.886, abs=0.01)
    assert (amplitudes > 1).float().mean().item() == pytest.approx(0.37, abs=0.01)


def test_amplitude_has_a_gradient_at_zero():
    image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    amplitude(image).sum().backward()
    assert torch.isfinite(image.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_transforms_are_float32_under_mixed_precision(dtype):
    image = noise(1, 3, 33, 40).to(dtype)
    mask = ring_mask(33, 40, draw_rings(1, 33, 40, 0.5, generator_for(0)))
    with torch.autocast("cpu", torch.bfloat16):
        results = [amplitude(image), apply_mask(image, mask), frequency_distance(image, image)]
    plain = [
        amplitude(image.float()),
        apply_mask(image.float(), mask),
        frequency_distance(image.float(), image.float()),
    ]
    for ours, exact in zip(results, plain, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, exact)


def test_radial_profile_of_noise_is_flat_and_of_a_wave_a_peak():
    flat = radial_profile(noise(4, 3, 64, 96))
    assert flat.shape == (4, 32)
    torch.testing.assert_close(flat.mean(0)[5:], torch.ones(27), rtol=0.15, atol=0)
    wave = torch.cos(2 * math.pi * 9 * torch.arange(64) / 64).expand(1, 1, 64, 64)
    assert radial_profile(wave)[0].argmax() == 9


# ----------------------------------------------------------------------------------------------------------- distances


@DTYPES
@pytest.mark.parametrize(
    "case",
    [*cases("ifp", name=[f"FrequencyLoss{i}" for i in (1, 2, 3)]), *cases("mfm", name="FrequencyLoss")],
    ids=case_id,
)
def test_published_frequency_loss(case, dtype):
    inputs = make_inputs(case, dtype, requires_grad=True)
    prediction, target = inputs["pred"], inputs["target"]
    if "channel_0_of_pred" in case["args"]:
        prediction = torch.cat([target[:, :1], prediction[:, 1:]], dim=1)
    options = distance_options(case)
    if "matrix" in inputs:
        options["focal"] = None
    distance = frequency_distance(prediction, target, COMPONENTS[case["name"]], **options) * inputs.get("matrix", 1)
    outputs = {"map": distance, "loss": distance.mean(), "value": distance.mean(), "map_channel0": distance[:, :, :1]}
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    if "objective" in case:
        check_gradients(case, inputs, outputs)


@DTYPES
@pytest.mark.parametrize("case", cases("ifp", name="FrequencyLoss4"), ids=case_id)
def test_published_frequency_loss_in_two_maps(case, dtype):
    inputs = make_inputs(case, dtype, requires_grad=True)
    patch_factor = case["args"]["patch_factor"]
    maps = {
        f"map_{name}": frequency_distance(inputs["pred"], inputs["target"], (name,), patch_factor=patch_factor)
        for name in ("pixel", "amplitude")
    }
    outputs = maps | {"loss": maps["map_pixel"].mean() + 2 * maps["map_amplitude"].mean()}
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


def test_tiles_are_in_reading_order():
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    tiles = split_tiles(image, 2)
    assert tiles.shape == (1, 4, 1, 2, 3)
    assert torch.equal(tiles[0, 1, 0], image[0, 0, :2, 3:])
    with pytest.raises(ValueError, match="4 x 6 pixels"):
        split_tiles(image, 4)


def test_nothing_differs_nothing_weighs():
    assert not FocalWeight()(torch.zeros(1, 1, 1, 4, 4)).any()


def test_mean_where_removed():
    values = torch.arange(16.0).reshape(1, 1, 4, 4)
    mask = torch.ones(1, 1, 4, 4)
    assert mean_where_removed(values, mask) == 0
    mask[..., 0, :2] = 0
    assert mean_where_removed(values, mask) == 0.5
    with pytest.raises(ValueError, match="patch_factor=1"):
        mean_where_removed(torch.ones(1, 4, 1, 2, 2), mask)


def test_unknown_words_are_refused():
    with pytest.raises(ValueError, match="geometry: expected symmetric or published, got 'round'"):
        ring_mask(8, 8, torch.tensor([[1]]), "round")
    with pytest.raises(ValueError, match="part: expected real or modulus, got 'imaginary'"):
        apply_mask(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), "imaginary")
