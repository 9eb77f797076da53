"""SNR-Net: dark images, seen near where there is signal and far where there is none.

Paper: Xu, Wang, Fu, Jia, "SNR-Aware Low-Light Image Enhancement", CVPR 2022. The restorer of PTG-RM's released setting.

    image -> three convolutions, of which two halve it -> residual blocks
    near: more residual blocks; far: a transformer over 4 x 4 patches that looks at no patch without signal
    far where the signal-to-noise map is 0, near where it is 1 -> residual blocks -> twice enlarged, with skips -> image
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.functional.attention import attention
from gesso.functional.mimetic import AttentionWeights
from gesso.functional.snr import snr_map, snr_peak

PATCH = 4  # side of what is one token, on a map of a quarter of the image's side
HEAD_DIM = 64
BRIGHT = 0.5  # mean of the signal-to-noise map from which on a patch is looked at


class ResidualBlock(nn.Module):
    """Two convolutions and a residual, (B, nf, H, W) as before; small at the start, as in EDVR."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(nf, nf, 3, padding=1), nn.Conv2d(nf, nf, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, mode="fan_in")
            conv.weight.data *= 0.1
            nn.init.zeros_(conv.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, feature: Tensor) -> Tensor:
        """The map after the block."""
        return feature + self.conv2(F.relu(self.conv1(feature)))


