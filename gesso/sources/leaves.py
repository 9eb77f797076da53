"""Dead leaves: shapes that hide each other, with the statistics of natural photos (see `_photo_statistics`)."""

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from gesso.functional.random import seed_for
from gesso.sources._photo_statistics import COLOUR_AXES, IMAGE_SPREAD, MEAN_COLOUR, Array, coloured_noise, log_normal

REGION_SPREAD = np.array([0.3, 0.06, 0.02], np.float32)
LEAF_SPREAD = np.array([0.15, 0.05, 0.02], np.float32)

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
    contrast = log_normal(rng, 0.95, 0.45)
    colours = _draw_colours(rng, centres, size, contrast)
    image = cv2.resize(np.take(colours, label, axis=0), (size, size), interpolation=cv2.INTER_AREA)

    label = label[::FINE, ::FINE]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    light = _plane(rng.normal(0, 0.2, (count, 2)) / np.maximum(radii, size * 0.1)[:, None], centres, label, y, x)
    texture = _draw_texture(rng, count, label, y, x)
    image *= (np.exp(np.clip(light, -1, 1) + texture))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), 0.33 + rng.exponential(0.15))
    return torch.from_numpy(np.clip(image, 0, 1)).permute(2, 0, 1).contiguous()


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
    stretch = log_normal(rng, 1.0, 0.35, count)[:, None]
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
    strength = log_normal(rng, 0.085, 0.7)
    coarse, fine = (rng.exponential(strength * share, count).astype(np.float32) for share in (0.8, 0.6))
    texture = np.take(coarse, label) * coloured_noise(rng, size, 1.0) + np.take(fine, label) * coloured_noise(
        rng, size, 0.6
    )
    stripes = (rng.exponential(strength, count) * (rng.random(count) < 0.15)).astype(np.float32)
    frequency = np.exp(rng.uniform(np.log(0.03), np.log(0.3), count)) * 2 * np.pi
    turn = rng.random(count) * 2 * np.pi
    wave_y, wave_x = ((frequency * part).astype(np.float32) for part in (np.sin(turn), np.cos(turn)))
    return texture + np.take(stripes, label) * np.sin(np.take(wave_y, label) * y + np.take(wave_x, label) * x)
