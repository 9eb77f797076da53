"""Degradations one after the other, or one out of several."""

import dataclasses
import math

import torch
from torch import Tensor

from gesso.degradations._base import Degradation
from gesso.functional.random import Draws, of_images, rand, randint


def check_parts(owner: Degradation, field: str, *, least: int) -> None:
    """Checks that a field is a tuple of at least `least` degradations.

    Raises:
        ValueError: naming the field, what was expected and what was seen.
    """
    parts = getattr(owner, field)
    if not isinstance(parts, tuple) or len(parts) < least or not all(isinstance(part, Degradation) for part in parts):
        raise ValueError(f"{owner.name}.{field}: expected a tuple of {least} or more degradations, got {parts!r}")


@dataclasses.dataclass(frozen=True)
class Compose(Degradation):
    """Degradations applied in order; none at all leaves the image as it is.

    Args:
        steps: the degradations, first to last.
    """

    steps: tuple[Degradation, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self, "steps", least=0)

    def _apply(self, image: Tensor, generator: Draws) -> Tensor:
        for step in self.steps:
            image = step(image, generator)
        return image


@dataclasses.dataclass(frozen=True)
class Mix(Degradation):
    """One of several degradations, drawn for each image.

    Args:
        choices: the degradations to draw from.
        weights: how likely each is, in relation to the others; none: all equally likely.
    """

    choices: tuple[Degradation, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self, "choices", least=1)
        numbers = isinstance(self.weights, tuple) and all(isinstance(w, float | int) for w in self.weights)
        fit = numbers and all(0 <= w < math.inf for w in self.weights) and len(self.weights) in (0, len(self.choices))
        if not fit or (self.weights and not any(self.weights)):
            expected = f"as many numbers from 0 as there are choices ({len(self.choices)}), not all of them 0"
            raise ValueError(f"{self.name}.weights: expected {expected}, got {self.weights!r}")

    def _apply(self, image: Tensor, generator: Draws) -> Tensor:
        return self.labelled(image, generator)[0]

    def labelled(self, image: Tensor, generator: Draws) -> tuple[Tensor, Tensor]:
        """The degraded images and, for each, the position of its degradation in `choices`, (B,)."""
        label = self.drawn(image, generator)
        degraded, positions = image.clone(), label.tolist()  # one wait for the device, not one for each choice
        for position in sorted(set(positions)):
            drawn = [number for number, other in enumerate(positions) if other == position]
            degraded[drawn] = self.choices[position](image[drawn], of_images(generator, drawn))
        return degraded, label

    def drawn(self, image: Tensor, generator: Draws) -> Tensor:
        """The position of a choice for each image, (B,)."""
        if not self.weights:
            return randint(0, len(self.choices), image.shape[:1], generator)
        ends = torch.tensor(self.weights, device=image.device).cumsum(0)
        point = rand(image.shape[:1], generator, torch.float32) * ends[-1]
        return torch.searchsorted(ends, point, right=True).clamp(max=max(i for i, w in enumerate(self.weights) if w))
