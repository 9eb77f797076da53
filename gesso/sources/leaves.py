"""Images from nothing: dead leaves and pink noise, with the statistics of natural photos; and the table of all sources.

Every image is a pure function of (seed, index, size). The constants below were fitted to the crops of BSDS500 photos;
`benchmarks/procedural_statistics.py` compares both. `gesso.sources.scenes` has none of that kind.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from gesso.data.datasets import Key, Sample, degrade, stack
from gesso.degradations import Degradation
from gesso.functional.color import to_grey
from gesso.functional.random import seed_for
from gesso.sources.scenes import scenes

Array = NDArray[np.floating]

# Colours of natural photos: their mean, and the axes along which they vary, strongest first (brightness, warm against
# cold, green against magenta). Standard deviations are those of the mean colours of images.
MEAN_COLOUR = np.array([0.45, 0.45, 0.36], np.float32)
COLOUR_AXES = np.array([[0.62, 0.59, 0.51], [0.66, -0.06, -0.75], [0.41, -0.80, 0.43]], np.float32)
IMAGE_SPREAD = np.array([0.22, 0.10, 0.04], np.float32)
REGION_SPREAD = np.array([0.3, 0.06, 0.02], np.float32)
LEAF_SPREAD = np.array([0.15, 0.05, 0.02], np.float32)

PINK_SPREAD = np.array([0.28, 0.06, 0.025], np.float32)

LARGEST = 150.0  # radius of the largest leaf in pixels
MOST_LEAVES = 900
COVER = 3.0  # leaves on top of each other at an average point
CORNERS = 20  # points of an outline
FINE = 2  # outlines are drawn this much larger, then averaged


def leaves(seed: int, index: int, size: int) -> Tensor:
    """A dead-leaves image (3, size, size) in [0, 1]: shapes of power-law sizes that hide each other, lit and textured.

    Radii follow r^-3, which makes the picture alike at every scale; their lower end, the contrast, the texture and the
    sharpness differ from image to image.

    Args:
        seed: one seed for all images.
        index: which image.
        size: side in pixels.

    Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001; leaves with texture after Baradad et al.,
    "Learning to see by looking at noise", NeurIPS 2021.
    """
    import cv2

    rng = np.random.default_rng(seed_for(seed, "leaves", index))
    centres, radii = _draw_places(rng, size)
    count = len(radii)
    label = _paint(_draw_outlines(rng, centres, radii), size)
    contrast = _log_normal(rng, 0.95, 0.45)
    colours = _draw_colours(rng, centres, size, contrast)
    image = cv2.resize(np.take(colours, label, axis=0), (size, size), interpolation=cv2.INTER_AREA)

    label = label[::FINE, ::FINE]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    light = _plane(rng.normal(0, 0.2, (count, 2)) / np.maximum(radii, size * 0.1)[:, None], centres, label, y, x)
    texture = _draw_texture(rng, count, label, y, x)
    image *= (np.exp(np.clip(light, -1, 1) + texture))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 0.33 + rng.exponential(0.15))
    return torch.from_numpy(np.clip(image, 0, 1)).permute(2, 0, 1).contiguous()


def _log_normal(rng: Generator, median: float, spread: float, count: int | None = None) -> Any:
    """A positive number, or `count` of them, around a median; `spread` is the deviation of the logarithm."""
    return median * np.exp(rng.normal(0, spread, count))


def _draw_places(rng: Generator, size: int) -> tuple[Array, Array]:
    """Centres (N, 2), y and x, and radii (N,) of the leaves in pixels, back to front; leaf 0 is the ground."""
    smallest = np.exp(rng.uniform(np.log(1.5), np.log(16.0)))
    radii = (smallest**-2 - rng.random(MOST_LEAVES) * (smallest**-2 - LARGEST**-2)) ** -0.5  # inverse of the r^-3 law
    cover = np.cumsum(np.pi * (radii / (size + 2 * radii)) ** 2)
    radii = radii[: 1 + np.searchsorted(cover, COVER)]
    centres = rng.random((len(radii), 2)) * (size + 2 * radii)[:, None] - radii[:, None]
    return centres.astype(np.float32), radii.astype(np.float32)


def _draw_outlines(rng: Generator, centres: Array, radii: Array) -> NDArray[np.int32]:
    """Corners (N, CORNERS, 2) of the outlines, x and y on the fine grid: blobs and polygons, stretched and turned."""
    count = len(radii)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False, dtype=np.float32)
    lobes = rng.integers(2, 6, (count, 1))
    phase = rng.random((count, 1), np.float32) * 2 * np.pi
    depth = rng.random((count, 1), np.float32) * 0.35 * (rng.random((count, 1)) < 0.6)
    blob = 1 + depth * np.cos(lobes * angle + phase)
    sector = 2 * np.pi / (lobes + 1)
    polygon = 1.2 * np.cos(sector / 2) / np.cos((angle + phase) % sector - sector / 2)
    reach = np.where(rng.random((count, 1)) < 0.4, polygon, blob) * radii[:, None] * FINE
    stretch = _log_normal(rng, 1.0, 0.35, count)[:, None]
    turn = rng.random((count, 1)) * np.pi
    along, across = reach * np.cos(angle) * stretch, reach * np.sin(angle) / stretch
    x = centres[:, 1:] * FINE + along * np.cos(turn) - across * np.sin(turn)
    y = centres[:, :1] * FINE + along * np.sin(turn) + across * np.cos(turn)
    return np.stack([x, y], axis=-1).round().astype(np.int32)


def _paint(outlines: NDArray[np.int32], size: int) -> NDArray[np.intp]:
    """Which leaf is on top, (FINE * size, FINE * size)."""
    import cv2

    label = np.zeros((FINE * size, FINE * size), np.float32)  # OpenCV fills float images, not int32 ones
    for leaf in range(1, len(outlines)):
        cv2.fillPoly(label, [outlines[leaf]], leaf)
    return label.astype(np.intp)


def _draw_colours(rng: Generator, centres: Array, size: int, contrast: float) -> Array:
    """Colours (N, 3) of the leaves: those of one image, of one region of it, and of one leaf are each alike."""
    regions = rng.integers(1, 6)
    middles = rng.random((regions, 2), np.float32) * size
    region = ((centres[:, None] - middles) ** 2).sum(-1).argmin(1)
    # Natural contrasts are mostly small and sometimes large: Laplace, not normal.
    offset = rng.laplace(0, 0.5**0.5, (regions, 3))[region] * REGION_SPREAD
    offset += rng.laplace(0, 0.5**0.5, (len(centres), 3)) * LEAF_SPREAD
    middle = MEAN_COLOUR + rng.standard_normal(3) * IMAGE_SPREAD @ COLOUR_AXES
    return np.clip(middle + contrast * offset @ COLOUR_AXES, 0.01, 0.99).astype(np.float32)


def _plane(slope: Array, centres: Array, label: NDArray[np.intp], y: Array, x: Array) -> Array:
    """A value (H, W) that is 0 at the centre of each leaf and rises by its own slope (N, 2) per pixel."""
    slope = slope.astype(np.float32)
    start = -(slope * centres).sum(1)
    return np.take(slope[:, 0], label) * y + np.take(slope[:, 1], label) * x + np.take(start, label)


def _draw_texture(rng: Generator, count: int, label: NDArray[np.intp], y: Array, x: Array) -> Array:
    """Logarithm of the texture (H, W): each leaf has its own share of coarse and fine noise, and maybe stripes."""
    size = len(label)
    strength = _log_normal(rng, 0.085, 0.7)
    coarse, fine = (rng.exponential(strength * share, count).astype(np.float32) for share in (0.8, 0.6))
    texture = np.take(coarse, label) * coloured_noise(rng, size, 1.0) + np.take(fine, label) * coloured_noise(
        rng, size, 0.6
    )
    stripes = (rng.exponential(strength, count) * (rng.random(count) < 0.15)).astype(np.float32)
    frequency = np.exp(rng.uniform(np.log(0.03), np.log(0.3), count)) * 2 * np.pi
    turn = rng.random(count) * 2 * np.pi
    wave_y, wave_x = ((frequency * part).astype(np.float32) for part in (np.sin(turn), np.cos(turn)))
    return texture + np.take(stripes, label) * np.sin(np.take(wave_y, label) * y + np.take(wave_x, label) * x)


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


def pink(seed: int, index: int, size: int) -> Tensor:
    """Coloured 1/f noise (3, size, size) in [0, 1]: the spectrum and the colours of photos, without their edges.

    The amplitude falls as frequency ** -a, with a normal around 1.2 (deviation 0.2) from image to image.

    Args:
        seed: one seed for all images.
        index: which image.
        size: side in pixels.

    Field, "Relations between the statistics of natural images and the response properties of cortical cells", JOSA A
    1987.
    """
    rng = np.random.default_rng(seed_for(seed, "pink", index))
    exponent = round(rng.normal(1.2, 0.2), 1)  # rounded, so that `_decay` can remember it
    noise = np.stack([coloured_noise(rng, size, exponent) for _ in range(3)], axis=-1)
    middle = MEAN_COLOUR + rng.standard_normal(3) * IMAGE_SPREAD @ COLOUR_AXES
    image = middle + _log_normal(rng, 0.95, 0.45) * (noise * PINK_SPREAD) @ COLOUR_AXES
    return torch.from_numpy(np.clip(image, 0, 1).astype(np.float32)).permute(2, 0, 1).contiguous()


def with_channels(image: Tensor, channels: int, seed: int, index: int) -> Tensor:
    """A procedural image (3, H, W) with other channels, (channels, H, W): grey, or RGB and more.

    What comes behind RGB is for each image another mixture of the three, as infrared sees what colours see.
    """
    if channels == 1:
        return to_grey(image)
    if channels <= 3:
        return image[:channels]
    shares = np.random.default_rng(seed_for(seed, "channels", index)).dirichlet(np.ones(3), channels - 3)
    more = torch.einsum("mc,chw->mhw", torch.from_numpy(shares).to(image), image)
    return torch.cat([image, more])


class Source(Protocol):
    """What `leaves`, `scenes` and `pink` are."""

    __name__: str

    def __call__(self, seed: int, index: int, size: int) -> Tensor:
        """An image (3, size, size) in [0, 1], a pure function of its arguments."""
        ...


def batch_of(source: Source, seed: int, indices: Sequence[int], size: int) -> Tensor:
    """The images of several indices, (B, 3, size, size).

    Example:
        >>> batch_of(leaves, 0, range(4), 32).shape
        torch.Size([4, 3, 32, 32])
    """
    return torch.stack([source(seed, index, size) for index in indices])


SOURCES: dict[str, Source] = {"leaves": leaves, "scenes": scenes, "pink": pink}


class ProceduralImages(Dataset[Sample]):
    """Procedural images by key: `dataset[(index, crop_size)]` is `{"image": (3, c, c), "name"}`.

    Args:
        source: a name of `SOURCES`.
        seed: the images follow from it.
        count: how many different images there are; None: no end of them.
        channels: channels of an image, see `with_channels`.
        per_sample: images that one sample holds, K in `image` (K, 3, c, c).
    """

    def __init__(
        self, source: str, seed: int = 0, *, count: int | None = None, channels: int = 3, per_sample: int = 1
    ) -> None:
        if count is not None and count < per_sample:
            raise ValueError(f"count: expected at least {per_sample} images for one sample, got {count}")
        self.source, self.seed, self.count, self.channels, self.per_sample = source, seed, count, channels, per_sample

    def __len__(self) -> int:
        return sys.maxsize if self.count is None else self.count

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        numbers = [number % len(self) for number in range(index * self.per_sample, (index + 1) * self.per_sample)]
        images = [
            with_channels(SOURCES[self.source](self.seed, number, crop_size), self.channels, self.seed, number)
            for number in numbers
        ]
        return {"image": stack(images), "name": " + ".join(f"{self.source} {number}" for number in numbers)}


class ProceduralPairs(Dataset[Sample]):
    """Procedural images, each another, and what a degradation makes of them; samples as those of `PairDataset`.

    Args:
        source: a name of `SOURCES`.
        degradation: makes `lq` from `gt`.
        scale: by how much it shrinks the image.
        channels: channels of a sample, see `with_channels`.
        seed: everything follows from it.
        count: what an epoch of a mix takes for the number of images; there is no end of them.
    """

    def __init__(
        self,
        source: str,
        degradation: Degradation,
        *,
        scale: int = 1,
        channels: int = 3,
        seed: int = 0,
        count: int = 1000,
    ) -> None:
        self.source, self.degradation, self.scale, self.channels = source, degradation, scale, channels
        self.seed, self.count = seed, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        gt = SOURCES[self.source](self.seed, index, self.scale * crop_size)
        gt = with_channels(gt, self.channels, self.seed, index)
        return {"lq": degrade(gt, self.degradation, self.seed, index), "gt": gt, "name": f"{self.source} {index}"}


class WholeProcedural(Dataset[Sample]):
    """Procedural images of one size to measure on; samples as those of `WholePairs`.

    Args:
        pairs: the images, with a seed that training does not use.
        count: how many.
        size: side of the ground truths in pixels, a multiple of the scale.
    """

    def __init__(self, pairs: ProceduralPairs, count: int = 8, size: int = 192) -> None:
        self.pairs, self.count, self.size = pairs, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.pairs[index, self.size // self.pairs.scale]
