"""Rain by physics: what formulas say of drops, streaks and mist is what the pictures show."""

import math

import pytest
import torch

from gesso.degradations.rain_scene import RainScene, blend, draw_diameters, streak
from gesso.functional.color import to_linear
from gesso.functional.random import generator_for

CLEAR = {"distance": 0, "softness": 0}
STREAKS = CLEAR | {"grain": 0, "spread": 0, "exposure": 1 / 60, "focal": 800, "rainfall": 20, "aperture": 0.5}


def grey(level: float, batch: int = 1, side: int = 128) -> torch.Tensor:
    return torch.full((batch, 3, side, side), level)


@pytest.mark.parametrize("rainfall", [1.0, 30.0])
def test_diameters_are_those_of_marshall_and_palmer(rainfall):
    decay = 4.1 * rainfall**-0.21
    drawn = draw_diameters(torch.full((500, 1, 1, 1), decay), grey(0.0, 500, 1), generator_for(0), 8).flatten()
    diameter = torch.linspace(0.4, 6, 2000)
    weight = diameter.square() * torch.exp(-decay * diameter)  # as often as they cover area
    inside = drawn[(drawn > 0.4) & (drawn < 6)]
    assert inside.mean().item() == pytest.approx(((diameter * weight).sum() / weight.sum()).item(), rel=0.03)


@pytest.mark.parametrize("blur", [1.0, 6.0])
@pytest.mark.parametrize(("length", "width"), [(20.0, 4.0), (12.0, 0.3)])
def test_a_streak_holds_the_light_of_its_drop_however_far_out_of_focus(length, width, blur):
    axis = torch.arange(-32, 32, dtype=torch.float64)
    values = [torch.tensor(value, dtype=torch.float64) for value in (length, width, blur)]
    shape = streak(axis.view(-1, 1), axis, *values)
    assert shape.sum().item() == pytest.approx(length * width, rel=0.05)
    assert shape.max().item() == pytest.approx(min(1, width / blur))


def variation(picture: torch.Tensor, rows: int, columns: int) -> float:
    return (picture.roll((rows, columns), (0, 1)) - picture).abs().mean().item()


@pytest.mark.parametrize("grain", [0, 1])
def test_rain_falls_straight_without_wind_and_aslant_with_it(grain):
    for wind, along, across in ((0, (4, 0), (0, 4)), (12, (2, 3), (2, -3))):
        rain = RainScene(density=0.3, wind=wind, **(STREAKS | {"grain": grain}))
        picture = rain(grey(0.2, side=192), generator_for(1))[0, 0]
        assert variation(picture, *along) < 0.75 * variation(picture, *across)


@pytest.mark.parametrize("grain", [0, 0.5, 1])
def test_denser_rain_adds_more_light(grain):
    light = [
        RainScene(density=density, **(CLEAR | {"grain": grain}))(grey(0.2, batch=12), generator_for(0)).mean().item()
        for density in (0.05, 0.3, 0.8)
    ]
    assert 0.2 < light[0] < light[1] < light[2] < 0.8


def test_longer_exposures_make_longer_streaks():
    short, long = (
        RainScene(density=0.2, wind=0, **(STREAKS | {"exposure": exposure}))(grey(0.2, side=192), generator_for(0))[
            0, 0
        ]
        for exposure in (1 / 1000, 1 / 60)
    )
    for picture, ratio in ((short, (0.5, 2.5)), (long, (0, 0.3))):
        assert ratio[0] < variation(picture, 2, 0) / variation(picture, 0, 2) < ratio[1]


def test_mist_dims_as_the_optics_of_the_drops_say():
    rain = RainScene(density=0, rainfall=50, distance=500, softness=0)
    black, white = (rain(grey(level, side=32), generator_for(0))[0, 0] for level in (0.0, 1.0))
    decay = 4.1e3 * 50**-0.21  # per metre
    # Drops take away twice the light that meets them: integral of 2 pi/4 D^2 8e6 exp(-decay D).
    optical_depth = 500 * math.pi / 2 * 8e6 * 2 / decay**3
    assert (white - black).amin().item() == pytest.approx(math.exp(-optical_depth), abs=1e-3)  # where it is farthest
    assert (white - black).amax().item() == pytest.approx(1, abs=1e-3)


def test_streaks_are_added_or_screened_in_linear_light_or_in_that_of_a_display():
    scene = torch.rand(400, 3, 1, 1, generator=generator_for(1)) * 0.3 + 0.2
    seen = blend(scene, torch.full((400, 1, 1, 1), 0.1), generator_for(0))
    explained = []
    for before, after in ((scene, seen), (to_linear(scene), to_linear(seen))):
        for screened in (0, 1):
            light = (after - before) / 0.1 + screened * before  # of the streaks: nearly grey, from 0.6 to 1
            explained.append((light > 0.54).all(1) & (light < 1.06).all(1) & (light.amax(1) - light.amin(1) < 0.101))
    assert torch.stack(explained).any(0).all()
    assert all(60 < one.sum() < 200 for one in explained)


def test_what_exceeds_white_is_lost():
    rain = RainScene(density=0.9, brightness=1, **CLEAR)
    assert rain(grey(0.9, batch=4), generator_for(0)).max() == pytest.approx(1)
