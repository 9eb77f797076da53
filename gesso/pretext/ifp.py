"""IFP: restore noise whose spectrum has lost rings, and no photograph is needed.

Wang, Zhang, Huang, Zhao: "Image-free Pre-training for Low-Level Vision", ACM MM 2024.

    image -> corruption          -> features           -> decoder        -> loss
    noise    rings of frequency     whole network,        CNN with four     pixels, and amplitudes
             removed                64 channels out       residual blocks   of the removed rings
"""

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.backbones._base import Backbone
from gesso.functional.checks import check_between, check_choice
from gesso.functional.normalise import imagenet_denormalise, imagenet_normalise
from gesso.functional.random import BatchGenerator
from gesso.functional.spectrum import (
    Geometry,
    Part,
    amplitude,
    apply_mask,
    draw_rings,
    frequency_distance,
    mean_where_removed,
    ring_mask,
    ring_total,
)
from gesso.pretext._base import Pretext, pictures, unit_range
from gesso.pretext._decoders import MSRResNetHead

Redraw = Literal["step", "once"]
Loss = Literal["paper", "m_masked", "m_m_masked", "masked", "normal"]

# What the published code does where the paper says otherwise or nothing, for comparison. Its images are crops of one
# JPEG picture of noise in [0, 1], not N(0, 1).
OFFICIAL_CODE: dict[str, Any] = {
    "mask_ratio": 0.5,
    "replacement": True,
    "geometry": "published",
    "redraw": "once",
    "mask_seed": 0,
    "part": "modulus",
    "clamp": True,
    "normalise": True,
    "loss": "m_masked",
    "pixel_weight": 0.8,
}


