"""PTG-RM: a light refiner behind a restorer, guided by what a frozen pre-trained model says of the degraded image.

Paper: Xu et al., "Boosting Image Restoration via Priors from Pre-trained Models", CVPR 2024.

    restored, degraded -> f, at a quarter of the size          R_e of equation 1
    f, prior, position -> f_hat, here long and there short      equations 2 and 3: spatial-varying enhancement (SVE)
    f_hat, prior, position -> f_bar, by channel and by place    equations 4 to 7: channel-spatial attention (CSA)
    f_bar -> residual, added to the restored image              the released form of equation 1

Names of submodules are those of the official code. Convolutions over the prior never see it laid out over the map: a
constant map is a vector times a map of ones.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._channel_blocks import Stage
from gesso.functional.checks import check_choice
from gesso.functional.padding import pad, round_up
from gesso.functional.snr import snr_map, snr_peak
from gesso.refiner._base import Refiner

MaskSign = Literal["code", "paper"]
Mask = Literal["learned", "snr"]
Concat = Literal["none", "vector", "map"]
STRIDE = 4  # the map is this much smaller than the image
PRIOR_HIDDEN, PRIOR_WIDTH = 256, 64  # T_m and T_c

NO_CSA = {"channel_attention": False, "spatial_attention": False}
PLAIN = {"spatial_varying": False, "position": False, **NO_CSA}
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_sve": {"spatial_varying": False},
    "no_csa": NO_CSA,
    "no_channel": {"channel_attention": False},
    "no_spatial": {"spatial_attention": False},
    "no_position": {"position": False},
    # Without prior about as many parameters as the guided one has; the size of the paper's is not published.
    "larger": {"width": 62, **PLAIN},
    "snr_mask": {"mask": "snr"},
    "concat_1d": {"concat": "vector", **PLAIN},
    "concat_2d": {"concat": "map", **PLAIN},
}
"""Rows of the paper's table 3, as options of `PTGRM`."""


