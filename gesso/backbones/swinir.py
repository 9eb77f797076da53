"""SwinIR: residual groups of shifted-window attention between a shallow convolution and a reconstruction.

Paper: Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV 2021 workshops. Names of parameters are
those of the official code; the position indices and shift masks that it stores with them are made anew here, and
written by `to_official`.

Tokens stay window by window through a residual group and move once between two blocks; maps lie in memory channels
last, so that convolutions and blocks share them without a copy. Attention runs through PyTorch's fused kernels; on a
GPU, zeros fill its heads up to the width that these take.

DCPT (Hu et al., "Universal Image Restoration Pre-training via Degradation Classification", ICLR 2025) trains a SwinIR
without position bias and without shift masks (`position_bias=False, shift_mask=False`), in which windows that the shift
has torn mix opposite borders of the image. Its class numbers the layers as `encode_layers` and `decode_layers`, and
leaves an enlarged image as its last convolution returns it, on the range of the network and without the mean.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.backbones._blocks import DIV2K_MEAN, DropPath, pixel_shuffles
from gesso.functional.checks import check_choice
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.onednn import Linear, linear
from gesso.functional.windows import attend, find_windows, move, relative_position_index, reorder

Upsampler = Literal["", "pixelshuffle", "pixelshuffledirect", "nearest+conv"]
Connection = Literal["1conv", "3conv"]
WIDTH = 64  # channels of the convolutions behind the body, but for pixelshuffledirect
FIRST_LAYER_OF_PERCEPTRON = re.compile(r"layers\.(\d+)\.residual_group\.blocks\.\d+\.mlp\.fc1\.weight")


# ----------------------------------------------------------------------------------------------------------- blocks


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for the offset between two pixels (equation 5)."""

    def __init__(self, dim: int, side: int, heads: int, qkv_bias: bool, position_bias: bool) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, dim // heads
        self.relative_position_bias_table = (
            nn.Parameter(torch.empty((2 * side - 1) ** 2, heads)) if position_bias else None
        )
        self.register_buffer("index", relative_position_index(side), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Attended windows, shape of `windows` (windows, B, N, C); `mask` (torn, N, N) is for the last of them."""
        spare = spare_channels(self.head_dim, windows.device)
        weight = widen(self.qkv.weight, self.head_dim, spare)
        bias = None if self.qkv.bias is None else widen(self.qkv.bias, self.head_dim, spare)
        q, k, v = linear(windows, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        attended = attend(q, k, v, self.position_bias(), mask, scale=self.head_dim**-0.5)
        return linear(attended.flatten(3), widen(self.proj.weight.t(), self.head_dim, spare).t(), self.proj.bias)

    def attention_weights(self) -> AttentionWeights:
        """The weights of this layer, see `Backbone.draw_mimetic`."""
        query, key, value = self.qkv.weight.chunk(3)
        return AttentionWeights(query, key, value, self.proj.weight, self.heads)

    def position_bias(self) -> Tensor | None:
        """What is added to the logits of every window, (heads, N, N)."""
        if self.relative_position_bias_table is None:
            return None
        return F.embedding(self.get_buffer("index"), self.relative_position_bias_table).permute(2, 0, 1).contiguous()


def spare_channels(channels: int, device: torch.device) -> int:
    """Zeros to add to the channels of a head: fused GPU kernels want a multiple of 8, and SwinIR has 30 or 10."""
    return 0 if device.type == "cpu" else -channels % 8


def widen(weight: Tensor, channels: int, spare: int) -> Tensor:
    """`weight` (n*channels, ...) with `spare` zeros after every `channels` of its first dimension."""
    if not spare:
        return weight
    return F.pad(weight.unflatten(0, (-1, channels)), (0, 0) * (weight.dim() - 1) + (0, spare)).flatten(0, 1)


class Block(nn.Module):
    """Window attention, then a perceptron, each on normalised tokens and added to them (equation 6)."""

    def __init__(self, dim: int, hidden: int, drop_path: float, **attention: Any) -> None:
        super().__init__()
        self.drop_path = DropPath(drop_path, image_dim=1)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, **attention)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", Linear(dim, hidden))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", Linear(hidden, dim))

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Windows (windows, B, N, C) after this block."""
        windows = windows + self.drop_path(self.attn(normalise(self.norm1, windows), mask))
        return windows + self.drop_path(self.perceptron(normalise(self.norm2, windows)))

    def perceptron(self, x: Tensor) -> Tensor:
        """What the second half of the block adds, shape of `x`."""
        first, _, second = cast("tuple[Linear, nn.GELU, Linear]", tuple(self.mlp))
        return second(linear(x, first.weight, first.bias, gelu=True))


def normalise(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """`norm(x)`; where channels are few and no whole vectors, CPUs do it in float32 in half the time of bfloat16."""
    channels = x.shape[-1]
    if x.device.type != "cpu" or x.dtype != torch.bfloat16 or channels > 64 or channels % 32 == 0:
        return norm(x)
    return F.layer_norm(x.float(), (channels,), norm.weight.float(), norm.bias.float(), norm.eps).to(x.dtype)


class ResidualGroup(nn.Module):
    """Blocks, every second one with shifted windows, and a convolution, around which runs a skip (equation 4)."""

    def __init__(self, blocks: Sequence[Block], conv: nn.Module, side: int, shift_mask: bool) -> None:
        super().__init__()
        self.side, self.shift_mask = side, shift_mask
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.conv = conv

    def forward(self, feature: Tensor) -> Tensor:
        """The map after this group, (B, C, H, W) in channels-last memory as before it."""
        batch, dim, height, width = feature.shape
        shifts = (0, self.side // 2)
        layouts = [find_windows(batch, height, width, self.side, shift, feature.device) for shift in shifts]
        here = layouts[0]
        rows = reorder(feature.permute(0, 2, 3, 1).reshape(-1, dim), here.order, here.inverse)
        for block, there in zip(self.residual_group["blocks"].children(), itertools.cycle(layouts)):
            rows, here = move(rows, here, there), there
            mask = there.mask if self.shift_mask else there.mask[:0]
            rows = block(rows.view(-1, batch, self.side**2, dim), mask).view(-1, dim)
        rows = reorder(rows, here.inverse, here.order)
        return self.conv(rows.view(batch, height, width, dim).permute(0, 3, 1, 2)) + feature


def connection(dim: int, kind: Connection) -> nn.Module:
    """The convolution at the end of a group and of the body, or three with a bottleneck for large networks."""
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


def initialise(module: nn.Module) -> None:
    """Linear layers and tables from a truncated normal of deviation 0.02, convolutions as PyTorch has them."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, parameter in module.named_parameters(recurse=False):
        if name in ("relative_position_bias_table", "absolute_pos_embed"):
            nn.init.trunc_normal_(parameter, std=0.02)


# ---------------------------------------------------------------------------------------------------------- network


class SwinIR(Backbone):
    """SwinIR of any size, for denoising, JPEG artefacts and super-resolution.

    Args:
        upscale: output side / input side, for networks with an upsampler: 2, 3, 4 or 8.
        in_chans: channels of the image.
        out_channels: channels of the output; None = `in_chans`.
        img_size: side in pixels of the training crops, a multiple of `window_size`. It decides the size of the masks
            that official files store, not what the network computes, but for `ape`.
        window_size: side of the attention windows in pixels.
        img_range: the network works on images times this: 255 for the published JPEG networks, else 1.
        depths: blocks of each residual group.
        embed_dim: channels of the body.
        num_heads: attention heads of each residual group.
        mlp_ratio: hidden channels / channels of the perceptrons.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        drop_path_rate: stochastic depth of the last block, in [0, 1); it rises from 0 at the first.
        ape: whether a learned map (embed_dim, img_size, img_size) is added to the tokens; resized to other images.
        upsampler: "" for none, "pixelshuffle" (classical), "pixelshuffledirect" (lightweight) or "nearest+conv"
            (real-world, 2 or 4) super-resolution.
        resi_connection: "1conv", or "3conv" as in the large real-world network.
        position_bias: whether attention has a relative position bias; False in DCPT.
        shift_mask: whether pixels from opposite borders of the image are kept apart; False in DCPT.
        image_residual: whether the input image is added to the output; None = if there is no upsampler.
        body_only: the encoder of DegAE: the output is the map of `embed_dim` channels behind the last norm, of images
            neither centred nor scaled. Its class owns `conv_after_body` and `conv_last` and does not use them.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "swinir_color_dn": {},
        "swinir_gray_dn": {"in_chans": 1},
        "swinir_jpeg_color": {"img_size": 126, "window_size": 7, "img_range": 255.0},
        "swinir_jpeg_gray": {"in_chans": 1, "img_size": 126, "window_size": 7, "img_range": 255.0},
        **{
            f"swinir_classical_x{scale}": {"upscale": scale, "img_size": 48, "upsampler": "pixelshuffle"}
            for scale in (2, 3, 4, 8)
        },
        **{
            f"swinir_light_x{scale}": {
                "upscale": scale, "img_size": 64, "depths": (6,) * 4, "embed_dim": 60, "num_heads": (6,) * 4,
                "upsampler": "pixelshuffledirect",
            }
            for scale in (2, 3, 4)
        },
        "swinir_real_sr_m_x4": {"upscale": 4, "img_size": 64, "upsampler": "nearest+conv"},
        "swinir_real_sr_l_x4": {
            "upscale": 4, "img_size": 64, "depths": (6,) * 9, "embed_dim": 240, "num_heads": (8,) * 9,
            "upsampler": "nearest+conv", "resi_connection": "3conv",
        },
        "swinir_dcpt": {"position_bias": False, "shift_mask": False, "drop_path_rate": 0.0},
        "swinir_tiny": {
            "img_size": 64, "depths": (2,) * 4, "embed_dim": 64, "num_heads": (4,) * 4, "drop_path_rate": 0.0,
        },
        "swinir_tiny_x2": {
            "img_size": 64, "depths": (2,) * 4, "embed_dim": 64, "num_heads": (4,) * 4, "drop_path_rate": 0.0,
            "upscale": 2, "upsampler": "pixelshuffledirect",
        },
    }  # fmt: skip

    input_option = "in_chans"
    tile_overlap = 8
    stem_keys = ("conv_first.",)

    def __init__(
        self,
        upscale: int = 1,
        in_chans: int = 3,
        out_channels: int | None = None,
        img_size: int = 128,
        window_size: int = 8,
        img_range: float = 1.0,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        embed_dim: int = 180,
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        mlp_ratio: float = 2.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.1,
        ape: bool = False,
        upsampler: Upsampler = "",
        resi_connection: Connection = "1conv",
        position_bias: bool = True,
        shift_mask: bool = True,
        image_residual: bool | None = None,
        body_only: bool = False,
    ) -> None:
        super().__init__()
        check_choice("upsampler", upsampler, Upsampler)
        check_choice("resi_connection", resi_connection, Connection)
        check_scale(upscale, upsampler)
        if body_only and (upsampler or image_residual):
            raise ValueError("body_only: expected no upsampler and no image_residual, for the output is a feature map")
        image_residual = not (upsampler or body_only) if image_residual is None else image_residual
        check_same_size(image_residual, upsampler)
        if len(depths) != len(num_heads):
            raise ValueError(f"depths, num_heads: expected as many numbers each, got {list(depths)}, {list(num_heads)}")
        if img_size % window_size or img_size == window_size:
            raise ValueError(f"img_size: expected two or more windows of {window_size} pixels, got {img_size}")
        self.in_channels, self.out_channels = in_chans, out_channels or in_chans
        self.image_residual = check_residual(image_residual, self.in_channels, self.out_channels)
        self.upsampler, self.scale, self.size_multiple = upsampler, upscale, window_size
        self.img_size, self.img_range, self.as_tested = img_size, img_range, False
        self.position_bias, self.shift_mask = position_bias, shift_mask
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(3, 1, 1), persistent=False)

        self.conv_first = nn.Conv2d(in_chans, embed_dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(embed_dim)})
        self.absolute_pos_embed = nn.Parameter(torch.empty(1, img_size**2, embed_dim)) if ape else None
        drops = [drop_path_rate * number / max(sum(depths) - 1, 1) for number in range(sum(depths))]
        self.layers = nn.ModuleList()
        for depth, heads in zip(depths, num_heads, strict=True):
            attention = {"side": window_size, "heads": heads, "qkv_bias": qkv_bias, "position_bias": position_bias}
            blocks = [Block(embed_dim, int(embed_dim * mlp_ratio), drops.pop(0), **attention) for _ in range(depth)]
            conv = connection(embed_dim, resi_connection)
            self.layers.append(ResidualGroup(blocks, conv, window_size, shift_mask))
        self.norm = nn.LayerNorm(embed_dim)
        self.conv_after_body = connection(embed_dim, resi_connection)
        self._make_head(embed_dim)

        behind = embed_dim if upsampler in ("", "pixelshuffledirect") else WIDTH
        shown = min(3, len(depths))
        self.channels = [embed_dim] * shown + [behind]
        self.stages = tuple(range(shown))
        self.apply(initialise)
        self.body_only = body_only
        if body_only:
            self.out_channels = self.encoder_channels = embed_dim
            for unused in (self.conv_after_body, self.conv_last):
                unused.requires_grad_(False)

    def _make_head(self, embed_dim: int) -> None:
        """The layers behind the body, under the names that the official code gives them for each upsampler."""
        if self.upsampler == "pixelshuffledirect":
            outputs = self.out_channels * self.scale**2
            self.upsample = nn.Sequential(nn.Conv2d(embed_dim, outputs, 3, padding=1), nn.PixelShuffle(self.scale))
            self.head_keys = ("upsample.0.",)
            return
        self.head_keys = ("conv_last.",)
        if self.upsampler:
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(embed_dim, WIDTH, 3, padding=1), nn.LeakyReLU(0.01))
        if self.upsampler == "pixelshuffle":
            self.upsample = pixel_shuffles(WIDTH, self.scale)
        if self.upsampler == "nearest+conv":
            self.conv_up1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            if self.scale == 4:
                self.conv_up2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
            self.conv_hr = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.conv_last = nn.Conv2d(WIDTH if self.upsampler else embed_dim, self.out_channels, 3, padding=1)

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps after the last three residual groups, and the input of the last convolution.

        The former have `embed_dim` channels and the size of the image. So has the latter without an upsampler and with
        "pixelshuffledirect"; else it has 64 channels and the size of the output.
        """
        if self.body_only:
            return self.body(self.conv_first(image.contiguous(memory_format=torch.channels_last)))[
                -len(self.channels) :
            ]
        centred = image - self.get_buffer("mean") if self.in_channels == 3 else image
        shallow = self.conv_first((centred * self.img_range).contiguous(memory_format=torch.channels_last))
        *maps, deep = self.body(shallow)
        return [*maps[-3:], self.enlarge(self.conv_after_body(deep) + shallow)]

    def body(self, shallow: Tensor) -> list[Tensor]:
        """Maps after each residual group, and the last of them normalised, from the map of `conv_first`.

        DegAE takes the latter as its feature, of images that are neither centred nor scaled.
        """
        tokens = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))
        if self.absolute_pos_embed is not None:
            tokens = tokens + self.positions(*tokens.shape[1:3])
        maps = [tokens.permute(0, 3, 1, 2)]
        for layer in self.layers:
            maps.append(layer(maps[-1]))
        return [*maps[1:], self.norm(maps[-1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)]

    @property
    def in_dcpts_form(self) -> bool:
        """Whether this is the network of DCPT's class."""
        return not (self.position_bias or self.shift_mask)

    def positions(self, height: int, width: int) -> Tensor:
        """The absolute position embedding (height, width, C); the official code takes images of `img_size` only."""
        side = self.img_size
        table = cast("Tensor", self.absolute_pos_embed).view(1, side, side, -1).permute(0, 3, 1, 2)
        if (height, width) != (side, side):
            table = F.interpolate(table, (height, width), mode="bicubic", align_corners=False)
        return table[0].permute(1, 2, 0)

    def enlarge(self, feature: Tensor) -> Tensor:
        """The input of the last convolution, from the map behind the body."""
        if self.upsampler in ("", "pixelshuffledirect"):
            return feature
        feature = self.conv_before_upsample(feature)
        if self.upsampler == "pixelshuffle":
            return self.upsample(feature)
        for conv in [self.conv_up1, self.conv_up2] if self.scale == 4 else [self.conv_up1]:
            feature = F.leaky_relu(conv(F.interpolate(feature, scale_factor=2)), 0.2)
        return F.leaky_relu(self.conv_hr(feature), 0.2)

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution, back on the range of the image, and what it adds to; nothing with `body_only`."""
        if self.body_only:
            return feature
        last = self.upsample if self.upsampler == "pixelshuffledirect" else self.conv_last
        if self.upsampler and self.in_dcpts_form:
            return last(feature)
        restored = last(feature) / self.img_range
        if self.image_residual:
            return image + restored
        return restored + self.get_buffer("mean") if self.out_channels == 3 else restored

    def replace_last(self, out_channels: int, *, image_residual: bool) -> None:
        """Puts a freshly initialised last convolution of `out_channels` in place; the body keeps its weights."""
        check_same_size(image_residual, self.upsampler)
        if not self.body_only:
            super().replace_last(out_channels, image_residual=image_residual)
        elif out_channels != self.out_channels or image_residual:
            raise ValueError(
                f"body_only: the output has the {self.out_channels} channels of the body and no image is added; asked "
                f"for {out_channels} (a pretext's feature_channels)"
            )

    def encoder_for(self, channels: int) -> "SwinIR":
        """The network, or its body alone where that has as many channels as a model wants (DegAE)."""
        if channels == self.out_channels or channels != self.options["embed_dim"] or self.upsampler:
            return self
        body = self.twin(body_only=True, image_residual=None)
        body.load_state_dict(self.state_dict())
        return body.to(self.conv_first.weight).train(self.training)

    def input_mean(self, channels: int) -> Tensor:
        """The mean of DIV2K, which is taken off RGB images."""
        if channels != 3 or self.body_only:
            return super().input_mean(channels)
        return self.img_range * torch.tensor(DIV2K_MEAN)

    def output_mean(self, channels: int) -> Tensor:
        """The same, which is added where the image is not."""
        if self.image_residual or (self.upsampler and self.in_dcpts_form):
            return super().output_mean(channels)
        return self.input_mean(channels)

    # ---------------------------------------------------------------------------------------------------- padding

    def pad_as_tested(self) -> None:
        """From now on pads images as the authors' test script does, to match published digits.

        It mirrors with the edge repeated and always adds rows and columns, a whole window of them where none would be
        needed. Without this call, images are mirrored without the edge, and only where they must be.
        """
        self.pad_mode, self.as_tested = "symmetric", True

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far `pad` extends an image of this size: left, right, top, bottom."""
        if not self.as_tested:
            return super().padding(height, width)
        return 0, self.size_multiple - width % self.size_multiple, 0, self.size_multiple - height % self.size_multiple

    # ------------------------------------------------------------------------------------------- the authors' files

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor options deduced from tensor names and shapes, or None if this is another network.

        Guessed, for nothing in a file shows them: `img_range`, 255 with windows of 7 pixels as in the published JPEG
        networks and else 1; in DCPT's form also `num_heads`, 6, and `window_size`, 8.
        """
        ours = cls.from_official(state)
        depths = Counter(found[1] for found in map(FIRST_LAYER_OF_PERCEPTRON.fullmatch, ours) if found)
        if not depths or "conv_first.weight" not in ours or "patch_embed.norm.weight" not in ours:
            return None
        first = "layers.{}.residual_group.blocks.0."
        tables = [ours.get(first.format(layer) + "attn.relative_position_bias_table") for layer in range(len(depths))]
        position_bias = tables[0] is not None
        window_size = (math.isqrt(len(tables[0])) + 1) // 2 if tables[0] is not None else 8
        embed_dim, in_chans = ours["conv_first.weight"].shape[:2]
        options = cls._recognise_head(ours, in_chans)
        return options | {
            "in_chans": in_chans,
            "img_size": cls._recognise_img_size(state, window_size),
            "window_size": window_size,
            "img_range": 255.0 if window_size == 7 else 1.0,
            "depths": [depths[str(layer)] for layer in range(len(depths))],
            "embed_dim": embed_dim,
            "num_heads": [6 if table is None else table.shape[1] for table in tables],
            "mlp_ratio": len(ours[first.format(0) + "mlp.fc1.weight"]) / embed_dim,
            "qkv_bias": first.format(0) + "attn.qkv.bias" in ours,
            "drop_path_rate": 0.1 if position_bias else 0.0,
            "ape": "absolute_pos_embed" in ours,
            "resi_connection": "3conv" if "conv_after_body.0.weight" in ours else "1conv",
            "position_bias": position_bias,
            "shift_mask": position_bias,
            "image_residual": None if options["out_channels"] is None else False,
        }

    @staticmethod
    def _recognise_head(state: Mapping[str, Tensor], in_chans: int) -> dict[str, Any]:
        """`upsampler`, `upscale` and `out_channels` of a file."""
        if "upsample.0.weight" in state and "conv_last.weight" not in state:
            scale = math.isqrt(len(state["upsample.0.weight"]) // in_chans)
            return {"upsampler": "pixelshuffledirect", "upscale": scale, "out_channels": None}
        scale = 1
        if "conv_up1.weight" in state:
            upsampler, scale = "nearest+conv", 4 if "conv_up2.weight" in state else 2
        elif "conv_before_upsample.0.weight" in state:
            upsampler = "pixelshuffle"
            for key in [key for key in state if re.fullmatch(r"upsample\.\d+\.weight", key)]:
                scale *= math.isqrt(state[key].shape[0] // state[key].shape[1])
        else:
            upsampler = ""
        out_channels = len(state["conv_last.weight"])
        return {
            "upsampler": upsampler,
            "upscale": scale,
            "out_channels": None if out_channels == in_chans else out_channels,
        }

    @staticmethod
    def _recognise_img_size(state: Mapping[str, Tensor], window_size: int) -> int:
        """`img_size` of a file: its masks are one for each window of a training crop."""
        masks = [value for key, value in state.items() if key.endswith("attn_mask")]
        if masks:
            return window_size * math.isqrt(len(masks[0]))
        if "absolute_pos_embed" in state:
            return math.isqrt(state["absolute_pos_embed"].shape[1])
        return 16 * window_size  # nothing shows it, and nothing depends on it

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of an official file, or of DCPT's, under our keys, without the buffers that we make anew."""

        def ours(key: str) -> str:
            key = re.sub(r"^encode_layers\.", "layers.", key)
            return re.sub(r"^decode_layers(\d)", lambda found: f"layers.{int(found[1]) + 3}", key)

        made_anew = ("attn_mask", "relative_position_index")
        return {ours(key): value for key, value in state.items() if not key.endswith(made_anew)}

    def to_official(self) -> dict[str, Tensor]:
        """The state that the authors' class loads strictly: with its buffers, or under the keys of DCPT's class."""
        state = super().to_official()
        if self.in_dcpts_form:
            halves = {f"layers.{i}.": f"encode_layers.{i}." if i < 3 else f"decode_layers{i - 3}." for i in range(6)}
            return {re.sub(r"^layers\.\d\.", lambda found: halves[found[0]], key): state[key] for key in state}
        official: dict[str, Tensor] = {}
        for key, value in state.items():
            if self.shift_mask and re.search(r"blocks\.\d*[13579]\.norm1\.weight$", key):
                official[key.replace("norm1.weight", "attn_mask")] = self._official_mask()
            official[key] = value
            if key.endswith("bias_table"):
                official[key.replace("bias_table", "index")] = relative_position_index(self.size_multiple)
        return official

    def _official_mask(self) -> Tensor:
        """The mask of every shifted window of a training crop, row by row, (windows, N, N)."""
        side, rows = self.size_multiple, self.img_size // self.size_multiple
        right, bottom, corner = find_windows(1, 2 * side, 2 * side, side, side // 2, torch.device("cpu")).mask
        torn = right.new_zeros(rows, rows, *right.shape)
        torn[:, -1], torn[-1, :], torn[-1, -1] = right, bottom, corner
        return torch.where(torn == 0, 0.0, -100.0).flatten(0, 1)


def check_scale(upscale: int, upsampler: str) -> None:
    """Raises ValueError where an upsampler cannot enlarge by `upscale`."""
    possible = {"": (1,), "pixelshuffle": (2, 3, 4, 8), "pixelshuffledirect": range(2, 9), "nearest+conv": (2, 4)}
    if upscale not in possible[upsampler]:
        raise ValueError(
            f"upscale: expected one of {[*possible[upsampler]]} with upsampler {upsampler!r}, got {upscale}"
        )


def check_same_size(image_residual: bool, upsampler: str) -> None:
    """Raises ValueError where the input cannot be added to the output because it is smaller."""
    if image_residual and upsampler:
        raise ValueError(
            f"image_residual: expected False with upsampler {upsampler!r}, whose output is larger, got True"
        )
