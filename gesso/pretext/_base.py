"""A pretext turns a batch of images into losses and owns what is thrown away afterwards."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.functional.random import BatchGenerator

if TYPE_CHECKING:
    from gesso.losses import FeatureLoss


class Pretext(nn.Module):
    """A pre-training method around a backbone.

    Subclasses take the backbone first, then their own options by keyword. A file reads like the paper's figure:
    image -> corruption -> features -> decoder -> loss. They write `forward` and `preview`; the rest has defaults.

    Attributes:
        title: what tables and figures call it; the name of the class unless it says otherwise.
        backbone: the network being pre-trained; all of it but its head is what transfers.
        images: where images come from when the user does not say, a name of `gesso.list_sources()`.
        images_per_sample: independent images that one sample needs (2 for DegAE).
        min_batch_size: how many samples a batch must hold at least (2 where they are compared).
        classes: kinds of degradation that it tells apart, or None; data sorted by class must have as many.
        batch_coupling: what ties the images of a batch together in the loss, in words; empty where nothing does, so
            that the mean of the losses of parts of a batch is the loss of the batch.
        presets: option values by name, for departures from the defaults that belong together.
        find_unused_parameters: whether a step may leave parameters without gradient.
        clamp: whether its network sees images in [0, 1], also where it is trained on noise.
    """

    title: ClassVar[str] = "Pretext"
    images: ClassVar[str] = "noise"
    images_per_sample: ClassVar[int] = 1
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    classes: int | None = None
    min_batch_size: int = 1
    batch_coupling: str = ""
    find_unused_parameters: bool = False
    clamp: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Gives the class a title."""
        super().__init_subclass__(**kwargs)
        if "title" not in cls.__dict__:
            cls.title = cls.__name__

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, which is minimised, and its parts, which are logged (detached scalars).

        Args:
            batch: `image` (B, 3, H, W), or (B, K, 3, H, W) where `images_per_sample` is K > 1; from class folders
                `gt`, `lq` and `label` (B,) instead.
            generator: where every random number comes from, best one for each image (`ImageGenerators`); on the
                batch's device.
        """
        raise NotImplementedError

    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures (B, 3, H, W) that show the pretext at work, by label, for sample sheets: input, output, target."""
        raise NotImplementedError

    def original(self, batch: dict[str, Tensor]) -> Tensor:
        """The image (B, 3, H, W) that is to be found again, as it is before the corruption."""
        return batch["image"]

    def restored(self, image: Tensor) -> Tensor | None:
        """What network and decoder make of images (B, C, H, W) by themselves; None where they can make none."""
        return None

    @classmethod
    def open_feature_loss(cls, file: Path, backbone: Backbone, target: int | None, task: str) -> "FeatureLoss | None":
        """What a file that a run of it left (`extra_modules`) says of feature maps, as a loss for fine-tuning.

        Args:
            file: the file.
            backbone: the network that is fine-tuned.
            target: what the user has chosen, such as a class (`critic_target`).
            task: name of the task that it is fine-tuned on.

        Returns:
            The loss; None for a pretext that leaves nothing of the kind.

        Raises:
            ValueError: if the file holds something else, or does not fit the network.
        """
        return None

    def groups(self) -> list[dict[str, Any]]:
        """What is trained, in groups for the optimiser: `params`, and where they differ from those of the run
        `weight_decay`, and `lr_factor`, which multiplies the learning rate.
        """
        return [{"params": trained(self)}]

    def encode(self, image: Tensor) -> Tensor:
        """The backbone's output (B, C, H, W) at the size of its input; a super-resolver's is averaged down to it."""
        return self.shrink(self.backbone(image))

    def extra_modules(self) -> dict[str, nn.Module]:
        """What else is worth keeping of a run, by file name: DCPT's classifier. Most pretexts throw all away."""
        return {}

    def shrink(self, output: Tensor) -> Tensor:
        """The backbone's output averaged down to the size of its input; unchanged but for super-resolvers."""
        return output if self.backbone.scale == 1 else F.avg_pool2d(output, self.backbone.scale)


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of a module that are not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def stage_positions(backbone: Backbone) -> tuple[int, ...]:
    """Positions in `features` of a network's decoder stages, finest first; all maps where it names none."""
    return tuple(reversed(backbone.stages or range(len(backbone.channels))))


def stage_maps(backbone: Backbone, features: list[Tensor]) -> list[Tensor]:
    """The maps of a network's decoder stages, finest first."""
    return [features[position] for position in stage_positions(backbone)]


def pictures(original: Tensor, **others: Tensor) -> dict[str, Tensor]:
    """Pictures in [0, 1] for a sample sheet: `original`, called `noise` where it leaves [0, 1], and the others.

    Noise N(0, 1) and what belongs to it are shown as `unit_range` shows them.
    """
    label = "noise" if leaves_unit_range(original) else "original"
    return {name: unit_range(image, original) for name, image in ({label: original} | others).items()}


def unit_range(image: Tensor, original: Tensor | None = None) -> Tensor:
    """`image` clamped to [0, 1]; noise N(0, 1) becomes 0.5 + x / 6 before, three deviations each way.

    Noise is told by values outside [0, 1] in `original`, or in `image` itself.
    """
    noise = leaves_unit_range(image if original is None else original)
    return torch.where(noise, 0.5 + image / 6, image).clamp(0, 1)


def leaves_unit_range(image: Tensor) -> Tensor:
    """Whether any value lies outside [0, 1], a boolean scalar."""
    return (image.amin() < 0) | (image.amax() > 1)