class PTGRM(Refiner):
    """The refined image from a restored image, the degraded one, and a vector that describes the latter.

    671,735 parameters with the defaults. The last convolution starts at zero, so that an untrained refiner returns the
    restored image (not said in the paper).

    Args:
        prior_dim: numbers in the prior of an image; 0: no prior, for ablations.
        width: channels of the maps.
        in_channels: channels of the degraded image.
        out_channels: channels of the restored image.
        image_mask: equation 1 of the paper, degraded + (restored - degraded) * I_m + I_r, with I_m a learned map that
            starts at 1; the released code has no I_m.
        mask_sign: "code": M weights the long-range branch; "paper": the short-range one (equation 3).
        spatial_varying: weigh the two branches pixel by pixel; without it they count alike (table 3, without SP).
        mask: what weighs them: "learned", M of equation 2; or "snr", the signal-to-noise map of the degraded image,
            which trusts the short-range branch where there is signal (table 3: SNR value as mask).
        channel_attention: weigh channels (table 3: CA).
        spatial_attention: weigh pixels (table 3: SA).
        position: show masks and kernels where in the image they are (table 3: position embedding S).
        concat: the prior is merely concatenated with f, and a convolution makes one map of both: "vector", the same at
            every pixel, or "map", a prior of two dimensions (table 3: 1D and 2D priors via con.); where, the paper does
            not say. Neither goes with what else a prior guides.
        clamp: clamp the restored image to [0, 1] before the residual is added, as released; not for feature maps.
    """

    title = "PTG-RM"
    ablations: ClassVar[dict[str, dict[str, Any]]] = ABLATIONS
    feature_options: ClassVar[dict[str, Any]] = {"clamp": False}
    official_prefix = "refinement11."
    size_multiple = STRIDE

    def __init__(
        self,
        prior_dim: int = 512,
        width: int = 16,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        image_mask: bool = False,
        mask_sign: MaskSign = "code",
        spatial_varying: bool = True,
        mask: Mask = "learned",
        channel_attention: bool = True,
        spatial_attention: bool = True,
        position: bool = True,
        concat: Concat = "none",
        clamp: bool = True,
    ) -> None:
        super().__init__(prior_dim, in_channels=in_channels, out_channels=out_channels)
        if image_mask and in_channels != out_channels:
            raise ValueError(
                f"image_mask: mixes degraded and restored image, which have {in_channels} and {out_channels} channels"
            )
        self.mask_sign, self.mask = check_choice("mask_sign", mask_sign, MaskSign), check_choice("mask", mask, Mask)
        self.concat, self.clamp = check_choice("concat", concat, Concat), clamp
        if concat != "none" and (not prior_dim or spatial_varying or channel_attention or spatial_attention):
            raise ValueError(
                "concat: a prior that is merely concatenated guides nothing else; expected a prior, and "
                "spatial_varying, channel_attention and spatial_attention false (--ablation concat_1d or concat_2d)"
            )
        self.sees_map, self.position = concat == "map", position
        self.spatial_varying, self.image_mask = spatial_varying, image_mask
        self.channel_attention, self.spatial_attention = channel_attention, spatial_attention
        self.peak: Tensor | None = None  # of the signal-to-noise map of the image whose tiles are being restored
        guided = width + (PRIOR_WIDTH if prior_dim else 0)

        self.r1, self.r1norm = conv3x3(out_channels + in_channels, width), nn.InstanceNorm2d(width, affine=True)
        self.r2, self.r2norm = conv3x3(width, width, stride=2), nn.InstanceNorm2d(width, affine=True)
        self.r22 = conv3x3(width, width, stride=2)

        if concat != "none":
            self.mapp_space1, self.mapp_space2 = prior_layers(prior_dim)
            self.join = conv3x3(guided, width)

        self.transformer = Stage(4, width, 1)
        self.resnet = ResidualBlock(width)
        if spatial_varying and mask == "learned":
            if prior_dim:
                self.mapp_space1, self.mapp_space2 = prior_layers(prior_dim)
            if position:
                self.mapp_position1, self.mapp_position2 = position_layers(width)
            self.r1_mask = conv3x3(guided + width * position, width)
            self.r2_mask = conv3x3(width, 1)

        if prior_dim and (channel_attention or spatial_attention):
            self.mapp_space11, self.mapp_space22 = prior_layers(prior_dim)
        if channel_attention:
            self.mapping11 = nn.Linear(guided, width, bias=False)
            self.mapping12 = nn.Linear(width, width, bias=False)
        if spatial_attention:
            if position:
                self.mapp_position11, self.mapp_position22 = position_layers(width)
            self.mapp11 = conv3x3(guided + width * position, 9 * width)
            self.mapp12 = conv3x3(9 * width, 9 * width)
            self.mapp1 = conv3x3(width, 1)
        self.refine11 = nn.Conv2d(2 * width, width, 1, bias=False)

        self.r1_decoder = conv3x3(width, 4 * width)
        self.r2_decoder = conv3x3(width, 4 * width)
        self.conv_last2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last3 = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_last3.weight)
        nn.init.zeros_(self.conv_last3.bias)  # pyright: ignore[reportArgumentType]
        if image_mask:
            self.conv_mask = nn.Conv2d(width, 1, 3, padding=1)
            nn.init.zeros_(self.conv_mask.weight)
            nn.init.ones_(self.conv_mask.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, restored: Tensor, degraded: Tensor, prior: Tensor | None = None) -> Tensor:
        """The refined image (B, out_channels, H, W), unclamped.

        Args:
            restored: the restorer's output (B, out_channels, H, W), unclamped, or a feature map of it.
            degraded: its input (B, in_channels, H, W).
            prior: what describes the degraded image (B, prior_dim), rows of length 1, or with `concat` "map"
                (B, prior_dim, h, w); none: `mean_prior`.

        Raises:
            ValueError: if sizes do not fit.
        """
        prior = self.check(restored, degraded, prior)
        height, width = restored.shape[-2:]
        margin = 0, round_up(width, STRIDE) - width, 0, round_up(height, STRIDE) - height
        padded, beside = pad(restored, *margin), pad(degraded, *margin)
        feature = self.encode(torch.cat([padded, beside], 1))
        if self.concat != "none":
            feature, prior = self.concatenate(feature, prior), None
        feature = self.enhance(feature, prior, beside)
        feature = self.attend(feature, prior)
        return self.decode(feature, padded, beside)[..., :height, :width]

    def encode(self, images: Tensor) -> Tensor:
        """The map f (B, width, H/4, W/4), R_e of equation 1."""
        return self.r22(self.r2norm(self.r2(leaky(self.r1norm(self.r1(images))))))

    def concatenate(self, feature: Tensor, prior: Tensor | None) -> Tensor:
        """The map f and what is made of the prior, as one map (table 3: priors via concatenation)."""
        assert prior is not None
        if prior.ndim == 2:
            return guided_conv(self.join, feature, chain(prior, self.mapp_space1, self.mapp_space2), None)
        described = chain(prior.movedim(1, -1), self.mapp_space1, self.mapp_space2).movedim(-1, 1)
        described = F.interpolate(described, feature.shape[-2:], mode="bilinear")
        return self.join(torch.cat([feature, described], 1))

    def enhance(self, feature: Tensor, prior: Tensor | None, degraded: Tensor | None = None) -> Tensor:
        """The map f_hat: at every pixel a mixture of what transformer and convolutions make of f, equations 2 and 3."""
        long_range, short_range = self.transformer(feature), self.resnet(feature)
        if not self.spatial_varying:
            return (long_range + short_range) / 2
        mask = self.weigh(feature, prior, degraded)
        return long_range * mask + short_range * (1 - mask)

    def weigh(self, feature: Tensor, prior: Tensor | None, degraded: Tensor | None) -> Tensor:
        """The share (B, 1, H/4, W/4) of the long-range branch: M of equation 2, or what has no signal."""
        if self.mask == "snr":
            assert degraded is not None
            signal = snr_map(degraded, self.peak)[:, :, ::STRIDE, ::STRIDE]
            return 1 - signal.to(feature.dtype)
        described = None if prior is None else chain(prior, self.mapp_space1, self.mapp_space2)
        placed = chain(grid(feature), self.mapp_position1, self.mapp_position2) if self.position else None
        mask = self.r2_mask(leaky(guided_conv(self.r1_mask, feature, described, placed))).sigmoid()
        return 1 - mask if self.mask_sign == "paper" else mask

    def attend(self, feature: Tensor, prior: Tensor | None) -> Tensor:
        """The map f_bar: f_hat by channels and by pixels, both together (equations 4 to 7), and f_hat itself."""
        by_channel = by_place = feature
        described = None
        if prior is not None and (self.channel_attention or self.spatial_attention):
            described = chain(prior, self.mapp_space11, self.mapp_space22)
        if self.channel_attention:
            pooled = feature.mean((2, 3))
            pooled = pooled if described is None else torch.cat([pooled, described], 1)
            by_channel = feature * chain(pooled, self.mapping11, self.mapping12).sigmoid()[:, :, None, None]
        if self.spatial_attention:
            placed = chain(grid(feature), self.mapp_position11, self.mapp_position22) if self.position else None
            kernel = self.mapp12(leaky(guided_conv(self.mapp11, feature, described, placed)))
            by_place = feature * self.mapp1(leaky(per_pixel_depthwise(feature, kernel))).sigmoid()
        return self.refine11(torch.cat([by_channel, by_place], 1)) + feature

    def decode(self, feature: Tensor, restored: Tensor, degraded: Tensor) -> Tensor:
        """The refined image from f_bar; equation 1 without I_m unless `image_mask`."""
        for larger in (self.r1_decoder, self.r2_decoder):
            feature = leaky(F.pixel_shuffle(larger(feature), 2))
        feature = leaky(self.conv_last2(feature))
        base = restored.clamp(0, 1) if self.clamp else restored
        if self.image_mask:
            base = degraded + (base - degraded) * self.conv_mask(feature)
        return base + self.conv_last3(feature)

    @property
    def is_guided(self) -> bool:
        """Whether a prior changes anything: it weighs branches, channels or pixels, or is concatenated."""
        weighs = self.spatial_varying and self.mask == "learned"
        guides = weighs or self.channel_attention or self.spatial_attention or self.concat != "none"
        return bool(self.prior_dim) and guides

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """Keeps the peak of the signal-to-noise map of an image (1, C, H, W) while its tiles are refined."""
        self.peak = snr_peak(image) if self.mask == "snr" else None
        try:
            yield
        finally:
            self.peak = None


