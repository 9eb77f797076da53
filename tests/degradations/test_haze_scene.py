"""Haze before scenes in perspective."""

import math

import pytest
import torch

from gesso.degradations import create_degradation
from gesso.degradations.haze_scene import HazeScene, box_mean, draw_scene, follow_edges
from gesso.functional.color import to_linear
from gesso.functional.random import generator_for

EVEN = {"tint": 0, "gradient": 0, "patches": 0, "angstrom": 0}


def grey(level: float, batch: int = 1, side: int = 64) -> torch.Tensor:
    return torch.full((batch, 3, side, side), level)


def test_scenes_reach_from_near_to_far_with_edges_and_slopes():
    depth = draw_scene(torch.full((40, 1, 1, 1), 10.0), grey(0.5, 40), generator_for(0))
    assert depth.shape == (40, 1, 64, 64)
    assert depth.amin() == pytest.approx(0.1)
    assert depth.amax() == pytest.approx(1)
    jumps = (depth[..., 1:] - depth[..., :-1]).abs().flatten(1).amax(1)
    assert (jumps > 0.1).float().mean() > 0.8  # objects before what is behind them
    even = (1 / depth).diff(n=2, dim=-2).abs() < 1e-3  # 1 / depth of a plane changes evenly
    assert even.float().mean() > 0.7


def test_what_is_farthest_is_as_dim_as_its_optical_depth_says():
    haze = HazeScene(beta=2, reach=1, airlight=0.8, **EVEN)  # all of the scene is as far
    black, white = (haze(grey(level, 32), generator_for(0)) for level in (0.0, 1.0))
    through = torch.stack([shown(white) - shown(black) for shown in (lambda light: light, to_linear)])
    is_law = (
        ((through - math.exp(-2)).abs() < 1e-3).all(4).all(3).all(2)
    )  # in the values of a display or in linear light
    assert is_law.any(0).all()
    assert is_law.float().mean(1).amin() > 0.25
    assert ((black <= 0.8 + 1e-4) & (white >= 0.8 - 1e-4)).all()


def test_short_waves_scatter_more():
    hazy = HazeScene(airlight=0.8, **(EVEN | {"angstrom": 4}))(grey(0.0, 8), generator_for(0))
    assert (hazy[:, 2] > hazy[:, 1]).float().mean() > 0.99
    assert (hazy[:, 1] > hazy[:, 0]).float().mean() > 0.99
    same = HazeScene(airlight=0.8, **EVEN)(grey(0.0, 8), generator_for(0))
    assert torch.equal(same[:, 2], same[:, 0])


def test_the_airlight_is_brighter_to_one_side():
    hazy = HazeScene(beta=10, reach=1, airlight=0.6, **(EVEN | {"gradient": 0.4}))(grey(0.0, 16), generator_for(0))
    assert (hazy.amax((1, 2, 3)) - hazy.amin((1, 2, 3)) > 0.3).all()
    assert hazy.mean((1, 2, 3)).tolist() == pytest.approx([0.6] * 16, abs=0.02)


def test_depth_follows_the_edges_of_the_image():
    image, depth = grey(0.2), torch.full((1, 1, 64, 64), 0.2)
    image[..., 32:] = 0.8
    depth[..., 36:] = 0.9
    followed = follow_edges(depth, image)
    steps = (followed[..., 1:] - followed[..., :-1]).abs().mean((0, 1, 2))
    assert steps.argmax() == 31  # where the image has its edge
    assert steps[31] > 4 * steps[35]


@pytest.mark.parametrize("radius", [1, 3, 20])
def test_means_of_windows_end_at_the_edges(radius):
    values = torch.rand(1, 1, 9, 12, generator=generator_for(0))
    expected = values[..., : radius + 1, : radius + 1].mean()
    assert box_mean(values, radius)[0, 0, 0, 0].item() == pytest.approx(expected.item(), abs=1e-6)


def test_even_haze_mixes_each_scene_with_one_light_in_the_values_of_a_display():
    half = torch.full((4, 3, 64, 64), 0.5)
    even = create_degradation("haze_even", tint=0.0, airlight=1.0)
    hazy = torch.stack([even(light * half, generator_for(0)) for light in (0.0, 1.0, 2.0)])
    torch.testing.assert_close(hazy[1] - hazy[0], hazy[2] - hazy[1])
    assert torch.equal(hazy[:, :, 0], hazy[:, :, 2])
    torch.testing.assert_close(hazy[2], torch.ones_like(half))
    assert hazy[0].std() > 0.05