class SelfAttention(nn.Module):
    """What each token takes from those that may be looked at, (B, N, D) as before, around a residual."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD_DIM
        self.w_qs, self.w_ks, self.w_vs = (nn.Linear(dim, inner, bias=False) for _ in range(3))
        self.fc = nn.Linear(inner, dim, bias=False)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """The tokens, given which are `visible` (B, N); where none is, all count alike."""
        normed = self.layer_norm(tokens)
        q, k, v = (
            project(normed).unflatten(2, (-1, HEAD_DIM)).transpose(1, 2)
            for project in (self.w_qs, self.w_ks, self.w_vs)
        )
        some = visible.any(1)[:, None, None, None]
        hidden = ~(visible[:, None, None, :] | ~some)
        bias = torch.zeros_like(hidden, dtype=q.dtype).masked_fill(hidden, float("-inf"))
        seen = attention(q * some, k, v, bias.expand(-1, 1, tokens.shape[1], -1))
        return tokens + self.fc(seen.transpose(1, 2).flatten(2))

    def attention_weights(self) -> AttentionWeights:
        """The weights of this layer, see `Backbone.draw_mimetic`."""
        query, key, value = (layer.weight for layer in (self.w_qs, self.w_ks, self.w_vs))
        return AttentionWeights(query, key, value, self.fc.weight, len(query) // HEAD_DIM)


class FeedForward(nn.Module):
    """Two layers for each token, (B, N, D) as before, around a residual."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, tokens: Tensor) -> Tensor:
        """The tokens after both."""
        return tokens + self.w_2(F.relu(self.w_1(self.layer_norm(tokens))))


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward network."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.slf_attn, self.pos_ffn = SelfAttention(dim, heads), FeedForward(dim, hidden)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """The tokens (B, N, D) after both."""
        return self.pos_ffn(self.slf_attn(tokens, visible))


class PatchTransformer(nn.Module):
    """Layers over the 4 x 4 patches of a map, without positions."""

    def __init__(self, depth: int, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.layer_stack = nn.ModuleList(EncoderLayer(dim, heads, hidden) for _ in range(depth))

    def forward(self, feature: Tensor, signal: Tensor) -> Tensor:
        """The map (B, C, H, W), given its signal-to-noise map (B, 1, H, W)."""
        tokens = F.unfold(feature, PATCH, stride=PATCH).mT
        visible = F.avg_pool2d(signal, PATCH).flatten(1) > BRIGHT
        for layer in self.layer_stack:
            tokens = layer(tokens, visible)
        return F.fold(tokens.mT, feature.shape[-2:], PATCH, stride=PATCH)


class SNRNet(Backbone):
    """SNR-Net, figure 3 of its paper.

    `features` returns the fused map, what follows the first enlargement, and the last map: `nf` channels each at 1/4,
    1/2 and 1/1 of the image. Names and options are the authors'. Their code leaves the border of a map out of the
    transformer where 16 does not divide the image's side; here the image is mirrored first.

    Args:
        in_channels: image channels.
        out_channels: channels of the restored image.
        nf: channels of every map.
        front_RBs: residual blocks before the two branches.
        back_RBs: residual blocks behind them.
        light_RBs: residual blocks of the near branch.
        n_layers: layers of the transformer.
        n_head: its attention heads, of 64 numbers each.
        d_inner: hidden numbers of its feed-forward networks.
        image_residual: whether the input is added to the output.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "snr_net": {},
        "snr_net_tiny": {"nf": 8, "light_RBs": 2, "n_layers": 2, "n_head": 1, "d_inner": 256},
    }
    stem_keys = ("conv_first_1.",)
    head_keys = ("conv_last.",)
    stages = (0, 1, 2)
    size_multiple = 4 * PATCH

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        nf: int = 64,
        front_RBs: int = 1,
        back_RBs: int = 1,
        light_RBs: int = 6,
        n_layers: int = 6,
        n_head: int = 8,
        d_inner: int = 2048,
        image_residual: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.channels = in_channels, out_channels, [nf] * 3
        self.image_residual = check_residual(image_residual, in_channels, out_channels)
        self.peak: Tensor | None = None  # of the image whose tiles are being restored

        self.conv_first_1 = nn.Conv2d(in_channels, nf, 3, padding=1)
        self.conv_first_2 = nn.Conv2d(nf, nf, 3, stride=2, padding=1)
        self.conv_first_3 = nn.Conv2d(nf, nf, 3, stride=2, padding=1)
        self.feature_extraction = residual_blocks(front_RBs, nf)
        self.recon_trunk = residual_blocks(back_RBs, nf)
        self.upconv1, self.upconv2 = (nn.Conv2d(2 * nf, 4 * nf, 3, padding=1) for _ in range(2))
        self.HRconv = nn.Conv2d(2 * nf, nf, 3, padding=1)
        self.conv_last = nn.Conv2d(nf, out_channels, 3, padding=1)
        self.transformer = PatchTransformer(n_layers, nf * PATCH**2, n_head, d_inner)
        self.recon_trunk_light = residual_blocks(light_RBs, nf)

    def features(self, image: Tensor) -> list[Tensor]:
        """The fused map, the map of half the side, and the last map of `image` (B, in_channels, H, W)."""
        first = leaky(self.conv_first_1(image))
        half = leaky(self.conv_first_2(first))
        quarter = leaky(self.conv_first_3(half))
        fused = self.recon_trunk(self.fuse(self.feature_extraction(quarter), image))
        larger = leaky(F.pixel_shuffle(self.upconv1(torch.cat([fused, quarter], 1)), 2))
        full = leaky(F.pixel_shuffle(self.upconv2(torch.cat([larger, half], 1)), 2))
        return [fused, larger, leaky(self.HRconv(torch.cat([full, first], 1)))]

    def fuse(self, feature: Tensor, image: Tensor) -> Tensor:
        """Both branches of a map (B, nf, H/4, W/4), each where the signal-to-noise map of the image trusts it."""
        signal = snr_map(image, self.peak)[:, :, ::4, ::4].to(feature.dtype)
        far, near = self.transformer(feature, signal), self.recon_trunk_light(feature)
        return far * (1 - signal) + near * signal

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution, plus the image where there is an image residual."""
        restored = self.conv_last(feature)
        return restored + image if self.image_residual else restored

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """Keeps the largest ratio of signal and noise of an image (C, H, W) while its tiles are restored."""
        self.peak = snr_peak(image[None].to(self.conv_last.weight.device))
        try:
            yield
        finally:
            self.peak = None

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from names and shapes."""
        if "recon_trunk_light.0.conv1.weight" not in state or "conv_first_3.weight" not in state:
            return None
        first, last = state["conv_first_1.weight"], state["conv_last.weight"]
        attention, hidden = (f"transformer.layer_stack.0.{name}.weight" for name in ("slf_attn.w_qs", "pos_ffn.w_1"))
        return {
            "in_channels": first.shape[1],
            "out_channels": last.shape[0],
            "nf": first.shape[0],
            "front_RBs": count(state, "feature_extraction."),
            "back_RBs": count(state, "recon_trunk."),
            "light_RBs": count(state, "recon_trunk_light."),
            "n_layers": count(state, "transformer.layer_stack."),
            "n_head": state[attention].shape[0] // HEAD_DIM,
            "d_inner": state[hidden].shape[0],
            "image_residual": first.shape[1] == last.shape[0],
        }

    def official_file(self) -> dict[str, Any]:
        """The bare state, as the authors store it."""
        return self.to_official()


def residual_blocks(depth: int, nf: int) -> nn.Sequential:
    """So many residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(nf) for _ in range(depth)))


def leaky(feature: Tensor) -> Tensor:
    """The activation outside the blocks."""
    return F.leaky_relu(feature, 0.1)


def count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts there are behind a prefix of names."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
