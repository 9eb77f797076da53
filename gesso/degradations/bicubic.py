"""Bicubic downsampling with the pixels of MATLAB, and back."""

import dataclasses
from fractions import Fraction

from torch import Tensor

from gesso.degradations._base import Degradation
from gesso.functional.random import Draws
from gesso.functional.resize import imresize


@dataclasses.dataclass(frozen=True)
class Bicubic(Degradation):
    """An image shrunk by MATLAB's bicubic `imresize`, and enlarged again unless `up` is False; clamped.

    Args:
        scale: factor by which it shrinks, a whole number in [1, 16]; 1 changes nothing.
        up: enlarge to the old size; False returns the small image, as super-resolution takes it.
    """

    scale: int = 4
    up: bool = True

    def __post_init__(self) -> None:
        if self.scale not in range(1, 17):
            raise ValueError(f"{self.name}.scale: expected a whole number from 1 to 16, got {self.scale!r}")

    def _apply(self, image: Tensor, generator: Draws) -> Tensor:
        small = imresize(image, Fraction(1, self.scale)).clamp(0, 1)
        return imresize(small, (image.shape[-2], image.shape[-1])).clamp(0, 1) if self.up else small
