import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gesso.metrics import SSIM_WORDS, Protocol, psnr, ssim
from tests._golden import luma_rows, metric_pairs
from tests._networks import photo_like

PAIRS = metric_pairs()
VARIANTS = list(SSIM_WORDS)


def to_image(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["id"])
@pytest.mark.parametrize("source", ["basicsr", "independent"])
def test_equals_the_published_definitions(pair, source):
    a, b = to_image(pair["A"]), to_image(pair["B"])
    golden = {name: float(value) for name, value in pair[source].items()}
    unrounded = {"channel": "y", "round_y": False}
    assert psnr(a, b) == pytest.approx(golden["psnr_rgb"], abs=1e-6)
    assert psnr(a, b, channel="y") == pytest.approx(golden["psnr_y_rounded"], abs=1e-6)
    assert psnr(a, b, **unrounded) == pytest.approx(golden["psnr_y_unrounded"], abs=1e-6)
    assert ssim(a, b) == pytest.approx(golden["ssim_rgb"], abs=1e-7)
    assert ssim(a, b, channel="y") == pytest.approx(golden["ssim_y_rounded"], abs=1e-7)
    assert ssim(a, b, **unrounded) == pytest.approx(golden["ssim_y_unrounded"], abs=1e-7)


@pytest.mark.parametrize("row", luma_rows(), ids=lambda row: str(row["rgb"]))
def test_luma_is_that_of_matlab(row):
    image = to_image(np.full((4, 4, 3), row["rgb"], dtype=np.uint8))
    ((rounded, _),) = Protocol(channel="y").prepare(image, image)
    ((exact, _),) = Protocol(channel="y", round_y=False).prepare(image, image)
    assert np.all(rounded == row["y_rounded"])
    np.testing.assert_allclose(exact, row["y_exact"], atol=1e-6)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["id"])
def test_uniform_windows_are_those_of_scikit_image(pair):
    a, b = pair["A"], pair["B"]
    expected = structural_similarity(a, b, channel_axis=2)
    assert ssim(to_image(a), to_image(b), "skimage7") == pytest.approx(expected, abs=1e-9)
    # What an old scikit-image did to floats in [0, 1] whose range it was not told.
    inflated = structural_similarity(a / 255, b / 255, channel_axis=2, data_range=2)
    assert ssim(to_image(a), to_image(b), "uformer_compat", quantise=False) == pytest.approx(inflated, abs=1e-6)


def test_matlab3d_is_a_sum_over_a_volume_with_replicated_edges():
    a, b = (PAIRS[4][side].astype(float) for side in "AB")
    axis = np.arange(-5, 6)
    kernel = np.exp(-(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(volume):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(volume, 5, mode="edge"), (11, 11, 11))
        return np.einsum("abcijk,ijk->abc", windows, kernel)

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 2.55**2, 7.65**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    expected = np.mean(luminance * structure)
    seen = ssim(to_image(PAIRS[4]["A"]), to_image(PAIRS[4]["B"]), "matlab3d")
    assert seen == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_identical_images_are_perfect(variant):
    image = torch.rand(3, 16, 17)
    assert Protocol(ssim=variant)(image, image) == {"psnr": math.inf, "ssim": pytest.approx(1.0)}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(7, 24), st.integers(7, 24))
def test_psnr_is_that_of_scikit_image_at_every_size(seed, height, width):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    assert psnr(to_image(a), to_image(b)) == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-9)


def test_the_peak_does_not_depend_on_values_outside_the_range():
    gt = torch.full((3, 16, 16), 0.5)
    restored = torch.full((3, 16, 16), 0.6)
    restored[0, 0, 0] = 1.001
    clipped = restored.clamp(0, 1)
    assert psnr(restored, gt) == psnr(clipped, gt)


def test_measures_what_an_8_bit_file_would_hold():
    gt = torch.full((3, 8, 8), 100 / 255)
    restored = gt + 0.4 / 255
    assert psnr(restored, gt) == math.inf
    assert psnr(restored, gt, quantise=False) == pytest.approx(20 * math.log10(255 / 0.4), abs=1e-3)


