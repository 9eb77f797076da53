"""Inpainting: lines that hide the image."""

import dataclasses
from typing import Annotated, Literal

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw, draw_integer, ends
from gesso.functional.random import BatchGenerator

Colour = Literal["random", "white", "black"]


@dataclasses.dataclass(frozen=True)
class Inpainting(Degradation):
    """An image with straight lines drawn over it, from one random point to another.

    Args:
        lines: how many lines, whole numbers in [0, 1000].
        thickness: thickness in pixels, [1, 100].
        colour: "white", "black", or "random": white or black for each line.

    Hu et al., "Universal image restoration pre-training via degradation classification" (DCPT), ICLR 2025: 5 to 10
    lines, 5 to 10 pixels thick.
    """

    lines: Annotated[Range, Bounds(0, 1000)] = (5, 10)
    thickness: Annotated[Range, Bounds(1, 100)] = (5, 10)
    colour: Colour = "random"

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        lines = draw_integer(self.lines, image, generator)
        brightness: Range = {"black": 0.0, "white": 1.0, "random": (0.0, 1.0)}[self.colour]
        for line in range(int(ends(self.lines)[1])):
            distance = distance_to_segment(image, draw((0.0, 1.0), image, generator, 4))
            hidden = distance <= draw(self.thickness, image, generator) / 2
            colour = draw(brightness, image, generator).round()
            image = torch.where(hidden & (line < lines), colour, image)
        return image


def distance_to_segment(image: Tensor, points: Tensor) -> Tensor:
    """Distance in pixels of every pixel from a line segment, (B, 1, H, W).

    Args:
        image: gives the size, (B, 3, H, W).
        points: y and x of the two ends as shares of the sides, (B, 4, 1, 1).
    """
    height, width = image.shape[-2:]
    y = torch.arange(height, device=image.device, dtype=image.dtype).view(-1, 1)
    x = torch.arange(width, device=image.device, dtype=image.dtype)
    y0, x0, y1, x1 = points.split(1, dim=1)
    y0, y1, x0, x1 = y0 * (height - 1), y1 * (height - 1), x0 * (width - 1), x1 * (width - 1)
    dy, dx = y1 - y0, x1 - x0
    position = ((y - y0) * dy + (x - x0) * dx) / (dy.square() + dx.square()).clamp(min=1e-6)
    position = position.clamp(0, 1)
    return torch.hypot(y - y0 - position * dy, x - x0 - position * dx)
