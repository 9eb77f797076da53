"""IPT: one body for several restoration tasks, and patches of one image that know each other.

Chen et al.: "Pre-trained image processing transformer", CVPR 2021.

    image -> corruption             -> features     -> decoder                    -> loss
    photo    the task of the batch:    shared body     the task's own convolution    L1, and a contrast of patches
             SR, noise or rain
"""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.degradations import parse_degradation
from gesso.functional.checks import check_choice
from gesso.functional.spectrum import full_precision
from gesso.pretext._base import Pretext, pictures, unit_range
from gesso.pretext._contrast import patch_contrast, supervised_contrast

Contrast = Literal["paper", "supcon"]

SIX: list[Any] = [
    *({"name": "bicubic", "scale": scale} for scale in (2, 3, 4)),
    "rain",
    *({"name": "gaussian_noise", "sigma": sigma} for sigma in (30, 50)),
]


class IPT(Pretext):
    """Multi-task restoration with a shared body and a last convolution for each task; one task for each batch.

    The paper's network has a head, a tail and a query for each task. Any other network shares its whole body and has
    one last convolution per task; super-resolution then works at the size of the output, on enlarged images.

    Args:
        backbone: the network; its own last convolution serves the first task.
        tasks: the degradations to undo: names, names with options, lists applied in order; none: the paper's six,
            bicubic 2, 3 and 4, rain, noise 30 and 50, in the order of the authors' trainer.
        contrastive_weight: factor of the contrastive loss, 0.1 in the paper.
        contrastive: "paper" is equation 5 without a temperature; "supcon" is what the authors' trainer computes.
        temperature: temperature of "supcon".
        patches: the last feature map is averaged to at most patches x patches vectors for the contrast; IPT has 16.
    """

    images: ClassVar[str] = "leaves"

    def __init__(
        self,
        backbone: Backbone,
        *,
        tasks: Sequence[Any] | None = None,
        contrastive_weight: float = 0.1,
        contrastive: Contrast = "paper",
        temperature: float = 0.07,
        patches: int = 16,
    ) -> None:
        super().__init__(backbone)
        self.tasks = [parse_degradation(value) for value in (tasks or SIX)]
        self.contrastive_weight = contrastive_weight
        self.contrastive: Contrast = check_choice("contrastive", contrastive, Contrast)
        self.temperature = temperature
        self.patches = patches
        self.tails = nn.ModuleList(fresh(backbone.last) for _ in self.tasks[1:])

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, `pixel` (L1) and `contrast`."""
        gt, lq, task = self.degrade(batch["image"], generator)
        restored, feature = self.restore(lq, task)
        pixel = F.l1_loss(restored, gt)
        if not self.contrastive_weight:
            return {"loss": pixel, "pixel": pixel.detach()}
        contrast = self.contrast(feature)
        loss = pixel + self.contrastive_weight * contrast
        return {"loss": loss, "pixel": pixel.detach(), "contrast": contrast.detach()}

    def degrade(self, image: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """Clean and degraded images (B, 3, H, W), and the number of the task that was drawn for the batch."""
        gt = unit_range(image)
        task = int(torch.randint(len(self.tasks), (), generator=generator, device=gt.device))
        return gt, self.tasks[task](gt, generator), task

    def restore(self, lq: Tensor, task: int) -> tuple[Tensor, Tensor]:
        """The image (B, 3, H, W) that the last convolution of a task makes, and the map that it was made of."""
        padded = self.backbone.pad(lq)
        feature = self.backbone.features(padded)[-1]
        name = self.backbone.head_keys[0]
        tail = self.tails[task - 1].named_parameters() if task else ()  # the first task has the backbone's own
        lent: dict[str, Tensor] = {f"backbone.{name}{key}": parameter for key, parameter in tail}
        output = functional_call(Reconstruct(self.backbone), lent, (feature, padded))
        return self.uncover(output, lq), feature

    def contrast(self, feature: Tensor) -> Tensor:
        """The contrastive loss of patches of the last feature map (B, C, H, W)."""
        height, width = (min(side, self.patches) for side in feature.shape[-2:])
        patches = F.adaptive_avg_pool2d(full_precision(feature), (height, width)).flatten(2).mT
        with torch.autocast(feature.device.type, enabled=False):  # cosines are divided by a small temperature
            if self.contrastive == "paper":
                return patch_contrast(patches)
            return supervised_contrast(patches, self.temperature)

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Pictures `original`, `degraded` and `restored` of the task that is drawn, (B, 3, H, W) in [0, 1]."""
        gt, lq, task = self.degrade(batch["image"], generator)
        return pictures(gt, degraded=lq, restored=self.restore(lq, task)[0])


class Reconstruct(nn.Module):
    """`reconstruct` of a backbone as a module, so that `functional_call` can lend it another last convolution."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, feature: Tensor, image: Tensor) -> Tensor:
        """The restored image."""
        return self.backbone.reconstruct(feature, image)


def fresh(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the same shape, freshly initialised."""
    conv = copy.deepcopy(conv)
    conv.reset_parameters()
    return conv
