"""IPT: one body for several restoration tasks, and patches of one image that know each other.

Chen et al.: "Pre-trained image processing transformer", CVPR 2021.

    image -> corruption             -> features     -> decoder           -> loss
    photo    the task of the batch:    shared body     the task's own       L1, and a contrast of patches
             SR, noise or rain                         tail
"""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.degradations import Degradation, parse_degradation
from gesso.degradations.bicubic import Bicubic
from gesso.functional.checks import check_choice
from gesso.functional.random import BatchGenerator, shared
from gesso.functional.spectrum import full_precision
from gesso.pretext._base import Pretext, pictures, stage_maps, unit_range
from gesso.pretext._contrast import patch_contrast, supervised_contrast

Contrast = Literal["paper", "supcon"]

SIX: list[Any] = [
    *({"name": "bicubic", "scale": scale} for scale in (2, 3, 4)),
    "rain_light",  # the paper's streaks are those of RainTrainL
    *({"name": "gaussian_noise", "sigma": sigma} for sigma in (30, 50)),
]


@runtime_checkable
class MultiTask(Protocol):
    """A network that has a head and a tail for each of its tasks."""

    task: int
    scales: list[int]


@runtime_checkable
class Tokenised(Protocol):
    """A network whose body works on square patches of a map."""

    token_size: int


class IPT(Pretext):
    """Multi-task restoration with a shared body; one task for each batch.

    The paper's network has a head, a tail and a query for each task, and super-resolves small images. Any other
    network shares its whole body and has one last convolution per task; super-resolution then works at the size of
    the output, on enlarged images.

    Args:
        backbone: the network. One without tasks of its own serves the first task with its own last convolution.
        tasks: the degradations to undo: names, names with options, lists applied in order; none: the paper's six,
            bicubic 2, 3 and 4, light rain, noise 30 and 50, in the order of the authors' trainer.
        contrastive_weight: factor of the contrastive loss, 0.1 in the paper; 0 switches it off. On many devices, each
            holds the images of its own share against each other.
        contrastive: "paper" is equation 5 without a temperature; "supcon" is what the authors' trainer computes.
        temperature: temperature of "supcon".
        patches: patches along the shorter side of the map that the contrast compares; none: the body's own patches
            where it has such (IPT: 3 x 3 pixels, 16 along a side), else 16.
    """

    images: ClassVar[str] = "leaves"
    find_unused_parameters = True  # the last convolutions of the tasks that are not drawn

    def __init__(
        self,
        backbone: Backbone,
        *,
        tasks: Sequence[Any] | None = None,
        contrastive_weight: float = 0.1,
        contrastive: Contrast = "paper",
        temperature: float = 0.07,
        patches: int | None = None,
    ) -> None:
        super().__init__(backbone)
        self.tasks = [parse_degradation(value) for value in (tasks or SIX)]
        self.contrastive_weight = contrastive_weight
        self.contrastive: Contrast = check_choice("contrastive", contrastive, Contrast)
        self.temperature = temperature
        self.patches = patches
        if contrastive_weight:
            self.min_batch_size = 2
            self.batch_coupling = "patches are held against those of the other images"
        if isinstance(backbone, MultiTask) and len(backbone.scales) > 1:
            self.multi_task, self.scales = True, backbone.scales
            self.tasks = shrinking(self.tasks, self.scales)
            self.tails = nn.ModuleList()
        else:
            self.multi_task, self.scales = False, [1] * len(self.tasks)
            self.tails = nn.ModuleList(fresh(backbone.head_conv) for _ in self.tasks[1:])

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, `pixel` (L1) and `contrast`."""
        gt, lq, task = self.degrade(batch["image"], generator)
        restored, features = self.restore(lq, task)
        pixel = F.l1_loss(restored, gt)
        if not self.contrastive_weight:
            return {"loss": pixel, "pixel": pixel.detach()}
        contrast = self.contrast(stage_maps(self.backbone, features)[0])
        loss = pixel + self.contrastive_weight * contrast
        return {"loss": loss, "pixel": pixel.detach(), "contrast": contrast.detach()}

    def degrade(self, image: Tensor, generator: BatchGenerator) -> tuple[Tensor, Tensor, int]:
        """Clean and degraded images, and the number of the task that is drawn for the batch.

        Degraded images are equally large for every task: a task of scale s has clean images of s times their sides,
        the upper left part of `image`, all of it for the largest scale.
        """
        task = int(torch.randint(len(self.tasks), (), generator=shared(generator), device=image.device))
        height, width = (side // max(self.scales) * self.scales[task] for side in image.shape[-2:])
        gt = unit_range(image)[..., :height, :width]
        return gt, self.tasks[task](gt, generator), task

    def restore(self, lq: Tensor, task: int) -> tuple[Tensor, list[Tensor]]:
        """What the tail of a task makes of `lq`, at the size of the clean image, and the feature maps."""
        if self.multi_task:
            return self.with_own_tail(lq, task)
        output, features = self.run(lq, self.tails[task - 1] if task else self.backbone.head_conv)
        return self.shrink(output), features

    def with_own_tail(self, lq: Tensor, task: int) -> tuple[Tensor, list[Tensor]]:
        """The same by a network that has its own heads and tails; its `task` is left as it was."""
        network = cast("MultiTask", self.backbone)
        before, network.task = network.task, task
        output, features = self.run(lq, self.backbone.head_conv)
        network.task = before
        return output, features

    def run(self, lq: Tensor, last: nn.Module) -> tuple[Tensor, list[Tensor]]:
        """The backbone's output for `lq` with this last convolution in place of its own, and its feature maps."""
        padded = self.backbone.pad(lq)
        features = self.backbone.features(padded)
        prefix = f"backbone.{self.backbone.head_keys[0]}"
        lent: dict[str, Tensor] = {prefix + key: parameter for key, parameter in last.named_parameters()}
        output = functional_call(Reconstruct(self.backbone), lent, (features[-1], padded))
        return self.backbone.crop(output, lq), features

    def contrast(self, feature: Tensor) -> Tensor:
        """The contrastive loss of patches of a map (B, C, H, W)."""
        if self.patches is None and isinstance(self.backbone, Tokenised):
            side = self.backbone.token_size
        else:
            side = max(1, min(feature.shape[-2:]) // (self.patches or 16))
        patches = F.unfold(full_precision(feature), side, stride=side).mT  # (B, N, C * side^2)
        with torch.autocast(feature.device.type, enabled=False):  # cosines are divided by a small temperature
            if self.contrastive == "paper":
                return patch_contrast(patches)
            return supervised_contrast(patches, self.temperature)

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `degraded` and `restored` of the task that is drawn, in [0, 1]."""
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


def shrinking(tasks: list[Degradation], scales: list[int]) -> list[Degradation]:
    """The tasks of a network with its own heads, where super-resolution takes images that are small.

    Raises:
        ValueError: if they are not as many as the network's, or a scale differs.
    """
    seen = [task.scale if isinstance(task, Bicubic) else 1 for task in tasks]
    if seen != list(scales):
        raise ValueError(f"tasks: the network's have the scales {list(scales)}, these have {seen}")
    return [dataclasses.replace(task, up=False) if isinstance(task, Bicubic) else task for task in tasks]
