"""Noise that has come through a camera."""

import cv2
import numpy as np
import pytest
import torch

from gesso.degradations.camera_noise import (
    BILINEAR,
    MALVAR,
    CameraNoise,
    demosaic,
    flatten_tones,
    smooth_colours,
)
from gesso.functional.random import generator_for

NO_JPEG = {"jpeg_prob": 0}


def grey(level: float, batch: int = 1, side: int = 64) -> torch.Tensor:
    return torch.full((batch, 3, side, side), level)


def odd(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.arange(height) % 2 == 1).view(1, 1, -1, 1), (torch.arange(width) % 2 == 1).view(1, 1, 1, -1)


def seen(image: torch.Tensor) -> torch.Tensor:
    """The Bayer samples of an image: red where neither coordinate is odd."""
    bayer = image[:, 1:2].clone()
    bayer[..., 0::2, 0::2], bayer[..., 1::2, 1::2] = image[:, :1, 0::2, 0::2], image[:, 2:, 1::2, 1::2]
    return bayer


def test_raw_noise_has_the_variance_of_photons_and_electrons():
    raw = grey(0.3, 4, 256)
    noise = CameraNoise(photons=500, read=6, **NO_JPEG).draw_noise(raw, generator_for(0))
    # Of the four pixels of the pattern one shows the noise of a red sample as it is, the others less of several.
    sites = torch.stack([noise[:, 0, y::2, x::2].var((1, 2)) for y in (0, 1) for x in (0, 1)])
    assert sites.amax(0).tolist() == pytest.approx([0.3 / 500 + 36 / 500**2] * 4, rel=0.06)


def test_bilinear_demosaicing_is_that_of_opencv():
    bayer = torch.rand(1, 1, 24, 30, generator=generator_for(0), dtype=torch.float64)
    ours = demosaic(bayer, *odd(24, 30), BILINEAR)[0].permute(1, 2, 0).numpy()
    samples = (bayer[0, 0].numpy() * 65535).round().astype(np.uint16)
    theirs = cv2.cvtColor(samples, cv2.COLOR_BayerBG2RGB) / 65535
    assert np.abs(ours - theirs)[2:-2, 2:-2].max() < 1e-4


@pytest.mark.parametrize("kernels", [BILINEAR, MALVAR])
def test_demosaicing_keeps_planes_of_brightness(kernels):
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(22.0), indexing="ij")
    image = (0.2 + 0.01 * y + 0.02 * x).expand(1, 3, -1, -1)
    guessed = demosaic(seen(image), *odd(20, 22), kernels)
    assert (guessed - image)[..., 2:-2, 2:-2].abs().max() < 1e-5


def test_malvar_finds_edges_that_all_colours_share_better_than_bilinear():
    image = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 8, generator=generator_for(0)), 48, mode="bicubic")
    image = image.expand(-1, 3, -1, -1)
    errors = [(demosaic(seen(image), *odd(48, 48), kernels) - image)[..., 2:-2, 2:-2].square().mean() for kernels in
              (MALVAR, BILINEAR)]  # fmt: skip
    assert errors[0] < 0.5 * errors[1]


def test_noise_is_alike_in_neighbours_and_largest_in_the_shadows():
    camera = CameraNoise(photons=2000, read=4, chroma_blur=0, **NO_JPEG)
    dark, bright = (camera(grey(level, 8, 128), generator_for(0)) - level for level in (0.2, 0.7))
    assert dark.std() > 1.3 * bright.std()
    red = bright[:, 0] - bright[:, 0].mean((1, 2), keepdim=True)
    assert (red[..., 1:] * red[..., :-1]).mean() > 0.15 * red.square().mean()


def test_the_tone_curve_is_undone():
    values = torch.linspace(0, 1, 101, dtype=torch.float64)
    curved = flatten_tones(values)
    assert (3 * curved**2 - 2 * curved**3 - values).abs().max() < 1e-12


def test_colour_is_smoothed_and_brightness_is_not():
    noise = torch.randn(2, 3, 64, 64, generator=generator_for(0))
    smoothed = smooth_colours(noise, torch.full((2, 1, 1, 1), 1.5), 1.5)
    assert torch.allclose(smoothed.mean(1), noise.mean(1), atol=1e-5)
    colour, before = smoothed - smoothed.mean(1, keepdim=True), noise - noise.mean(1, keepdim=True)
    inside = (..., slice(8, -8), slice(8, -8))
    # A Gaussian of deviation s leaves 1 / (4 pi s^2) of the variance of white noise.
    assert (colour[inside].var() / before[inside].var()).item() == pytest.approx(1 / (4 * np.pi * 1.5**2), rel=0.1)


def test_jpeg_is_as_frequent_as_it_says():
    image = torch.rand(200, 3, 16, 16, generator=generator_for(0))
    camera = {"photons": 1e9, "read": 0, "quality": 50}
    changed = (CameraNoise(jpeg_prob=0.5, **camera)(image, generator_for(0)) - image).abs().amax((1, 2, 3)) > 0.02
    assert 70 <= changed.sum() <= 130


def test_less_light_makes_more_noise():
    errors = [
        (CameraNoise(photons=photons, **NO_JPEG)(grey(0.4), generator_for(0)) - 0.4).square().mean().item()
        for photons in (20_000, 2_000, 200)
    ]
    assert errors[0] < errors[1] / 5 < errors[2] / 25
