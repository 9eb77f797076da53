"""Uformer as its paper writes it: tokens, explicit windows, a mask made anew in every block that shifts them."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


def partition(x: Tensor, side: int) -> Tensor:
    """Windows (B*windows, side, side, C) of a map (B, H, W, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // side, side, width // side, side, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side, side, channels)


def reverse(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The map (B, H, W, C) of windows (B*windows, side, side, C)."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // side, width // side, side, side, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, channels)


def to_map(tokens: Tensor) -> Tensor:
    """A square map (B, C, H, W) of tokens (B, H*W, C)."""
    batch, length, channels = tokens.shape
    side = int(length**0.5)
    return tokens.transpose(1, 2).contiguous().view(batch, channels, side, side)


def to_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).contiguous()


class Projections(nn.Module):
    def __init__(self, dim: int, bias: bool):
        super().__init__()
        self.to_q = nn.Linear(dim, dim, bias=bias)
        self.to_kv = nn.Linear(dim, 2 * dim, bias=bias)


class Attention(nn.Module):
    def __init__(self, dim: int, side: int, heads: int, bias: bool):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        offset = place[:, :, None] - place[:, None, :] + side - 1
        self.register_buffer("relative_position_index", offset[0] * (2 * side - 1) + offset[1])
        self.qkv = Projections(dim, bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        windows, length, dim = x.shape
        q = self.qkv.to_q(x).reshape(windows, length, self.heads, dim // self.heads).permute(0, 2, 1, 3)
        kv = self.qkv.to_kv(x).reshape(windows, length, 2, self.heads, dim // self.heads)
        k, v = kv.permute(2, 0, 3, 1, 4)
        logits = q * (dim // self.heads) ** -0.5 @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        logits = logits + bias.view(length, length, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
        if mask is not None:
            logits = logits.view(-1, len(mask), self.heads, length, length) + mask[None, :, None]
            logits = logits.view(-1, self.heads, length, length)
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(windows, length, dim))


class LeFF(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.linear1 = nn.Sequential(nn.Linear(dim, hidden), nn.GELU())
        self.dwconv = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.GELU())
        self.linear2 = nn.Sequential(nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        hidden = self.linear1(x).transpose(1, 2).view(batch, -1, int(length**0.5), int(length**0.5))
        return self.linear2(self.dwconv(hidden).flatten(2).transpose(1, 2))


class Block(nn.Module):
    def __init__(self, dim: int, side: int, shift: int, heads: int, options: dict[str, Any], modulator: bool):
        super().__init__()
        self.side, self.shift = side, shift
        self.modulator = nn.Embedding(side * side, dim) if modulator else None
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, side, heads, options["qkv_bias"])
        hidden = int(dim * options["mlp_ratio"])
        if options["token_mlp"] == "leff":
            self.mlp = LeFF(dim, hidden)
        else:
            layers = {"fc1": nn.Linear(dim, hidden), "act": nn.GELU(), "fc2": nn.Linear(hidden, dim)}
            self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, dim = tokens.shape
        size = int(length**0.5)
        x = self.norm1(tokens).view(batch, size, size, dim)
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        windows = partition(x, self.side).view(-1, self.side**2, dim)
        if self.modulator is not None:
            windows = windows + self.modulator.weight
        windows = self.attn(windows, self.mask(size, x) if self.shift else None)
        x = reverse(windows.view(-1, self.side, self.side, dim), self.side, size, size)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        tokens = tokens + x.view(batch, length, dim)
        return tokens + self.mlp(self.norm2(tokens))

    def mask(self, size: int, like: Tensor) -> Tensor:
        """-100 between pixels of a window that the shift brought together from afar, (windows, N, N)."""
        region = like.new_zeros(1, size, size, 1)
        bands = (slice(0, -self.side), slice(-self.side, -self.shift), slice(-self.shift, None))
        for number, (rows, columns) in enumerate((rows, columns) for rows in bands for columns in bands):
            region[:, rows, columns] = number
        region = partition(region, self.side).view(-1, self.side**2)
        difference = region[:, None, :] - region[:, :, None]
        return difference.masked_fill(difference != 0, -100.0)


class Stage(nn.Module):
    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class Convolution(nn.Module):
    """A convolution on the map of tokens, under the key that the authors chose."""

    def __init__(self, name: str, *layers: nn.Module):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, tokens: Tensor) -> Tensor:
        return to_tokens(self.get_submodule(self.name)(to_map(tokens)))


class Textbook(nn.Module):
    """The whole network, without stochastic depth; images are square."""

    def __init__(self, **options: Any):
        super().__init__()
        dim, image = options["embed_dim"], options["dd_in"]
        self.image_residual = options["image_residual"]

        def stage(position: int) -> Stage:
            level = min(position, 8 - position)
            side = min(options["win_size"], options["img_size"] >> level)
            channels = dim << level + (position > 4)
            decoder_flag = options["decoder_shift_flag"]
            flag = options["shift_flag"] if position <= 4 or decoder_flag is None else decoder_flag
            shift = options["win_size"] // 2 if flag and options["img_size"] >> level > options["win_size"] else 0
            modulator = options["modulator"] and position > 4
            return Stage(
                [
                    Block(channels, side, shift if block % 2 else 0, options["num_heads"][position], options, modulator)
                    for block in range(options["depths"][position])
                ]
            )

        self.input_proj = Convolution("proj", nn.Conv2d(image, dim, 3, padding=1), nn.LeakyReLU(0.01))
        self.output_proj = Convolution("proj", nn.Conv2d(2 * dim, options["out_channels"] or image, 3, padding=1))
        self.conv = stage(4)
        for level in range(4):
            down = nn.Conv2d(dim << level, dim << level + 1, 4, stride=2, padding=1)
            up = nn.ConvTranspose2d(dim << (4 if level == 0 else 5 - level), dim << 3 - level, 2, stride=2)
            self.add_module(f"encoderlayer_{level}", stage(level))
            self.add_module(f"dowsample_{level}", Convolution("conv", down))
            self.add_module(f"upsample_{level}", Convolution("deconv", up))
            self.add_module(f"decoderlayer_{level}", stage(5 + level))

    def forward(self, image: Tensor) -> Tensor:
        x = to_tokens(self.input_proj.proj(image))
        skips = []
        for level in range(4):
            skips.append(self.get_submodule(f"encoderlayer_{level}")(x))
            x = self.get_submodule(f"dowsample_{level}")(skips[-1])
        x = self.conv(x)
        for level in range(4):
            x = torch.cat([self.get_submodule(f"upsample_{level}")(x), skips[3 - level]], -1)
            x = self.get_submodule(f"decoderlayer_{level}")(x)
        x = self.output_proj.proj(to_map(x))
        return x + image if self.image_residual else x
