"""Snow: flakes that cover what is behind them, and a white veil."""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.degradations._particles import draw_angles, falling, rates, scatter
from gesso.functional.random import BatchGenerator

LAYERS = 6


@dataclasses.dataclass(frozen=True)
class Snow(Degradation):
    """A snowy image: white flakes of several sizes over an image behind a veil.

    Every image draws a direction and a density; its flakes come in six layers that each draw a size and a speed. Large
    flakes are soft, as they are near and out of focus.

    Args:
        density: share of the image that flakes cover, in [0, 0.99]; 0 means no flakes.
        size: diameter of a flake in pixels, [1, 100].
        motion: how far a flake falls during the exposure in pixels, [0, 200].
        angle: direction of the fall in degrees from straight down, [-90, 90].
        opacity: how much of what is behind a flake it hides, [0, 1].
        veil: share of light that distant snow replaces by white, [0, 1].

    The model of Liu et al., "DesnowNet: context-aware deep network for snow removal", IEEE TIP 2018 (Snow100K), with
    white flakes.
    """

    density: Annotated[Range, Bounds(0, 0.99)] = (0.02, 0.3)
    size: Annotated[Range, Bounds(1, 100)] = (1, 7)
    motion: Annotated[Range, Bounds(0, 200)] = (0, 8)
    angle: Annotated[Range, Bounds(-90, 90)] = (-40, 40)
    opacity: Annotated[Range, Bounds(0, 1)] = (0.6, 1.0)
    veil: Annotated[Range, Bounds(0, 1)] = (0, 0.1)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        angle = draw_angles(self.angle, 8.0, image, generator, LAYERS)
        size = draw(self.size, image, generator, LAYERS)
        motion = draw(self.motion, image, generator, LAYERS)
        rate = rates(draw(self.density, image, generator), torch.pi / 4 * size.square() + size * motion)
        flakes = torch.zeros_like(image[:, :1])
        layers = (value.split(1, dim=1) for value in (rate, angle, size, motion))
        for count, direction, *form in zip(*layers, strict=True):
            flakes += scatter(count, flake(*falling(direction, image), *form), generator)
        cover = draw(self.opacity, image, generator) * flakes.clamp(max=1)
        veil = draw(self.veil, image, generator)
        return ((image * (1 - veil) + veil) * (1 - cover) + cover).clamp(0, 1)


def flake(along: Tensor, across: Tensor, size: Tensor, motion: Tensor) -> Tensor:
    """Cover in [0, 1] of one flake at distances along and across its fall: a disc drawn out by its motion, soft."""
    distance = torch.hypot((along.abs() - motion / 2).relu(), across)
    softness = (size / 2).clamp(min=1)
    return ((size / 2 + softness / 2 - distance) / softness).clamp(0, 1)
