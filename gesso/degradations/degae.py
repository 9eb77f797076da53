"""DegAE's random degradation: blur, three noises and JPEG in random order, one draw for several images."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation
from gesso.degradations.blur import filter_image, gaussian_kernel
from gesso.degradations.jpeg import compress
from gesso.degradations.noise import count_photons
from gesso.functional.random import BatchGenerator, of_image, randint

Step = Callable[[Tensor, torch.Generator], Tensor]
Prob = Annotated[float, Bounds(0, 1)]
LUMA = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class DegAE(Degradation):
    """DegAE's pipeline: with `clean_prob` nothing, else each of five steps with its own probability.

    Half of the draws put the five steps in random order; the others blur first and compress last. Images of one
    sample share the parameters and the order, but not the realisation of the noise. `degae_test` is the milder pipeline
    on which the authors test the pretext.

    Args:
        clean_prob: probability of leaving a sample clean.
        shuffle_prob: probability of the random order.
        blur_prob: probability of a Gaussian blur, isotropic or not.
        gaussian_prob: probability of Gaussian noise, levels 2 to 30.
        poisson_prob: probability of Poisson noise, 100 to 10000 photons.
        speckle_prob: probability of speckle noise, levels 2 to 25.
        jpeg_prob: probability of JPEG, qualities 30 to 95.

    Liu et al., "DegAE: a new pretraining paradigm for low-level vision", CVPR 2023, with the distributions of
    the official code.
    """

    name = "degae"
    rgb_only = True

    clean_prob: Prob = 0.3
    shuffle_prob: Prob = 0.5
    blur_prob: Prob = 0.7
    gaussian_prob: Prob = 0.5
    poisson_prob: Prob = 0.2
    speckle_prob: Prob = 0.2
    jpeg_prob: Prob = 0.5

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "degae_test": {"blur_prob": 0.5, "poisson_prob": 0.0, "speckle_prob": 0.0, "jpeg_prob": 0.0}
    }

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        return self.share(image.unsqueeze(1), generator).squeeze(1)

    def share(self, images: Tensor, generator: BatchGenerator) -> Tensor:
        """Images (B, K, 3, H, W), all K of a sample degraded with the parameters of one draw, same shape.

        Grey images (B, K, 1, H, W) are degraded as coloured ones, of which the first channel is taken.
        """
        if images.shape[2] == 1:
            return self.share(images.expand(-1, -1, 3, -1, -1), generator)[:, :, :1]
        if images.shape[2] != 3:
            raise ValueError(f"{self.name}: defined for RGB and grey, these images have {images.shape[2]} channels")
        seeds = randint(0, 2**62, images.shape[:1], generator).tolist()
        degraded = []
        for position, (sample, seed) in enumerate(zip(images, seeds, strict=True)):
            for step in self.draw_steps(torch.Generator().manual_seed(seed)):
                sample = step(sample, of_image(generator, position))
            degraded.append(sample)
        return torch.stack(degraded)

    def draw_steps(self, generator: torch.Generator) -> list[Step]:
        """The steps of one draw in order, each with its parameters bound: called with images (K, 3, H, W).

        Args:
            generator: on the CPU, where parameters are drawn.
        """
        if uniform(generator) < self.clean_prob:
            return []
        candidates = [
            (self.blur_prob, draw_blur),
            (self.gaussian_prob, partial(draw_noise, most=30, speckle=False)),
            (self.poisson_prob, draw_poisson),
            (self.speckle_prob, partial(draw_noise, most=25, speckle=True)),
            (self.jpeg_prob, draw_jpeg),
        ]
        if uniform(generator) < self.shuffle_prob:
            order = shuffled(range(5), generator)
        else:
            order = [0, *shuffled(range(1, 4), generator), 4]
        return [
            make(generator) for prob, make in (candidates[position] for position in order) if uniform(generator) < prob
        ]


def uniform(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    """A number in [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float32).item()


def integer(generator: torch.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def shuffled(items: range, generator: torch.Generator) -> list[int]:
    """The items in random order."""
    return [items[position] for position in torch.randperm(len(items), generator=generator).tolist()]


def draw_blur(generator: torch.Generator) -> Step:
    """A Gaussian blur, kernel side 7 to 25: half anisotropic (variances below 5), half isotropic (sigma below 2.2)."""
    margin = integer(generator, 2, 11) + 1
    if uniform(generator) < 0.5:
        sigma, minor = (math.sqrt(uniform(generator, 0, 5)) for _ in range(2))
    else:
        sigma = minor = uniform(generator, 0, 2.2)
    angle = uniform(generator, 0, 180)
    kernel = gaussian_kernel(*(torch.full((1, 1, 1, 1), value) for value in (sigma, minor, angle)), margin=margin)
    return lambda image, _: filter_image(image, kernel.to(image).expand(len(image), -1, -1))


def draw_noise(generator: torch.Generator, *, most: int, speckle: bool) -> Step:
    """Gaussian noise of a level from 2 to `most`, speckle or not: 40 % colour, 40 % grey, 20 % correlated channels."""
    level = integer(generator, 2, most) / 255
    kind = uniform(generator)
    if kind > 0.6:
        mixing = level * torch.eye(3, dtype=torch.float32)
    elif kind < 0.4:
        mixing = level * torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float32)
    else:
        mixing = draw_mixing(generator, most / 255)

    def add(image: Tensor, realisation: torch.Generator) -> Tensor:
        shape = (len(image), *image.shape[-2:], 3)
        normal = torch.randn(shape, generator=realisation, device=image.device, dtype=image.dtype)
        noise = (normal @ mixing.to(image)).permute(0, 3, 1, 2)
        return (image + (image * noise if speckle else noise)).clamp(0, 1)

    return add


def draw_mixing(generator: torch.Generator, level: float) -> Tensor:
    """A matrix (3, 3) that turns normal rows into correlated ones, of covariance `level^2 * abs(U^T D U)`.

    D is diagonal and uniform, U an orthonormal basis of a uniform random matrix. The element-wise absolute value can
    leave negative eigenvalues; their size is taken, as NumPy's `multivariate_normal` does.
    """
    basis = torch.linalg.svd(torch.rand(3, 3, generator=generator, dtype=torch.float32))[0]
    shares = torch.rand(3, generator=generator, dtype=torch.float32)
    covariance = (basis.T @ torch.diag(shares) @ basis).abs()
    values, vectors = torch.linalg.eigh(covariance)
    return level * values.abs().sqrt().unsqueeze(1) * vectors.T


def draw_poisson(generator: torch.Generator) -> Step:
    """Poisson noise of 100 to 10000 photons on the image rounded to 8 bits; half of the draws count them in grey."""
    photons = 10 ** uniform(generator, 2, 4)
    grey = uniform(generator) >= 0.5

    def count(image: Tensor, realisation: torch.Generator) -> Tensor:
        image = (image * 255).round() / 255
        if not grey:
            return count_photons(image, photons, realisation)
        light = (image * torch.tensor(LUMA, dtype=image.dtype, device=image.device).view(3, 1, 1)).sum(1, keepdim=True)
        light = (light * 255).round() / 255
        counted = torch.poisson(light * photons, generator=realisation) / photons
        return (image + counted - light).clamp(0, 1)

    return count


def draw_jpeg(generator: torch.Generator) -> Step:
    """JPEG of a quality from 30 to 95."""
    quality = integer(generator, 30, 95)
    return lambda image, _: compress(image, [quality] * len(image))
