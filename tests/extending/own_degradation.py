"""Degradations of one's own: a value with options, and a plain function."""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor

from gesso import Degradation
from gesso.degradations import Bounds, Range, draw


@dataclasses.dataclass(frozen=True)
class Fade(Degradation):
    """Less contrast.

    Args:
        share: what is left of it, in [0, 1]; drawn for each image.
    """

    share: Annotated[Range, Bounds(0, 1)] = (0.3, 0.7)

    def _apply(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return 0.5 + draw(self.share, image, generator) * (image - 0.5)


def grain(image: Tensor, generator: torch.Generator) -> Tensor:
    """Coarse noise on one image (1, C, H, W)."""
    coarse = torch.randn(image.shape[0], 1, 4, 4, generator=generator)
    return image + 0.1 * torch.nn.functional.interpolate(coarse, image.shape[-2:], mode="bilinear")
