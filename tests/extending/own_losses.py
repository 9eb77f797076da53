"""Losses of one's own: on the image, and on the feature maps; and a learning rate."""

from collections.abc import Callable

import torch
from torch import Tensor

from gesso import Backbone, FeatureLoss


def edges(restored: Tensor, gt: Tensor, weight: float = 1.0) -> Tensor:
    """Absolute errors, and those of differences of neighbours."""
    error = restored - gt
    return error.abs().mean() + weight * (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())


class Sparse(FeatureLoss):
    """Few features at a time."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, backbone: Backbone, features: list[Tensor], lq: Tensor) -> Tensor:
        """The mean size of all maps."""
        return torch.stack([feature.abs().pow(self.power).mean() for feature in features]).mean()


def linear(lr: float, *, steps: int) -> Callable[[int], float]:
    """A learning rate that falls on a line to 0."""
    return lambda step: lr * (1 - step / steps)
