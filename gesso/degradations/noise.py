"""Noise: Gaussian, Poisson (shot) and speckle."""

import dataclasses
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw, draw_log
from gesso.functional.random import BatchGenerator, poisson, randn


def normal_like(image: Tensor, generator: BatchGenerator) -> Tensor:
    """Standard normal numbers in the shape, dtype and place of `image`."""
    return randn(image.shape, generator, image.dtype)


@dataclasses.dataclass(frozen=True)
class GaussianNoise(Degradation):
    """`image + sigma / 255 * n`, n standard normal, independent for every pixel and channel.

    Args:
        sigma: noise level in 8-bit units, [0, 255].
        clip: clamp to [0, 1]; False keeps the values outside, as the denoising benchmarks do when they test.
        numpy_seed: for tests, the noise that published numbers were measured on: drawn by numpy's legacy generator
            with this seed anew at every image, over (height, width, channel) in RGB order and in float64 (Restormer
            and DCPT: 0); none: drawn from `generator`, other noise for every image.
    """

    sigma: Annotated[Range, Bounds(0, 255)] = (0, 50)
    clip: bool = True
    numpy_seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        seed = self.numpy_seed
        if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
            raise ValueError(
                f"{self.name}.numpy_seed: expected a whole number from 0 to 2^32 - 1, or none, got {seed!r}"
            )

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        sigma = draw(self.sigma, image, generator) / 255
        if self.numpy_seed is None:
            noisy = image + sigma * normal_like(image, generator)
        else:
            noisy = torch.stack([self._as_published(*one) for one in zip(image, sigma, strict=True)])
        return noisy.clamp(0, 1) if self.clip else noisy

    def _apply_grey(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        if self.numpy_seed is None:
            return super()._apply_grey(image, generator)
        return self._apply(image, generator)  # numbers for one channel, not for three

    def _as_published(self, image: Tensor, sigma: Tensor) -> Tensor:
        """One image (C, H, W) with the noise that numpy draws for it."""
        level = sigma.item() if isinstance(self.sigma, tuple) else self.sigma / 255
        channels, height, width = image.shape
        noise = np.random.RandomState(self.numpy_seed).normal(0, level, (height, width, channels))
        return (image.double() + torch.from_numpy(noise).permute(2, 0, 1).to(image.device)).to(image.dtype)


@dataclasses.dataclass(frozen=True)
class PoissonNoise(Degradation):
    """A count of photons: `poisson(image * photons) / photons`, clamped.

    Args:
        photons: mean count at white, [1, 1e9]; drawn uniformly in its logarithm. 1e9 leaves nothing to see.
    """

    photons: Annotated[Range, Bounds(1, 1e9)] = (100, 10_000)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        return count_photons(image, draw_log(self.photons, image, generator), generator)


def count_photons(image: Tensor, photons: Tensor | float, generator: BatchGenerator) -> Tensor:
    """`image` as a sensor counts it that sees `photons` at white, clamped; what is below black counts as black."""
    return (poisson((image * photons).clamp(min=0), generator) / photons).clamp(0, 1)


@dataclasses.dataclass(frozen=True)
class SpeckleNoise(Degradation):
    """`image + image * sigma / 255 * n`, n standard normal, clamped: noise that grows with the light.

    Args:
        sigma: noise level at white in 8-bit units, [0, 255].
    """

    sigma: Annotated[Range, Bounds(0, 255)] = (2, 50)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        sigma = draw(self.sigma, image, generator) / 255
        return (image * (1 + sigma * normal_like(image, generator))).clamp(0, 1)
