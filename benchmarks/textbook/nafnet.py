"""NAFNet and its Baseline as the paper writes them: plain maps, one operation after the other. Pooling is global."""

from typing import Any

import torch
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Norm over the channels of every pixel of plain maps."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        normalised = (x - mean) / (variance + 1e-6).sqrt()
        return normalised * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class Block(nn.Module):
    def __init__(self, channels: int, wide: int, hidden: int, gated: bool):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.activation = Gate() if gated else nn.GELU()
        narrow = wide // 2 if gated else wide
        self.norm1, self.norm2 = LayerNorm(channels), LayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv3 = nn.Conv2d(narrow, channels, 1)
        pool = nn.AdaptiveAvgPool2d(1)
        if gated:
            self.sca = nn.Sequential(pool, nn.Conv2d(narrow, narrow, 1))
        else:
            squeeze, excite = nn.Conv2d(narrow, narrow // 2, 1), nn.Conv2d(narrow // 2, narrow, 1)
            self.se = nn.Sequential(pool, squeeze, nn.ReLU(), excite, nn.Sigmoid())
        self.conv4 = nn.Conv2d(channels, hidden, 1)
        self.conv5 = nn.Conv2d(hidden // 2 if gated else hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        attention = self.sca if hasattr(self, "sca") else self.se
        a = self.activation(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(a * attention(a)) * self.beta
        return x + self.conv5(self.activation(self.conv4(self.norm2(x)))) * self.gamma


class Textbook(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        gated = "dw_expand" not in options
        wide, hidden = options.get("dw_expand", 2), options.get("ffn_expand", 2)
        self.image_residual = options["image_residual"]

        def stage(channels: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*(Block(channels, wide * channels, hidden * channels, gated) for _ in range(blocks)))

        channels = options["width"]
        self.intro = nn.Conv2d(options["img_channel"], channels, 3, padding=1)
        self.ending = nn.Conv2d(channels, options["out_channels"] or options["img_channel"], 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        for blocks in options["enc_blk_nums"]:
            self.encoders.append(stage(channels, blocks))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, stride=2))
            channels *= 2
        self.middle_blks = stage(channels, options["middle_blk_num"])
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        for blocks in options["dec_blk_nums"]:
            self.ups.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(stage(channels, blocks))

    def forward(self, image: Tensor) -> Tensor:
        x = self.intro(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.middle_blks(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        return self.ending(x) + image if self.image_residual else self.ending(x)
