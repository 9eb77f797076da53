"""What more than one network is built of."""

import contextlib
from collections.abc import Iterator

from torch import Tensor, nn

from gesso.functional.random import drop_path_mask

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # RGB, which SwinIR and IPT take off their input


def pixel_shuffles(channels: int, scale: int) -> nn.Sequential:
    """Enlargement of a map by 3, or by a power of 2 in steps of 2, each a convolution and a pixel shuffle."""
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    layers = [(nn.Conv2d(channels, channels * step**2, 3, padding=1), nn.PixelShuffle(step)) for step in steps]
    return nn.Sequential(*(layer for pair in layers for layer in pair))


class DropPath(nn.Module):
    """Stochastic depth: in training, a branch is left out for a share of the images of the batch.

    Huang et al., "Deep networks with stochastic depth", ECCV 2016.

    Args:
        prob: how likely a branch is left out, in [0, 1).
        image_dim: which dimension of a branch counts the images.
    """

    part: tuple[int, int, int] | None = None  # see `part_of_batch`

    def __init__(self, prob: float, image_dim: int = 0) -> None:
        super().__init__()
        self.prob, self.image_dim = prob, image_dim

    def forward(self, branch: Tensor) -> Tensor:
        """The branch, or zeros for some images; the others are enlarged, so that the mean stays."""
        if not self.training or not self.prob:
            return branch
        mask = drop_path_mask(branch.shape[self.image_dim], 1 - self.prob, branch, self.part)
        return branch * (mask / (1 - self.prob)).view(-1, *(1,) * (branch.ndim - self.image_dim - 1))


@contextlib.contextmanager
def part_of_batch(network: nn.Module, first: int, count: int, total: int) -> Iterator[None]:
    """Tells a network that it sees `count` samples from `first` on of a batch of `total`: it drops what all would.

    So a batch that is cut in parts, or shared out over devices, trains as it does whole.
    """
    paths = [module for module in network.modules() if isinstance(module, DropPath)]
    for path in paths:
        path.part = (first, count, total)
    try:
        yield
    finally:
        for path in paths:
            path.part = None
