"""Haze: light scattered into the view, more of it the farther the scene."""

import dataclasses
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.functional.random import BatchGenerator


@dataclasses.dataclass(frozen=True)
class Haze(Degradation):
    """A hazy image: `image * t + airlight * (1 - t)` with the transmission `t = exp(-beta * depth)`.

    The depth is made up: smooth hills on a ground that recedes towards the top, `nearest` at the nearest and 1 at the
    farthest point of every image. `haze_far` has air before the nearest point, too, as photos have.

    Args:
        beta: scattering over the depth of the image, [0, 10]; 0 means no haze.
        airlight: brightness of the haze, [0, 1].
        tint: how far the colour channels of the airlight differ from it, [0, 1].
        nearest: distance of the nearest point divided by that of the farthest, [0, 0.99].

    Narasimhan and Nayar, "Vision and the atmosphere", IJCV 2002; ranges near those of RESIDE (Li et al., IEEE TIP
    2019): beta 0.6 to 1.8, airlight 0.7 to 1.
    """

    beta: Annotated[Range, Bounds(0, 10)] = (0.6, 2.5)
    airlight: Annotated[Range, Bounds(0, 1)] = (0.7, 1.0)
    tint: Annotated[Range, Bounds(0, 1)] = (0.0, 0.05)
    nearest: Annotated[Range, Bounds(0, 0.99)] = 0.0

    variants: ClassVar[dict[str, dict[str, Any]]] = {"haze_far": {"nearest": (0.0, 0.5)}}

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        beta, depth = draw(self.beta, image, generator), draw_depth(image, generator)
        nearest = draw(self.nearest, image, generator)
        transmission = torch.exp(-beta * (nearest + (1 - nearest) * depth))
        colour = draw((-1.0, 1.0), image, generator, image.shape[1]) * draw(self.tint, image, generator)
        airlight = (draw(self.airlight, image, generator) + colour).clamp(0, 1)
        return (image * transmission + airlight * (1 - transmission)).clamp(0, 1)


def draw_depth(image: Tensor, generator: BatchGenerator) -> Tensor:
    """A smooth depth map (B, 1, H, W) that touches 0 and 1 in every image: a receding ground and random hills."""
    height, width = image.shape[-2:]
    steepness = draw((0.3, 1.5), image, generator)
    depth = steepness * torch.linspace(1, 0, height, device=image.device, dtype=image.dtype).view(-1, 1)
    for cells in (3, 6):
        heights = draw((0.0, 1.0), image, generator, cells * cells).view(-1, 1, cells, cells) * 2 / cells
        depth = depth + F.interpolate(heights, (height, width), mode="bicubic", align_corners=True)
    nearest, farthest = depth.amin((-2, -1), keepdim=True), depth.amax((-2, -1), keepdim=True)
    return (depth - nearest) / (farthest - nearest).clamp(min=1e-6)
