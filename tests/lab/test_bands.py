"""Bands of the spectrum: taken out whole, found again or not."""

import pytest
import torch

from gesso.functional.random import generator_for
from gesso.lab.bands import band_frequency, band_rings, restored_share, without_band


def image(height=24, width=32):
    return torch.rand(2, 3, height, width, generator=generator_for(0))


@pytest.mark.parametrize(("height", "width", "bands"), [(64, 64, 12), (24, 32, 5), (9, 9, 20)])
def test_bands_are_all_rings_but_the_mean_once(height, width, bands):
    found = band_rings(height, width, bands)
    assert [ring for band in found for ring in band] == list(range(1, min(height, width) // 2))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    frequencies = [band_frequency(band, height, width) for band in found]
    assert frequencies == sorted(frequencies)
    assert 0 < frequencies[0] < frequencies[-1] < 0.5


def test_a_band_is_gone_and_nothing_else_has_changed():
    clean = image()
    rings = band_rings(24, 32, 4)[1]
    corrupted, mask = without_band(clean, rings)
    assert mask.sum() == 24 * 32 - sum(8 * ring for ring in rings)
    assert torch.allclose(corrupted.mean((-2, -1)), clean.mean((-2, -1)), atol=1e-5)
    assert torch.allclose(without_band(corrupted, rings)[0], corrupted, atol=1e-5)


def test_what_is_back_counts_what_is_wrong_counts_against():
    clean = image()
    corrupted, mask = without_band(clean, band_rings(24, 32, 4)[2])
    assert restored_share(clean, clean, mask) == pytest.approx(1)
    assert restored_share(corrupted, clean, mask) == pytest.approx(0, abs=1e-5)
    assert restored_share((clean + corrupted) / 2, clean, mask) == pytest.approx(0.75, abs=1e-4)
    assert restored_share(2 * corrupted - clean, clean, mask) == pytest.approx(-3, abs=1e-3)
    assert restored_share(clean + 0.3 * corrupted, clean, mask) == pytest.approx(1, abs=1e-3)  # other bands: no matter
