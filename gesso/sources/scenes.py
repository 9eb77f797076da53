"""Images from nothing, no constant taken from photos: shapes, patterned surfaces, strokes, skies, depth of field.

Every image is a pure function of (seed, index, size). Ranges are wide and even where nothing is known, so that photos
are one case among many: colours come from a perceptual space, textures have any spectrum from rough to smooth, shapes
radii from 1.5 to 500 pixels. Compare `gesso.sources.leaves.leaves`, whose constants were fitted to photos.
"""

import dataclasses
import functools
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from gesso.functional.color import to_display
from gesso.functional.random import seed_for

Array = NDArray[Any]
Labels = NDArray[np.float32]  # which surface a pixel shows; OpenCV fills float images, not integer ones

FINE = 2  # pictures are drawn this much larger, then averaged
SMALLEST, LARGEST = 1.5, 500.0  # radii of shapes in pixels
MOST_SHAPES = 400
COVER = 3.0  # shapes on top of each other at an average point
CORNERS = 24  # points of an outline
NONE, STRIPES, GRID, CHECKS, DOTS = range(5)  # patterns; grids with shifted rows are bricks
FIELDS = 3  # kinds of noise that the textures of one image come from
STROKES = 6  # surfaces that strokes have, the last of the list

# Linear light of OKLab colours: Ottosson, "A perceptual color space for image processing", 2020.
LAB_TO_CONES = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
)
CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def scenes(seed: int, index: int, size: int) -> Tensor:
    """A made-up scene (3, size, size) in [0, 1]: shapes of all sizes that hide each other, smooth, rough or patterned.

    Surfaces are seen in perspective, bricks, stripes, grids, dots and waves among them; strokes as thin as hair, wires
    and letters lie on top; some scenes have a sky, some are in focus only behind or before.

    Args:
        seed: one seed for all images.
        index: which image.
        size: side in pixels.

    Shapes fall as dead leaves do: Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001; textures of
    any spectral slope after Baradad et al., "Learning to see by looking at noise", NeurIPS 2021. Light is linear until
    the end, where it becomes sRGB.
    """
    import cv2

    rng = np.random.default_rng(seed_for(seed, "scenes", index))
    centres, radii = draw_places(rng, size)
    surfaces = draw_surfaces(rng, centres, radii)
    noise = draw_noise(rng, size)
    label = np.zeros((FINE * size, FINE * size), np.float32)
    outlines = draw_outlines(rng, centres[:-STROKES], radii[:-STROKES])
    split = int(rng.integers(1, len(outlines) + 1)) if rng.random() < 0.4 else len(outlines)
    fill(label, outlines, 1, split)
    behind = label.copy()
    fill(label, outlines, split, len(outlines))
    draw_strokes(rng, label, len(outlines))
    light = render(label, surfaces, noise)
    if split < len(outlines):
        before = average((label >= split).astype(np.float32))
        light = focus(rng, light, render(behind, surfaces, noise), before[..., None])
    light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.2, 0.7)) * np.exp(rng.uniform(-0.4, 0.4))
    return to_display(torch.from_numpy(light.clip(0, 1)).float()).permute(2, 0, 1).contiguous()


def draw_places(rng: Generator, size: int) -> tuple[Array, Array]:
    """Centres (N, 2), y and x, and radii (N,) in pixels of all surfaces: the ground, shapes from the back, strokes.

    Radii follow r^-a with a between 2.5 and 3.5; 3 makes a picture alike at every scale.
    """
    smallest, power = np.exp(rng.uniform(np.log(SMALLEST), np.log(40))), rng.uniform(1.5, 2.5)
    share = rng.random(MOST_SHAPES)
    radii = (smallest**-power - share * (smallest**-power - LARGEST**-power)) ** (-1 / power)
    cover = np.cumsum(np.pi * (radii / (size + 2 * radii)) ** 2)
    radii = radii[: 2 + np.searchsorted(cover, COVER)]
    radii = np.concatenate([[size], radii, np.full(STROKES, size)])
    centres = rng.random((len(radii), 2)) * (size + 2 * radii)[:, None] - radii[:, None]
    return centres.astype(np.float32), radii.astype(np.float32)


