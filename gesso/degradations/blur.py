"""Blur: Gaussian, motion and defocus, each image with its own kernel."""

import dataclasses
import math
from typing import Annotated

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw, ends
from gesso.functional.padding import pad
from gesso.functional.random import BatchGenerator


def filter_image(image: Tensor, kernel: Tensor) -> Tensor:
    """`image` (B, 3, H, W) convolved with kernels (B, K, K), K odd, that sum to 1; mirrored at its edges, clamped."""
    side = kernel.shape[-1]
    margin = side // 2
    padded = pad(image, margin, margin, margin, margin)
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size).unsqueeze(1)
    return torch.fft.irfft2(spectrum, s=size)[..., side - 1 :, side - 1 :].clamp(0, 1)


def grid(margin: int, image: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets y (K, 1) and x (K,) from the centre of a kernel of side K = 2 * margin + 1."""
    offset = torch.arange(-margin, margin + 1, device=image.device, dtype=image.dtype)
    return offset.view(-1, 1), offset


def normalised(kernel: Tensor) -> Tensor:
    """Kernels (B, 1, K, K) as (B, K, K) that sum to 1."""
    return (kernel / kernel.sum((-2, -1), keepdim=True)).squeeze(1)


def gaussian_kernel(sigma: Tensor, minor: Tensor, angle: Tensor, margin: int) -> Tensor:
    """Gaussian kernels (B, K, K), K = 2 * margin + 1, that sum to 1.

    Args:
        sigma: standard deviation along `angle` in pixels, (B, 1, 1, 1); 0 gives the identity.
        minor: standard deviation across it.
        angle: direction of the long axis in degrees, 0 horizontal.
        margin: pixels on each side of the centre.
    """
    y, x = grid(margin, sigma)
    cosine, sine = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    # A thousandth of a pixel is as good as 0 and keeps 0 / 0 away.
    exponent = (along / sigma.clamp(min=1e-3)).square() + (across / minor.clamp(min=1e-3)).square()
    return normalised(torch.exp(-0.5 * exponent))


@dataclasses.dataclass(frozen=True)
class GaussianBlur(Degradation):
    """An image convolved with a Gaussian, isotropic unless `ratio` is below 1.

    Args:
        sigma: standard deviation of the long axis in pixels, [0, 50]; 0 means no blur. The kernel ends at 3 sigma.
        ratio: short axis / long axis, (0, 1].
        angle: direction of the long axis in degrees, [0, 180].
    """

    sigma: Annotated[Range, Bounds(0, 50)] = (0.2, 3)
    ratio: Annotated[Range, Bounds(0.01, 1)] = 1.0
    angle: Annotated[Range, Bounds(0, 180)] = (0, 180)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        sigma, ratio, angle = (draw(value, image, generator) for value in (self.sigma, self.ratio, self.angle))
        margin = math.ceil(3 * ends(self.sigma)[1])
        return filter_image(image, gaussian_kernel(sigma, sigma * ratio, angle, margin))


@dataclasses.dataclass(frozen=True)
class MotionBlur(Degradation):
    """An image that moved during the exposure, along a straight or a shaken path.

    Args:
        length: length of the path in pixels, [0, 200]; 0 means no blur.
        angle: direction in which the path sets out in degrees, 0 horizontal, [0, 360].
        shake: how far the direction strays along the path, in half turns, [0, 4]; 0 is a straight line.

    The shaken path follows the idea of Boracchi and Foi, "Modeling the performance of image restoration from motion
    blur", IEEE TIP 2012: a random walk. Here only its direction walks, at constant speed, so that `length` keeps its
    meaning.
    """

    length: Annotated[Range, Bounds(0, 200)] = (3, 25)
    angle: Annotated[Range, Bounds(0, 360)] = (0, 360)
    shake: Annotated[Range, Bounds(0, 4)] = (0, 0.5)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        length, angle, shake = (draw(v, image, generator)[..., 0] for v in (self.length, self.angle, self.shake))
        margin = math.ceil(ends(self.length)[1] / 2) + 1
        points = 4 * margin
        walk = draw((-1.0, 1.0), image, generator, points)[..., 0].cumsum(1) * math.sqrt(3 / points)
        heading = torch.deg2rad(angle) + math.pi * shake * walk  # (B, points, 1)
        path = torch.cat([heading.sin(), heading.cos()], dim=-1).cumsum(1) * length / points
        path = path - path.mean(1, keepdim=True)  # no point is farther from the centre than length / 2
        offset = grid(margin, image)[1]
        near_y, near_x = ((1 - (offset - path[..., axis : axis + 1]).abs()).relu() for axis in (0, 1))
        return filter_image(image, normalised((near_y.mT @ near_x).unsqueeze(1)))


@dataclasses.dataclass(frozen=True)
class Defocus(Degradation):
    """An image out of focus: convolved with a disc.

    Args:
        radius: radius of the disc in pixels, [0, 100]; 0 means sharp.
    """

    radius: Annotated[Range, Bounds(0, 100)] = (1, 6)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        radius = draw(self.radius, image, generator)
        y, x = grid(math.ceil(ends(self.radius)[1]), image)
        return filter_image(image, normalised((radius + 0.5 - torch.hypot(y, x)).clamp(0, 1)))
