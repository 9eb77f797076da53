"""Restormer: a U-shaped transformer whose attention mixes channels, so that its cost grows linearly with the pixels.

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022.

Maps (B, C, H, W) lie in memory channels last, so that the views (B, H, W, C) in which the blocks work, and which
normalisations and 1x1 convolutions read in order, cost nothing. Attention is a C x C matrix from start to end: norms
of queries and keys divide it and the output projection multiplies it before it meets the values.

DCPT (Hu et al., ICLR 2025) trains a Restormer with ReLU in place of softmax, `norm_eps` 1e-6 and no biases inside
blocks. Its class wraps the stages, so that its files read `latent.body.0...`; `wrapped` makes `to_official` do so, and
kernels start as they do there. With `scale` its network enlarges, by as many last convolutions as a pixel of the input
becomes.
"""

import functools
import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.functional.checks import check_choice
from gesso.functional.gradients import channel_attention, gelu_gate, projections
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.padding import round_up
from gesso.functional.row_chunks import map_row_chunks

Attention = Literal["softmax", "relu"]
LayerNormType = Literal["WithBias", "BiasFree"]


# ----------------------------------------------------------------------------------------------------------- blocks


class DivideByDeviation(torch.autograd.Function):
    """`x / sqrt(var(x) + eps) * weight` over the last axis; for its gradient it keeps `x` and two numbers a pixel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """The normalised `x` (..., C) for a `weight` (C,) of the same dtype."""
        _, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)  # inverse = 1/sqrt(var + eps)
        ctx.save_for_backward(x, weight, mean, inverse)
        return x * inverse.to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of `x` and `weight`."""
        (grad,) = grad_outputs
        x, weight, mean, inverse = ctx.saved_tensors
        grad_x = grad * x
        pull = widen(grad_x @ weight.unsqueeze(1)) * widen(inverse) ** 3 / len(weight)
        direct = grad * weight * inverse.to(x.dtype)
        through_variance = (x - mean.to(x.dtype)) * pull.to(x.dtype)
        grad_weight = grad_x.flatten(0, -2).t() @ inverse.to(x.dtype).flatten(0, -2)
        return direct - through_variance, grad_weight.squeeze(1), None


class BiasFreeLayerNorm(nn.Module):
    """Layer norm that divides by the deviation over the last axis, but does not subtract the mean."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The normalised `x` (..., dim)."""
        return DivideByDeviation.apply(x, self.weight.to(x.dtype), self.eps)


