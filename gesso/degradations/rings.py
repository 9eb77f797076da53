"""Rings: IFP's masked amplitudes as a degradation."""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw, ends
from gesso.functional.random import BatchGenerator
from gesso.functional.spectrum import apply_mask, draw_rings, ring_mask, ring_total


@dataclasses.dataclass(frozen=True)
class Rings(Degradation):
    """An image without the frequencies of random square rings of its spectrum, clamped.

    Args:
        mask_ratio: share of rings removed, [0, 1].

    IFP, section 3.2. Rings are drawn without replacement and removed whole (see `gesso.functional.spectrum`).
    """

    mask_ratio: Annotated[Range, Bounds(0, 1)] = (0.25, 0.75)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        batch, _, height, width = image.shape
        rings = draw_rings(batch, height, width, ends(self.mask_ratio)[1], generator)
        count = draw(self.mask_ratio, image, generator).view(-1, 1) * ring_total(height, width)
        drawn = torch.arange(rings.shape[1], device=image.device) < count.floor()
        # Ring 0 is frequency zero, which always stays: it fills the places of rings not removed.
        mask = ring_mask(height, width, torch.where(drawn, rings, 0))
        return apply_mask(image, mask.to(image)).clamp(0, 1)
