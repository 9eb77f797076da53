"""The fine-tuned model of IFP and DegAE: the pre-trained network with its 64 output channels, and what follows it."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones._base import Backbone

WIDTH = 64  # channels inside a head that enlarges
SLOPE = 0.1


class Enlarge(nn.Module):
    """The layers of DegAE's head before its last convolution: pixel shuffles by 2, 3 or 4, and 64 channels."""

    def __init__(self, in_channels: int, scale: int) -> None:
        super().__init__()
        self.factor = 3 if scale == 3 else 2
        self.conv_first = nn.Conv2d(in_channels, WIDTH, 3, padding=1)
        self.upconv1 = nn.Conv2d(WIDTH, WIDTH * self.factor**2, 3, padding=1)
        self.upconv2 = nn.Conv2d(WIDTH, WIDTH * 4, 3, padding=1) if scale == 4 else None
        self.HRconv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, feature: Tensor) -> Tensor:
        """The input (B, 64, scale*H, scale*W) of the last convolution."""
        feature = F.leaky_relu(self.conv_first(feature), SLOPE)
        for conv in (self.upconv1, self.upconv2):
            if conv is not None:
                feature = F.leaky_relu(F.pixel_shuffle(conv(feature), self.factor), SLOPE)
        return F.leaky_relu(self.HRconv(feature), SLOPE)


class PaperTransfer(Backbone):
    """A pre-trained network that keeps its last convolution, and a new 3x3 convolution from there to the image.

    All of the pre-trained network is `features` here, its output the last feature map; only the new convolution is
    relearned, and no image is added (IFP paper, section 3.1; DegAE calls the convolution a one-conv head). For
    super-resolution, layers that enlarge stand before it, as in DegAE's class.

    Args:
        network: class of the pre-trained network, as `Restormer`; or the network itself, whose weights are shared.
        options: the constructor options of the class, 64 output channels and no image residual among them.
        out_channels: channels of the image.
        enlarge: output side / output side of the network: 1, 2, 3 or 4.
    """

    head_keys = ("conv_last.",)

    def __init__(
        self,
        network: str | Backbone,
        options: Mapping[str, Any] | None = None,
        out_channels: int = 3,
        enlarge: int = 1,
    ) -> None:
        super().__init__()
        from gesso.backbones import network_class  # the folder is complete only after this file

        backbone = network if isinstance(network, Backbone) else network_class(network)(**(options or {}))
        if enlarge not in (1, 2, 3, 4):
            raise ValueError(f"enlarge: expected 1, 2, 3 or 4, got {enlarge}")
        self.backbone = backbone
        self.enlarge = Enlarge(backbone.out_channels, enlarge) if enlarge > 1 else None
        width = WIDTH if enlarge > 1 else backbone.out_channels
        self.conv_last = nn.Conv2d(width, out_channels, 3, padding=1)
        self.in_channels, self.out_channels, self.image_residual = backbone.in_channels, out_channels, False
        self.channels = [*backbone.channels, width]
        self.stem_keys = tuple(f"backbone.{key}" for key in backbone.stem_keys)
        self.constant_keys = tuple(f"backbone.{key}" for key in backbone.constant_keys)
        self.size_multiple, self.pad_mode = backbone.size_multiple, backbone.pad_mode
        self.tile_overlap, self.tile_least = backbone.tile_overlap, backbone.tile_least
        self.find_unused_parameters = backbone.find_unused_parameters
        self.scale = backbone.scale * enlarge

    def spell_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The class and the options of a network that was given itself."""
        return given | {"network": self.backbone.spell_class(), "options": self.backbone.options}

    @classmethod
    def for_images(cls, options: Mapping[str, Any], channels: int) -> dict[str, Any]:
        """Constructor options of the same model for images with so many channels, see `Backbone.for_images`."""
        from gesso.backbones import network_class

        network = network_class(options["network"])
        inner = network.for_images(options["options"], channels)
        had, out = options["options"][network.input_option], options["out_channels"]
        return {**options, "options": inner, "out_channels": channels if out == had else out}

    def input_mean(self, channels: int) -> Tensor:
        """What the pre-trained network takes off an image."""
        return self.backbone.input_mean(channels)

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far the pre-trained network extends an image."""
        return self.backbone.padding(height, width)

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """Has the pre-trained network see the whole image."""
        with self.backbone.seeing(image):
            yield

    @contextlib.contextmanager
    def in_tiles(self) -> Iterator[None]:
        """Has the pre-trained network extend tiles no farther than it needs."""
        with self.backbone.in_tiles():
            yield

    def features(self, image: Tensor) -> list[Tensor]:
        """The feature maps of the pre-trained network, and last its output with 64 channels, or that enlarged."""
        features = self.backbone.features(image)
        return [*features, self.enlarged(self.backbone.reconstruct(features[-1], image))]

    def enlarged(self, feature: Tensor) -> Tensor:
        """The input of the last convolution, from the output of the pre-trained network."""
        return feature if self.enlarge is None else self.enlarge(feature)

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The image, from the last feature map."""
        return self.conv_last(feature)

    def forward(self, image: Tensor) -> Tensor:
        """The restored image; what padding adds is cropped before the new layers, as in the authors' code."""
        padded = self.pad(image)
        feature = self.backbone.reconstruct(self.backbone.features(padded)[-1], padded)
        return self.conv_last(self.enlarged(self.backbone.crop(feature, image)))