def test_the_border_is_left_out_on_every_side():
    gt = torch.full((3, 20, 24), 0.5)
    restored = gt.clone()
    restored[:, :4] = restored[:, -4:] = 0
    restored[..., :4] = restored[..., -4:] = 0
    assert psnr(restored, gt, border=4) == math.inf
    assert psnr(restored, gt, border=3) < 30


def test_a_batch_is_scored_by_the_mean_over_its_images():
    gt, restored = torch.rand(2, 3, 3, 16, 16)
    each = [Protocol()(*pair) for pair in zip(restored, gt, strict=True)]
    batch = Protocol()(restored, gt)
    for name in ("psnr", "ssim"):
        assert batch[name] == pytest.approx(sum(score[name] for score in each) / 3)


@pytest.mark.parametrize(
    ("shape", "other", "protocol", "message"),
    [
        ((3, 16, 16), (3, 16, 15), Protocol(), r"one shape.*\(3, 16, 16\) and \(3, 16, 15\)"),
        ((1, 16, 16), (1, 16, 16), Protocol(), "one shape"),
        ((3, 8, 9), (3, 8, 9), Protocol(border=4), "border: 4 pixels .* 9x8"),
        ((3, 8, 16), (3, 8, 16), Protocol(), "at least 11x11 pixels, got 16x8"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(shape, other, protocol, message):
    with pytest.raises(ValueError, match=message):
        protocol(torch.rand(shape), torch.rand(other))


def test_a_protocol_says_what_it_measures():
    assert str(Protocol()) == "PSNR and SSIM (Gaussian 11x11 window) on RGB, 8-bit images"
    described = str(Protocol(channel="y", round_y=False, border=4, ssim="matlab3d", quantise=False))
    assert described == (
        "PSNR and SSIM (MATLAB ssim of a volume) on Y, not rounded, images not rounded to 8 bits, "
        "without 4 pixels at each border"
    )


def test_grey_images_are_measured_as_they_are():
    a, b = (to_image(PAIRS[0][side])[:1] for side in "AB")
    assert Protocol(channel="grey")(a, b) == pytest.approx(Protocol()(a.expand(3, -1, -1), b.expand(3, -1, -1)))
    with pytest.raises(ValueError, match=r"\(1, height, width\)"):
        Protocol(channel="grey")(to_image(PAIRS[0]["A"]), to_image(PAIRS[0]["B"]))
    assert "on grey" in str(Protocol(channel="grey"))


def test_alignment_undoes_another_cameras_place_and_brightness():
    gt = photo_like(3, 96, 128)
    turned = cv2.getRotationMatrix2D((64, 48), 1.0, 1.01) + np.array([[0, 0, 2.0], [0, 0, -1.5]])
    pixels = cv2.warpAffine(gt.permute(1, 2, 0).numpy(), turned, (128, 96), borderMode=cv2.BORDER_CONSTANT)
    moved = 0.9 * torch.from_numpy(pixels).permute(2, 0, 1)
    plain, aligned = Protocol()(moved, gt), Protocol(align=True)(moved, gt)
    assert aligned["psnr"] > plain["psnr"] + 10
    assert aligned["ssim"] > 0.97 > plain["ssim"]
    same = Protocol(align=True)(gt, gt)
    assert same["psnr"] > 100
    assert same["ssim"] == pytest.approx(1)
    with pytest.raises(ValueError, match=r"alignment \(ECC\) did not converge"):
        Protocol(align=True)(torch.zeros_like(gt), gt)


@pytest.mark.parametrize(("channels", "channel"), [(1, "grey"), (4, "planes")])
def test_alignment_takes_other_channels_than_rgb(channels, channel):
    gt = photo_like(channels, 64, 80)
    moved = 0.9 * gt.roll(1, -1)
    assert Protocol(align=True, channel=channel)(moved, gt)["psnr"] > Protocol(channel=channel)(moved, gt)["psnr"] + 10
