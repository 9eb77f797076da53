"""What a source of images is, and how its images get the channels that a network takes."""

import inspect
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from gesso.functional.color import to_grey
from gesso.functional.random import seed_for

Function = TypeVar("Function", bound=Callable[..., Tensor])


class Source(Protocol):
    """A function that makes images out of numbers: the same arguments, the same pixels, wherever it runs.

    One file of `gesso/sources` holds one, under the name of the file. A function of your own does as well, given as it
    is or as `module:function`. It may take options of its own, which `functools.partial` binds. It may take `channels`,
    and then draws them itself; else grey images, and images with more channels than RGB, are made of what it returns.

    Example:
        >>> import torch
        >>> def gradient(seed: int, index: int, size: int) -> torch.Tensor:
        ...     generator = torch.Generator().manual_seed(seed + index)
        ...     return torch.rand(3, 1, 1, generator=generator) * torch.linspace(0, 1, size).expand(3, size, size)
        >>> gradient(0, 1, 4).shape
        torch.Size([3, 4, 4])
    """

    def __call__(self, seed: int, index: int, size: int) -> Tensor:
        """An image (3, size, size), in [0, 1] wherever it stands in for a photo.

        Args:
            seed: one seed for all images of a run.
            index: which image, from 0, without end.
            size: side in pixels.
        """
        ...


def fixed(count: int) -> Callable[[Function], Function]:
    """Says of a source that it has so many different images where the user does not say how many."""

    def mark(source: Function) -> Function:
        source.count = count  # pyright: ignore[reportFunctionMemberAccess]
        return source

    return mark


def count_of(source: Source) -> int | None:
    """How many different images a source has where the user does not say; None: unlimited."""
    return getattr(source, "count", None)


def needed_options(source: Source) -> list[str]:
    """What a source has to be told beside (seed, index, size)."""
    parameters = list(inspect.signature(source).parameters.values())[3:]
    return [one.name for one in parameters if one.default is one.empty and one.kind is not one.VAR_KEYWORD]


def draw_image(source: Source, seed: int, index: int, size: int, channels: int = 3) -> Tensor:
    """An image (channels, size, size) of a source."""
    if "channels" in inspect.signature(source).parameters:
        return source(seed, index, size, channels=channels)  # pyright: ignore[reportCallIssue]
    image = source(seed, index, size)
    return image if len(image) == channels else with_channels(image, channels, seed, index)


def with_channels(image: Tensor, channels: int, seed: int, index: int) -> Tensor:
    """An image (1 or 3, H, W) with other channels, (channels, H, W): grey, or RGB and more.

    What comes behind RGB is for each image another mixture of the three, as infrared sees what colours see.
    """
    if len(image) == 1:
        return image.expand(channels, -1, -1)
    if channels == 1:
        return to_grey(image)
    if channels <= 3:
        return image[:channels]
    shares = np.random.default_rng(seed_for(seed, "channels", index)).dirichlet(np.ones(3), channels - 3)
    more = torch.einsum("mc,chw->mhw", torch.from_numpy(shares).to(image), image)
    return torch.cat([image, more])


def batch_of(source: Source, seed: int, indices: Sequence[int], size: int) -> Tensor:
    """The images of several indices, (B, 3, size, size).

    Example:
        >>> from gesso.sources.leaves import leaves
        >>> batch_of(leaves, 0, range(4), 32).shape
        torch.Size([4, 3, 32, 32])
    """
    return torch.stack([source(seed, index, size) for index in indices])