def draw_outlines(rng: Generator, centres: Array, radii: Array) -> NDArray[np.int32]:
    """Corners (N, CORNERS, 2) of outlines, x and y on the fine grid: polygons, lobed blobs, rough stones, stretched."""
    count = len(radii)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False, dtype=np.float32)
    phase = rng.random((count, 1), np.float32) * 2 * np.pi
    lobes = rng.integers(2, 7, (count, 1))
    blob = 1 + rng.random((count, 1), np.float32) * 0.4 * np.cos(lobes * angle + phase)
    sector = 2 * np.pi / (lobes + 1)  # polygons of 3 to 7 corners
    polygon = 1.2 * np.cos(sector / 2) / np.cos((angle + phase) % sector - sector / 2)
    stone = 1 + rng.uniform(-0.25, 0.25, (count, CORNERS))
    kind = rng.random((count, 1))
    reach = np.where(kind < 0.4, polygon, np.where(kind < 0.8, blob, stone)) * radii[:, None] * FINE
    stretch = np.exp(rng.normal(0, 0.5, (count, 1)))
    turn = rng.random((count, 1)) * np.pi
    along, across = reach * np.cos(angle) * stretch, reach * np.sin(angle) / stretch
    x = centres[:, 1:] * FINE + along * np.cos(turn) - across * np.sin(turn)
    y = centres[:, :1] * FINE + along * np.sin(turn) + across * np.cos(turn)
    return np.stack([x, y], axis=-1).round().astype(np.int32)


def fill(label: Labels, outlines: NDArray[np.int32], first: int, end: int) -> None:
    """Paints the shapes from `first` to before `end`, each with its number."""
    import cv2

    for number in range(first, end):
        cv2.fillPoly(label, [outlines[number]], number)


