"""The smallest backbone there is, for tests of the pretexts themselves; the contract tests use real ones."""

from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones import Backbone


class Plain(Backbone):
    """Two convolutions, two stages, any size; `scale` 2 enlarges."""

    head_keys = ("output.",)
    stages = (0, 1)
    size_multiple = 2

    def __init__(self, in_channels: int = 3, out_channels: int = 3, width: int = 8, scale: int = 1) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.scale = in_channels, out_channels, scale
        self.channels = [width, width]
        self.image_residual = in_channels == out_channels and scale == 1
        self.down = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
        self.up = nn.Conv2d(width, width, 3, padding=1)
        self.output = nn.Conv2d(width, out_channels, 3, padding=1)

    def features(self, image: Tensor) -> list[Tensor]:
        coarse = F.gelu(self.down(image))
        return [coarse, F.gelu(self.up(F.interpolate(coarse, scale_factor=2)))]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        restored = self.output(F.interpolate(feature, scale_factor=self.scale))
        return restored + image if self.image_residual else restored
