"""What DCPT and MaskDCPT share: classes of degradation, made or from folders, and a classifier of decoder features."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from gesso.backbones._base import Backbone
from gesso.degradations import parse_degradation
from gesso.degradations.compose import Mix
from gesso.functional.random import BatchGenerator
from gesso.pretext._base import Pretext, stage_positions, trained, unit_range
from gesso.pretext._classifier import DegradationClassifier
from gesso.tasks import ALL_IN_ONE

FIVE: list[Any] = [*ALL_IN_ONE.values()]
FIVE_TASKS = (*ALL_IN_ONE,)  # that undo the five, in the order of the labels
TEN: list[Any] = [
    {"name": "gaussian_noise", "sigma": (1, 50), "clip": False},
    "motion_blur",
    "defocus",
    {"name": "mix", "choices": [{"name": "jpeg", "quality": quality} for quality in (10, 20, 30, 40, 50)]},
    "haze",
    "rain",
    "snow",
    "mosaic",
    "low_light",
    "inpainting",
]


class DegradationClassification(Pretext):
    """A pretext that classifies degradations by the features of a network, and trains other parts beside.

    Args:
        backbone: the network; the maps that its `stages` name are classified, all maps where it names none.
        degradations: the classes in the order of their labels; none: the five of `FIVE`.
        num_classes: classes of data from folders; none: as many as `degradations`.
        decoder_lr_factor: learning rate of what is not the network, divided by that of the run.
        decoder_weight_decay: its weight decay, in place of that of the run.
        image_in_classifier: show the classifier the degraded image as well.

    Raises:
        ValueError: if there are fewer than two classes.
    """

    def __init__(
        self,
        backbone: Backbone,
        degradations: Sequence[Any] | None,
        num_classes: int | None,
        decoder_lr_factor: float,
        decoder_weight_decay: float,
        *,
        image_in_classifier: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.mix = Mix(tuple(parse_degradation(value) for value in (degradations or FIVE)))
        self.classes = classes = len(self.mix.choices) if num_classes is None else num_classes
        if classes < 2:
            raise ValueError(f"degradations: expected two classes or more, got {num_classes or degradations!r}")
        self.decoder_options = {"lr_factor": decoder_lr_factor, "weight_decay": decoder_weight_decay}
        self.classifier = classifier_for(backbone, classes, with_image=image_in_classifier)

    def classified(self, batch: dict[str, Tensor], generator: BatchGenerator) -> tuple[Tensor, Tensor, Tensor]:
        """Clean image, degraded image (B, 3, H, W) and class (B,): from the batch, or drawn from the classes."""
        classes = self.classifier.fc.out_features
        if "label" not in batch:
            if classes != len(self.mix.choices):
                raise ValueError(
                    f"num_classes: there are {len(self.mix.choices)} degradations to make the classes from, got "
                    f"{classes}; data of {classes} classes comes from folders (images: a list)"
                )
            gt = unit_range(batch["image"])
            return gt, *self.mix.labelled(gt, generator)
        label = batch["label"]
        if label.amax() >= classes:
            raise ValueError(
                f"label {int(label.amax())} in the data, but {classes} classes (0 to {classes - 1}) are known"
            )
        return batch["gt"], batch["lq"], label

    def extra_modules(self) -> dict[str, nn.Module]:
        """The classifier, which DC-guided training takes for its critic."""
        return {"classifier": self.classifier}

    def groups(self) -> list[dict[str, Any]]:
        """The network, if it is not frozen, and the rest, which has a learning rate and decay of its own."""
        network = trained(self.backbone)
        known = {id(parameter) for parameter in self.backbone.parameters()}
        rest: dict[str, Any] = {"params": [p for p in trained(self) if id(p) not in known], **self.decoder_options}
        return [{"params": network}, rest] if network else [rest]


def classifier_for(backbone: Backbone, num_classes: int, *, with_image: bool = False) -> DegradationClassifier:
    """A fresh classifier that fits the decoder stages of a network."""
    widths = [backbone.channels[position] for position in stage_positions(backbone)]
    return DegradationClassifier(widths, num_classes, with_image=with_image)
