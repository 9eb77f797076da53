"""Procedural images: pure functions of (seed, index, size), with the statistics of photos."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gesso.functional.spectrum import radial_profile
from gesso.sources.leaves import SOURCES, ProceduralImages, batch_of, coloured_noise, leaves, pink


@pytest.mark.parametrize("source", SOURCES.values())
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 2**40), size=st.integers(1, 70))
def test_images_are_pure_functions_of_seed_index_and_size(source, seed, index, size):
    image = source(seed, index, size)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.float32
    assert image.isfinite().all()
    assert ((image >= 0) & (image <= 1)).all()
    assert torch.equal(image, source(seed, index, size))


@pytest.mark.parametrize("source", SOURCES.values())
def test_every_index_and_seed_is_another_image(source):
    images = batch_of(source, 0, range(20), 24)
    assert images.shape == (20, 3, 24, 24)
    assert len({image.numpy().tobytes() for image in images}) == 20
    assert not torch.equal(source(0, 1, 24), source(1, 0, 24))


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


@pytest.mark.parametrize(("name", "source"), SOURCES.items())
def test_datasets_are_keyed_by_index_and_crop_size(name, source):
    endless = ProceduralImages(name, seed=3)
    assert endless[(7, 16)]["name"] == f"{name} 7"
    assert torch.equal(endless[(7, 16)]["image"], source(3, 7, 16))
    assert endless[(7, 24)]["image"].shape == (3, 24, 24)
    assert len(endless) > 10**12
    few = ProceduralImages(name, seed=3, count=2)
    assert len(few) == 2
    assert torch.equal(few[(5, 16)]["image"], few[(1, 16)]["image"])


def test_a_sample_can_hold_several_images_none_twice():
    pairs = ProceduralImages("leaves", per_sample=2)
    images = torch.cat([pairs[(index, 16)]["image"] for index in range(5)])
    assert images.shape == (10, 3, 16, 16)
    assert len({image.numpy().tobytes() for image in images}) == 10
    with pytest.raises(ValueError, match="at least 2 images"):
        ProceduralImages("leaves", count=1, per_sample=2)
