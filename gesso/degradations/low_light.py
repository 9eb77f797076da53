"""Low light: a short exposure and the noise of the sensor."""

import dataclasses
from typing import Annotated

from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.degradations.noise import normal_like
from gesso.functional.random import BatchGenerator


@dataclasses.dataclass(frozen=True)
class LowLight(Degradation):
    """A dark, noisy image: `dark = exposure * image ** gamma`, plus shot and read noise, clamped.

    The noise is Gaussian with the variance `(shot^2 * dark + read^2) / 255^2`: shot noise grows with the root of the
    light, read noise does not.

    Args:
        exposure: share of the light that is left, (0, 1].
        gamma: exponent that darkens the shadows further, [1, 5].
        shot: shot noise at white in 8-bit units, [0, 255].
        read: read noise in 8-bit units, [0, 255].

    The noise model is that of Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data", IEEE TIP 2008.
    """

    exposure: Annotated[Range, Bounds(0.001, 1)] = (0.1, 0.6)
    gamma: Annotated[Range, Bounds(1, 5)] = (1.0, 2.2)
    shot: Annotated[Range, Bounds(0, 255)] = (0, 12)
    read: Annotated[Range, Bounds(0, 255)] = (0, 4)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        exposure, gamma = draw(self.exposure, image, generator), draw(self.gamma, image, generator)
        shot, read = draw(self.shot, image, generator), draw(self.read, image, generator)
        dark = exposure * image.clamp(min=0) ** gamma
        sigma = (shot.square() * dark + read.square()).sqrt() / 255
        return (dark + sigma * normal_like(image, generator)).clamp(0, 1)
