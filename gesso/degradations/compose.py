"""Several degradations: one after the other, one out of several, or some of them in random order."""

import dataclasses
import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from gesso.degradations._base import Degradation
from gesso.functional.random import BatchGenerator, of_images, rand, randint

CHOICES: list[Any] = ["gaussian_noise", {"name": "rain", "density": 0.3}, ["gaussian_blur", "jpeg"]]  # to try them with


def check_parts(owner: Degradation, field: str, *, least: int) -> None:
    """Checks that a field is a tuple of at least `least` degradations.

    Raises:
        ValueError: naming the field, what was expected and what was seen.
    """
    parts = getattr(owner, field)
    if not isinstance(parts, tuple) or len(parts) < least or not all(isinstance(part, Degradation) for part in parts):
        raise ValueError(f"{owner.name}.{field}: expected a tuple of {least} or more degradations, got {parts!r}")


def degrade_some(image: Tensor, positions: list[int], degradation: Degradation, generator: BatchGenerator) -> None:
    """Replaces the images of a batch at some positions by what a degradation makes of them.

    Raises:
        ValueError: if they come back in another size.
    """
    degraded = degradation(image[positions], of_images(generator, positions))
    if degraded.shape[-2:] != image.shape[-2:]:
        sizes = " to ".join("{} x {}".format(*part.shape[-2:]) for part in (image, degraded))
        raise ValueError(f"expected degradations that keep the size, which one batch shares; {sizes} by {degradation}")
    image[positions] = degraded


@dataclasses.dataclass(frozen=True)
class Compose(Degradation):
    """Degradations applied in order; none at all leaves the image as it is.

    Args:
        steps: the degradations, first to last.
    """

    steps: tuple[Degradation, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self, "steps", least=0)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
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

    example: ClassVar[dict[str, Any]] = {"choices": CHOICES}
    choices: tuple[Degradation, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self, "choices", least=1)
        numbers = isinstance(self.weights, tuple) and all(isinstance(w, float | int) for w in self.weights)
        fit = numbers and all(0 <= w < math.inf for w in self.weights) and len(self.weights) in (0, len(self.choices))
        if not fit or (self.weights and not any(self.weights)):
            expected = f"as many numbers from 0 as there are choices ({len(self.choices)}), not all of them 0"
            raise ValueError(f"{self.name}.weights: expected {expected}, got {self.weights!r}")

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        return self.labelled(image, generator)[0]

    def labelled(self, image: Tensor, generator: BatchGenerator) -> tuple[Tensor, Tensor]:
        """The degraded images and, for each, the position of its degradation in `choices`, (B,)."""
        label = self.drawn(image, generator)
        degraded, positions = image.clone(), label.tolist()  # one wait for the device, not one for each choice
        for position in sorted(set(positions)):
            drawn = [number for number, other in enumerate(positions) if other == position]
            degrade_some(degraded, drawn, self.choices[position], generator)
        return degraded, label

    def drawn(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """The position of a choice for each image, (B,)."""
        if not self.weights:
            return randint(0, len(self.choices), image.shape[:1], generator)
        ends = torch.tensor(self.weights, device=image.device).cumsum(0)
        point = rand(image.shape[:1], generator, torch.float32) * ends[-1]
        return torch.searchsorted(ends, point, right=True).clamp(max=max(i for i, w in enumerate(self.weights) if w))


@dataclasses.dataclass(frozen=True)
class RandomOrder(Degradation):
    """Some of several degradations, one after the other: each image draws which, and in which order.

    An image that draws none stays as it is; with `prob` p and N choices that is a share (1 - p)^N of them.

    Args:
        choices: the degradations to draw from.
        prob: how likely an image draws each, in [0, 1]: one number for all, or one for each choice.

    Pre-training with degradations in random order is that of PROD (ECCV 2024), where it gained more on six real tasks
    than one fixed order (`compose`) or one degradation for each image (`mix`).
    """

    example: ClassVar[dict[str, Any]] = {"choices": CHOICES, "prob": [0.9, 0.5, 0.5]}
    choices: tuple[Degradation, ...] = ()
    prob: float | tuple[float, ...] = 0.3

    def __post_init__(self) -> None:
        check_parts(self, "choices", least=1)
        probs = self.prob if isinstance(self.prob, tuple) else (self.prob,) * len(self.choices)
        numbers = all(isinstance(prob, float | int) and 0 <= prob <= 1 for prob in probs)
        if not numbers or len(probs) != len(self.choices):
            expected = f"a number in [0, 1], or one for each of the {len(self.choices)} choices"
            raise ValueError(f"{self.name}.prob: expected {expected}, got {self.prob!r}")

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        plans, degraded = self.drawn(image, generator), image.clone()
        for turn in range(len(self.choices)):
            # What is next for each image; images for which it is the same go together.
            due = {number: plan[turn] for number, plan in enumerate(plans) if turn < len(plan)}
            for choice in sorted(set(due.values())):
                positions = [number for number, other in due.items() if other == choice]
                degrade_some(degraded, positions, self.choices[choice], generator)
        return degraded

    def drawn(self, image: Tensor, generator: BatchGenerator) -> list[list[int]]:
        """Positions in `choices` of what happens to each image, first to last."""
        shape = (image.shape[0], len(self.choices))
        prob = torch.tensor(self.prob, device=image.device).expand(len(self.choices))
        taken = (rand(shape, generator, torch.float32) < prob).tolist()
        order = rand(shape, generator, torch.float32).argsort(dim=1).tolist()
        return [[choice for choice in plan if has[choice]] for plan, has in zip(order, taken, strict=True)]
