"""A refiner of one's own: what follows a restorer that works already."""

import torch
from torch import Tensor, nn

from gesso import Refiner


class Touch(Refiner):
    """Two convolutions of restored and degraded image, and what a prior says, added to the restored image.

    Args:
        prior_dim: numbers in the prior of an image; 0: no prior.
        width: channels between the convolutions.
        in_channels: channels of the degraded image.
        out_channels: channels of the restored image.
    """

    def __init__(self, prior_dim: int = 0, width: int = 8, *, in_channels: int = 3, out_channels: int = 3) -> None:
        super().__init__(prior_dim, in_channels=in_channels, out_channels=out_channels)
        self.first = nn.Conv2d(in_channels + out_channels, width, 3, padding=1)
        self.shift = nn.Linear(prior_dim, width) if prior_dim else None
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, restored: Tensor, degraded: Tensor, prior: Tensor | None = None) -> Tensor:
        """The refined image (B, out_channels, H, W)."""
        feature = self.first(torch.cat([restored, degraded], 1))
        if self.shift is not None:
            feature = feature + self.shift(prior)[:, :, None, None]
        return restored + self.last(feature.relu())
