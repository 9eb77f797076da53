"""A degradation is a frozen value called with `(image, generator)`."""

import dataclasses
import re
from typing import ClassVar

import torch
from torch import Tensor

Range = float | tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Degradation:
    """What spoils an image: a value that prints itself, compares, hashes, and comes from YAML.

    Subclasses are frozen dataclasses. A field typed `Range` is a number, or a pair (low, high) from which every image
    of the batch draws its own uniform value. No globals, no hidden state: the same generator seed gives the same
    pixels on one device type.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Names the class in snake case: `GaussianNoise` is `gaussian_noise` in YAML and on the command line."""
        super().__init_subclass__(**kwargs)
        cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """The degraded image, same shape and dtype, in [0, 1].

        Args:
            image: clean image (B, 3, H, W) in [0, 1].
            generator: where every random number comes from; on the image's device.
        """
        raise NotImplementedError


def draw(value: Range, image: Tensor, generator: torch.Generator) -> Tensor:
    """One value for each image of the batch, shape (B, 1, 1, 1): `value` itself, or uniform between its two ends."""
    batch = image.shape[0]
    if isinstance(value, tuple):
        low, high = value
        unit = torch.rand(batch, 1, 1, 1, generator=generator, device=image.device)
        return low + (high - low) * unit
    return torch.full((batch, 1, 1, 1), float(value), device=image.device)


def check_range(owner: Degradation, field: str, low: float, high: float) -> None:
    """Checks that a `Range` field lies within [low, high].

    Raises:
        ValueError: naming the degradation, the field, what was expected and what was seen.
    """
    value = getattr(owner, field)
    ends = value if isinstance(value, tuple) else (value, value)
    if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
        raise ValueError(f"{owner.name}.{field}: expected a number or a range (low, high) in [{low:g}, {high:g}], got {value!r}")
