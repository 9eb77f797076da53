"""Networks so small that a test can know everything about them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones import Backbone


class Convolutional(Backbone):
    """A convolutional network of two levels that sees six pixels far, and adds the image."""

    head_keys = ("last_conv.",)
    size_multiple = 2

    def __init__(self, channels: int = 3, scale: int = 1) -> None:
        super().__init__()
        self.in_channels = self.out_channels = channels
        self.scale, self.channels, self.image_residual = scale, [8, 8], True
        self.down = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.Conv2d(8, 32, 3, padding=1)
        self.last_conv = nn.Conv2d(8, channels * scale**2, 3, padding=1)

    def features(self, image: Tensor) -> list[Tensor]:
        coarse = F.gelu(self.middle(F.gelu(self.down(image))))
        return [coarse, F.pixel_shuffle(self.up(coarse), 2)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        restored = F.pixel_shuffle(self.last_conv(feature), self.scale)
        return restored + F.interpolate(image, scale_factor=self.scale, mode="nearest")


def convolutional(**options: int) -> Convolutional:
    """One with weights that show: its output differs from its input, and stays mostly within [0, 1]."""
    torch.manual_seed(0)
    return Convolutional(**options)


def photo_like(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """An image (C, H, W) in [0, 1] with coarse and fine structure."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(channels, height, width)
    for cell in (32, 8, 2):
        noise = torch.rand(1, channels, height // cell + 2, width // cell + 2, generator=generator)
        size = (height + 2 * cell, width + 2 * cell)
        image += F.interpolate(noise, size=size, mode="bilinear")[0, :, :height, :width] * cell / 42
    return image.clamp(0, 1)


def check_same_function(net: Backbone, other: nn.Module, image: Tensor, tolerance: float = 1e-10) -> None:
    """Checks that two networks of the same official weights agree, in their output and in the gradient of each weight.

    Args:
        net: ours.
        other: with the official names.
        image: in float64, like the networks.
        tolerance: greatest difference of outputs, and of gradients beside 1e-8 of their size.
    """
    other.load_state_dict(net.to_official())
    ours, theirs = net(image), other(image)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
    ours.square().mean().backward()
    theirs.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in other.named_parameters()}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-8, atol=tolerance, msg=name)
