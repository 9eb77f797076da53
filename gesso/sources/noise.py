"""Gaussian noise: what IFP is pre-trained on."""

import torch
from torch import Tensor

from gesso.functional.random import generator_for
from gesso.sources._base import fixed


@fixed(count=1)  # IFP paper, table 6
def noise(seed: int, index: int, size: int, channels: int = 3) -> Tensor:
    """Noise N(0, 1), neither clamped nor normalised, (channels, size, size).

    Args:
        seed: one seed for all images.
        index: which image.
        size: side in pixels.
        channels: channels of the image, each drawn on its own.
    """
    return torch.randn(channels, size, size, generator=generator_for(seed, "noise", index), dtype=torch.float32)
