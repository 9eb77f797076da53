"""The fine-tuned model of IFP and DegAE: the pre-trained network with its 64 output channels, and a convolution."""

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from gesso.backbones._base import Backbone


class PaperTransfer(Backbone):
    """A pre-trained network that keeps its last convolution, and a new 3x3 convolution from there to the image.

    All of the pre-trained network is `features` here, its output the last feature map; only the new convolution is
    relearned, and no image is added (IFP paper, section 3.1; DegAE calls the convolution a one-conv head).

    Args:
        network: class of the pre-trained network, as `Restormer`.
        options: its constructor options, 64 output channels and no image residual among them.
        out_channels: channels of the image.
    """

    head_keys = ("conv_last.",)

    def __init__(self, network: str, options: Mapping[str, Any], out_channels: int = 3) -> None:
        super().__init__()
        from gesso.backbones import backbone_classes  # the folder is complete only after this file

        self._adopt(backbone_classes()[network](**options), out_channels)

    @classmethod
    def around(cls, backbone: Backbone, out_channels: int = 3) -> Self:
        """The model around a network that exists already; its weights are shared, not copied."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._adopt(backbone, out_channels)
        net.options = {"network": type(backbone).__name__, "options": backbone.options, "out_channels": out_channels}
        return net

    def _adopt(self, backbone: Backbone, out_channels: int) -> None:
        self.backbone = backbone
        self.conv_last = nn.Conv2d(backbone.out_channels, out_channels, 3, padding=1)
        self.in_channels, self.out_channels, self.image_residual = backbone.in_channels, out_channels, False
        self.channels = [*backbone.channels, backbone.out_channels]
        self.size_multiple, self.pad_mode, self.scale = backbone.size_multiple, backbone.pad_mode, backbone.scale

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far the pre-trained network extends an image."""
        return self.backbone.padding(height, width)

    def features(self, image: Tensor) -> list[Tensor]:
        """The feature maps of the pre-trained network, and last its output with 64 channels."""
        features = self.backbone.features(image)
        return [*features, self.backbone.reconstruct(features[-1], image)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The image, from the output of the pre-trained network."""
        return self.conv_last(feature)

    def forward(self, image: Tensor) -> Tensor:
        """The restored image; what padding adds is cropped before the new convolution, as in the authors' code."""
        feature = self.features(self.pad(image))[-1]
        return self.reconstruct(self.crop(feature, image), image)
