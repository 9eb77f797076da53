"""Every random draw is a pure function of (seed, indices)."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor


def seed_for(seed: int, *indices: int | str) -> int:
    """A 63-bit seed that depends on every argument, so streams of different indices are unrelated.

    Example:
        >>> seed_for(0, 1) == seed_for(0, 1), seed_for(0, 1) == seed_for(1, 0)
        (True, False)
    """
    text = "/".join(str(part) for part in (seed, *indices))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(seed: int, *indices: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator whose stream depends only on `seed` and `indices` (a sample index, a step, a purpose)."""
    return torch.Generator(device=device).manual_seed(seed_for(seed, *indices))


# ---------------------------------------------------------------------------------------------- draws for a batch


class ImageGenerators:
    """A generator for each image of a batch, and one for what all its images share.

    What is drawn for an image then does not depend on the images beside it, so that a batch may be shared out over
    devices, or cut in parts. Whatever draws for a batch (`rand` and the others below) takes it in place of a single
    `torch.Generator`, from which all images draw in turn.

    Args:
        own: a generator for each image.
        shared: what a draw for the whole batch comes from; the same wherever a part of the batch is.
        step: the optimiser step of the run that this batch belongs to, from 0.
    """

    def __init__(self, own: Sequence[torch.Generator], shared: torch.Generator, step: int = 0) -> None:
        self.own, self.shared, self.step = list(own), shared, step

    @property
    def device(self) -> torch.device:
        """Where numbers are drawn."""
        return self.shared.device


BatchGenerator = torch.Generator | ImageGenerators


def shared(generator: BatchGenerator) -> torch.Generator:
    """What a draw for the whole batch comes from."""
    return generator.shared if isinstance(generator, ImageGenerators) else generator


def of_image(generator: BatchGenerator, position: int) -> torch.Generator:
    """What the draws for one image of the batch come from."""
    return generator.own[position] if isinstance(generator, ImageGenerators) else generator


def of_images(generator: BatchGenerator, positions: Sequence[int]) -> BatchGenerator:
    """What the draws for some images of the batch come from."""
    if isinstance(generator, torch.Generator):
        return generator
    return ImageGenerators([generator.own[position] for position in positions], generator.shared, generator.step)


def rand(shape: Sequence[int], generator: BatchGenerator, dtype: torch.dtype | None = None) -> Tensor:
    """Uniform numbers in [0, 1), shape (B, ...), on the generator's device."""
    return by_image(torch.rand, shape, generator, dtype)


def randn(shape: Sequence[int], generator: BatchGenerator, dtype: torch.dtype | None = None) -> Tensor:
    """Standard normal numbers, shape (B, ...), on the generator's device."""
    return by_image(torch.randn, shape, generator, dtype)


def randint(low: int, high: int, shape: Sequence[int], generator: BatchGenerator) -> Tensor:
    """Whole numbers from `low` to below `high`, shape (B, ...), on the generator's device."""
    return by_image(partial(torch.randint, low, high), shape, generator, torch.long)


def poisson(rate: Tensor, generator: BatchGenerator) -> Tensor:
    """Counts of events that are expected `rate` (B, ...) times."""
    if isinstance(generator, torch.Generator):
        return torch.poisson(rate, generator=generator)
    return torch.stack([torch.poisson(one, generator=own) for one, own in zip(rate, generator.own, strict=True)])


def by_image(
    draw: Callable[..., Tensor], shape: Sequence[int], generator: BatchGenerator, dtype: torch.dtype | None
) -> Tensor:
    """`draw(shape)` for all images at once, or image by image where each has a generator of its own."""
    options: dict[str, Any] = {"device": generator.device, "dtype": dtype}
    if isinstance(generator, torch.Generator):
        return draw(shape, generator=generator, **options)
    if shape[0] != len(generator.own):
        raise ValueError(f"draws for {shape[0]} images, but there are {len(generator.own)} generators")
    return torch.stack([draw(shape[1:], generator=own, **options) for own in generator.own])


def drop_path_mask(images: int, keep_prob: float, like: Tensor, part: tuple[int, int, int] | None = None) -> Tensor:
    """For stochastic depth: 1 with probability `keep_prob`, else 0, for each image, (images,), from torch's generator.

    Args:
        images: how many images there are; a sample may hold several, one behind the other.
        keep_prob: how likely a branch is kept.
        like: what the mask is multiplied with.
        part: (first, count, total) where these are `count` samples from `first` on of a batch of `total`: the numbers
            are drawn for the whole batch, and those of the part are returned.
    """
    first, count, total = part or (0, images, images)
    each = max(1, images // count)
    return like.new_empty(total * each).bernoulli_(keep_prob)[first * each : first * each + images]
