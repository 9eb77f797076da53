"""Rain: streaks that add light along a direction, and the veil of the drops too far away to be seen."""

import dataclasses
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.degradations._particles import draw_angles, falling, rates, scatter
from gesso.functional.random import BatchGenerator

LAYERS = 6


@dataclasses.dataclass(frozen=True)
class Rain(Degradation):
    """A rainy image: `image * (1 - veil) + 0.8 * veil + streaks`, clamped.

    Streaks are grey and add up where they cross, as in Rain100L and Rain100H. Every image draws a direction and a
    density; its streaks come in six layers that each draw a length, a width, a direction nearby and how far the ends
    fade. The defaults reach from light to heavy; `rain_light` and `rain_heavy` imitate Rain100L and Rain100H, and
    `rain_wide` is whatever may be taken for streaks: longer, wider, brighter ones too, in directions that cross.

    Args:
        density: share of the image that streaks cover, in [0, 0.99]; 0 means no streaks.
        length: length of a streak in pixels, [1, 500].
        width: width of a streak in pixels, [0.5, 20].
        angle: direction in degrees from straight down, [-90, 90].
        spread: how far the directions within one image differ from it, in degrees, [0, 45].
        brightness: light that a streak adds, [0, 1]; single streaks vary between half of it and all of it.
        veil: share of light that the distant rain replaces by grey, [0, 1].
        crossing: most light that streaks add where they cross, in multiples of `brightness`, [1, 100]; at 1 it is no
            more than the brightest streak adds, at 100 they add up without a limit that is ever reached.

    Streak layers and veil are those of Yang et al., "Deep joint rain detection and removal from a single image", CVPR
    2017, who made Rain100L and Rain100H.
    """

    density: Annotated[Range, Bounds(0, 0.99)] = (0.02, 0.95)
    length: Annotated[Range, Bounds(1, 500)] = (8, 80)
    width: Annotated[Range, Bounds(0.5, 20)] = (0.7, 2.5)
    angle: Annotated[Range, Bounds(-90, 90)] = (-25, 25)
    spread: Annotated[Range, Bounds(0, 45)] = (0, 10)
    brightness: Annotated[Range, Bounds(0, 1)] = (0.08, 0.3)
    veil: Annotated[Range, Bounds(0, 1)] = 0.0
    crossing: Annotated[Range, Bounds(1, 100)] = 100.0

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "rain_light": {
            "density": (0.04, 0.2),
            "length": (8, 50),
            "width": (0.7, 1.5),
            "spread": (0, 3),
            "brightness": (0.15, 0.35),
        },
        "rain_heavy": {"density": (0.55, 0.97), "length": (20, 90), "brightness": (0.12, 0.32)},
        "rain_wide": {
            "length": (8, 200),
            "width": (0.7, 6),
            "angle": (-45, 45),
            "spread": (0, 45),
            "brightness": (0.05, 0.6),
            "crossing": (1, 3),
        },
    }

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        angle = draw_angles(self.angle, self.spread, image, generator, LAYERS)
        length = draw(self.length, image, generator, LAYERS)
        width = draw(self.width, image, generator, LAYERS)
        fade = draw((0.0, 1.0), image, generator, LAYERS)
        rate = rates(draw(self.density, image, generator), length * width)
        streaks = torch.zeros_like(image[:, :1])
        # One layer at a time: a photo of 24 megapixels would not fit six times.
        layers = (value.split(1, dim=1) for value in (rate, angle, length, width, fade))
        for count, direction, *form in zip(*layers, strict=True):
            streaks += scatter(count, streak(*falling(direction, image), *form), generator)
        veil = draw(self.veil, image, generator)
        light = draw(self.brightness, image, generator)
        streaks = torch.minimum(streaks, draw(self.crossing, image, generator))
        return (image * (1 - veil) + 0.8 * veil + light * streaks).clamp(0, 1)


def streak(along: Tensor, across: Tensor, length: Tensor, width: Tensor, fade: Tensor) -> Tensor:
    """Brightness in [0, 1] of one streak at distances along and across it; `fade` 1 dims its ends to nothing."""
    ends = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - fade * (2 * along / length).square()).relu()
    return ends * (width / 2 + 0.5 - across.abs()).clamp(0, 1)
