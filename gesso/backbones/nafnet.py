"""NAFNet and its Baseline: U-shaped networks of convolutions, without attention maps and (NAFNet) without activations.

Paper: Chen et al., "Simple Baselines for Image Restoration", ECCV 2022. Local pooling at test time: Chu et al.,
"Improving Image Restoration by Revisiting Global Information Aggregation" (TLC), ECCV 2022.

Maps (B, C, H, W) lie in memory channels last, so that the views (B, H, W, C) in which the blocks work cost nothing:
1x1 convolutions are then matrix products, and normalisation reads memory in order.
"""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.functional.padding import round_up
from gesso.functional.row_chunks import map_row_chunks

Size = tuple[int, int]  # height, width
SIDD = {"middle_blk_num": 12, "enc_blk_nums": [2, 2, 4, 8], "dec_blk_nums": [2, 2, 2, 2]}
GOPRO = {"middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 28], "dec_blk_nums": [1, 1, 1, 1], "train_size": (256, 256)}
# Whose features DCPT's released script classifies: three levels.
PROBE: dict[str, Any] = {"enc_blk_nums": [2, 4, 8], "middle_blk_num": 12, "dec_blk_nums": [2, 2, 2]}
TINY = {"width": 8, "middle_blk_num": 2, "enc_blk_nums": [1, 1, 1, 1], "dec_blk_nums": [1, 1, 1, 1]}


# ---------------------------------------------------------------------------------------------------------- pooling


class Pool(nn.Module):
    """Mean over the map, or over a `window` around every position.

    A window as large as what the network saw in training, because statistics of a whole photograph differ from those
    of crops (TLC).
    """

    def __init__(self, window: Size | None) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """Means of `x` (B, C, H, W): (B, C, 1, 1), or one for each place of the window inside the map."""
        height, width = x.shape[-2:]
        if self.window is None or (height <= self.window[0] and width <= self.window[1]):
            return x.mean((2, 3), keepdim=True)
        rows, columns = min(self.window[0], height), min(self.window[1], width)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (box_sum(box_sum(wide, rows, 2), columns, 3) / (rows * columns)).to(x.dtype)


def box_sum(x: Tensor, size: int, dim: int) -> Tensor:
    """Sums of `size` neighbours along `dim`, which gets shorter by size - 1.

    Two sums of half as many neighbours each, and so on down: 2 log2(size) additions at most, and as few roundings,
    where differences of cumulative sums, the usual way, lose digits with every row.

    Example:
        >>> box_sum(torch.arange(5), 3, 0)
        tensor([3, 6, 9])
    """
    if size == 1:
        return x
    half, places = size // 2, x.shape[dim] - size + 1
    sums = box_sum(x, half, dim)
    sums = sums.narrow(dim, 0, places) + sums.narrow(dim, half, places)
    return sums + x.narrow(dim, size - 1, places) if size % 2 else sums


def spread(means: Tensor, height: int, width: int) -> Tensor:
    """Local means (B, C, H', W') at every position of the map: edges repeat, one more at the bottom or right if odd."""
    missing_rows, missing_columns = height - means.shape[2], width - means.shape[3]
    top, left = missing_rows // 2, missing_columns // 2
    return F.pad(means, (left, missing_columns - left, top, missing_rows - top), mode="replicate")


# ----------------------------------------------------------------------------------------------------------- blocks


def pointwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of `x` (B, H, W, C), as the matrix product it is."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class Block(nn.Module):
    """What NAFNet and Baseline blocks share: a convolution with channel attention, then a feed-forward layer.

    Each works on normalised input and is added with a learned gain per channel, 0 at first (paper, figure 3).
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    conv4: nn.Conv2d
    conv5: nn.Conv2d
    norm1: nn.LayerNorm
    norm2: nn.LayerNorm

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def activate(self, x: Tensor) -> Tensor:
        """The only function of the block that is not linear, (B, H, W, C)."""
        raise NotImplementedError

    def attention(self, x: Tensor) -> Tensor:
        """A factor for each channel of `x` (B, C, H, W), and where pooling is local for each place of the window."""
        raise NotImplementedError

    def forward(self, feature: Tensor) -> Tensor:
        """The map after this block, (B, C, H, W) as before it."""
        x = feature.permute(0, 2, 3, 1)
        mixed = map_row_chunks(self.mix, x, reach=1)
        x = x + project(self.conv3, mixed, self.beta, self.attention(mixed.permute(0, 3, 1, 2)))
        return map_row_chunks(self.feed_forward, x, reach=0).permute(0, 3, 1, 2)

    def mix(self, x: Tensor) -> Tensor:
        """Mixes channels, then neighbours, of a map (B, H, W, C)."""
        wide = pointwise(self.conv1, self.norm1(x)).permute(0, 3, 1, 2)
        return self.activate(self.conv2(wide).permute(0, 2, 3, 1))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The second half of the block, (B, H, W, C)."""
        hidden = self.activate(pointwise(self.conv4, self.norm2(x)))
        return x + project(self.conv5, hidden, self.gamma)


def project(conv: nn.Conv2d, x: Tensor, gain: Tensor, attention: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of attention * `x`, times gain: `x` (B, H, W, C), gain (1, C, 1, 1), attention (B, C, h, w).

    Factors go into the matrix where it is smaller than the map: cheaper, and a training step need not keep the maps
    between them. (The gain and bias of normalisation could go into the next matrix as well; they come for nothing in
    `layer_norm`.)
    """
    batch, height, width, channels = x.shape
    if attention is not None and attention.shape[2:] != (1, 1):
        x, attention = x * spread(attention, height, width).permute(0, 2, 3, 1), None
    if height * width < channels:
        x = x if attention is None else x * attention.permute(0, 2, 3, 1)
        return pointwise(conv, x) * gain.flatten()
    assert conv.bias is not None
    weight, bias = conv.weight.flatten(1) * gain.view(-1, 1), conv.bias * gain.flatten()
    if attention is None:
        return F.linear(x, weight, bias)
    weight = weight * attention.view(batch, 1, channels)
    return torch.baddbmm(bias, x.flatten(1, 2), weight.transpose(1, 2)).view(batch, height, width, -1)


class NAFBlock(Block):
    """NAFNet's block: its nonlinearity is a product, its attention a linear function of means (paper, section 3.3)."""

    def __init__(self, channels: int, window: Size | None) -> None:
        super().__init__(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(Pool(window), nn.Conv2d(channels, channels, 1))
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)

    def activate(self, x: Tensor) -> Tensor:
        """The product of the two halves of the channels."""
        first, second = x.chunk(2, dim=-1)
        return first * second

    def attention(self, x: Tensor) -> Tensor:
        """Simplified channel attention."""
        pool, conv = self.sca
        return pointwise(cast(nn.Conv2d, conv), pool(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BaselineBlock(Block):
    """The Baseline's block: GELU and squeeze-and-excitation (paper, section 3.2)."""

    def __init__(self, channels: int, window: Size | None, dw_expand: int, ffn_expand: int) -> None:
        super().__init__(channels)
        wide, hidden = dw_expand * channels, ffn_expand * channels
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv3 = nn.Conv2d(wide, channels, 1)
        squeeze, excite = nn.Conv2d(wide, wide // 2, 1), nn.Conv2d(wide // 2, wide, 1)
        self.se = nn.Sequential(Pool(window), squeeze, nn.ReLU(), excite, nn.Sigmoid())
        self.conv4 = nn.Conv2d(channels, hidden, 1)
        self.conv5 = nn.Conv2d(hidden, channels, 1)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)

    def activate(self, x: Tensor) -> Tensor:
        """GELU."""
        return F.gelu(x)

    def attention(self, x: Tensor) -> Tensor:
        """Squeeze and excitation."""
        return self.se(x)


# --------------------------------------------------------------------------------------------------------- networks


def pooling_window(train_size: Size, level: int, multiple: int) -> Size:
    """Pooling window at a level 2^level times smaller than the image: 1.5 times the training crop, rounded down.

    The official code finds it by a forward pass of a padded crop.
    """
    height, width = ((round_up(side, multiple) >> level) * int(1.5 * side) // side for side in train_size)
    return height, width


class _UNet(Backbone):
    """The U that NAFNet and Baseline share; decoders add the encoder's map of their size to theirs."""

    input_option = "img_channel"
    stem_keys = ("intro.",)
    head_keys = ("ending.",)
    pad_mode = "zeros"
    tile_overlap = 16

    def __init__(
        self,
        block: Callable[[int, Size | None], Block],
        img_channel: int,
        width: int,
        middle_blk_num: int,
        enc_blk_nums: Sequence[int],
        dec_blk_nums: Sequence[int],
        train_size: Size | None,
        out_channels: int | None,
        image_residual: bool,
    ) -> None:
        super().__init__()
        levels = len(enc_blk_nums)
        if len(dec_blk_nums) != levels:
            raise ValueError(
                "dec_blk_nums: expected as many levels as enc_blk_nums has, "
                f"got {list(dec_blk_nums)} and {list(enc_blk_nums)}"
            )
        self.in_channels, self.out_channels = img_channel, out_channels or img_channel
        self.image_residual = check_residual(image_residual, self.in_channels, self.out_channels)
        self.size_multiple = 2**levels
        self.stages = tuple(range(levels))

        def blocks(level: int, number: int) -> nn.Sequential:
            window = train_size and pooling_window(train_size, level, self.size_multiple)
            return nn.Sequential(*(block(width << level, window) for _ in range(number)))

        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, self.out_channels, 3, padding=1)
        self.encoders = nn.ModuleList(blocks(level, number) for level, number in enumerate(enc_blk_nums))
        coarser = list(reversed(range(levels)))
        self.decoders = nn.ModuleList(
            blocks(level, number) for level, number in zip(coarser, dec_blk_nums, strict=True)
        )
        self.middle_blks = blocks(levels, middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width << level + 1, width << level + 2, 1, bias=False), nn.PixelShuffle(2))
            for level in coarser
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(width << level, width << level + 1, 2, stride=2) for level in range(levels)
        )
        self.channels = [width << level for level in coarser]

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps of the decoders, coarse to fine; the last one has `width` channels."""
        feature = self.intro(image.contiguous(memory_format=torch.channels_last))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(feature))
            feature = down(skips[-1])
        feature = self.middle_blks(feature)
        maps = []
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            feature = decoder(skip + up(feature))  # the sum lies in memory as the skip does
            maps.append(feature)
        return maps

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The restored image from the last map, plus the image if `image_residual`."""
        output = self.ending(feature)
        return output + image if self.image_residual else output

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options that both networks share, deduced from tensor names and shapes."""
        state = cls.from_official(state)
        if not {"intro.weight", "ending.weight", "downs.0.weight", "middle_blks.0.conv1.weight"} <= state.keys():
            return None
        width, img_channel = state["intro.weight"].shape[:2]
        out_channels = len(state["ending.weight"])

        def count(prefix: str) -> int:
            return len({key[len(prefix) :].split(".")[0] for key in state if key.startswith(prefix)})

        return {
            "img_channel": img_channel,
            "width": width,
            "middle_blk_num": count("middle_blks."),
            "enc_blk_nums": [count(f"encoders.{level}.") for level in range(count("downs."))],
            "dec_blk_nums": [count(f"decoders.{level}.") for level in range(count("downs."))],
            "out_channels": out_channels,
            "image_residual": img_channel == out_channels,
        }

    @classmethod
    def published_pooling(cls, found: Mapping[str, Any]) -> Size | None:
        """`train_size` of the published network with the options `found`, which its files do not tell."""
        for options in cls.variants.values():
            if all(found[option] == value for option, value in options.items() if option != "train_size"):
                return options.get("train_size")
        return None


class NAFNet(_UNet):
    """NAFNet of any size.

    Args:
        img_channel: channels of the input image.
        width: channels at full resolution; each level below doubles them.
        middle_blk_num: blocks at the lowest resolution.
        enc_blk_nums: blocks of each encoder level, fine to coarse.
        dec_blk_nums: blocks of each decoder level, coarse to fine.
        train_size: height and width in pixels of the training crops, if pooling is to be local (TLC): over 1.5 times
            that, and still global in smaller images. None: always global. No file tells it; the authors test with
            local pooling on GoPro and REDS, not on SIDD, and the variants here do as they do.
        dcpt_names: whether official files call the decoders as the code of DCPT does (`decoder0.` for `decoders.0.`).
            The network is the same, but images are padded by reflection, as DCPT tests it, and not with zeros.
        out_channels: channels of the output; None = `img_channel`.
        image_residual: whether the input image is added to the output.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "nafnet_dcpt": {"width": 64, **GOPRO, "train_size": (128, 128), "dcpt_names": True},
        "nafnet_dcpt_probe": {"width": 32, **PROBE, "dcpt_names": True},
        "nafnet_width32": {"width": 32, **SIDD},
        "nafnet_width64": {"width": 64, **SIDD},
        "nafnet_width32_sidd": {"width": 32, **SIDD},
        "nafnet_width64_sidd": {"width": 64, **SIDD},
        "nafnet_width32_gopro": {"width": 32, **GOPRO},
        "nafnet_width64_gopro": {"width": 64, **GOPRO},
        "nafnet_width32_reds": {"width": 32, **GOPRO},
        "nafnet_width64_reds": {"width": 64, **GOPRO},
        "nafnet_tiny": TINY,
    }

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 32,
        middle_blk_num: int = 12,
        enc_blk_nums: Sequence[int] = (2, 2, 4, 8),
        dec_blk_nums: Sequence[int] = (2, 2, 2, 2),
        train_size: tuple[int, int] | None = None,
        dcpt_names: bool = False,
        out_channels: int | None = None,
        image_residual: bool = True,
    ) -> None:
        super().__init__(
            NAFBlock, img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, train_size, out_channels,
            image_residual,
        )  # fmt: skip
        self.dcpt_names = dcpt_names
        if dcpt_names:
            self.pad_mode = "reflect"

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from tensor names and shapes; pooling is local where it is in the published network."""
        found = super().recognise(state)
        if found is None or "middle_blks.0.sca.1.weight" not in state:
            return None
        found["dcpt_names"] = "decoder0.0.conv1.weight" in state
        return found | {"train_size": cls.published_pooling(found)}

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of an official file, DCPT's decoders renamed."""
        return {re.sub(r"^decoder(\d)\.", r"decoders.\1.", key): value for key, value in state.items()}

    def to_official(self) -> dict[str, Tensor]:
        """Our state, decoders renamed for DCPT if `dcpt_names`."""
        state = super().to_official()
        if not self.dcpt_names:
            return state
        return {re.sub(r"^decoders\.(\d)\.", r"decoder\1.", key): value for key, value in state.items()}


