"""MFM: restore what a disc in the spectrum took from an image, the fine or the coarse.

Xie, Li, Zhan, Liu, Ong, Loy: "Masked frequency modeling for self-supervised visual pre-training", ICLR 2023.

    image -> corruption            -> features           -> decoder        -> loss
    photo    low-pass or high-pass    whole network,        CNN with four     complex spectrum
             (or sr, deblur, denoise) 64 channels out       residual blocks   where it was removed
"""

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.degradations.bicubic import Bicubic
from gesso.degradations.blur import filter_image, gaussian_kernel
from gesso.degradations.noise import GaussianNoise
from gesso.functional.checks import check_between, check_choice, check_prob
from gesso.functional.normalise import imagenet_denormalise, imagenet_normalise
from gesso.functional.random import BatchGenerator, rand, randint
from gesso.functional.spectrum import FocalWeight, apply_mask, disc_mask, frequency_distance, mean_where_removed
from gesso.pretext._base import Pretext, pictures, unit_range
from gesso.pretext._decoders import MSRResNetHead

Corruption = Literal["mask", "sr", "deblur", "denoise"]
Loss = Literal["masked", "normal"]


class MFM(Pretext):
    """Masked frequency modelling, made ready for restoration networks.

    The paper pre-trains classifiers; no source does so for restoration networks. This is the paper's corruption and
    loss around IFP's encoder and decoder, so that the two can be compared. `clamp` and `normalise` are off as in IFP,
    because fine-tuning sees plain [0, 1] images; the preset `official_code` switches them on.

    Args:
        backbone: the network; its last convolution becomes one with `feature_channels` outputs and its image
            residual is dropped.
        corruption: "mask" is MFM. The paper's siblings: "sr" (bicubic, down and up by 8), "deblur" (Gaussian of
            sigma 5 cut to 7 to 21 pixels) and "denoise" (sigma 75).
        radius: radius of the disc in frequencies; none: min(H, W) / 14, which is the paper's 16 at 224.
        outer_radius: frequencies from here on are kept; none: no such limit, as shipped.
        low_pass_prob: probability of keeping the disc instead of removing it, for each image; in [0, 1]. 0.5 for
            transformers and 0.3 for ResNet-50 as published.
        loss: "masked" takes the mean where frequencies were removed, "normal" everywhere; siblings have only "normal".
        clamp: whether the corrupted image is clamped to [0, 1].
        normalise: whether corrupted and original image are normalised by the statistics of ImageNet.
        loss_gamma: exponent of the distance of two spectra.
        patch_factor: images are cut into patch_factor^2 tiles, each with its own spectrum; needs loss "normal".
        average_spectrum: compare means over the batch.
        focal: weigh each frequency by how far it is off.
        focal_gamma: exponent of that weight.
        focal_log: logarithmic weight.
        focal_over_batch: weights relative to the largest of the batch, not of the channel.
        feature_channels: channels between encoder and decoder.
        decoder_width: channels inside the decoder.
    """

    images: ClassVar[str] = "leaves"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"official_code": {"radius": 16, "clamp": True, "normalise": True}}

    def __init__(
        self,
        backbone: Backbone,
        *,
        corruption: Corruption = "mask",
        radius: float | None = None,
        outer_radius: float | None = None,
        low_pass_prob: float = 0.5,
        loss: Loss = "masked",
        clamp: bool = False,
        normalise: bool = False,
        loss_gamma: float = 1.0,
        patch_factor: int = 1,
        average_spectrum: bool = False,
        focal: bool = False,
        focal_gamma: float = 1.0,
        focal_log: bool = False,
        focal_over_batch: bool = False,
        feature_channels: int = 64,
        decoder_width: int = 64,
    ) -> None:
        super().__init__(backbone)
        self.corruption: Corruption = check_choice("corruption", corruption, Corruption)
        self.radius = None if radius is None else check_between("radius", radius, 0, math.inf)
        self.outer_radius = outer_radius
        self.low_pass_prob = check_prob("low_pass_prob", low_pass_prob)
        self.loss: Loss = check_choice("loss", loss, Loss) if corruption == "mask" else "normal"
        if self.loss == "masked" and patch_factor > 1:
            raise ValueError(
                f"patch_factor: a mask fits whole images only, so loss='masked' needs 1, got {patch_factor}"
            )
        self.clamp = clamp
        self.normalise = normalise
        self.distance: dict[str, Any] = {
            "loss_gamma": loss_gamma,
            "patch_factor": patch_factor,
            "average_spectrum": average_spectrum,
            "focal": FocalWeight(focal_gamma, focal_log, focal_over_batch) if focal else None,
        }
        if self.loss == "masked":
            self.batch_coupling = "images whose masks remove more count for more"
        elif average_spectrum or (focal and focal_over_batch):
            self.batch_coupling = "spectra or weights are taken over the batch"
        backbone.replace_last(feature_channels, image_residual=False)
        self.decoder = MSRResNetHead(feature_channels, backbone.in_channels, decoder_width)

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, and `pixel`, the mean squared error, for the log only."""
        original = unit_range(batch["image"])
        mask = self.draw_mask(original, generator)
        corrupted = self.corrupt(original, mask, generator)
        reconstructed = self.decoder(self.encode(self.scaled(corrupted)))
        return self.losses(reconstructed, self.scaled(original), mask)

    def draw_mask(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """Mask (B, 1, H, W) over the centred spectrum: the disc (low-pass) or all but the disc, 1 = kept."""
        batch, _, height, width = image.shape
        disc = disc_mask(
            height,
            width,
            self.radius or min(height, width) / 14,
            self.outer_radius or math.inf,
            image.device,
        )
        low_pass = rand((batch, 1, 1, 1), generator) < self.low_pass_prob
        return torch.where(low_pass, disc, 1 - disc)

    def corrupt(self, image: Tensor, mask: Tensor, generator: BatchGenerator) -> Tensor:
        """The image without the masked frequencies, or corrupted as in a sibling pretext."""
        match self.corruption:
            case "mask":
                corrupted = apply_mask(image, mask)
                return corrupted.clamp(0, 1) if self.clamp else corrupted
            case "sr":
                return Bicubic(scale=8)(image, generator)
            case "deblur":
                return short_blur(image, generator)
            case "denoise":
                return GaussianNoise(sigma=75)(image, generator)

    def scaled(self, image: Tensor) -> Tensor:
        """The image as encoder and loss see it."""
        return imagenet_normalise(image) if self.normalise else image

    def losses(self, reconstructed: Tensor, original: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The distance of the spectra, averaged where the mask is 0 or everywhere."""
        distance = frequency_distance(reconstructed, original, **self.distance)
        loss = mean_where_removed(distance, mask) if self.loss == "masked" else distance.mean()
        return {"loss": loss, "pixel": F.mse_loss(reconstructed.detach(), original)}

    def restored(self, image: Tensor) -> Tensor:
        """What network and decoder make of images (B, C, H, W), in their range."""
        output = self.decoder(self.encode(self.scaled(image)))
        return imagenet_denormalise(output) if self.normalise else output

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `original`, `corrupted` and `reconstructed`, (B, 3, H, W) in [0, 1]."""
        original = unit_range(batch["image"])
        corrupted = self.corrupt(original, self.draw_mask(original, generator), generator)
        return pictures(original, corrupted=corrupted, reconstructed=self.restored(corrupted))


def short_blur(image: Tensor, generator: BatchGenerator) -> Tensor:
    """`image` blurred by a Gaussian of sigma 5 whose kernel ends early, at an odd side from 7 to 21 drawn per image."""
    margins = randint(3, 11, image.shape[:1], generator).tolist()
    sigma, angle = image.new_full((1, 1, 1, 1), 5.0), image.new_zeros(1, 1, 1, 1)
    kernels = [gaussian_kernel(sigma, sigma, angle, margin) for margin in margins]
    return torch.cat([filter_image(one[None], kernel) for one, kernel in zip(image, kernels, strict=True)])