class IFP(Pretext):
    """Image-free pre-training: fill in the rings of frequency that a mask took from an image of noise.

    The defaults are the paper's. What it leaves open (the pixel weight, how sums are averaged, the normalisation of
    the transform, how often the mask is drawn) is ours and said at the option; `docs/methods/ifp.md` gives reasons.

    Args:
        backbone: the network; its last convolution becomes one with `feature_channels` outputs and its image
            residual is dropped, so that the whole network is the encoder (section 4.1).
        mask_ratio: share of the rings that are removed, in (0, 1).
        replacement: whether a ring may be drawn twice (Algorithm 1, code), so that fewer are removed than asked for.
            The paper's text follows MAE, which draws without replacement.
        geometry: "symmetric" removes whole rings; "published" spares one corner of each.
        redraw: "step" draws a mask for every image of every step; "once" keeps one mask for the whole run, the one
            that the official code draws with seed `mask_seed`.
        mask_seed: seed of the one mask of `redraw="once"`.
        part: "real" or "modulus" of the inverse transform.
        clamp: whether the corrupted image is clamped to [0, 1]; noise N(0, 1) is then brought there by 0.5 + x / 6
            before it is corrupted, for clamping it would leave nothing.
        normalise: whether corrupted and original image are normalised by the statistics of ImageNet.
        loss: "paper" is Eq. 1. The others are the target types of the official code: "m_masked" (shipped) joins pixel
            and amplitude differences under one root at the removed positions, "m_m_masked" adds them, "masked" takes
            the complex spectrum there (MFM), "normal" everywhere.
        pixel_weight: lambda of Eq. 1; the paper does not give it, the code has 0.8.
        amplitude_weight: factor of the amplitude term of Eq. 1, 1 in the paper; 0 leaves plain reconstruction.
        feature_channels: channels between encoder and decoder.
        decoder_width: channels inside the decoder.
    """

    images: ClassVar[str] = "noise"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}, "official_code": OFFICIAL_CODE}

    def __init__(
        self,
        backbone: Backbone,
        *,
        mask_ratio: float = 0.75,
        replacement: bool = False,
        geometry: Geometry = "symmetric",
        redraw: Redraw = "step",
        mask_seed: int = 0,
        part: Part = "real",
        clamp: bool = False,
        normalise: bool = False,
        loss: Loss = "paper",
        pixel_weight: float = 0.8,
        amplitude_weight: float = 1.0,
        feature_channels: int = 64,
        decoder_width: int = 64,
    ) -> None:
        super().__init__(backbone)
        self.mask_ratio = check_between("mask_ratio", mask_ratio, 0, 1)
        self.replacement = replacement
        self.geometry: Geometry = check_choice("geometry", geometry, Geometry)
        self.redraw: Redraw = check_choice("redraw", redraw, Redraw)
        self.mask_seed = mask_seed
        self.part: Part = check_choice("part", part, Part)
        self.clamp = clamp
        self.normalise = normalise
        self.loss: Loss = check_choice("loss", loss, Loss)
        self.pixel_weight = pixel_weight
        self.amplitude_weight = amplitude_weight
        if redraw == "step" and (amplitude_weight or loss != "paper") and loss != "normal":
            self.batch_coupling = "images whose masks remove more count for more"
        backbone.replace_last(feature_channels, image_residual=False)
        self.decoder = MSRResNetHead(feature_channels, backbone.in_channels, decoder_width)

    def forward(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Losses of one step: `loss`, and the two terms of Eq. 1 before weighting, `pixel` and `amplitude`."""
        original = self.original(batch)
        mask = self.draw_mask(original, generator)
        corrupted = self.corrupt(original, mask)
        reconstructed = self.decoder(self.encode(self.scaled(corrupted)))
        return self.losses(reconstructed, self.scaled(original), mask)

    def original(self, batch: dict[str, Tensor]) -> Tensor:
        """The image (B, 3, H, W) that is to be found again; if it is going to be clamped, it begins in [0, 1]."""
        return unit_range(batch["image"]) if self.clamp else batch["image"]

    def draw_mask(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """Mask (B, 1, H, W) over the centred spectrum: 0 where a frequency is removed, 1 where it is kept."""
        batch, _, height, width = image.shape
        if self.redraw == "once":
            rings = fixed_rings(height, width, self.mask_ratio, self.mask_seed, replacement=self.replacement)
            rings = rings.to(image.device).expand(batch, -1)
        else:
            rings = draw_rings(batch, height, width, self.mask_ratio, generator, replacement=self.replacement)
        return ring_mask(height, width, rings, self.geometry)

    def corrupt(self, image: Tensor, mask: Tensor) -> Tensor:
        """The image without the masked frequencies, as an image again: encoders never see a spectrum (section 3.3)."""
        corrupted = apply_mask(image, mask, self.part)
        return corrupted.clamp(0, 1) if self.clamp else corrupted

    def scaled(self, image: Tensor) -> Tensor:
        """The image as encoder and loss see it."""
        return imagenet_normalise(image) if self.normalise else image

    def losses(self, reconstructed: Tensor, original: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Eq. 1, lambda |I_o - I_r|^2 + |A_o - A_r|^2 where the mask is 0, each a mean; or a form of the code."""
        pixel = F.mse_loss(reconstructed, original)
        amplitude_error = (amplitude(reconstructed) - amplitude(original)).square()
        masked_amplitude = mean_where_removed(amplitude_error, mask)
        if self.loss == "paper":
            loss = self.pixel_weight * pixel + self.amplitude_weight * masked_amplitude
        else:
            loss = published_loss(self.loss, reconstructed, original, mask, self.pixel_weight)
        return {"loss": loss, "pixel": pixel.detach(), "amplitude": masked_amplitude.detach()}

    def restored(self, image: Tensor) -> Tensor:
        """What network and decoder make of images (B, C, H, W), in their range."""
        output = self.decoder(self.encode(self.scaled(image)))
        return imagenet_denormalise(output) if self.normalise else output

    @torch.no_grad()
    def preview(self, batch: dict[str, Tensor], generator: BatchGenerator) -> dict[str, Tensor]:
        """Pictures `noise` (or `original`), `corrupted` and `reconstructed`, (B, 3, H, W) in [0, 1]."""
        original = self.original(batch)
        corrupted = self.corrupt(original, self.draw_mask(original, generator))
        return pictures(original, corrupted=corrupted, reconstructed=self.restored(corrupted))


def fixed_rings(height: int, width: int, mask_ratio: float, seed: int, *, replacement: bool) -> Tensor:
    """Rings (1, K) of the one mask that the official code draws for a whole run; equal on every machine.

    The code seeds numpy's legacy generator, whose stream numpy promises never to change.
    """
    total = ring_total(height, width)
    count = int(total * mask_ratio)
    stream = np.random.RandomState(seed)
    rings = stream.randint(0, total, size=count) if replacement else stream.permutation(total)[:count]
    return torch.from_numpy(rings.astype(np.int64))[None]


def published_loss(form: Loss, reconstructed: Tensor, original: Tensor, mask: Tensor, pixel_weight: float) -> Tensor:
    """The loss of one target type of the official code: roots of squared differences, not squares.

    Amplitudes are clamped to [0, 1], and the mask over frequencies also selects pixels, both as published.
    """
    match form:
        case "m_masked":
            joint = frequency_distance(reconstructed, original, ("pixel", "amplitude"), pixel_weight=pixel_weight)
            return mean_where_removed(joint, mask)
        case "m_m_masked":
            pixel = frequency_distance(reconstructed, original, ("pixel",), pixel_weight=pixel_weight)
            amplitudes = frequency_distance(reconstructed, original, ("amplitude",))
            return pixel.mean() + mean_where_removed(amplitudes, mask)
        case "masked":
            return mean_where_removed(frequency_distance(reconstructed, original), mask)
        case "normal":
            return frequency_distance(reconstructed, original).mean()
    raise ValueError(f"loss: {form!r} is no form of the official code")
