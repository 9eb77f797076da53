"""DCPT: tell from a network's features what was done to its input, and keep the network able to draw.

Hu, Jin, Liu, Tao, Li, Zhang: "Universal image restoration pre-training via degradation classification", ICLR 2025.

    image -> corruption             -> features              -> decoder        -> loss
    photo    one of the degradations   the decoder stages       a classifier      which one was it? (focal)
             none                      the whole network        none              the photo again  (L1)
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.checkpoint import read_state
from gesso.functional.checks import check_between, check_choice
from gesso.functional.random import BatchGenerator, ImageGenerators
from gesso.losses import FeatureLoss
from gesso.pretext._base import pictures, stage_maps, stage_positions, trained
from gesso.pretext._classes import FIVE, FIVE_TASKS, TEN, DegradationClassification
from gesso.pretext._classifier import DegradationClassifier, focal_loss
from gesso.pretext._masking import patch_mask

Mode = Literal["joint", "alternate", "separate"]
Generation = Literal["clean", "direct", "masked"]


class DCPT(DegradationClassification):
    """Degradation classification pre-training on the decoder stages of any backbone.

    The backbone is not changed: its last convolution and image residual stay, for the generation loss needs them.

    Args:
        backbone: the network; the maps that its `stages` name are classified, all maps where it names none.
        degradations: the classes in the order of their labels: names, names with options, lists applied in order;
            none: rain, noise (not clipped), haze, low light, motion blur, the five of the paper. Class data from
            folders comes in the batch instead, as `lq` and `label`. `{name: compose}` is "clean".
        num_classes: classes of data from folders; none: as many as `degradations`.
        generation: "clean" restores the clean image from itself (the released code); "direct" restores it from the
            degraded one; "masked" from the degraded one with patches hidden, in one forward with the classification,
            by the network as it is; the method with masked features and a decoder of its own is `maskdcpt`.
        mode: "joint" minimises both losses in every step (the released code); "alternate" takes turns, as the paper
            says; "separate" generates for `generation_steps` and then classifies. What the loss of the turn does not
            reach stays as it is: the classifier, or the layers behind the stages.
        generation_steps: steps of the first stage of `mode="separate"`.
        mask_ratio: share of the patches that `generation="masked"` hides, in (0, 1).
        mask_size: side of these patches in pixels.
        pixel_weight: factor of the generation loss.
        class_weight: factor of the classification loss.
        focal_gamma: exponent of the focal loss; 0 is cross-entropy.
        classifier_lr_factor: learning rate of the classifier, divided by that of the run. Released: 1/3 for NAFNet, 1/4
            for the others.
        classifier_weight_decay: weight decay of the classifier, in place of that of the run.
        image_in_classifier: show the classifier the degraded image as well.
        freeze_backbone: train the classifier alone, on the features of a network as it is (`--init`); a probe, and the
            critic of DC-guided training.
    """

    images: ClassVar[str] = "leaves"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "five": {"degradations": FIVE},
        "ten": {"degradations": TEN},
        "two": {"degradations": [{"name": "compose"}, {"name": "mix", "choices": FIVE}]},  # clean and degraded
        "mask_dcpt": {"generation": "masked"},
    }

    def __init__(
        self,
        backbone: Backbone,
        *,
        degradations: Sequence[Any] | None = None,
        num_classes: int | None = None,
        generation: Generation = "clean",
        mode: Mode = "joint",
        generation_steps: int = 50_000,
        mask_ratio: float = 0.5,
        mask_size: int = 16,
        pixel_weight: float = 1.0,
        class_weight: float = 1.0,
        focal_gamma: float = 2.0,
        classifier_lr_factor: float = 1 / 3,
        classifier_weight_decay: float = 1e-4,
        image_in_classifier: bool = False,
        freeze_backbone: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            degradations,
            num_classes,
            check_between("classifier_lr_factor", classifier_lr_factor, 0, math.inf),
            classifier_weight_decay,
            image_in_classifier=image_in_classifier,
        )
        backbone.requires_grad_(not freeze_backbone)
        self.generation: Generation = check_choice("generation", generation, Generation)
        self.mode: Mode = check_choice("mode", mode, Mode)
        if self.generation == "masked" and self.mode != "joint":
            raise ValueError(f"mode: generation='masked' classifies and restores in one forward, so not {mode!r}")
        self.find_unused_parameters = self.mode != "joint"
        self.generation_steps = generation_steps
        self.mask_ratio = check_between("mask_ratio", mask_ratio, 0, 1)
        self.mask_size = mask_size
        self.pixel_weight = pixel_weight
        self.class_weight = class_weight
        self.focal_gamma = focal_gamma

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, `pixel`, `class`, and the `accuracy` of the classifier on this batch.

        Both losses are always computed and logged; `mode` decides which of them `loss` holds.
        """
        if not trained(self.backbone):
            self.backbone.eval()  # a frozen network does not draw stochastic depth either
        gt, lq, label = self.classified(batch, generator)
        if self.generation == "masked":
            lq = lq * patch_mask(lq, self.mask_ratio, self.mask_size, generator)
        padded = self.backbone.pad(lq)
        if self.generation == "clean":
            features = self.backbone.stage_features(padded)
            restored = self.encode(gt)
        else:
            features = self.backbone.features(padded)
            restored = self.shrink(self.backbone.crop(self.backbone.reconstruct(features[-1], padded), lq))
        logits = self.classifier(stage_maps(self.backbone, features), padded)

        pixel = F.l1_loss(restored, gt)
        classification = focal_loss(logits, label, self.focal_gamma)
        generate, classify = self.turn(generator.step if isinstance(generator, ImageGenerators) else 0)
        # A loss that rests is left out, not multiplied by 0: optimisers move weights on whose gradient is 0.
        terms = [self.pixel_weight * pixel] * generate + [self.class_weight * classification] * classify
        loss = torch.stack(terms).sum()
        accuracy = (logits.argmax(dim=1) == label).float().mean()
        return {"loss": loss, "pixel": pixel.detach(), "class": classification.detach(), "accuracy": accuracy}

    @classmethod
    def open_feature_loss(cls, file: Path, backbone: Backbone, target: int | None, task: str) -> FeatureLoss:
        """The critic of DC-guided training, from the classifier that a run left.

        Raises:
            ValueError: if the file holds something else, classifies other maps, or does not know the class.
        """
        try:
            classifier = DegradationClassifier.from_state(read_state(file))
        except ValueError as error:
            raise ValueError(f"critic: {file}: {error}") from error
        expected = [backbone.channels[position] for position in stage_positions(backbone)]
        if classifier.feature_dims != expected:
            seen = f"{file}: classifies maps of {classifier.feature_dims} channels"
            raise ValueError(f"{seen}, the network has {expected}")
        classes = classifier.fc.out_features
        return DegradationCritic(classifier, target_of(task, classes) if target is None else target)

    def turn(self, step: int) -> tuple[bool, bool]:
        """Whether this step of the run minimises the generation and the classification loss."""
        if self.mode == "joint":
            return True, True
        generate = step % 2 == 0 if self.mode == "alternate" else step < self.generation_steps
        return generate, not generate

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `degraded` and `restored`, or `drawn again` where the clean image is what comes in."""
        gt, lq, _ = self.classified(batch, generator)
        if self.generation == "masked":
            lq = lq * patch_mask(lq, self.mask_ratio, self.mask_size, generator)
        if self.generation == "clean":
            return pictures(gt, degraded=lq, **{"drawn again": self.encode(gt)})
        return pictures(gt, degraded=lq, restored=self.encode(lq))


class DegradationCritic(FeatureLoss):
    """DC-guided training: what a frozen classifier sees in a restorer's features, as a loss for the restorer.

    Cross-entropy towards one class, added to the image loss when a network trained on one degradation learns another
    (DCPT, section 4.3). The released options take five classes and the class of the new degradation, so the restorer
    learns to recognise it; the text has two classes, clean and degraded.

    Args:
        classifier: a trained classifier; it is frozen.
        target: the class that the features are to be taken for.
    """

    def __init__(self, classifier: DegradationClassifier, target: int) -> None:
        super().__init__()
        if not 0 <= target < classifier.fc.out_features:
            raise ValueError(
                f"critic_target: the classifier knows classes 0 to {classifier.fc.out_features - 1}, got {target}"
            )
        self.classifier = classifier.requires_grad_(False)
        self.target = target

    def forward(self, backbone: Backbone, features: list[Tensor], lq: Tensor) -> Tensor:
        """The loss, a scalar.

        Args:
            backbone: the restorer.
            features: what `backbone.features` returned.
            lq: the degraded image (B, 3, H, W) that it returned them for.
        """
        logits = self.classifier(stage_maps(backbone, features), lq)
        return F.cross_entropy(logits, torch.full((len(logits),), self.target, device=logits.device))


def target_of(task: str, classes: int) -> int:
    """The class that DC-guided training aims at by default: of five, that of the degradation which the task undoes.

    Raises:
        ValueError: if the classifier knows other classes, or the task none of the five.
    """
    if classes == len(FIVE_TASKS) and task in FIVE_TASKS:
        return FIVE_TASKS.index(task)
    raise ValueError(
        f"critic_target: say which of the critic's {classes} classes, counted from 0, the features should count as; "
        f"only with five classes and a task of {', '.join(FIVE_TASKS)} it can be inferred, and this is {task}"
    )
