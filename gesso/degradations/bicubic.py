"""Bicubic downsampling with the pixels of MATLAB, and back."""

import dataclasses
from fractions import Fraction

from torch import Tensor

from gesso.degradations._base import Degradation
from gesso.functional.random import BatchGenerator
from gesso.functional.resize import imresize, resize_axis


@dataclasses.dataclass(frozen=True)
class Bicubic(Degradation):
    """An image shrunk by MATLAB's bicubic `imresize`, and enlarged again unless `up` is False; clamped.

    Args:
        scale: factor by which it shrinks, a whole number in [1, 16]; 1 changes nothing.
        up: enlarge to the old size; False returns the small image, as super-resolution takes it.
        quantise: round the small image that is returned to 8 bits as MATLAB does, between rows and columns, too: these
            are the pixels of low-resolution files. Without effect with `up`.
    """

    scale: int = 4
    up: bool = True
    quantise: bool = True

    def __post_init__(self) -> None:
        if self.scale not in range(1, 17):
            raise ValueError(f"{self.name}.scale: expected a whole number from 1 to 16, got {self.scale!r}")

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        if self.quantise and not self.up:
            return self._as_stored(image)
        small = imresize(image, Fraction(1, self.scale)).clamp(0, 1)
        return imresize(small, (image.shape[-2], image.shape[-1])).clamp(0, 1) if self.up else small

    def _as_stored(self, image: Tensor) -> Tensor:
        """The small image of a file: MATLAB stores 8 bits after each axis, halves rounded up."""
        small = image.double()
        for axis in (-2, -1):
            side = -(-image.shape[axis] // self.scale)
            small = round_8bit(resize_axis(small, axis, side, 1 / self.scale))
        return small.to(image.dtype)


def round_8bit(image: Tensor) -> Tensor:
    """`image` clamped to [0, 1] and rounded to the levels of 8 bits."""
    return (255 * image.clamp(0, 1) + 0.5).floor() / 255
