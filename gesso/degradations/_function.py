"""A function of the user's as a degradation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gesso._discovery import spell_code
from gesso.degradations._base import Degradation
from gesso.functional.random import BatchGenerator, of_image


@dataclasses.dataclass(frozen=True)
class FromFunction(Degradation):
    """A function `(image, generator) -> image` that degrades one image at a time.

    It is given an image (1, C, H, W) in [0, 1] and a `torch.Generator` on the image's device, and returns the degraded
    one, which is clamped to [0, 1].

    Args:
        function: the function; what it draws, it draws from the generator.

    Raises:
        ValueError: if it returns no image of this size.
    """

    function: Callable[[Tensor, torch.Generator], Tensor]

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        return torch.cat([self._degrade(image[i : i + 1], of_image(generator, i)) for i in range(len(image))])

    def _degrade(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """One degraded image (1, C, H, W)."""
        degraded = self.function(image.clone(), generator)
        if not isinstance(degraded, Tensor) or degraded.ndim != 4 or degraded.shape[:2] != image.shape[:2]:
            shape = tuple(degraded.shape) if isinstance(degraded, Tensor) else f"a {type(degraded).__name__}"
            raise ValueError(f"{self._name()}: expected an image {tuple(image.shape)} back, got {shape}")
        return degraded.to(image.dtype).clamp(0, 1)

    def as_yaml(self) -> dict[str, Any]:
        """The name of the function, `module:function`."""
        return {"name": self._name()}

    def _name(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        return spell_code(self.function) or f"a function {name} given in Python; this record alone cannot make it again"

    def __str__(self) -> str:
        return getattr(self.function, "__name__", type(self.function).__name__)