class ChannelAttention(nn.Module):
    """Multi-Dconv head transposed attention (MDTA), section 3.1: every channel attends to the channels of its head."""

    def __init__(self, dim: int, heads: int, bias: bool, attention: Attention) -> None:
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, dim * 3, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(dim * 3, dim * 3, 3, padding=1, groups=dim * 3, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the block adds to `x` (B, H, W, C)."""
        q, k, v = (part.flatten(1, 2) for part in conv_parts(x, self.qkv, self.qkv_dwconv, 3))  # (B, H*W, C) each
        attended = channel_attention(q, k, v, self.fold, self.temperature, self.project_out.weight)
        if self.project_out.bias is not None:
            attended = attended + self.project_out.bias
        return attended.view(x.shape)

    def attention_weights(self) -> AttentionWeights:
        """The weights of this layer, see `Backbone.draw_mimetic`."""
        query, key, value = self.qkv.weight.flatten(1).chunk(3)
        return AttentionWeights(query, key, value, self.project_out.weight.flatten(1), self.heads, across_channels=True)

    def fold(self, products: Tensor, q_square: Tensor, k_square: Tensor, temperature: Tensor, weight: Tensor) -> Tensor:
        """Attention and output projection as one matrix for each image, (B, C, C).

        Args:
            products: of every channel of the queries with every one of the keys, summed over the pixels, (B, C, C).
            q_square: sums of squares of the channels of the queries, (B, C).
            k_square: the same of the keys.
            temperature: that of the layer.
            weight: that of the output projection.
        """
        heads = (self.heads, -1)
        cosine = products * inverse_root(q_square).unsqueeze(2) * inverse_root(k_square).unsqueeze(1)
        cosine = cosine.unflatten(2, heads).unflatten(1, heads).diagonal(dim1=1, dim2=3)  # (B, C/heads, C/heads, heads)
        logits = cosine.movedim(3, 1) * temperature
        attention = logits.softmax(-1) if self.attention == "softmax" else logits.relu()
        project = weight.flatten(1).unflatten(1, heads)  # (C, heads, C/heads)
        return torch.einsum("ohi,bhij->bohj", project, attention.to(project.dtype)).flatten(2)


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (GDFN), section 3.2: one half of the hidden channels gates the other."""

    def __init__(self, dim: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(dim, hidden * 2, 1, bias=bias)
        self.dwconv = nn.Conv2d(hidden * 2, hidden * 2, 3, padding=1, groups=hidden * 2, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the block adds to `x` (B, H, W, C)."""
        spare = spare_channels(self.project_out.in_channels, pixels=x.shape[1] * x.shape[2])
        gate, value = conv_parts(x, self.project_in, self.dwconv, 2, spare)
        weight = append_zeros(self.project_out.weight, 1, spare)
        return F.linear(gelu_gate(gate, value), weight.flatten(1), self.project_out.bias)


class TransformerBlock(nn.Module):
    """Attention across channels, then a gated feed-forward network, each behind a norm and around a residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: LayerNormType = "WithBias",
        attention: Attention = "softmax",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        norm = nn.LayerNorm if LayerNorm_type == "WithBias" else BiasFreeLayerNorm
        self.norm1 = nn.Sequential(OrderedDict(body=norm(dim, norm_eps)))
        self.attn = ChannelAttention(dim, heads, bias, attention)
        self.norm2 = nn.Sequential(OrderedDict(body=norm(dim, norm_eps)))
        self.ffn = GatedFeedForward(dim, int(dim * ffn_expansion_factor), bias)

    def forward(self, feature: Tensor) -> Tensor:
        """The map after this block, (B, C, H, W) as before it."""
        x = feature.permute(0, 2, 3, 1).contiguous()  # free where `feature` lies channels last
        x = x + self.attn(self.norm1(x))
        x = x + map_row_chunks(lambda strip: self.ffn(self.norm2(strip)), x, reach=1)
        return x.permute(0, 3, 1, 2)


class Stage(nn.Sequential):
    """Transformer blocks in a row on maps (B, dim, H, W)."""

    def __init__(self, depth: int, dim: int, heads: int, **block: Any) -> None:
        super().__init__(*(TransformerBlock(dim, heads, **block) for _ in range(depth)))


class Downsample(nn.Module):
    """A map (B, C, H, W) as (B, 2*C, H/2, W/2)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        """The smaller map, channels last in memory."""
        return self.body(feature).contiguous(memory_format=torch.channels_last)


class Upsample(nn.Module):
    """A map (B, C, H, W) as (B, C/2, 2*H, 2*W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(dim, dim * 2, 3, padding=1, bias=False), nn.PixelShuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        """The larger map, channels last in memory."""
        return self.body(feature).contiguous(memory_format=torch.channels_last)


class PatchEmbed(nn.Module):
    """The image as a map of `dim` channels."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """The map (B, dim, H, W), channels last in memory like all that follow."""
        return self.proj(image).contiguous(memory_format=torch.channels_last)


def start_as_dcpt(module: nn.Module) -> None:
    """Gives a convolution the random start that DCPT's class gives it."""
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)


def conv_parts(x: Tensor, point: nn.Conv2d, depth: nn.Conv2d, parts: int, spare: int = 0) -> list[Tensor]:
    """A 1x1 and a depthwise convolution of `x` (B, H, W, C), as `parts` maps, each with `spare` channels of zeros.

    Each is computed by itself: parts of one map would lie apart in memory, and be copied by whatever follows.
    """
    points, point_biases = weight_parts(point, parts, spare)
    depths, depth_biases = weight_parts(depth, parts, spare)
    maps = projections(x, [weight.flatten(1) for weight in points])
    maps = [y if bias is None else y + bias for y, bias in zip(maps, point_biases, strict=True)]
    return [depthwise(*arguments) for arguments in zip(maps, depths, depth_biases, strict=True)]


def weight_parts(conv: nn.Conv2d, parts: int, spare: int) -> tuple[list[Tensor], list[Tensor | None]]:
    """Weights and biases of `parts` equal parts of a convolution's output channels, each with `spare` zeros behind."""
    weights = [append_zeros(part, 0, spare) for part in conv.weight.chunk(parts)]
    if conv.bias is None:
        return weights, [None] * parts
    return weights, [append_zeros(part, 0, spare) for part in conv.bias.chunk(parts)]


def spare_channels(channels: int, pixels: int) -> int:
    """Channels of zeros that make `channels` a multiple of 16, which processors compute faster (127 as 128).

    None where they would cost more than they gain: where they are many, or weights are no smaller than maps.
    """
    spare = round_up(channels, 16) - channels
    if torch.compiler.is_compiling() or 16 * spare > channels or pixels < 8 * channels:
        return 0
    return spare


def append_zeros(weight: Tensor, axis: int, count: int) -> Tensor:
    """`weight` with `count` zeros at the end of an axis."""
    return F.pad(weight, (0, 0) * (weight.ndim - 1 - axis) + (0, count)) if count else weight


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A zero-padded depthwise 3x3 convolution of `x` (B, H, W, C)."""
    return F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=1, groups=len(weight)).permute(0, 2, 3, 1)


def inverse_root(square: Tensor) -> Tensor:
    """1 / sqrt(square), 1e12 at most as in `F.normalize`."""
    return square.clamp_min(1e-24).rsqrt()


def widen(x: Tensor) -> Tensor:
    """`x` in float32, or in float64 if it is."""
    return x.to(wide_dtype(x))


def wide_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which sums over `x` are kept."""
    return torch.promote_types(x.dtype, torch.float32)


# ---------------------------------------------------------------------------------------------------------- network


class Restormer(Backbone):
    """Restormer, figure 2 of its paper, and the form that DCPT trains.

    `features` returns decoder levels 3, 2, 1 and the refinement: `dim` times 4, 2, 2, 2 channels at 1/4, 1/2, 1/1 and
    1/1 of the image. A dual-pixel network adds `skip_conv` of the patch embedding to the last, and never the image.

    Args:
        inp_channels: image channels: 3, 1 for grey, 6 for a dual-pixel pair.
        out_channels: channels of the restored image.
        dim: channels at full resolution; twice as many at each level down.
        num_blocks: blocks at each of the four levels, on the way down as on the way up.
        num_refinement_blocks: blocks after the decoder.
        heads: attention heads at each of the four levels.
        ffn_expansion_factor: hidden channels of the feed-forward networks by their input channels.
        bias: whether convolutions have biases; with ReLU attention those outside blocks only, as in DCPT.
        LayerNorm_type: "WithBias", the ordinary one, or "BiasFree" as in the official denoisers.
        dual_pixel_task: defocus deblurring from the two views of a dual-pixel sensor.
        image_residual: whether the input is added to the output.
        attention: "softmax" as published, or "relu" as in DCPT.
        norm_eps: what is added to variances: 1e-5 as published, 1e-6 in DCPT.
        wrapped: whether `to_official` names stages as DCPT does, and kernels start from its normal numbers of 0.02.
        scale: output side / input side, 1, 2 or 4 in DCPT. Its last convolutions stand side by side, each adds the
            image, and a pixel shuffle takes them in an order that mixes the colours, as published.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "restormer": {},
        "restormer_biasfree": {"LayerNorm_type": "BiasFree"},
        "restormer_gray": {"inp_channels": 1, "out_channels": 1, "LayerNorm_type": "BiasFree"},
        "restormer_dual_pixel": {"inp_channels": 6, "dual_pixel_task": True},
        "restormer_dcpt": {"LayerNorm_type": "BiasFree", "attention": "relu", "norm_eps": 1e-6, "wrapped": True},
        "restormer_tiny": {"dim": 16, "num_blocks": (1, 1, 2, 2), "num_refinement_blocks": 1},
    }
    input_option = "inp_channels"
    stem_keys = ("patch_embed.proj.",)
    head_keys = ("output.",)
    tile_overlap = 8
    stages = (0, 1, 2)
    size_multiple = 8

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: LayerNormType = "WithBias",
        dual_pixel_task: bool = False,
        image_residual: bool = True,
        attention: Attention = "softmax",
        norm_eps: float = 1e-5,
        wrapped: bool = False,
        scale: int = 1,
    ) -> None:
        super().__init__()
        check_choice("LayerNorm_type", LayerNorm_type, LayerNormType)
        check_choice("attention", attention, Attention)
        if scale not in (1, 2, 4):
            raise ValueError(f"scale: expected 1, 2 or 4, got {scale}")
        self.in_channels, self.out_channels = inp_channels, out_channels
        self.channels = [dim * 4, dim * 2, dim * 2, dim * 2]
        self.image_residual = check_residual(image_residual and not dual_pixel_task, inp_channels, out_channels)
        block_bias = bias and attention == "softmax"
        stage = functools.partial(
            Stage,
            ffn_expansion_factor=ffn_expansion_factor,
            bias=block_bias,
            LayerNorm_type=LayerNorm_type,
            attention=attention,
            norm_eps=norm_eps,
        )

        self.patch_embed = PatchEmbed(inp_channels, dim)
        self.encoder_level1 = stage(num_blocks[0], dim, heads[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = stage(num_blocks[1], dim * 2, heads[1])
        self.down2_3 = Downsample(dim * 2)
        self.encoder_level3 = stage(num_blocks[2], dim * 4, heads[2])
        self.down3_4 = Downsample(dim * 4)
        self.latent = stage(num_blocks[3], dim * 8, heads[3])

        self.up4_3 = Upsample(dim * 8)
        self.reduce_chan_level3 = nn.Conv2d(dim * 8, dim * 4, 1, bias=bias)
        self.decoder_level3 = stage(num_blocks[2], dim * 4, heads[2])
        self.up3_2 = Upsample(dim * 4)
        self.reduce_chan_level2 = nn.Conv2d(dim * 4, dim * 2, 1, bias=bias)
        self.decoder_level2 = stage(num_blocks[1], dim * 2, heads[1])
        self.up2_1 = Upsample(dim * 2)
        self.decoder_level1 = stage(num_blocks[0], dim * 2, heads[0])
        self.refinement = stage(num_refinement_blocks, dim * 2, heads[0])

        self.skip_conv = nn.Conv2d(dim, dim * 2, 1, bias=bias) if dual_pixel_task else None
        last = functools.partial(nn.Conv2d, dim * 2, out_channels, 3, padding=1, bias=bias)
        self.scale = scale
        self.output = last() if scale == 1 else nn.ModuleList(last() for _ in range(scale**2))
        if scale > 1:
            self.head_keys = tuple(f"output.{number}." for number in range(scale**2))
            self.head_by_channel = False
        if wrapped:
            self.apply(start_as_dcpt)

    def features(self, image: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2, 1 and the refinement of `image` (B, inp_channels, H, W)."""
        embedded = self.patch_embed(image)
        levels = self.decode(embedded)
        refined = self.refinement(levels[-1])
        if self.skip_conv is not None:
            refined = refined + self.skip_conv(embedded)
        return [*levels, refined]

    def stage_features(self, image: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2 and 1; the refinement is left out."""
        return self.decode(self.patch_embed(image))

    def decode(self, embedded: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2 and 1 from the map of the patch embedding."""
        encoded1 = self.encoder_level1(embedded)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        latent = self.latent(self.down3_4(encoded3))

        decoded3 = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(latent), encoded3], 1)))
        decoded2 = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(decoded3), encoded2], 1)))
        return [decoded3, decoded2, self.decoder_level1(torch.cat([self.up2_1(decoded2), encoded1], 1))]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution of the refined map, plus the image where there is an image residual."""
        if isinstance(self.output, nn.ModuleList):
            parts = [output(feature) + (image if self.image_residual else 0) for output in self.output]
            return F.pixel_shuffle(torch.cat(parts, 1), self.scale)
        restored = self.output(feature)
        return restored + image if self.image_residual else restored

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from shapes; DCPT's attention and epsilon show in wrapped names only."""
        wrapped = any(key.startswith("latent.body.") for key in state)
        state = cls.from_official(state)
        if "refinement.0.attn.qkv.weight" not in state or "prompt1.prompt_param" in state:
            return None
        options = recognise_stages(state)
        options |= {
            "bias": "output.bias" in state or "output.0.bias" in state,
            "dual_pixel_task": "skip_conv.weight" in state,
            "image_residual": options["inp_channels"] == options["out_channels"],
        }
        options["scale"] = math.isqrt(sum(bool(re.fullmatch(r"output\.(\d+\.)?weight", key)) for key in state))
        return options | ({"attention": "relu", "norm_eps": 1e-6, "wrapped": True} if wrapped else {})

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors; DCPT's wrapped stages lose their `.body`."""
        return {re.sub(rf"^({STAGES})\.body\.", r"\1.", key): value for key, value in state.items()}

    def to_official(self) -> dict[str, Tensor]:
        """The same tensors; under DCPT's names if the network is `wrapped`."""
        if not self.options["wrapped"]:
            return super().to_official()
        return {re.sub(rf"^({STAGES})\.", r"\1.body.", key): value for key, value in self.state_dict().items()}


