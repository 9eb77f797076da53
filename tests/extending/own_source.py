"""Images of one's own, from nothing."""

import torch
from torch import Tensor


def waves(seed: int, index: int, size: int) -> Tensor:
    """Coloured waves (3, size, size) in [0, 1]: the same arguments, the same pixels."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + index)
    slope, phase = torch.randn(2, 3, 1, 1, generator=generator), torch.rand(3, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(size) / 8, torch.arange(size) / 8, indexing="ij")
    return 0.5 + 0.5 * torch.sin(slope[0] * y + slope[1] * x + 6.28 * phase)