def draw_strokes(rng: Generator, label: Labels, first: int) -> None:
    """Paints thin strokes with the numbers from `first` on: letters, hair and wires, each in a share of the images."""
    import cv2

    side = len(label)
    if rng.random() < 0.25:
        for _ in range(rng.integers(1, 5)):
            text = "".join(chr(code) for code in rng.integers(33, 127, rng.integers(1, 12)))
            place = (int(rng.integers(-side // 4, side)), int(rng.integers(0, side + side // 4)))
            ink, font = np.zeros(label.shape, np.uint8), int(rng.integers(0, 8))  # OpenCV writes on bytes only
            cv2.putText(ink, text, place, font, rng.uniform(0.25, 2.0), 255, int(rng.integers(1, 4)))
            label[ink > 127] = first + rng.integers(0, 2)
    for prob, most, spread, low in ((0.2, 60, 0.15, 2), (0.25, 4, 3.0, 4)):  # hair, nearly parallel; wires
        if rng.random() < prob:
            count = int(rng.integers(1, most))
            turn = rng.random() * np.pi + rng.normal(0, spread, count)
            bend, start = rng.normal(0, 0.3, count), rng.random((count, 2)) * side
            for number in range(count):
                path = np.linspace(-1, 1, 9)[:, None] * side * (0.2 + rng.random())
                heading = turn[number] + bend[number] * np.linspace(-1, 1, 9)
                curve = start[number] + path * np.stack([np.cos(heading), np.sin(heading)], axis=1)
                colour = first + low + number % 2
                cv2.polylines(label, [curve.round().astype(np.int32)], False, colour, int(rng.integers(1, 4)))


def draw_colours(rng: Generator, count: int) -> Array:
    """Colours (count, 3) in linear light, of a palette that the image draws: uniform in lightness and hue."""
    shades = rng.integers(2, 9)
    lightness = np.clip(rng.uniform(0.2, 0.85) + rng.uniform(0.05, 0.4) * rng.uniform(-1, 1, shades), 0.03, 1)
    hue = rng.random() * 2 * np.pi + rng.uniform(0, np.pi) * rng.uniform(-1, 1, shades)
    chroma = rng.uniform(0, 0.2) * rng.random(shades)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)[rng.integers(0, shades, count)]
    lab += rng.uniform(0, 0.1) * rng.laplace(0, 1, (count, 3)) * (1.0, 0.3, 0.3)
    colours = (lab @ LAB_TO_CONES.T) ** 3 @ CONES_TO_RGB.T
    # The light of lamps and skies, of which white balance leaves some.
    warmth = rng.uniform(-0.25, 0.25)
    return np.clip(colours * np.exp([warmth, 0.0, -warmth]), 0.002, 1).astype(np.float32)


@dataclasses.dataclass
class Surfaces:
    """What each of N surfaces looks like: arrays (N,) of float32 but for the two colours, (N, 3).

    A place on a surface, (u, v), is in pixels, of the size that they have where its middle (x, y) is.
    """

    colour: Array
    other: Array  # the second colour, of patterns
    x: Array
    y: Array
    cosine: Array  # of the direction of u
    sine: Array
    tilt_x: Array  # how fast the surface recedes
    tilt_y: Array
    shade_x: Array  # how fast it becomes brighter, as a logarithm
    shade_y: Array
    kind: Array  # of pattern, one of NONE to DOTS
    frequency: Array  # cells of the pattern per pixel along u
    aspect: Array  # and along v, relative to it
    shift: Array  # of every other row, in cells: bricks have 0.5
    wave: Array  # amplitude of waves in the lines, in cells
    share: Array  # of the second colour
    softness: Array  # of the edges of the pattern, in pixels
    unlike: Array  # how much cells differ in brightness, as a logarithm
    field: Array  # which noise the texture is
    rough: Array  # strength of the texture, as a logarithm
    stretch: Array  # of the texture along u
    zoom: Array  # of the texture

    def places(self, which: NDArray[np.intp], x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Where (u, v) on the surfaces `which` the pixels at (x, y) are, and how much farther than the middle."""
        x, y = x - self.x[which], y - self.y[which]
        distance = np.clip(1 + self.tilt_x[which] * x + self.tilt_y[which] * y, 0.25, 4)
        cosine, sine = self.cosine[which], self.sine[which]
        return (x * cosine + y * sine) / distance, (y * cosine - x * sine) / distance, distance


def draw_surfaces(rng: Generator, centres: Array, radii: Array) -> Surfaces:
    """Surfaces for places (N, 2) and radii (N,); how patterned, rough and shaded they are together, an image draws."""
    count = len(radii)
    turn, heading = rng.random(count) * 2 * np.pi, rng.random((2, count)) * 2 * np.pi
    tilt = rng.uniform(0, 0.8, count) * (rng.random(count) < 0.5) / np.maximum(radii, 16)
    shade = rng.normal(0, rng.uniform(0, 0.5), count) / np.maximum(radii, 8)
    sky = rng.random() < 0.4  # behind everything, smooth, brighter or darker downwards
    if sky:
        heading[:, 0], tilt[0], shade[0] = np.pi / 2, 0, rng.uniform(-1, 1) / radii[0]
    patterned = rng.random(count) < rng.uniform(0, 0.6)
    strength = rng.exponential(np.exp(rng.uniform(np.log(0.06), np.log(0.8))), count)
    if sky:
        strength[0], patterned[0] = 0, False
    patterned[-STROKES:] = False
    values = {
        "x": centres[:, 1],
        "y": centres[:, 0],
        "cosine": np.cos(turn),
        "sine": np.sin(turn),
        "tilt_x": tilt * np.cos(heading[0]),
        "tilt_y": tilt * np.sin(heading[0]),
        "shade_x": shade * np.cos(heading[1]),
        "shade_y": shade * np.sin(heading[1]),
        "kind": np.where(patterned, rng.integers(STRIPES, DOTS + 1, count), NONE),
        "frequency": np.exp(rng.uniform(np.log(1 / 40), np.log(1 / 2.5), count)),
        "aspect": np.exp(rng.uniform(-1.2, 1.2, count)),
        "shift": 0.5 * (rng.random(count) < 0.5),
        "wave": rng.uniform(0, 0.5, count) * (rng.random(count) < 0.3),
        "share": rng.uniform(0.05, 0.6, count),
        "softness": np.exp(rng.uniform(np.log(0.5), np.log(4), count)),
        "unlike": rng.uniform(0, 0.4, count) * (rng.random(count) < 0.5),
        "field": rng.integers(0, FIELDS, count),
        "rough": strength,
        "stretch": np.exp(rng.uniform(0, 2, count) * (rng.random(count) < 0.3)),
        "zoom": np.exp(rng.uniform(-1, 0.7, count)),
    }
    arrays = {name: value.astype(np.float32) for name, value in values.items()}
    return Surfaces(colour=draw_colours(rng, count), other=draw_colours(rng, count), **arrays)


def draw_noise(rng: Generator, size: int) -> Array:
    """FIELDS fields of noise below each other, (FIELDS * T, T), T a power of 2: variance 1, amplitudes falling as f^-a.

    The exponents a are uniform between 0.5 and 2.5.
    """
    tile = 2 ** int(np.clip(np.ceil(np.log2(size)), 5, 8))
    decay = np.exp(-rng.uniform(0.5, 2.5, (FIELDS, 1, 1)).astype(np.float32) * log_frequency(tile))
    spectrum = rng.standard_normal((FIELDS, tile, 2 * (tile // 2 + 1)), np.float32).view(np.complex64)
    noise = np.fft.irfft2(spectrum * decay, s=(tile, tile))
    noise /= noise.std((1, 2), keepdims=True)
    return noise.reshape(-1, tile).astype(np.float32)


@functools.lru_cache(maxsize=8)
def log_frequency(tile: int) -> Array:
    """Logarithms of the frequencies of a real transform, (T, T // 2 + 1); infinite at frequency 0."""
    frequency = np.hypot(np.fft.fftfreq(tile)[:, None], np.fft.rfftfreq(tile))
    frequency[0, 0] = np.inf
    return np.log(frequency).astype(np.float32)


def render(label: Labels, surfaces: Surfaces, noise: Array) -> Array:
    """Linear light (H, W, 3) of the surfaces that the labels (FINE * H, FINE * W) name."""
    import cv2

    which = label.astype(np.intp)
    colour = surfaces.colour[which]
    add_patterns(colour.reshape(-1, 3), which, surfaces)
    which = which[FINE // 2 :: FINE, FINE // 2 :: FINE]
    y, x = np.mgrid[: len(which), : len(which)].astype(np.float32)
    u, v, _ = surfaces.places(which, x, y)
    tile, zoom = noise.shape[1], surfaces.zoom[which]
    place_x, place_y = u * zoom / surfaces.stretch[which] % (tile - 1), v * zoom % (tile - 1)
    texture = cv2.remap(noise, place_x, place_y + tile * surfaces.field[which], cv2.INTER_LINEAR)
    shade = surfaces.shade_x[which] * (x - surfaces.x[which]) + surfaces.shade_y[which] * (y - surfaces.y[which])
    bright = np.exp(np.clip(np.clip(shade, -1.5, 1.5) + surfaces.rough[which] * texture, -3, 3))
    return average(colour) * bright[..., None]


def average(values: Array) -> Array:
    """Values on the grid of the pixels, from those on the fine one."""
    import cv2

    return cv2.resize(values, (values.shape[1] // FINE, values.shape[0] // FINE), interpolation=cv2.INTER_AREA)


def add_patterns(colour: Array, label: NDArray[np.intp], surfaces: Surfaces) -> None:
    """Draws the patterns of surfaces that have one into the colours of all pixels of the fine grid, (n, 3)."""
    pixels = np.flatnonzero(surfaces.kind[label] != NONE)
    if not len(pixels):
        return
    which = label.reshape(-1)[pixels]
    y, x = ((place.astype(np.float32) + 0.5) / FINE - 0.5 for place in np.divmod(pixels, label.shape[1]))
    u, v, distance = surfaces.places(which, x, y)
    kind, frequency = surfaces.kind[which], surfaces.frequency[which]
    down = v * frequency * surfaces.aspect[which]
    row = np.floor(down)
    across = u * frequency + surfaces.shift[which] * (row % 2) + surfaces.wave[which] * np.sin(2 * np.pi * down)
    column = np.floor(across)
    # 0 in the middle of a cell, 1 at its border
    left, up = 2 * np.abs(across - column - 0.5), 2 * np.abs(down - row - 0.5)
    heights = {STRIPES: left, GRID: np.maximum(left, up), CHECKS: (row + column) % 2, DOTS: 1 - np.hypot(left, up)}
    height = np.select([kind == number for number in heights], list(heights.values()))
    # A ramp of `softness` pixels, and no pattern where it has become finer than the pixels.
    local = frequency / distance * np.maximum(1, surfaces.aspect[which])
    share = np.clip(0.5 + (height - 1 + surfaces.share[which]) / (2 * local * surfaces.softness[which]), 0, 1)
    share *= np.clip(2 - 4 * local, 0, 1)
    cells = np.sin(12.9898 * row + 78.233 * column) * surfaces.unlike[which] * (kind != STRIPES)
    first = colour[pixels]
    colour[pixels] = (first + share[:, None] * (surfaces.other[which] - first)) * np.exp(cells)[:, None]


def focus(rng: Generator, light: Array, behind: Array, cover: Array) -> Array:
    """Light (H, W, 3) of a scene of which what is behind, or what is before, is out of focus.

    `cover` (H, W, 1) in [0, 1] is how much of a pixel shows what is before.
    """
    import cv2

    sigma = np.exp(rng.uniform(np.log(0.7), np.log(6)))
    if rng.random() < 0.7:
        return cover * light + (1 - cover) * cv2.GaussianBlur(behind, (0, 0), sigma)
    # What hides is spread as its light is, so that nothing becomes brighter.
    spread = cv2.GaussianBlur(np.concatenate([cover * light, cover], axis=2), (0, 0), sigma)
    return spread[..., :3] + (1 - spread[..., 3:]) * behind
