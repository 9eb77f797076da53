"""Low light: a short exposure and the noise of the sensor."""

import dataclasses

from torch import Tensor

from gesso.degradations._base import Degradation, Range, check_range, draw
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

    exposure: Range = (0.1, 0.6)
    gamma: Range = (1.0, 2.2)
    shot: Range = (0, 12)
    read: Range = (0, 4)

    def __post_init__(self) -> None:
        check_range(self, "exposure", 0.001, 1)
        check_range(self, "gamma", 1, 5)
        check_range(self, "shot", 0, 255)
        check_range(self, "read", 0, 255)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        exposure, gamma = draw(self.exposure, image, generator), draw(self.gamma, image, generator)
        shot, read = draw(self.shot, image, generator), draw(self.read, image, generator)
        dark = exposure * image.clamp(min=0) ** gamma
        sigma = (shot.square() * dark + read.square()).sqrt() / 255
        return (dark + sigma * normal_like(image, generator)).clamp(0, 1)
