"""Contact sheets: every picture under its label, at its place, none too small to see."""

import pytest
import torch

from gesso.report.sheets import BAR, GAP, LEAST_WIDTH, sheet, with_psnr


def test_pictures_keep_their_pixels_side_by_side_and_row_by_row():
    wide, tall, grey = torch.rand(3, 20, 100), torch.rand(3, 40, 30), torch.rand(1, 10, 50)
    shown = sheet([{"wide": wide, "tall": tall}, {"grey": grey}])
    assert shown.shape == (3, (BAR + 40 + GAP) + (BAR + 10 + GAP), (100 + GAP) + (30 + GAP))
    torch.testing.assert_close(shown[:, BAR : BAR + 20, :100], wide, atol=0.6 / 255, rtol=0)
    torch.testing.assert_close(shown[:, BAR : BAR + 40, 100 + GAP : 130 + GAP], tall, atol=0.6 / 255, rtol=0)
    below = 2 * BAR + 40 + GAP
    torch.testing.assert_close(shown[:, below : below + 10, :50], grey.expand(3, -1, -1), atol=0.6 / 255, rtol=0)


def test_labels_stand_over_their_pictures_only():
    shown = sheet([{"input": torch.ones(3, 8, 96), "": torch.ones(3, 8, 96)}])
    left, right = shown[..., : 96 + GAP], shown[..., 96 + GAP :]
    assert left[:, :BAR].min() < 0.5
    assert right.min() == 1


@pytest.mark.parametrize(("side", "times"), [(16, 6), (40, 3), (LEAST_WIDTH, 1), (200, 1)])
def test_small_pictures_are_enlarged_pixel_by_pixel(side, times):
    picture = torch.rand(3, side, side)
    shown = sheet([{"input": picture, "output": picture.flip(-1)}])
    assert shown.shape[-1] == 2 * (times * side + GAP)
    inner = shown[:, BAR:-GAP, : times * side]
    torch.testing.assert_close(inner[:, ::times, ::times], picture, atol=0.6 / 255, rtol=0)
    assert torch.equal(inner[:, ::times, ::times], inner[:, times - 1 :: times, times - 1 :: times])


def test_values_outside_the_range_are_clipped():
    picture = torch.tensor([-3.0, 4.0]).view(1, 1, 2).expand(3, 1, 2)
    shown = sheet([{"noise": picture}])
    assert (shown[:, BAR, 0] == 0).all()
    assert (shown[:, BAR, LEAST_WIDTH - 1] == 1).all()


def test_pictures_say_how_far_they_are_from_the_truth():
    truth = torch.full((3, 8, 8), 0.2)
    row = {"input": truth + 0.2, "restored": truth, "ground truth": truth, "small": torch.ones(3, 4, 4)}
    assert list(with_psnr(row)) == ["input 13.98 dB", "restored identical", "ground truth", "small"]
    assert list(with_psnr({"noise": truth, "corrupted": truth + 0.2})) == ["noise", "corrupted 13.98 dB"]
    assert list(with_psnr({"input": truth, "restored": truth})) == ["input", "restored"]
    assert list(with_psnr({"original": truth[:1], "degraded": truth[:1] + 2})) == ["original", "degraded 1.94 dB"]


def test_names_stand_over_their_rows():
    row = {"input": torch.ones(3, 8, 96), "restored": torch.ones(3, 8, 96)}
    named = sheet([row, row], ["street 1", ""])
    assert named.shape[1] == sheet([row, row]).shape[1] + 2 * BAR
    assert named[:, :BAR].min() < 0.5
    below = 2 * BAR + 8 + GAP
    assert named[:, below : below + BAR].min() == 1