class Baseline(_UNet):
    """The Baseline that NAFNet's authors simplify, of any size.

    Args:
        img_channel: channels of the input image.
        width: channels at full resolution; each level below doubles them.
        middle_blk_num: blocks at the lowest resolution.
        enc_blk_nums: blocks of each encoder level, fine to coarse.
        dec_blk_nums: blocks of each decoder level, coarse to fine.
        dw_expand: channels of the depthwise convolutions / channels of the map.
        ffn_expand: hidden channels of the feed-forward layers / channels of the map.
        train_size: height and width in pixels of the training crops, if pooling is to be local (see `NAFNet`).
        out_channels: channels of the output; None = `img_channel`.
        image_residual: whether the input image is added to the output.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "baseline_width32": {"width": 32, **SIDD},
        "baseline_width64": {"width": 64, **SIDD},
        "baseline_width32_sidd": {"width": 32, **SIDD},
        "baseline_width64_sidd": {"width": 64, **SIDD},
        "baseline_width32_gopro": {"width": 32, **GOPRO},
        "baseline_width64_gopro": {"width": 64, **GOPRO},
        "baseline_tiny": TINY,
    }

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 32,
        middle_blk_num: int = 12,
        enc_blk_nums: Sequence[int] = (2, 2, 4, 8),
        dec_blk_nums: Sequence[int] = (2, 2, 2, 2),
        dw_expand: int = 1,
        ffn_expand: int = 2,
        train_size: tuple[int, int] | None = None,
        out_channels: int | None = None,
        image_residual: bool = True,
    ) -> None:
        super().__init__(
            functools.partial(BaselineBlock, dw_expand=dw_expand, ffn_expand=ffn_expand),
            img_channel, width, middle_blk_num, enc_blk_nums, dec_blk_nums, train_size, out_channels, image_residual,
        )  # fmt: skip

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from tensor names and shapes; pooling is local where it is in the published network."""
        found = super().recognise(state)
        if found is None or "middle_blks.0.se.1.weight" not in state:
            return None
        wide, narrow = state["middle_blks.0.conv1.weight"].shape[:2]
        found |= {"dw_expand": wide // narrow, "ffn_expand": len(state["middle_blks.0.conv4.weight"]) // narrow}
        return found | {"train_size": cls.published_pooling(found)}
