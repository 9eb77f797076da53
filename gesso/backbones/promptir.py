"""PromptIR: a Restormer whose decoder is told the degradation by learned prompts, so that one network serves many.

Paper: Potlapalli et al., "PromptIR: Prompting for All-in-One Blind Image Restoration", NeurIPS 2023.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone, check_residual
from gesso.backbones._channel_blocks import (
    Downsample,
    LayerNormType,
    PatchEmbed,
    Stage,
    TransformerBlock,
    Upsample,
    recognise_stages,
)
from gesso.functional.checks import check_choice


class Prompt(nn.Module):
    """Prompt generation, section 3.1.1: learned maps, weighted by what the feature map shows of the degradation.

    Args:
        dim: channels of the prompt.
        side: side of the learned maps; they are resized to the feature map.
        feature_dim: channels of the feature map.
        prompts: number of learned maps.
    """

    def __init__(self, dim: int, side: int, feature_dim: int, prompts: int = 5) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, prompts, dim, side, side))
        self.linear_layer = nn.Linear(feature_dim, prompts)
        self.conv3x3 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)

    def forward(self, feature: Tensor) -> Tensor:
        """The prompt (B, dim, H, W) for a map (B, feature_dim, H, W)."""
        weights = self.linear_layer(feature.mean((2, 3))).softmax(1)
        prompt = torch.einsum("bn,nchw->bchw", weights, self.prompt_param[0])
        prompt = F.interpolate(prompt, feature.shape[-2:], mode="bilinear")
        return self.conv3x3(prompt.contiguous(memory_format=torch.channels_last))


class PromptIR(Backbone):
    """PromptIR, figure 2 of its paper, with the prompts that all its published networks have.

    `features` returns what follows each of three prompts, coarse to fine, and the refinement: `dim` times 4, 4, 2, 2
    channels at 1/8, 1/4, 1/2 and 1/1 of the image. Prompts have 4/3, 8/3 and 20/3 times `dim` channels, which are the
    official ones for the official 48.

    Args:
        inp_channels: image channels.
        out_channels: channels of the restored image.
        dim: channels at full resolution, a multiple of 3; twice as many at each level down.
        num_blocks: blocks at each of the four levels, on the way down as on the way up.
        num_refinement_blocks: blocks after the decoder.
        heads: attention heads at each of the four levels; blocks behind prompts have those of the third.
        ffn_expansion_factor: hidden channels of the feed-forward networks by their input channels.
        LayerNorm_type: "WithBias" as published, or "BiasFree".
        image_residual: whether the input is added to the output.
        unused_layers: whether to keep, frozen, the six 1x1 convolutions that the official class owns and never calls.
            Its files then load and leave again bit by bit. DCPT's class has none.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "promptir": {},
        "promptir_dcpt": {"unused_layers": False},
        "promptir_tiny": {"dim": 12, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1, "unused_layers": False},
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
        LayerNorm_type: LayerNormType = "WithBias",
        image_residual: bool = True,
        unused_layers: bool = True,
    ) -> None:
        super().__init__()
        check_choice("LayerNorm_type", LayerNorm_type, LayerNormType)
        if dim % 3:
            raise ValueError(f"dim: expected a multiple of 3, for prompts of 4/3 times as many channels, got {dim}")
        self.in_channels, self.out_channels = inp_channels, out_channels
        self.channels = [dim * 4, dim * 4, dim * 2, dim * 2]
        self.image_residual = check_residual(image_residual, inp_channels, out_channels)
        prompt1, prompt2, prompt3 = dim * 4 // 3, dim * 8 // 3, dim * 20 // 3
        kind = {"ffn_expansion_factor": ffn_expansion_factor, "LayerNorm_type": LayerNorm_type}
        stage, block = functools.partial(Stage, **kind), functools.partial(TransformerBlock, heads=heads[2], **kind)
        conv1x1 = functools.partial(nn.Conv2d, kernel_size=1, bias=False)

        self.patch_embed = PatchEmbed(inp_channels, dim)
        self.encoder_level1 = stage(num_blocks[0], dim, heads[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = stage(num_blocks[1], dim * 2, heads[1])
        self.down2_3 = Downsample(dim * 2)
        self.encoder_level3 = stage(num_blocks[2], dim * 4, heads[2])
        self.down3_4 = Downsample(dim * 4)
        self.latent = stage(num_blocks[3], dim * 8, heads[3])

        self.prompt3 = Prompt(prompt3, 16, dim * 8)
        self.noise_level3 = block(dim * 8 + prompt3)
        self.reduce_noise_level3 = conv1x1(dim * 8 + prompt3, dim * 4)
        self.up4_3 = Upsample(dim * 4)
        self.reduce_chan_level3 = conv1x1(dim * 6, dim * 4)
        self.decoder_level3 = stage(num_blocks[2], dim * 4, heads[2])

        self.prompt2 = Prompt(prompt2, 32, dim * 4)
        self.noise_level2 = block(dim * 4 + prompt2)
        self.reduce_noise_level2 = conv1x1(dim * 4 + prompt2, dim * 4)
        self.up3_2 = Upsample(dim * 4)
        self.reduce_chan_level2 = conv1x1(dim * 4, dim * 2)
        self.decoder_level2 = stage(num_blocks[1], dim * 2, heads[1])

        self.prompt1 = Prompt(prompt1, 64, dim * 2)
        self.noise_level1 = block(dim * 2 + prompt1)
        self.reduce_noise_level1 = conv1x1(dim * 2 + prompt1, dim * 2)
        self.up2_1 = Upsample(dim * 2)
        self.decoder_level1 = stage(num_blocks[0], dim * 2, heads[0])
        self.refinement = stage(num_refinement_blocks, dim * 2, heads[0])
        self.output = nn.Conv2d(dim * 2, out_channels, 3, padding=1, bias=False)

        if unused_layers:
            reduced3 = dim * 16 // 3
            self.chnl_reduce1 = conv1x1(prompt1, prompt1).requires_grad_(False)
            self.chnl_reduce2 = conv1x1(prompt2, prompt2).requires_grad_(False)
            self.chnl_reduce3 = conv1x1(prompt3, reduced3).requires_grad_(False)
            self.reduce_noise_channel_1 = conv1x1(dim + prompt1, dim).requires_grad_(False)
            self.reduce_noise_channel_2 = conv1x1(dim * 2 + prompt2, dim * 2).requires_grad_(False)
            self.reduce_noise_channel_3 = conv1x1(dim * 4 + reduced3, dim * 4).requires_grad_(False)

    def features(self, image: Tensor) -> list[Tensor]:
        """What follows prompts 3, 2, 1, and the refinement of `image` (B, inp_channels, H, W)."""
        encoded1 = self.encoder_level1(self.patch_embed(image))
        prompted = self.decode(encoded1)
        decoded1 = self.decoder_level1(torch.cat([self.up2_1(prompted[-1]), encoded1], 1))
        return [*prompted, self.refinement(decoded1)]

    def stage_features(self, image: Tensor) -> list[Tensor]:
        """What follows prompts 3, 2 and 1; the last decoder level and the refinement are left out."""
        return self.decode(self.encoder_level1(self.patch_embed(image)))

    def decode(self, encoded1: Tensor) -> list[Tensor]:
        """What follows prompts 3, 2 and 1, from the map of the first encoder level."""
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        latent = self.latent(self.down3_4(encoded3))

        prompted3 = self.noise_level3(torch.cat([latent, self.prompt3(latent)], 1))
        prompted3 = self.reduce_noise_level3(prompted3)
        decoded3 = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(prompted3), encoded3], 1)))

        prompted2 = self.noise_level2(torch.cat([decoded3, self.prompt2(decoded3)], 1))
        prompted2 = self.reduce_noise_level2(prompted2)
        decoded2 = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(prompted2), encoded2], 1)))

        prompted1 = self.noise_level1(torch.cat([decoded2, self.prompt1(decoded2)], 1))
        return [prompted3, prompted2, self.reduce_noise_level1(prompted1)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution of the refined map, plus the image where there is an image residual."""
        restored = self.output(feature)
        return restored + image if self.image_residual else restored

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Options deduced from shapes. Official files without prompts are not PromptIR: their network cannot run."""
        if "prompt1.prompt_param" not in state:
            return None
        options = recognise_stages(state)
        return options | {
            "image_residual": options["inp_channels"] == options["out_channels"],
            "unused_layers": "chnl_reduce1.weight" in state,
        }

    def official_file(self) -> dict[str, Any]:
        """A checkpoint of the authors' LightningModule, which calls the network `net`; Lightning wants a version."""
        state = {f"net.{key}": value for key, value in self.to_official().items()}
        return {"state_dict": state, "pytorch-lightning_version": "2.0.0"}
