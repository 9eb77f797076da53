"""Measures of features: they know what they are meant to know, and nothing else."""

import pytest
import torch

from gesso.lab.similarity import (
    alignment_of_kernels,
    cosine_similarities,
    covariance,
    effective_rank,
    mean_correlation,
    rows_of,
)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_effective_rank_counts_the_directions_that_are_used():
    basis = noise(3, 16)
    assert 2.5 < effective_rank(covariance(noise(4000, 3) @ basis)) <= 3
    assert effective_rank(covariance(noise(4000, 16))) == pytest.approx(16, abs=0.1)
    assert effective_rank(covariance(torch.ones(10, 4))) == 0


def test_effective_rank_does_not_depend_on_scale():
    rows = noise(100, 8)
    assert effective_rank(covariance(rows)) == pytest.approx(effective_rank(covariance(1000 * rows)))


def test_channels_that_say_the_same_correlate_and_constant_ones_do_not_count():
    one, other = noise(5000, 2).T
    assert mean_correlation(covariance(torch.stack([one, -3 * one], 1))) == pytest.approx(1)
    assert mean_correlation(covariance(torch.stack([one, other], 1))) < 0.05
    assert mean_correlation(covariance(torch.stack([one, 2 * one, torch.ones(5000)], 1))) == pytest.approx(1)
    assert mean_correlation(covariance(torch.stack([one, torch.ones(5000)], 1))) == 0


def test_alignment_does_not_see_turns_and_scale():
    x = noise(200, 6)
    turn = torch.linalg.qr(noise(6, 6, seed=1))[0]
    assert alignment_of_kernels(x, 7 * x @ turn + 3) == pytest.approx(1)


def test_alignment_of_unrelated_wide_maps_is_about_zero():
    """The plain estimate would say 0.5 here: as many channels as inputs."""
    found = [alignment_of_kernels(noise(100, 100, seed=i), noise(100, 100, seed=100 + i)) for i in range(10)]
    assert abs(sum(found) / len(found)) < 0.05


def test_alignment_needs_the_same_inputs():
    with pytest.raises(ValueError, match="as many rows"):
        alignment_of_kernels(noise(10, 3), noise(9, 3))


def test_cosines_are_those_of_the_rows():
    found = cosine_similarities(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([1, 1, 0, -1, 0])


def test_rows_are_positions():
    maps = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    assert rows_of(maps)[5].tolist() == maps[1, :, 0, 1].tolist()
