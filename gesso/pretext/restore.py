"""Restore: undo a random degradation. The plain control that every other pretext has to beat."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from gesso.backbones._base import Backbone
from gesso.degradations import parse_degradation
from gesso.functional.random import BatchGenerator
from gesso.functional.resize import enlarge
from gesso.losses import find_loss
from gesso.pretext._base import Pretext, pictures, unit_range
from gesso.tasks import find_task

MIX = ("rings", "gaussian_noise", "gaussian_blur", "low_light", "rain", "haze", "jpeg")


class Restore(Pretext):
    """Supervised restoration of degraded images, with the network as it is: no decoder, `reconstruct` is kept.

    Args:
        backbone: the network, unchanged.
        degradation: what degrades the images: a name, a name with options, a list applied in order, or
            `{name: mix, choices: [...]}`; none: one of rings, Gaussian noise, Gaussian blur, low light, rain, haze
            and JPEG, drawn for each image. JPEG, which is not defined for them, is left out for four channels.
        task: instead, the task to come, whose degradation is applied to the images; "sr" for networks that enlarge.
        loss: of the restored images, one of `gesso.list_losses()`.

    Raises:
        UnknownNameError: for a task, degradation or loss that there is not.
        ValueError: if both are given, or the network does not enlarge and the task is "sr".
    """

    title: ClassVar[str] = "restore"  # no acronym of a paper's
    images: ClassVar[str] = "leaves"

    def __init__(
        self, backbone: Backbone, *, degradation: Any = None, task: str | None = None, loss: str = "l1"
    ) -> None:
        super().__init__(backbone)
        self.loss = find_loss(loss)
        if task is None:
            more = backbone.in_channels > 3
            defined = [name for name in MIX if not (more and parse_degradation(name).rgb_only)]
            self.degradation = parse_degradation(degradation or {"name": "mix", "choices": defined})
        elif degradation is None:
            self.degradation = find_task(task, scale=backbone.scale if task == "sr" else 1).degradation
        else:
            raise ValueError(f"restore: expected a degradation or a task, got both ({degradation!r} and {task!r})")

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, the mean absolute error where no other was asked for."""
        gt = unit_range(batch["image"])
        return {"loss": self.loss(self.restore(self.degradation(gt, generator), gt), gt)}

    def restored(self, image: Tensor) -> Tensor:
        """The network's image at the size of its input."""
        return self.encode(image)

    def restore(self, degraded: Tensor, gt: Tensor) -> Tensor:
        """The network's image at the size of `gt`: averaged down unless the degraded image was smaller."""
        output = self.backbone(degraded)
        return output if degraded.shape != gt.shape else self.shrink(output)

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `degraded` and `restored`, (B, 3, H, W) in [0, 1]."""
        gt = unit_range(batch["image"])
        degraded = self.degradation(gt, generator)
        restored = self.restore(degraded, gt)
        return pictures(gt, degraded=enlarge(degraded, gt.shape[-1] // degraded.shape[-1]), restored=restored)
