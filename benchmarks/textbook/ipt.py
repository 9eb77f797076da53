"""IPT as its paper and PyTorch's modules write it: unfold, fold, tokens first, attention that returns weights."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._blocks import pixel_shuffles


class EncoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int, norm: type[nn.Module]):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, bias=False)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = norm(dim), norm(dim)

    def forward(self, z: Tensor, position: Tensor | float) -> Tensor:
        a = self.norm1(z)
        z = z + self.self_attn(a + position, a + position, a)[0]
        return z + self.linear2(F.relu(self.linear1(self.norm2(z))))


class DecoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int, norm: type[nn.Module]):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, bias=False)
        self.multihead_attn = nn.MultiheadAttention(dim, heads, bias=False)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2, self.norm3 = norm(dim), norm(dim), norm(dim)

    def forward(self, z: Tensor, memory: Tensor, position: Tensor | float, task: Tensor | float) -> Tensor:
        a = self.norm1(z)
        z = z + self.self_attn(a + task, a + task, a)[0]
        z = z + self.multihead_attn(self.norm2(z) + task, memory + position, memory)[0]
        return z + self.linear2(F.relu(self.linear1(self.norm3(z))))


def stack(layer: nn.Module, depth: int) -> nn.Module:
    stacked = nn.Module()
    stacked.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(depth))
    return stacked


class Position(nn.Module):
    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.register_buffer("position_ids", torch.arange(tokens)[None])
        self.pe = nn.Embedding(tokens, dim)

    def forward(self) -> Tensor:
        return self.pe(self.position_ids).transpose(0, 1)


class Body(nn.Module):
    def __init__(self, options: dict[str, Any]):
        super().__init__()
        self.options, self.patch_dim = options, options["patch_dim"]
        self.dim = options["n_feats"] * self.patch_dim**2
        tokens = (options["patch_size"] // self.patch_dim) ** 2
        norm = nn.Identity if options["no_norm"] else nn.LayerNorm
        if not options["no_mlp"]:
            self.linear_encoding = nn.Linear(self.dim, self.dim)
            self.mlp_head = nn.Sequential(
                nn.Linear(self.dim, 4 * self.dim), nn.Dropout(0), nn.ReLU(), nn.Linear(4 * self.dim, self.dim)
            )
            self.query_embed = nn.Embedding(options["num_queries"], self.dim * tokens)
        self.encoder = stack(EncoderLayer(self.dim, options["num_heads"], norm), options["num_layers"])
        self.decoder = stack(DecoderLayer(self.dim, options["num_heads"], norm), options["num_layers"])
        if not options["no_pos"]:
            self.position_encoding = Position(tokens, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        z = F.unfold(x, self.patch_dim, stride=self.patch_dim).transpose(1, 2).transpose(0, 1).contiguous()
        task, position = 0.0, 0.0
        if not self.options["no_mlp"]:
            z = self.linear_encoding(z) + z
            query = self.query_embed.weight[self.options["task"]]
            task = query.view(-1, 1, self.dim).repeat(1, z.shape[1], 1)
        if not self.options["no_pos"]:
            position = self.position_encoding()
        if not self.options["pos_every"]:
            z, position = z + position, 0.0
        for layer in self.encoder.layers:
            z = layer(z, position)
        memory = z
        for layer in self.decoder.layers:
            z = layer(z, memory, position, task)
        if not self.options["no_mlp"]:
            z = self.mlp_head(z) + z
        z = z.transpose(0, 1).contiguous().view(x.shape[0], -1, self.dim)
        return F.fold(z.transpose(1, 2).contiguous(), x.shape[-1], self.patch_dim, stride=self.patch_dim)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 5, padding=2), nn.ReLU(), nn.Conv2d(channels, channels, 5, padding=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x


class Textbook(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        channels, colors = options["n_feats"], options["n_colors"]
        self.task, self.rgb_range = options["task"], options["rgb_range"]
        self.sub_mean, self.add_mean = nn.Conv2d(colors, colors, 1), nn.Conv2d(colors, colors, 1)
        self.head = nn.ModuleList(
            nn.Sequential(nn.Conv2d(colors, channels, 3, padding=1), ResidualBlock(channels), ResidualBlock(channels))
            for _ in options["scale"]
        )
        self.body = Body(options)
        self.tail = nn.ModuleList(
            nn.Sequential(pixel_shuffles(channels, scale), nn.Conv2d(channels, colors, 3, padding=1))
            for scale in options["scale"]
        )

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.head[self.task](self.sub_mean(image * self.rgb_range))
        return self.add_mean(self.tail[self.task](self.body(shallow) + shallow)) / self.rgb_range
