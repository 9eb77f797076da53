"""Restormer as its paper and most implementations write it: plain maps, token reshapes, normalised queries and keys."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    """Norm over the channels of every pixel, through tokens and back."""

    def __init__(self, dim: int, kind: str, eps: float):
        super().__init__()
        self.kind, self.eps = kind, eps
        self.body = nn.Module()
        self.body.weight = nn.Parameter(torch.ones(dim))
        if kind == "WithBias":
            self.body.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2).contiguous()
        variance = tokens.var(-1, keepdim=True, unbiased=False)
        if self.kind == "WithBias":
            mean = tokens.mean(-1, keepdim=True)
            tokens = (tokens - mean) / torch.sqrt(variance + self.eps) * self.body.weight + self.body.bias
        else:
            tokens = tokens / torch.sqrt(variance + self.eps) * self.body.weight
        return tokens.transpose(1, 2).contiguous().view(x.shape[0], -1, height, width)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, bias: bool, kind: str):
        super().__init__()
        self.heads, self.kind = heads, kind
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, dim * 3, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(dim * 3, dim * 3, 3, padding=1, groups=dim * 3, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, dim, height, width = x.shape
        q, k, v = (
            part.reshape(batch, self.heads, dim // self.heads, height * width)
            for part in self.qkv_dwconv(self.qkv(x)).chunk(3, dim=1)
        )
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        logits = q @ k.transpose(-2, -1) * self.temperature
        attention = logits.softmax(-1) if self.kind == "softmax" else logits.relu()
        return self.project_out((attention @ v).reshape(batch, dim, height, width))


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int, bias: bool):
        super().__init__()
        self.project_in = nn.Conv2d(dim, hidden * 2, 1, bias=bias)
        self.dwconv = nn.Conv2d(hidden * 2, hidden * 2, 3, padding=1, groups=hidden * 2, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, factor: float, bias: bool, norm: str, attention: str, eps: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, norm, eps)
        self.attn = Attention(dim, heads, bias, attention)
        self.norm2 = LayerNorm(dim, norm, eps)
        self.ffn = FeedForward(dim, int(dim * factor), bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class Convolution(nn.Module):
    """A 3x3 convolution without bias under the name `proj`, or `body.0` before what `then` does."""

    def __init__(self, dim_in: int, dim_out: int, then: nn.Module | None = None):
        super().__init__()
        conv = nn.Conv2d(dim_in, dim_out, 3, padding=1, bias=False)
        if then is None:
            self.proj = conv
        else:
            self.body = nn.Sequential(conv, then)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x) if hasattr(self, "proj") else self.body(x)


class Textbook(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        dim, blocks, heads, bias = (options[name] for name in ("dim", "num_blocks", "heads", "bias"))
        norm, attention, eps = (options[name] for name in ("LayerNorm_type", "attention", "norm_eps"))
        self.image_residual = options["image_residual"] and not options["dual_pixel_task"]
        self.dual_pixel_task = options["dual_pixel_task"]

        def stage(channels: int, level: int, depth: int | None = None) -> nn.Sequential:
            inner = (options["ffn_expansion_factor"], bias and attention == "softmax", norm, attention, eps)
            return nn.Sequential(*(Block(channels, heads[level], *inner) for _ in range(depth or blocks[level])))

        def down(channels: int) -> nn.Module:
            return Convolution(channels, channels // 2, nn.PixelUnshuffle(2))

        def up(channels: int) -> nn.Module:
            return Convolution(channels, channels * 2, nn.PixelShuffle(2))

        self.patch_embed = Convolution(options["inp_channels"], dim)
        self.encoder_level1, self.down1_2 = stage(dim, 0), down(dim)
        self.encoder_level2, self.down2_3 = stage(dim * 2, 1), down(dim * 2)
        self.encoder_level3, self.down3_4 = stage(dim * 4, 2), down(dim * 4)
        self.latent = stage(dim * 8, 3)
        self.up4_3, self.reduce_chan_level3 = up(dim * 8), nn.Conv2d(dim * 8, dim * 4, 1, bias=bias)
        self.decoder_level3 = stage(dim * 4, 2)
        self.up3_2, self.reduce_chan_level2 = up(dim * 4), nn.Conv2d(dim * 4, dim * 2, 1, bias=bias)
        self.decoder_level2 = stage(dim * 2, 1)
        self.up2_1, self.decoder_level1 = up(dim * 2), stage(dim * 2, 0)
        self.refinement = stage(dim * 2, 0, options["num_refinement_blocks"])
        if self.dual_pixel_task:
            self.skip_conv = nn.Conv2d(dim, dim * 2, 1, bias=bias)
        self.output = nn.Conv2d(dim * 2, options["out_channels"], 3, padding=1, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        embedded = self.patch_embed(image)
        encoded1 = self.encoder_level1(embedded)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        x = self.up4_3(self.latent(self.down3_4(encoded3)))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([x, encoded3], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), encoded2], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), encoded1], 1)))
        if self.dual_pixel_task:
            x = x + self.skip_conv(embedded)
        return self.output(x) + image if self.image_residual else self.output(x)
