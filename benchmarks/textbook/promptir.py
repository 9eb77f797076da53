"""PromptIR as its paper writes it, of the same plain blocks as Restormer; prompts are repeated for every image."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.textbook.restormer import Block, Convolution


class Prompt(nn.Module):
    def __init__(self, dim: int, side: int, feature_dim: int):
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, 5, dim, side, side))
        self.linear_layer = nn.Linear(feature_dim, 5)
        self.conv3x3 = nn.Conv2d(dim, dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.linear_layer(x.mean((-2, -1))).softmax(1)[:, :, None, None, None]
        prompt = (weights * self.prompt_param.repeat(len(x), 1, 1, 1, 1)).sum(1)
        return self.conv3x3(F.interpolate(prompt, x.shape[-2:], mode="bilinear"))


class Textbook(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        dim, blocks, heads = (options[name] for name in ("dim", "num_blocks", "heads"))
        kind = (options["ffn_expansion_factor"], False, options["LayerNorm_type"], "softmax", 1e-5)
        prompts = (dim * 4 // 3, dim * 8 // 3, dim * 20 // 3)
        self.image_residual = options["image_residual"]

        def stage(channels: int, level: int, depth: int | None = None) -> nn.Sequential:
            return nn.Sequential(*(Block(channels, heads[level], *kind) for _ in range(depth or blocks[level])))

        def conv(dim_in: int, dim_out: int) -> nn.Conv2d:
            return nn.Conv2d(dim_in, dim_out, 1, bias=False)

        self.patch_embed = Convolution(options["inp_channels"], dim)
        self.encoder_level1, self.encoder_level2, self.encoder_level3 = (stage(dim * 2**i, i) for i in range(3))
        self.down1_2, self.down2_3, self.down3_4 = (
            Convolution(dim * 2**i, dim * 2**i // 2, nn.PixelUnshuffle(2)) for i in range(3)
        )
        self.latent = stage(dim * 8, 3)
        self.prompt1, self.prompt2, self.prompt3 = (
            Prompt(prompts[i], 64 // 2**i, dim * 2 ** (i + 1)) for i in range(3)
        )
        self.noise_level1, self.noise_level2, self.noise_level3 = (
            Block(dim * 2 ** (i + 1) + prompts[i], heads[2], *kind) for i in range(3)
        )
        self.reduce_noise_level3 = conv(dim * 8 + prompts[2], dim * 4)
        self.reduce_noise_level2 = conv(dim * 4 + prompts[1], dim * 4)
        self.reduce_noise_level1 = conv(dim * 2 + prompts[0], dim * 2)
        self.up4_3, self.up3_2, self.up2_1 = (
            Convolution(dim_in, dim_in * 2, nn.PixelShuffle(2)) for dim_in in (dim * 4, dim * 4, dim * 2)
        )
        self.reduce_chan_level3 = conv(dim * 6, dim * 4)
        self.reduce_chan_level2 = conv(dim * 4, dim * 2)
        self.decoder_level3, self.decoder_level2 = stage(dim * 4, 2), stage(dim * 2, 1)
        self.decoder_level1 = stage(dim * 2, 0)
        self.refinement = stage(dim * 2, 0, options["num_refinement_blocks"])
        self.output = nn.Conv2d(dim * 2, options["out_channels"], 3, padding=1, bias=False)
        if options["unused_layers"]:
            shapes = {"chnl_reduce1": prompts[:1] * 2, "chnl_reduce2": prompts[1:2] * 2}
            shapes |= {"chnl_reduce3": (prompts[2], dim * 16 // 3), "reduce_noise_channel_1": (dim + prompts[0], dim)}
            shapes |= {"reduce_noise_channel_2": (dim * 2 + prompts[1], dim * 2)}
            shapes |= {"reduce_noise_channel_3": (dim * 4 + dim * 16 // 3, dim * 4)}
            for name, shape in shapes.items():
                self.add_module(name, conv(*shape))

    def forward(self, image: Tensor) -> Tensor:
        encoded1 = self.encoder_level1(self.patch_embed(image))
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        encoded3 = self.encoder_level3(self.down2_3(encoded2))
        x = self.latent(self.down3_4(encoded3))
        x = self.reduce_noise_level3(self.noise_level3(torch.cat([x, self.prompt3(x)], 1)))
        x = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(x), encoded3], 1)))
        x = self.reduce_noise_level2(self.noise_level2(torch.cat([x, self.prompt2(x)], 1)))
        x = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(x), encoded2], 1)))
        x = self.reduce_noise_level1(self.noise_level1(torch.cat([x, self.prompt1(x)], 1)))
        x = self.refinement(self.decoder_level1(torch.cat([self.up2_1(x), encoded1], 1)))
        return self.output(x) + image if self.image_residual else self.output(x)
