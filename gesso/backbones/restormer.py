"""Restormer: a U-shaped transformer whose attention mixes channels, so that its cost grows linearly with the pixels.

Paper: Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022.

DCPT (Hu et al., ICLR 2025) trains a Restormer with ReLU in place of softmax, `norm_eps` 1e-6 and no biases inside
blocks. Its class wraps the stages, so that its files read `latent.body.0...`; `wrapped` makes `to_official` do so, and
kernels start as they do there. With `scale` its network enlarges, by as many last convolutions as a pixel of the input
becomes.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.backbones._channel_blocks import (
    Attention,
    Downsample,
    LayerNormType,
    PatchEmbed,
    Stage,
    Upsample,
    recognise_stages,
)
from gesso.functional.checks import check_choice


class Restormer(Backbone):
    """Restormer, figure 2 of its paper, and the form that DCPT trains.

    `features` returns decoder levels 3, 2, 1 and the refinement: `dim` times 4, 2, 2, 2 channels at 1/4, 1/2, 1/1 and
    1/1 of the image. A dual-pixel network adds `skip_conv` of the patch embedding to the last, and never the image.

    Args:
        inp_channels: image channels: 3, 1 for grey, 6 for a dual-pixel pair.
        out_channels: channels of the restored image.
        dim: channels at full resolution; twice as many at each level down.
        num_blocks: blocks at each of the four levels, on the way down as on the way up.
        num_refinement_blocks: blocks after the decoder.
        heads: attention heads at each of the four levels.
        ffn_expansion_factor: hidden channels of the feed-forward networks by their input channels.
        bias: whether convolutions have biases; with ReLU attention those outside blocks only, as in DCPT.
        LayerNorm_type: "WithBias", the ordinary one, or "BiasFree" as in the official denoisers.
        dual_pixel_task: defocus deblurring from the two views of a dual-pixel sensor.
        image_residual: whether the input is added to the output.
        attention: "softmax" as published, or "relu" as in DCPT.
        norm_eps: what is added to variances: 1e-5 as published, 1e-6 in DCPT.
        wrapped: whether `to_official` names stages as DCPT does, and kernels start from its normal numbers of 0.02.
        scale: output side / input side, 1, 2 or 4 in DCPT. Its last convolutions stand side by side, each adds the
            image, and a pixel shuffle takes them in an order that mixes the colours, as published.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "restormer": {},
        "restormer_biasfree": {"LayerNorm_type": "BiasFree"},
        "restormer_gray": {"inp_channels": 1, "out_channels": 1, "LayerNorm_type": "BiasFree"},
        "restormer_dual_pixel": {"inp_channels": 6, "dual_pixel_task": True},
        "restormer_dcpt": {"LayerNorm_type": "BiasFree", "attention": "relu", "norm_eps": 1e-6, "wrapped": True},
        "restormer_tiny": {"dim": 16, "num_blocks": (1, 1, 2, 2), "num_refinement_blocks": 1},
    }
    input_option = "inp_channels"
    stem_keys = ("patch_embed.proj.",)
    head_keys = ("output.",)
    tile_overlap, tile_least = 8, 256
    stages = (0, 1, 2)
    size_multiple = 8

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: LayerNormType = "WithBias",
        dual_pixel_task: bool = False,
        image_residual: bool = True,
        attention: Attention = "softmax",
        norm_eps: float = 1e-5,
        wrapped: bool = False,
        scale: int = 1,
    ) -> None:
        super().__init__()
        check_choice("LayerNorm_type", LayerNorm_type, LayerNormType)
        check_choice("attention", attention, Attention)
        if scale not in (1, 2, 4):
            raise ValueError(f"scale: expected 1, 2 or 4, got {scale}")
        self.in_channels, self.out_channels = inp_channels, out_channels
        self.channels = [dim * 4, dim * 2, dim * 2, dim * 2]
        self.image_residual = check_residual(image_residual and not dual_pixel_task, inp_channels, out_channels)
        block_bias = bias and attention == "softmax"
        stage = functools.partial(
            Stage,
            ffn_expansion_factor=ffn_expansion_factor,
            bias=block_bias,
            LayerNorm_type=LayerNorm_type,
            attention=attention,
            norm_eps=norm_eps,
        )

        self.patch_embed = PatchEmbed(inp_channels, dim)
        self.encoder_level1 = stage(num_blocks[0], dim, heads[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = stage(num_blocks[1], dim * 2, heads[1])
        self.down2_3 = Downsample(dim * 2)
        self.encoder_level3 = stage(num_blocks[2], dim * 4, heads[2])
        self.down3_4 = Downsample(dim * 4)
        self.latent = stage(num_blocks[3], dim * 8, heads[3])

        self.up4_3 = Upsample(dim * 8)
        self.reduce_chan_level3 = nn.Conv2d(dim * 8, dim * 4, 1, bias=bias)
        self.decoder_level3 = stage(num_blocks[2], dim * 4, heads[2])
        self.up3_2 = Upsample(dim * 4)
        self.reduce_chan_level2 = nn.Conv2d(dim * 4, dim * 2, 1, bias=bias)
        self.decoder_level2 = stage(num_blocks[1], dim * 2, heads[1])
        self.up2_1 = Upsample(dim * 2)
        self.decoder_level1 = stage(num_blocks[0], dim * 2, heads[0])
        self.refinement = stage(num_refinement_blocks, dim * 2, heads[0])

        self.skip_conv = nn.Conv2d(dim, dim * 2, 1, bias=bias) if dual_pixel_task else None
        last = functools.partial(nn.Conv2d, dim * 2, out_channels, 3, padding=1, bias=bias)
        self.scale = scale
        self.output = last() if scale == 1 else nn.ModuleList(last() for _ in range(scale**2))
        if scale > 1:
            self.head_keys = tuple(f"output.{number}." for number in range(scale**2))
            self.head_by_channel = False
        if wrapped:
            self.apply(start_as_dcpt)

    def features(self, image: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2, 1 and the refinement of `image` (B, inp_channels, H, W)."""
        embedded = self.patch_embed(image)
        levels = self.decode(embedded)
        refined = self.refinement(levels[-1])
        if self.skip_conv is not None:
            refined = refined + self.skip_conv(embedded)
        return [*levels, refined]

    def stage_features(self, image: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2 and 1; the refinement is left out."""
        return self.decode(self.patch_embed(image))

    def decode(self, embedded: Tensor) -> list[Tensor]:
        """Decoder levels 3, 2 and 1 from the map of the patch embedding."""
        encoded1 = self.encoder_level1(embedded)
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        latent = self.latent(self.down3_4(encoded3))

        decoded3 = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(latent), encoded3], 1)))
        decoded2 = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(decoded3), encoded2], 1)))
        return [decoded3, decoded2, self.decoder_level1(torch.cat([self.up2_1(decoded2), encoded1], 1))]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution of the refined map, plus the image where there is an image residual."""
        if isinstance(self.output, nn.ModuleList):
            parts = [output(feature) + (image if self.image_residual else 0) for output in self.output]
            return F.pixel_shuffle(torch.cat(parts, 1), self.scale)
        restored = self.output(feature)
        return restored + image if self.image_residual else restored

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from shapes; DCPT's attention and epsilon show in wrapped names only."""
        wrapped = any(key.startswith("latent.body.") for key in state)
        state = cls.from_official(state)
        if "refinement.0.attn.qkv.weight" not in state or "prompt1.prompt_param" in state:
            return None
        options = recognise_stages(state)
        options |= {
            "bias": "output.bias" in state or "output.0.bias" in state,
            "dual_pixel_task": "skip_conv.weight" in state,
            "image_residual": options["inp_channels"] == options["out_channels"],
        }
        options["scale"] = math.isqrt(sum(bool(re.fullmatch(r"output\.(\d+\.)?weight", key)) for key in state))
        return options | ({"attention": "relu", "norm_eps": 1e-6, "wrapped": True} if wrapped else {})

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same tensors; DCPT's wrapped stages lose their `.body`."""
        return {re.sub(rf"^({STAGES})\.body\.", r"\1.", key): value for key, value in state.items()}

    def to_official(self) -> dict[str, Tensor]:
        """The same tensors; under DCPT's names if the network is `wrapped`."""
        if not self.options["wrapped"]:
            return super().to_official()
        return {re.sub(rf"^({STAGES})\.", r"\1.body.", key): value for key, value in self.state_dict().items()}


def start_as_dcpt(module: nn.Module) -> None:
    """Gives a convolution the random start that DCPT's class gives it."""
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)


STAGES = r"(?:en|de)coder_level\d|latent|refinement"
