"""A network of one's own."""

from torch import Tensor, nn

from gesso import Backbone


class HalfSize(Backbone):
    """Two convolutions, at half the size of the image."""

    head_keys = ("last.",)  # what comes after `features`; everything else is what transfers
    size_multiple = 2

    def __init__(
        self, width: int = 8, in_channels: int = 3, out_channels: int = 3, image_residual: bool = True
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.image_residual = in_channels, out_channels, image_residual
        self.channels = [4 * width, width]
        self.first, self.last = nn.Conv2d(4 * in_channels, 4 * width, 3, padding=1), nn.Conv2d(width, out_channels, 1)
        self.down, self.up = nn.PixelUnshuffle(2), nn.PixelShuffle(2)

    def features(self, image: Tensor) -> list[Tensor]:
        """The map at half the size, and the same at the size of the image."""
        coarse = self.first(self.down(image)).relu()
        return [coarse, self.up(coarse)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The restored image."""
        restored = self.last(feature)
        return restored + image if self.image_residual else restored
