"""The decoder that pre-training throws away: a small residual CNN from features to an image."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.functional.random import BatchGenerator, randn

Modulation = Literal["stylegan2", "gfm"]
SLOPE = 0.1


class MSRResNetHead(nn.Module):
    """Image (B, out_channels, scale * H, scale * W), unclamped, from features (B, in_channels, H, W).

    "A CNN with four residual blocks" (IFP, section 4.1), the same as in DegAE, where an embedding of a degradation
    modulates every block. 371,011 parameters as published. Names of submodules are those of the official classes.

    Args:
        in_channels: channels of the features.
        out_channels: channels of the image.
        width: channels inside.
        scale: 1, 2, 3 or 4; above 1 pixel shuffles enlarge the output.
        modulation: None, "stylegan2" (what DegAE's code builds) or "gfm" (what its options name).
        embedding: length of the embedding that modulates.
    """

    def __init__(
        self,
        in_channels: int = 64,
        out_channels: int = 3,
        width: int = 64,
        scale: int = 1,
        modulation: Modulation | None = None,
        embedding: int = 512,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 3, 4):
            raise ValueError(f"scale: expected 1, 2, 3 or 4, got {scale!r}")
        self.conv_first = conv3x3(in_channels, width)
        self.basic_block1 = ResidualBlock(width, modulation, embedding)
        self.basic_block2 = ResidualBlock(width, modulation, embedding)
        self.basic_block3 = ResidualBlock(width, modulation, embedding)
        self.basic_block4 = ResidualBlock(width, modulation, embedding)
        self.factor = 3 if scale == 3 else 2
        self.upconv1 = conv3x3(width, width * self.factor**2) if scale > 1 else None
        self.upconv2 = conv3x3(width, width * self.factor**2) if scale == 4 else None
        self.HRconv = conv3x3(width, width)
        self.conv_last = conv3x3(width, out_channels)

    def forward(
        self, feature: Tensor, embedding: Tensor | None = None, generator: BatchGenerator | None = None
    ) -> Tensor:
        """The image.

        Args:
            feature: (B, in_channels, H, W).
            embedding: (B, embedding), where the decoder is modulated.
            generator: where the noise maps of the modulation come from; on the feature's device.
        """
        feature = F.leaky_relu(self.conv_first(feature), SLOPE)
        for block in (self.basic_block1, self.basic_block2, self.basic_block3, self.basic_block4):
            feature = block(feature, embedding, generator)
        for enlarge in (self.upconv1, self.upconv2):
            if enlarge is not None:
                feature = F.leaky_relu(F.pixel_shuffle(enlarge(feature), self.factor), SLOPE)
        return self.conv_last(F.leaky_relu(self.HRconv(feature), SLOPE))


class ResidualBlock(nn.Module):
    """y + conv2(ReLU(conv1(y))), then the modulation where there is one; (B, width, H, W) stays so."""

    def __init__(self, width: int, modulation: Modulation | None = None, embedding: int = 512) -> None:
        super().__init__()
        self.conv1 = conv3x3(width, width)
        self.conv2 = conv3x3(width, width)
        self.modulation_layer = MODULATIONS[modulation](width, embedding) if modulation else None

    def forward(
        self, feature: Tensor, embedding: Tensor | None = None, generator: BatchGenerator | None = None
    ) -> Tensor:
        """The feature after the block."""
        feature = feature + self.conv2(F.relu(self.conv1(feature)))
        if self.modulation_layer is None:
            return feature
        if embedding is None:
            raise ValueError("a modulated decoder needs an embedding (B, embedding); got none")
        return self.modulation_layer(feature, embedding.flatten(1), generator)


class StyleModulation(nn.Module):
    """A convolution whose weights the embedding scales per input channel, normalised per output channel (StyleGAN2)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, width, width, 3, 3))
        self.weight_noise = nn.Parameter(torch.zeros(1))
        self.modulation = nn.Conv2d(embedding, width, 1)
        self.conv_last = conv3x3(width, width)

    def forward(self, feature: Tensor, embedding: Tensor, generator: BatchGenerator | None) -> Tensor:
        """The modulated feature (B, width, H, W) from `feature` and `embedding` (B, E)."""
        batch, width, height, wide = feature.shape
        style = self.modulation(embedding[..., None, None]).view(batch, 1, width, 1, 1)
        weight = self.weight * style / (9 * width) ** 0.5  # (B, out, in, 3, 3)
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        one_group_each = feature.reshape(1, batch * width, height, wide)
        mixed = F.conv2d(one_group_each, weight.flatten(0, 1), padding=1, groups=batch).view_as(feature)
        mixed = mixed + self.weight_noise * noise_map(feature, generator)
        return F.leaky_relu(self.conv_last(mixed), SLOPE)


class GlobalFeatureModulation(nn.Module):
    """Scale and shift of every channel by the embedding (GFM)."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.weight_noise = nn.Parameter(torch.zeros(1))
        self.cond_scale = nn.Linear(embedding, width)
        self.cond_shift = nn.Linear(embedding, width)

    def forward(self, feature: Tensor, embedding: Tensor, generator: BatchGenerator | None) -> Tensor:
        """The modulated feature (B, width, H, W) from `feature` and `embedding` (B, E)."""
        scale, shift = self.cond_scale(embedding)[..., None, None], self.cond_shift(embedding)[..., None, None]
        feature = F.leaky_relu(feature * scale + shift + feature, SLOPE)
        feature = feature + self.weight_noise * noise_map(feature, generator)
        return F.leaky_relu(feature, SLOPE)  # twice, as published: the slope is 0.01 in all


MODULATIONS = {"stylegan2": StyleModulation, "gfm": GlobalFeatureModulation}


def noise_map(feature: Tensor, generator: BatchGenerator | None) -> Tensor:
    """Standard normal noise (B, 1, H, W), shared by the channels."""
    if generator is None:
        return torch.randn_like(feature[:, :1])
    batch, _, height, width = feature.shape
    return randn((batch, 1, height, width), generator, feature.dtype)


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with bias that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)
