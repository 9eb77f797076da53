"""Uformer: a U-shaped transformer with window attention and locally enhanced feed-forward layers.

Paper: Wang et al., "Uformer: A General U-Shaped Transformer for Image Restoration", CVPR 2022.

Maps (B, C, H, W) lie in memory channels last, so that the views (B, H, W, C) in which the blocks work, and which
normalisation, projections and windows read in order, cost nothing.
"""

import contextlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.backbones._blocks import DropPath
from gesso.functional.checks import check_choice
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.onednn import Linear, depthwise_gelu, linear
from gesso.functional.padding import round_up
from gesso.functional.row_chunks import map_row_chunks
from gesso.functional.windows import attend, find_windows, relative_position_index, reorder

TokenMlp = Literal["leff", "mlp"]
BIAS_TABLE = "relative_position_bias_table"
INDEX = "relative_position_index"


# ----------------------------------------------------------------------------------------------------------- blocks


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for the offset between two pixels."""

    def __init__(self, dim: int, side: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("index", relative_position_index(side), persistent=False)
        # Two products keep the official names; joining the two matrices at every call was measured to gain nothing.
        self.qkv = nn.ModuleDict(
            {"to_q": Linear(dim, dim, bias=qkv_bias), "to_kv": Linear(dim, 2 * dim, bias=qkv_bias)}
        )
        self.proj = Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Attended windows, shape of `windows` (windows, B, N, C); `mask` (torn, N, N) is for the last of them."""
        q = self.qkv["to_q"](windows).unflatten(-1, (self.heads, -1)).transpose(2, 3)
        k, v = self.qkv["to_kv"](windows).unflatten(-1, (2, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        # Read at every call: a thousandth of a forward pass, for which it is not worth to keep a copy in step.
        bias = F.embedding(self.get_buffer("index"), self.relative_position_bias_table).permute(2, 0, 1).contiguous()
        return self.proj(attend(q, k, v, bias, mask).flatten(3))

    def attention_weights(self) -> AttentionWeights:
        """The weights of this layer, see `Backbone.draw_mimetic`."""
        key, value = self.qkv.get_parameter("to_kv.weight").chunk(2)
        return AttentionWeights(self.qkv.get_parameter("to_q.weight"), key, value, self.proj.weight, self.heads)


class LeFF(nn.Module):
    """Locally enhanced feed-forward layer: a depthwise convolution between two projections (paper, section 3.2)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.linear1 = nn.Sequential(Linear(dim, hidden), nn.GELU())
        self.dwconv = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU())
        self.linear2 = nn.Sequential(Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """What the block adds to `x`, (B, H, W, C)."""
        first, depth = cast("Linear", self.linear1[0]), cast("nn.Conv2d", self.dwconv[0])
        hidden = linear(x, first.weight, first.bias, gelu=True).permute(0, 3, 1, 2)
        return self.linear2(depthwise_gelu(hidden, depth.weight, depth.bias).permute(0, 2, 3, 1))


class Block(nn.Module):
    """Window attention, then a feed-forward layer, each on normalised input and added to it (paper, figure 2b)."""

    def __init__(
        self, dim: int, side: int, shift: int, heads: int, hidden: int, qkv_bias: bool, token_mlp: TokenMlp,
        modulator: bool, drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.side, self.shift, self.drop_path = side, shift, DropPath(drop_path)
        self.modulator = nn.Embedding(side * side, dim) if modulator else None
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, side, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = (
            LeFF(dim, hidden)
            if token_mlp == "leff"
            else named(fc1=Linear(dim, hidden), act=nn.GELU(), fc2=Linear(hidden, dim))
        )

    def forward(self, x: Tensor) -> Tensor:
        """The map after this block, (B, H, W, C) as before it."""
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(map_row_chunks(lambda strip: self.mlp(self.norm2(strip)), x, reach=1))

    def attention(self, x: Tensor) -> Tensor:
        """Window attention on a map (B, H, W, C)."""
        batch, height, width, dim = x.shape
        order, inverse, mask = find_windows(batch, height, width, self.side, self.shift, x.device)
        windows = reorder(x.reshape(-1, dim), order, inverse).view(-1, batch, self.side**2, dim)
        if self.modulator is not None:
            windows = windows + self.modulator.weight
        return reorder(self.attn(windows, mask).view(-1, dim), inverse, order).view(x.shape)


class Stage(nn.Module):
    """Blocks at one resolution."""

    def __init__(self, blocks: list[Block]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, feature: Tensor) -> Tensor:
        """The map after the blocks, (B, C, H, W) as before them."""
        x = feature.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


def named(**layers: nn.Module) -> nn.Sequential:
    """Layers in sequence, with names: the official code keys its convolutions `conv.0`, `deconv.0`, `proj.0`."""
    return nn.Sequential(OrderedDict(layers))


# ---------------------------------------------------------------------------------------------------------- network


class Uformer(Backbone):
    """Uformer of any size.

    Args:
        img_size: side in pixels of the training crops. It decides windows and shifts once and for all: at levels
            where its side img_size / 2^level is not larger than `win_size`, that side is the window and nothing is
            shifted, whatever the size of the image. No file tells it: the bottleneck of a network trained at 256 is
            shifted, at 128 it is not, and names and shapes are the same. The authors denoised at 128 and deblurred at
            256, but their deblurring test builds the network with the default of 128.
        dd_in: channels of the input image.
        embed_dim: channels at full resolution; each of the four levels below doubles them.
        depths: blocks of the encoder levels, the bottleneck and the decoder levels, nine numbers.
        num_heads: attention heads of these nine stages.
        win_size: side of the attention windows in pixels.
        mlp_ratio: hidden channels / channels of the feed-forward layers.
        qkv_bias: whether the projections to queries, keys and values have a bias.
        token_mlp: feed-forward layers with ("leff") or without ("mlp") depthwise convolution.
        modulator: whether decoder blocks add a learned map to their windows (paper, section 3.3).
        shift_flag: whether every second block shifts its windows.
        decoder_shift_flag: the same for the decoder, None = as `shift_flag`. The official code of IFP pre-trains a
            decoder without shifts behind an encoder with them.
        drop_path_rate: stochastic depth at the bottleneck, in [0, 1); from 0 it rises along the encoder, and falls
            back along the decoder.
        out_channels: channels of the output; None = `dd_in`.
        image_residual: whether the input image is added to the output.
        square: pad whole images to a square, as the authors test. False pads to the nearest rectangle: for 1280x720
            pixels 0.6 times the work, but other pixels near the former padding, for windows shift across the border.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "uformer_t": {"embed_dim": 16},
        "uformer_s": {"embed_dim": 32},
        "uformer_b": {"embed_dim": 32, "depths": [1, 2, 8, 8, 2, 8, 8, 2, 1]},
        "uformer_tiny": {"img_size": 64, "embed_dim": 8, "depths": [2, 1, 1, 1, 1, 1, 1, 1, 2]},
    }
    input_option = "dd_in"
    stem_keys = ("input_proj.proj.0.",)
    head_keys = ("output_proj.proj.0.",)
    stages = (0, 1, 2, 3)
    pad_mode = "zeros"
    tile_overlap = 8

    def __init__(
        self,
        img_size: int = 128,
        dd_in: int = 3,
        embed_dim: int = 32,
        depths: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2),
        num_heads: Sequence[int] = (1, 2, 4, 8, 16, 16, 8, 4, 2),
        win_size: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        token_mlp: TokenMlp = "leff",
        modulator: bool = True,
        shift_flag: bool = True,
        decoder_shift_flag: bool | None = None,
        drop_path_rate: float = 0.1,
        out_channels: int | None = None,
        image_residual: bool = True,
        square: bool = True,
    ) -> None:
        super().__init__()
        check_choice("token_mlp", token_mlp, TokenMlp)
        if len(depths) != 9 or len(num_heads) != 9:
            raise ValueError(
                "depths, num_heads: expected nine numbers each (four encoder levels, bottleneck, four decoder levels), "
                f"got {list(depths)} and {list(num_heads)}"
            )
        if img_size < 16:
            raise ValueError(f"img_size: expected 16 or more, for the bottleneck to have a pixel, got {img_size}")
        self.in_channels, self.out_channels = dd_in, out_channels or dd_in
        self.image_residual = check_residual(image_residual, self.in_channels, self.out_channels)
        self.square = square
        sides = [min(win_size, img_size >> level) for level in range(5)]
        self.size_multiple = math.lcm(*(side << level for level, side in enumerate(sides)))
        levels = [0, 1, 2, 3, 4, 3, 2, 1, 0]
        encoder, decoder = sum(depths[:4]), sum(depths[5:])
        drops = [drop_path_rate * i / max(encoder - 1, 1) for i in range(encoder)] + [drop_path_rate] * depths[4]
        drops += [drop_path_rate * i / max(decoder - 1, 1) for i in reversed(range(decoder))]
        decoder_shift_flag = shift_flag if decoder_shift_flag is None else decoder_shift_flag

        def stage(position: int) -> Stage:
            level, first = levels[position], sum(depths[:position])
            dim = embed_dim << (level + (position > 4))  # the decoder works on joined maps, twice as wide
            if dim % num_heads[position]:
                raise ValueError(f"num_heads: expected divisors of the {dim} channels there, got {list(num_heads)}")
            shifted = (decoder_shift_flag if position > 4 else shift_flag) and img_size >> level > win_size
            return Stage(
                [
                    Block(
                        dim, sides[level], win_size // 2 if shifted and block % 2 else 0, num_heads[position],
                        int(dim * mlp_ratio), qkv_bias, token_mlp, modulator and position > 4, drops[first + block],
                    )
                    for block in range(depths[position])
                ]
            )  # fmt: skip

        self.input_proj = named(proj=nn.Sequential(nn.Conv2d(dd_in, embed_dim, 3, padding=1), nn.LeakyReLU(0.01)))
        self.output_proj = named(proj=nn.Sequential(nn.Conv2d(2 * embed_dim, self.out_channels, 3, padding=1)))
        for level in range(4):
            dim = embed_dim << level
            self.add_module(f"encoderlayer_{level}", stage(level))
            down = nn.Conv2d(dim, 2 * dim, 4, stride=2, padding=1)
            self.add_module(f"dowsample_{level}", named(conv=nn.Sequential(down)))  # the authors' spelling
        self.conv = stage(4)
        for level in range(4):
            dim = embed_dim << (3 - level)
            up = nn.ConvTranspose2d(2 * dim if level == 0 else 4 * dim, dim, 2, stride=2)
            self.add_module(f"upsample_{level}", named(deconv=nn.Sequential(up)))
            self.add_module(f"decoderlayer_{level}", stage(5 + level))
        self.channels = [embed_dim << (4 - level) for level in range(4)]
        self.apply(initialise)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Maps of the encoder, fine to coarse, and of the bottleneck last: five, `embed_dim` * 2^i channels at 1/2^i.

        The first half of the network, which the official codes of IFP and DegAE pre-train alone.
        """
        feature = self.input_proj(image.contiguous(memory_format=torch.channels_last))
        maps = []
        for level in range(4):
            maps.append(self.get_submodule(f"encoderlayer_{level}")(feature))
            feature = self.get_submodule(f"dowsample_{level}")(maps[-1])
        return [*maps, self.conv(feature)]

    def decode_stage(self, stage: int, feature: Tensor, skip: Tensor) -> Tensor:
        """Map of decoder stage 0 to 3, coarse to fine, from the map before it and the encoder's at its own size."""
        raised = self.get_submodule(f"upsample_{stage}")(feature)
        return self.get_submodule(f"decoderlayer_{stage}")(torch.cat([raised, skip], dim=1))

    def decode(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of the four decoder stages, coarse to fine, from the five that `encode` returns."""
        *skips, feature = maps
        decoded = []
        for stage, skip in enumerate(reversed(skips)):
            feature = self.decode_stage(stage, feature, skip)
            decoded.append(feature)
        return decoded

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps of the four decoder stages, coarse to fine; the last one has 2 * `embed_dim` channels."""
        return self.decode(self.encode(image))

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The restored image from the last map, plus the image if `image_residual`."""
        output = self.output_proj(feature)
        return output + image if self.image_residual else output

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Zeros around an image in the middle, up to a square (the authors' `expand2square`), or a rectangle."""
        full_height, full_width = (round_up(side, self.size_multiple) for side in (height, width))
        if self.square:
            full_height = full_width = max(full_height, full_width)
        left, top = (full_width - width) // 2, (full_height - height) // 2
        return left, full_width - width - left, top, full_height - height - top

    @contextlib.contextmanager
    def in_tiles(self) -> Iterator[None]:
        """Pads to rectangles: squares are how whole images were tested, and would be up to a third more work."""
        square, self.square = self.square, False
        try:
            yield
        finally:
            self.square = square

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from tensor names and shapes; `img_size`, shifts and drop path stay at their defaults.

        Only where some window is smaller than the first, `img_size` is known.
        """
        names = [f"encoderlayer_{level}" for level in range(4)] + ["conv"]
        names += [f"decoderlayer_{level}" for level in range(4)]
        if not {"output_proj.proj.0.weight", *(f"{name}.blocks.0.norm1.weight" for name in names)} <= state.keys():
            return None
        depths = [len({key.split(".")[2] for key in state if key.startswith(f"{name}.blocks.")}) for name in names]
        tables = [state[f"{name}.blocks.0.attn.{BIAS_TABLE}"] for name in names]
        sides = [(math.isqrt(len(table)) + 1) // 2 for table in tables]
        embed_dim, dd_in = state["input_proj.proj.0.weight"].shape[:2]
        out_channels = len(state["output_proj.proj.0.weight"])
        token_mlp = "leff" if "conv.blocks.0.mlp.linear1.0.weight" in state else "mlp"
        hidden = state[f"conv.blocks.0.mlp.{'linear1.0' if token_mlp == 'leff' else 'fc1'}.weight"]
        return {
            "img_size": next((side << level for level, side in enumerate(sides[:5]) if side < sides[0]), 128),
            "dd_in": dd_in,
            "embed_dim": embed_dim,
            "depths": depths,
            "num_heads": [table.shape[1] for table in tables],
            "win_size": sides[0],
            "mlp_ratio": len(hidden) / hidden.shape[1],
            "qkv_bias": "conv.blocks.0.attn.qkv.to_q.bias" in state,
            "token_mlp": token_mlp,
            "modulator": "decoderlayer_0.blocks.0.modulator.weight" in state,
            "out_channels": out_channels,
            "image_residual": dd_in == out_channels,
        }

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of an official file without its index buffers."""
        return {key: value for key, value in state.items() if not key.endswith(INDEX)}

    def to_official(self) -> dict[str, Tensor]:
        """Our state and the authors' index buffers."""
        official: dict[str, Tensor] = {}
        for key, value in self.state_dict().items():
            official[key] = value
            if key.endswith(BIAS_TABLE):
                side = (math.isqrt(len(value)) + 1) // 2
                official[key.replace(BIAS_TABLE, INDEX)] = relative_position_index(side).to(value.device)
        return official

    def official_file(self) -> dict[str, Any]:
        """The state as the authors' DataParallel names it, beside the places of what only training needs."""
        state = {f"module.{key}": value for key, value in self.to_official().items()}
        return {"epoch": 0, "state_dict": state, "optimizer": {}}


def initialise(module: nn.Module) -> None:
    """Fresh weights as the authors draw them: projections normal with deviation 0.02, truncated, without bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
