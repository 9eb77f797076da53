"""What natural photos have in common, which `leaves` and `pink` imitate: their colours, and noise of any colour.

The constants were fitted to the crops of BSDS500 photos; `benchmarks/procedural_statistics.py` compares both.
"""

import functools
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Colours of natural photos: their mean, and the axes along which they vary, strongest first (brightness, warm against
# cold, green against magenta). Standard deviations are those of the mean colours of images.
MEAN_COLOUR = np.array([0.45, 0.45, 0.36], np.float32)
COLOUR_AXES = np.array([[0.62, 0.59, 0.51], [0.66, -0.06, -0.75], [0.41, -0.80, 0.43]], np.float32)
IMAGE_SPREAD = np.array([0.22, 0.10, 0.04], np.float32)


def log_normal(rng: Generator, median: float, spread: float, count: int | None = None) -> Any:
    """A positive number, or `count` of them, around a median; `spread` is the deviation of the logarithm."""
    return median * np.exp(rng.normal(0, spread, count))


def coloured_noise(rng: Generator, size: int, exponent: float) -> Array:
    """Gaussian noise (size, size) of mean 0 and variance 1 whose amplitude falls as frequency ** -exponent."""
    spectrum = rng.standard_normal((size, 2 * (size // 2 + 1)), np.float32).view(np.complex64)
    noise = np.fft.irfft2(spectrum * _decay(size, exponent), s=(size, size))
    return (noise / max(noise.std(), 1e-12)).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _decay(size: int, exponent: float) -> Array:
    """The factor frequency ** -exponent on the half plane of a real transform, 0 at frequency 0."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    return (frequency**-exponent).astype(np.float32)
