"""MaskDCPT: hide half of a degraded image, tell what was done to it, and draw the clean image whole.

Hu, Yao, Jin, Chen, Lu: "Universal image restoration pre-training via masked degradation classification", 2025
(arXiv 2510.13282).

    image -> corruption                -> features               -> decoder          -> loss
    photo    one of the degradations,     decoder stages, each      a classifier        which one was it? (focal)
             half of its patches hidden   seen through the mask     a small CNN         the clean photo   (L1)
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.functional.checks import check_between, check_choice
from gesso.functional.random import BatchGenerator
from gesso.pretext._base import pictures, stage_maps
from gesso.pretext._classes import TEN, DegradationClassification
from gesso.pretext._classifier import focal_loss
from gesso.pretext._decoders import MSRResNetHead, conv3x3
from gesso.pretext._masking import SeenThrough, mask_like, patch_mask

Reconstruction = Literal["cnn", "conv"]


class MaskDCPT(DegradationClassification):
    """Masked degradation classification pre-training, which classifies and reconstructs in one forward.

    The network is an encoder without its last convolution and image residual; a classifier and a reconstruction decoder
    take its features and are thrown away. The authors have released inference alone: what their text and that code do
    not say is said at each option.

    Args:
        backbone: the network. The text takes the features of its later half of blocks, i in (l/2, l]; which these are,
            only DCPT's code says: the decoder stages, which `stages` names (all maps where it names none).
        degradations: the classes in the order of their labels: names, names with options, lists applied in order;
            none: rain, noise (not clipped), haze, low light, motion blur. Class data from folders comes in the batch
            instead, as `lq` and `label`.
        num_classes: classes of data from folders; none: as many as `degradations`.
        mask_ratio: share of the patches that are hidden, in (0, 1); 0.5 in the paper, whose code keeps the rounded
            number of patches and hides them in every image by itself.
        mask_size: side of these patches in pixels, 16 in the paper. Hidden pixels are 0 (equation 1).
        mask_features: let nothing leak into what is hidden (section IV-B): convolutions that look beyond their pixel
            give 0 there, as do all feature maps that leave the network. The inference code also masks the norms and
            blocks of each network; attention reaches over there as it does here. Needs maps of whole images (IPT: crops
            of its patch size).
        reconstruction: the decoder from the last feature map to the image, of which the paper says only that it is
            one: "cnn", the four residual blocks that IFP has, whose view spans a hidden patch; or "conv", one 3x3
            convolution as restoration networks end with, to which what lies inside a hidden patch is out of reach.
        decoder_width: channels of "cnn".
        pixel_weight: factor of the reconstruction loss, alpha of equation 5.
        focal_gamma: exponent of the focal loss; the paper gives none, 2 is that of DCPT's code. 0 is cross-entropy.
        decoder_lr_factor: learning rate of both decoders, divided by that of the run: 1e-4 and 3e-4 in the paper.
        decoder_weight_decay: weight decay of both; the paper's optimiser has none.
    """

    images: ClassVar[str] = "leaves"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"ten": {"degradations": TEN}}
    find_unused_parameters = True  # the network's last convolution

    def __init__(
        self,
        backbone: Backbone,
        *,
        degradations: Sequence[Any] | None = None,
        num_classes: int | None = None,
        mask_ratio: float = 0.5,
        mask_size: int = 16,
        mask_features: bool = True,
        reconstruction: Reconstruction = "cnn",
        decoder_width: int = 64,
        pixel_weight: float = 1.0,
        focal_gamma: float = 2.0,
        decoder_lr_factor: float = 1 / 3,
        decoder_weight_decay: float = 0.0,
    ) -> None:
        factor = check_between("decoder_lr_factor", decoder_lr_factor, 0, math.inf)
        super().__init__(backbone, degradations, num_classes, factor, decoder_weight_decay)
        self.mask_ratio = check_between("mask_ratio", mask_ratio, 0, 1)
        if mask_size < 1:
            raise ValueError(f"mask_size: expected a side of 1 pixel or more, got {mask_size}")
        self.mask_size, self.mask_features = mask_size, mask_features
        self.pixel_weight, self.focal_gamma = pixel_weight, focal_gamma
        deep, image = backbone.channels[-1], backbone.in_channels
        by_name = {"cnn": lambda: MSRResNetHead(deep, image, decoder_width), "conv": lambda: conv3x3(deep, image)}
        self.decoder: nn.Module = by_name[check_choice("reconstruction", reconstruction, Reconstruction)]()

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, `pixel`, `class`, and the `accuracy` of the classifier on this batch."""
        gt, lq, label = self.classified(batch, generator)
        _, features = self.see(lq, generator)
        logits = self.classifier(stage_maps(self.backbone, features))

        pixel = F.l1_loss(self.reconstruct(features[-1], lq), gt)
        classification = focal_loss(logits, label, self.focal_gamma)
        loss = self.pixel_weight * pixel + classification
        accuracy = (logits.argmax(dim=1) == label).float().mean()
        return {"loss": loss, "pixel": pixel.detach(), "class": classification.detach(), "accuracy": accuracy}

    def see(self, lq: Tensor, generator: BatchGenerator) -> tuple[Tensor, list[Tensor]]:
        """The padded image (B, C, H, W) with patches hidden, and the feature maps that the network makes of it."""
        padded = self.backbone.pad(lq)
        mask = patch_mask(padded, self.mask_ratio, self.mask_size, generator)
        hidden = padded * mask
        with SeenThrough(mask) if self.mask_features else contextlib.nullcontext():
            features = self.backbone.features(hidden)
        if self.mask_features:
            features = [feature * mask_like(mask, feature) for feature in features]
        return hidden, features

    def reconstruct(self, feature: Tensor, lq: Tensor) -> Tensor:
        """What the decoder makes of the last feature map, at the size of `lq`.

        Super-resolvers enlarge before that map or behind it; what is larger is averaged down.
        """
        height, width = lq.shape[-2:]
        left, right, top, _ = self.backbone.padding(height, width)
        drawn = self.decoder(feature)
        if (enlarged := drawn.shape[-1] // (left + width + right)) > 1:
            drawn = F.avg_pool2d(drawn, enlarged)
        return drawn[..., top : top + height, left : left + width]

    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `degraded`, `hidden` and `reconstructed`, (B, 3, H, W) in [0, 1]."""
        gt, lq, _ = self.classified(batch, generator)
        with torch.enable_grad():  # without it networks cut large maps into strips, which are no whole images
            hidden, features = self.see(lq, generator)
            reconstructed = self.reconstruct(features[-1], lq).detach()
        left, _, top, _ = self.backbone.padding(*lq.shape[-2:])
        hidden = hidden[..., top : top + lq.shape[-2], left : left + lq.shape[-1]]
        return pictures(gt, degraded=lq, hidden=hidden, reconstructed=reconstructed)