STAGES = r"(?:en|de)coder_level\d|latent|refinement"


def recognise_stages(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options that Restormer and PromptIR share, deduced from shapes."""
    stages = ("encoder_level1", "encoder_level2", "encoder_level3", "latent")
    hidden = {f"{stage}.0.ffn.project_out.weight": state[f"{stage}.0.ffn.project_out.weight"].shape for stage in stages}
    return {
        "inp_channels": state["patch_embed.proj.weight"].shape[1],
        "out_channels": state["output.weight" if "output.weight" in state else "output.0.weight"].shape[0],
        "dim": state["patch_embed.proj.weight"].shape[0],
        "num_blocks": [count_blocks(state, stage) for stage in stages],
        "num_refinement_blocks": count_blocks(state, "refinement"),
        "heads": [len(state[f"{stage}.0.attn.temperature"]) for stage in stages],
        "ffn_expansion_factor": expansion_factor([(shape[0], shape[1]) for shape in hidden.values()]),
        "LayerNorm_type": "WithBias" if "latent.0.norm1.body.bias" in state else "BiasFree",
    }


def count_blocks(state: Mapping[str, Tensor], stage: str) -> int:
    """Blocks of a stage."""
    return sum(bool(re.fullmatch(rf"{stage}\.\d+\.attn\.temperature", key)) for key in state)


def expansion_factor(sizes: Sequence[tuple[int, int]]) -> float:
    """The shortest decimal f with `int(dim * f) == hidden` for every (dim, hidden): 2.66 in all official files."""
    low = max(hidden / dim for dim, hidden in sizes)
    high = min((hidden + 1) / dim for dim, hidden in sizes)
    for digits in range(16):
        factor = math.ceil(low * 10**digits) / 10**digits
        if factor < high:
            return factor
    return low
