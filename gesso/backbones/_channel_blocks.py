"""Transformer blocks whose attention mixes channels, so that their cost grows linearly with the pixels.

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022. Other networks
and refiners are built of them, too.

Maps (B, C, H, W) lie in memory channels last, so that the views (B, H, W, C) in which the blocks work, and which
normalisations and 1x1 convolutions read in order, cost nothing. Attention is a C x C matrix from start to end: norms
of queries and keys divide it and the output projection multiplies it before it meets the values.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.functional.gradients import channel_attention, gelu_gate, projections
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.onednn import linear
from gesso.functional.padding import round_up
from gesso.functional.row_chunks import map_row_chunks

Attention = Literal["softmax", "relu"]
LayerNormType = Literal["WithBias", "BiasFree"]


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
        return linear(gelu_gate(gate, value), weight.flatten(1), self.project_out.bias)


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


# ------------------------------------------------------------------------------------------------- what files tell


def recognise_stages(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options that networks of such stages share, deduced from shapes."""
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
