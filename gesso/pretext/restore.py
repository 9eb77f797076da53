"""Restore: undo a random degradation. The plain control that every other pretext has to beat."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.degradations import parse_degradation
from gesso.functional.random import Draws
from gesso.pretext._base import Pretext, pictures, unit_range

MIX = ("rings", "gaussian_noise", "gaussian_blur", "low_light", "rain", "haze", "jpeg")


class Restore(Pretext):
    """Supervised restoration of degraded images, with the network as it is: no decoder, `reconstruct` is kept.

    Args:
        backbone: the network, unchanged.
        degradation: what spoils the images: a name, a name with options, a list applied in order, or
            `{name: mix, choices: [...]}`; none: one of rings, Gaussian noise, Gaussian blur, low light, rain, haze
            and JPEG, drawn for each image.
    """

    images: ClassVar[str] = "leaves"

    def __init__(self, backbone: Backbone, *, degradation: Any = None) -> None:
        super().__init__(backbone)
        self.degradation = parse_degradation(degradation or {"name": "mix", "choices": list(MIX)})

    def forward(self, batch: dict[str, Tensor], generator: Draws) -> dict[str, Tensor]:
        """Losses of one step: `loss`, the mean absolute error."""
        gt = unit_range(batch["image"])
        restored = self.encode(self.degradation(gt, generator))
        return {"loss": F.l1_loss(restored, gt)}

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: Draws) -> dict[str, Tensor]:
        """Pictures `original`, `degraded` and `restored`, (B, 3, H, W) in [0, 1]."""
        gt = unit_range(batch["image"])
        degraded = self.degradation(gt, generator)
        return pictures(gt, degraded=degraded, restored=self.encode(degraded))
