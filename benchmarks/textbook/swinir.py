"""SwinIR as its paper and most implementations write it: tokens and maps in turn, windows cut in every block."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._blocks import DIV2K_MEAN, pixel_shuffles
from gesso.backbones.swinir import connection


def partition(x: Tensor, side: int) -> Tensor:
    """Windows (windows of all images, side*side, C) of a map (B, H, W, C)."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // side, side, width // side, side, dim)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side * side, dim)


def join(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The map (B, H, W, C) that was cut into windows."""
    dim = windows.shape[-1]
    x = windows.view(-1, height // side, width // side, side, side, dim)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, height, width, dim)


def make_mask(height: int, width: int, side: int, shift: int, device: torch.device) -> Tensor:
    """0 or -100 for each pair of pixels of each window, by numbering the regions that a shift brings together."""
    regions = torch.zeros(1, height, width, 1, device=device)
    number = 0
    for rows in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
        for columns in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
            regions[:, rows, columns] = number
            number += 1
    regions = partition(regions, side).squeeze(-1)
    difference = regions.unsqueeze(1) - regions.unsqueeze(2)
    return difference.masked_fill(difference != 0, -100.0).masked_fill(difference == 0, 0.0)


class Attention(nn.Module):
    def __init__(self, dim: int, side: int, heads: int, qkv_bias: bool, position_bias: bool):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.position_bias = position_bias
        if position_bias:
            self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
            self.register_buffer("relative_position_index", torch.zeros(side * side, side * side, dtype=torch.long))
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        count, pixels, dim = windows.shape
        q, k, v = self.qkv(windows).reshape(count, pixels, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if self.position_bias:
            bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
            logits = logits + bias.view(pixels, pixels, -1).permute(2, 0, 1).contiguous()
        if mask is not None:
            per_image = logits.view(count // len(mask), len(mask), self.heads, pixels, pixels)
            logits = (per_image + mask.to(logits.dtype)[:, None]).view(count, self.heads, pixels, pixels)
        attended = logits.softmax(-1) @ v
        return self.proj(attended.transpose(1, 2).reshape(count, pixels, dim))


class Perceptron(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim: int, side: int, heads: int, shift: int, img_size: int, options: dict[str, Any]):
        super().__init__()
        self.side, self.shift, self.masked = side, shift, bool(shift) and options["shift_mask"]
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, side, heads, options["qkv_bias"], options["position_bias"])
        self.mlp = Perceptron(dim, int(dim * options["mlp_ratio"]))
        if self.masked:
            self.register_buffer("attn_mask", torch.zeros((img_size // side) ** 2, side * side, side * side))

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        batch, _, dim = tokens.shape
        x = self.norm1(tokens).view(batch, height, width, dim)
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        mask = make_mask(height, width, self.side, self.shift, x.device) if self.masked else None
        x = join(self.attn(partition(x, self.side), mask), self.side, height, width)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        tokens = tokens + x.view(batch, height * width, dim)
        return tokens + self.mlp(self.norm2(tokens))


class Group(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, options: dict[str, Any]):
        super().__init__()
        side = options["window_size"]
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            Block(dim, side, heads, side // 2 * (j % 2), options["img_size"], options) for j in range(depth)
        )
        self.conv = connection(dim, options["resi_connection"])

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        x = tokens
        for block in self.residual_group.blocks:
            x = block(x, height, width)
        x = self.conv(x.transpose(1, 2).reshape(len(x), -1, height, width))
        return x.flatten(2).transpose(1, 2) + tokens


class Textbook(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        dim, channels = options["embed_dim"], options["out_channels"] or options["in_chans"]
        self.upsampler, self.scale, self.img_range = options["upsampler"], options["upscale"], options["img_range"]
        self.mean = DIV2K_MEAN if options["in_chans"] == 3 else (0.0,)
        self.conv_first = nn.Conv2d(options["in_chans"], dim, 3, padding=1)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            Group(dim, depth, heads, options)
            for depth, heads in zip(options["depths"], options["num_heads"], strict=True)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = connection(dim, options["resi_connection"])
        if self.upsampler == "pixelshuffledirect":
            conv = nn.Conv2d(dim, channels * self.scale**2, 3, padding=1)
            self.upsample = nn.Sequential(conv, nn.PixelShuffle(self.scale))
            return
        if self.upsampler:
            self.conv_before_upsample = nn.Sequential(nn.Conv2d(dim, 64, 3, padding=1), nn.LeakyReLU())
        if self.upsampler == "pixelshuffle":
            self.upsample = pixel_shuffles(64, self.scale)
        if self.upsampler == "nearest+conv":
            for name in ("conv_up1", "conv_up2", "conv_hr") if self.scale == 4 else ("conv_up1", "conv_hr"):
                self.add_module(name, nn.Conv2d(64, 64, 3, padding=1))
        self.conv_last = nn.Conv2d(64 if self.upsampler else dim, channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        mean = image.new_tensor(self.mean).view(1, -1, 1, 1)
        image = (image - mean) * self.img_range
        shallow = self.conv_first(image)
        tokens = self.patch_embed.norm(shallow.flatten(2).transpose(1, 2))
        for layer in self.layers:
            tokens = layer(tokens, height, width)
        deep = self.norm(tokens).transpose(1, 2).reshape(len(image), -1, height, width)
        x = self.conv_after_body(deep) + shallow
        if self.upsampler == "":
            x = image + self.conv_last(x)
        elif self.upsampler == "pixelshuffle":
            x = self.conv_last(self.upsample(self.conv_before_upsample(x)))
        elif self.upsampler == "pixelshuffledirect":
            x = self.upsample(x)
        else:
            x = self.conv_before_upsample(x)
            for conv in [self.conv_up1, self.conv_up2] if self.scale == 4 else [self.conv_up1]:
                x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
            x = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))
        return x / self.img_range + mean
