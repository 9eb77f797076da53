"""Scenes: what is drawn is there, and ranges are as wide as they say."""

import numpy as np
import pytest
import torch

from gesso.functional.spectrum import radial_profile
from gesso.sources import batch_of
from gesso.sources import scenes as module
from gesso.sources.scenes import CHECKS, DOTS, FINE, GRID, NONE, STRIPES, Surfaces, scenes

PLAIN = {"x": 0, "y": 0, "cosine": 1, "sine": 0, "tilt_x": 0, "tilt_y": 0, "shade_x": 0, "shade_y": 0, "kind": NONE,
         "frequency": 1 / 8, "aspect": 1, "shift": 0, "wave": 0, "share": 0.5, "softness": 0.5, "unlike": 0, "field": 0,
         "rough": 0, "stretch": 1, "zoom": 1}  # fmt: skip
WHITE, BLACK = np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32)


def picture(side: int = 64, **changes: float) -> np.ndarray:
    """A picture (side, side) of one surface, black with a white pattern."""
    values = {name: np.array([value], np.float32) for name, value in (PLAIN | changes).items()}
    noise = np.random.default_rng(0).standard_normal((3 * side, side)).astype(np.float32)
    label = np.zeros((FINE * side, FINE * side), np.float32)
    return module.render(label, Surfaces(colour=BLACK, other=WHITE, **values), noise)[..., 0]


def test_patterns_repeat_as_often_as_they_say():
    for kind, rows in ((STRIPES, False), (GRID, True), (CHECKS, True), (DOTS, True)):
        drawn = picture(kind=kind)
        assert drawn.max() > 0.9
        assert drawn.min() < 0.1
        period = 16 if kind == CHECKS else 8
        assert np.abs(np.roll(drawn, period, 1) - drawn)[:, period:].max() < 1e-3
        assert np.abs(np.roll(drawn, period // 2, 1) - drawn)[:, period:].mean() > 0.2
        assert (np.abs(np.roll(drawn, 1, 0) - drawn)[1:].max() > 0.3) == rows
    bricks = picture(kind=GRID, shift=0.5, share=0.2)
    assert np.abs(np.roll(bricks, (8, 4), (0, 1)) - bricks)[8:, 8:].max() < 1e-3  # every other row by half a brick
    assert np.abs(np.roll(bricks, 8, 0) - bricks)[8:].max() > 0.5


def test_a_pattern_is_finer_where_its_surface_is_farther():
    drawn = picture(kind=STRIPES, tilt_x=0.01) > 0.5
    crossings = [np.flatnonzero(np.diff(row.astype(int))) for row in (drawn[0], drawn[40])]
    gaps = np.diff(crossings[0])
    assert gaps[-1] != gaps[0]
    assert np.array_equal(*crossings)


def test_what_is_finer_than_pixels_is_not_drawn():
    assert picture(kind=CHECKS, frequency=0.6).max() == 0


def test_noise_falls_with_frequency_between_the_two_slopes():
    slopes = []
    for seed in range(12):
        fields = module.draw_noise(np.random.default_rng(seed), 64).reshape(3, 1, 64, 64)
        assert fields.std((1, 2, 3)) == pytest.approx([1] * 3, abs=1e-3)
        profile = radial_profile(torch.from_numpy(fields)).numpy()
        k = np.arange(3, 24)
        slopes += list(-np.polyfit(np.log(k), np.log(profile[:, k]).T, 1)[0] / 2)
    assert 0.3 < min(slopes) < 0.9
    assert 2.1 < max(slopes) < 2.7


def test_colours_reach_all_hues_from_dark_to_bright():
    colours = np.concatenate([module.draw_colours(np.random.default_rng(seed), 20) for seed in range(300)])
    assert ((colours > 0) & (colours <= 1)).all()
    assert np.bincount(colours.argmax(1), minlength=3).min() > len(colours) / 6
    grey = colours.mean(1)
    assert np.percentile(grey, 5) < 0.06
    assert np.percentile(grey, 95) > 0.6


def test_out_of_focus_nothing_becomes_brighter_or_darker():
    flat, cover = np.full((40, 40, 3), 0.5, np.float32), np.zeros((40, 40, 1), np.float32)
    cover[:, 20:] = 1
    for seed in range(6):  # of both kinds
        assert np.abs(module.focus(np.random.default_rng(seed), flat, flat, cover) - 0.5).max() < 1e-4


def test_some_are_nearly_flat_and_some_full_of_detail():
    images = batch_of(scenes, 0, range(60), 48)
    detail = images.mean(1).diff(dim=-1).abs().mean((1, 2))
    assert detail.quantile(0.05) < 0.01
    assert detail.quantile(0.95) > 0.06
    assert images.mean((1, 2, 3)).std() > 0.12


def test_strokes_are_thin():
    sizes = []
    for seed in range(40):
        label = np.zeros((128, 128), np.float32)
        module.draw_strokes(np.random.default_rng(seed), label, 5)
        assert set(np.unique(label)) <= {0, *range(5, 5 + module.STROKES)}
        sizes.append((label > 0).mean())
    assert 0.3 < np.mean(np.array(sizes) == 0) < 0.8
    assert max(sizes) < 0.9