class ResidualBlock(nn.Module):
    """R_s of equation 3: two convolutions and a residual, (B, width, H, W) as before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, feature: Tensor) -> Tensor:
        """The map after the block."""
        return feature + self.conv2(F.relu(self.conv1(feature)))


# ------------------------------------------------------------------------------------------------------------ parts


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size, or halves it."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def prior_layers(prior_dim: int) -> tuple[nn.Linear, nn.Linear]:
    """T: the layers that a prior goes through before it meets a map."""
    return nn.Linear(prior_dim, PRIOR_HIDDEN, bias=False), nn.Linear(PRIOR_HIDDEN, PRIOR_WIDTH, bias=False)


def position_layers(width: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """S: the layers that coordinates go through before they meet a map."""
    return conv3x3(2, width), nn.Conv2d(width, width, 1, bias=False)


def leaky(x: Tensor) -> Tensor:
    """The activation of everything but the two branches."""
    return F.leaky_relu(x, 0.1)


def chain(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    """Two layers with an activation between them."""
    return second(leaky(first(x)))


def grid(feature: Tensor) -> Tensor:
    """Row and column of every pixel, (1, 2, H, W), each from -1 to 1."""
    ones = torch.ones_like(feature[0, 0], dtype=torch.promote_types(feature.dtype, torch.float32))
    axes = [ones.cumsum(dim) - 1 for dim in (0, 1)]  # ONNX takes the number of steps of `linspace` for a constant
    return torch.stack([2 * axis / axis[-1, -1].clamp_min(1) - 1 for axis in axes])[None].to(feature.dtype)


def guided_conv(conv: nn.Conv2d, feature: Tensor, described: Tensor | None, placed: Tensor | None) -> Tensor:
    """`conv` of the feature, the described prior at every pixel and the position, as if they were one map.

    Args:
        conv: 3x3 without bias, over their channels in this order.
        feature: (B, C, H, W).
        described: (B, D), or none.
        placed: (1, P, H, W), or none.
    """
    ends = [feature.shape[1], conv.in_channels - (0 if placed is None else placed.shape[1])]
    of_feature, of_prior, of_position = conv.weight.tensor_split(ends, dim=1)
    result = F.conv2d(feature, of_feature, padding=1)
    if described is not None:
        result += conv_of_constant(of_prior, described, feature)
    if placed is not None:
        result += F.conv2d(placed, of_position, padding=1)
    return result


def conv_of_constant(weight: Tensor, vector: Tensor, feature: Tensor) -> Tensor:
    """A zero-padded 3x3 convolution of the map that is `vector` (B, D) at each of the pixels of `feature`.

    The convolution of a map of ones with the kernel that `weight` (O, D, 3, 3) and the vector make together.
    """
    kernel = torch.einsum("odyx,bd->boyx", weight, vector)
    ones = torch.ones_like(feature[:1, :1])
    return F.conv2d(ones, kernel.flatten(0, 1)[:, None], padding=1).unflatten(1, kernel.shape[:2])[0]


def per_pixel_depthwise(feature: Tensor, kernel: Tensor) -> Tensor:
    """Every channel and pixel of `feature` (B, C, H, W) filtered by a 3x3 kernel of its own; edges are repeated.

    Nine shifted products: the neighbourhoods are never laid side by side.

    Args:
        feature: (B, C, H, W).
        kernel: (B, 9 * C, H, W); channel 9 * c + 3 * row + column.
    """
    height, width = feature.shape[-2:]
    around = F.pad(feature, (1, 1, 1, 1), mode="replicate")
    result = torch.zeros_like(feature)
    for tap, weight in enumerate(kernel.unflatten(1, (-1, 9)).unbind(2)):
        row, column = divmod(tap, 3)
        result = torch.addcmul(result, around[..., row : row + height, column : column + width], weight)
    return result
