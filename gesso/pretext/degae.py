"""DegAE: give an image the degradation of another one.

Liu, He, Gu, Kong, Qiao, Dong: "DegAE: A new pretraining paradigm for low-level vision", CVPR 2023.

    images      -> corruption          -> features       -> decoder                 -> loss
    two photos     draw A: the inputs     whole network,    residual CNN, modulated    pixels of the photo with draw B
                   draw B: the targets    64 channels out   by an embedding of B       (and perceptual, adversarial)
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.degradations import degae as pipeline
from gesso.degradations import parse_degradation
from gesso.functional.checks import check_choice
from gesso.functional.color import as_rgb
from gesso.functional.random import BatchGenerator, ImageGenerators, of_images
from gesso.pretext._base import Pretext, pictures, unit_range
from gesso.pretext._critics import (
    Adversary,
    Judge,
    PatchDiscriminator,
    VGGDiscriminator,
    VGGFeatures,
    adversarial_losses,
    blurred_mse,
    judge_frozen,
    load_frozen,
)
from gesso.pretext._decoders import Modulation, MSRResNetHead
from gesso.pretext._representor import DegradationRepresentor

Criterion = Literal["l1", "l2", "blurred_l2"]
PerceptualCriterion = Literal["l1", "l2"]
JUDGES = {"patch": PatchDiscriminator, "vgg128": VGGDiscriminator}
CRITERIA = {"l1": F.l1_loss, "l2": F.mse_loss, "blurred_l2": blurred_mse}


class DegAE(Pretext):
    """Degradation autoencoder: from image 1 with degradation A and image 2 with B, image 1 with degradation B.

    The authors released no training options: every weight below is ours. Perceptual and adversarial terms are off
    unless asked for.

    Args:
        backbone: the network; its last convolution becomes one with `feature_channels` outputs and its image
            residual is dropped, so that the whole network is the encoder (section 3.3).
        degradation: "degae" (the pipeline of the paper), "degae_test" (the milder one the authors test on), or either
            with its own probabilities, as `{name: degae, clean_prob: 0.1}`.
        criterion: pixel loss: "l1", "l2", or "blurred_l2" behind a 5x5 Gaussian.
        pixel_weight: factor of the pixel loss.
        embedding_weight: factor of the squared distance between the embeddings of the two images with draw B.
        perceptual_weight: factor of the distance of VGG-19 features; needs `vgg`.
        perceptual_criterion: that distance: "l1" or "l2".
        adversarial_weight: factor of the adversarial loss of a discriminator, which trains along.
        adversary: form of the adversarial loss: "lsgan", "vanilla" or "ragan".
        discriminator: "patch" (a PatchGAN) or "vgg128", which judges whole crops of 128 x 128.
        generator_every: steps from one update of the generator to the next; the discriminator learns from all.
        head_start: first steps of the run, in which the discriminator learns alone.
        modulation: how the embedding acts on the decoder: "stylegan2" (official code) or "gfm" (its options).
        extractor: file with the SRGAN generator whose features describe degradations, frozen then. Without it the
            extractor is trained along; that is ours, not the paper's.
        vgg: file with torchvision's VGG-19.
        representor_width: channels of the representor; its embedding has 8 times as many entries.
        representor_blocks: residual blocks of the extractor, a multiple of 4.
        feature_channels: channels between encoder and decoder.
        decoder_width: channels inside the decoder.
    """

    images: ClassVar[str] = "leaves"
    images_per_sample: ClassVar[int] = 2

    def __init__(
        self,
        backbone: Backbone,
        *,
        degradation: Any = "degae",
        criterion: Criterion = "l1",
        pixel_weight: float = 1.0,
        embedding_weight: float = 1.0,
        perceptual_weight: float = 0.0,
        perceptual_criterion: PerceptualCriterion = "l1",
        adversarial_weight: float = 0.0,
        adversary: Adversary = "lsgan",
        discriminator: Judge = "patch",
        generator_every: int = 1,
        head_start: int = 0,
        modulation: Modulation = "stylegan2",
        extractor: Path | None = None,
        vgg: Path | None = None,
        representor_width: int = 64,
        representor_blocks: int = 16,
        feature_channels: int = 64,
        decoder_width: int = 64,
    ) -> None:
        super().__init__(backbone)
        shared = parse_degradation(degradation)
        if not isinstance(shared, pipeline.DegAE):
            raise ValueError(f"degradation: expected degae or degae_test, which two images share, got {degradation!r}")
        if perceptual_weight and vgg is None:
            raise ValueError(
                "perceptual_weight: the perceptual loss needs VGG-19; pass vgg=FILE (the state dict of torchvision's "
                "vgg19), or perceptual_weight=0"
            )
        self.degradation = shared
        self.criterion: Criterion = check_choice("criterion", criterion, Criterion)
        self.adversary: Adversary = check_choice("adversary", adversary, Adversary)
        self.pixel_weight = pixel_weight
        self.embedding_weight = embedding_weight
        self.perceptual_weight = perceptual_weight
        self.perceptual_criterion = check_choice("perceptual_criterion", perceptual_criterion, PerceptualCriterion)
        self.adversarial_weight = adversarial_weight
        backbone.replace_last(feature_channels, image_residual=False)
        self.representor = DegradationRepresentor(representor_width, representor_blocks)
        if extractor is not None:
            load_frozen(self.representor.DDR_extractor, extractor)
        embedding = 8 * representor_width
        self.decoder = MSRResNetHead(
            feature_channels, backbone.in_channels, decoder_width, modulation=modulation, embedding=embedding
        )
        if adversarial_weight:
            self.batch_coupling = "the discriminator normalises over the batch"
        self.vgg = load_frozen(VGGFeatures(), vgg) if perceptual_weight and vgg is not None else None
        judge = JUDGES[check_choice("discriminator", discriminator, Judge)]
        self.discriminator = judge(backbone.in_channels) if adversarial_weight else None
        if generator_every < 1 or head_start < 0:
            raise ValueError(
                "generator_every, head_start: expected 1 or more and 0 or more steps, got "
                f"{generator_every} and {head_start}"
            )
        self.generator_every, self.head_start = generator_every, head_start
        self.find_unused_parameters = self.rests

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, and its terms before weighting; `discriminator` where there is one."""
        degraded, target = self.degrade(batch["image"], generator)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.generates(generator)):
            embedding = self.representor(as_rgb(target.flatten(0, 1))).unflatten(0, (-1, 2))  # (B, 2, E)
            transferred = self.transfer(degraded, embedding[:, 1], generator)
            terms = {
                "pixel": (self.pixel_weight, self.pixel_loss(transferred, target)),
                "embedding": (self.embedding_weight, F.mse_loss(embedding[:, 0], embedding[:, 1])),
            }
            # From here on the two images of a sample are images of a batch: (2B, 3, H, W).
            transferred, target, degraded = (images.flatten(0, 1) for images in (transferred, target, degraded))
            if self.vgg is not None:
                terms["perceptual"] = (self.perceptual_weight, self.perceptual_loss(self.vgg, transferred, target))
            if self.discriminator is not None:
                fooled = self.fooled(self.discriminator, transferred, degraded)
                terms["generator"] = (self.adversarial_weight, fooled)
        if self.discriminator is not None:
            terms["discriminator"] = (1.0, self.told_apart(self.discriminator, transferred, degraded))
        loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return {"loss": loss} | {name: term.detach() for name, (_, term) in terms.items()}

    def degrade(self, image: Tensor, generator: BatchGenerator) -> tuple[Tensor, Tensor]:
        """Inputs (draw A) and targets (draw B), each (B, 2, 3, H, W): both images of a sample share a draw."""
        if image.dim() != 5 or image.shape[1] != 2:
            raise ValueError(f"degae: expected two images per sample, (B, 2, 3, H, W), got {tuple(image.shape)}")
        clean = unit_range(image)
        return self.degradation.share(clean, generator), self.degradation.share(clean, generator)

    def transfer(self, degraded: Tensor, embedding: Tensor, generator: BatchGenerator) -> Tensor:
        """Both inputs with degradation B, (B, 2, 3, H, W): the embedding (B, E) of the second target serves both."""
        feature = self.encode(degraded.flatten(0, 1))
        both = of_images(generator, [position // 2 for position in range(len(feature))])
        return self.decoder(feature, embedding.repeat_interleave(2, dim=0), both).unflatten(0, (-1, 2))

    def pixel_loss(self, transferred: Tensor, target: Tensor) -> Tensor:
        """The criterion, summed over the two images of a sample."""
        criterion = CRITERIA[self.criterion]
        return criterion(transferred[:, 0], target[:, 0]) + criterion(transferred[:, 1], target[:, 1])

    def perceptual_loss(self, vgg: nn.Module, transferred: Tensor, target: Tensor) -> Tensor:
        """The criterion on VGG features of (2B, 3, H, W), summed over the two images of a sample."""
        return 2 * CRITERIA[self.perceptual_criterion](vgg(as_rgb(transferred)), vgg(as_rgb(target)))

    @property
    def rests(self) -> bool:
        """Whether there are steps in which the generator does not learn."""
        return self.discriminator is not None and (self.generator_every > 1 or self.head_start > 0)

    def generates(self, generator: BatchGenerator) -> bool:
        """Whether the generator learns in this step; the discriminator learns in every one."""
        if not self.rests:
            return True
        step = 1 + (generator.step if isinstance(generator, ImageGenerators) else 0)  # counted from 1, as published
        return step > self.head_start and step % self.generator_every == 0

    def fooled(self, discriminator: nn.Module, transferred: Tensor, degraded: Tensor) -> Tensor:
        """The generator's adversarial loss; real images are the inputs, as published.

        It and the discriminator's are minimised in the same step: neither reaches the other's weights, so with Adam one
        optimiser serves two.
        """
        seen, known = judge_frozen(discriminator, transferred), judge_frozen(discriminator, degraded)
        return adversarial_losses(self.adversary, seen, known, for_generator=True)

    def told_apart(self, discriminator: nn.Module, transferred: Tensor, degraded: Tensor) -> Tensor:
        """The discriminator's loss on the same images."""
        seen, real = discriminator(transferred.detach()), discriminator(degraded)
        return adversarial_losses(self.adversary, seen, real, for_generator=False)

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `input` (draw A), `reference` (the other image, draw B), `transferred` and `target`."""
        degraded, target = self.degrade(batch["image"], generator)
        transferred = self.transfer(degraded, self.representor(as_rgb(target[:, 1])), generator)
        return pictures(
            unit_range(batch["image"])[:, 0],
            input=degraded[:, 0],
            reference=target[:, 1],
            transferred=transferred[:, 0],
            target=target[:, 0],
        )
