"""Leaves and pink noise have the statistics of photos."""

import numpy as np
import pytest
import torch

from gesso.functional.spectrum import radial_profile
from gesso.sources import batch_of
from gesso.sources._photo_statistics import coloured_noise
from gesso.sources.leaves import leaves
from gesso.sources.pink import pink


def slope(images: torch.Tensor) -> float:
    """How steeply the mean power falls: power ~ frequency ** -slope."""
    grey = images.mean(1, keepdim=True)
    window = torch.hann_window(images.shape[-1])
    profile = radial_profile((grey - grey.mean((-2, -1), keepdim=True)) * window * window[:, None]).mean(0)
    k = np.arange(3, images.shape[-1] * 3 // 8)
    return -np.polyfit(np.log(k), np.log(profile[k].numpy()), 1)[0]


@pytest.mark.parametrize(("source", "kurtosis"), [(leaves, (8, 40)), (pink, (2.5, 4))])
def test_spectrum_and_gradients_are_those_of_photos(source, kurtosis):
    images = batch_of(source, 0, range(80), 64)
    assert slope(images) == pytest.approx(2.3, abs=0.35)  # photos: 2.3; white noise: 0
    gradient = images.mean(1).diff(dim=-1).flatten(1)
    sharpness = (gradient**4).mean(1) / (gradient**2).mean(1) ** 2
    assert kurtosis[0] < sharpness.median() < kurtosis[1]  # photos: 13; noise of any colour: 3
    assert images.mean((0, 2, 3)).tolist() == pytest.approx([0.45, 0.45, 0.36], abs=0.1)


def test_white_noise_has_neither():
    assert abs(slope(torch.rand(20, 3, 64, 64, generator=torch.Generator().manual_seed(0)))) < 0.2


def test_coloured_noise_has_unit_variance_and_no_mean():
    noise = coloured_noise(np.random.default_rng(0), 33, 1.0)
    assert noise.shape == (33, 33)
    assert noise.mean() == pytest.approx(0, abs=1e-5)
    assert noise.std() == pytest.approx(1, abs=1e-5)
