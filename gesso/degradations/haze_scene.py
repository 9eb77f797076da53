"""Haze before a scene: ground, walls and objects at their depths, patchy air, and light from one side."""

import dataclasses
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.degradations._base import Bounds, Degradation, Range, draw, draw_log
from gesso.functional.color import to_display, to_linear
from gesso.functional.random import BatchGenerator

OBJECTS = 10
WAVELENGTHS = (610.0, 550.0, 465.0)  # nm, of red, green and blue


@dataclasses.dataclass(frozen=True)
class HazeScene(Degradation):
    """A hazy image: `image * t + airlight * (1 - t)`, transmission `t = exp(-beta * depth)`, in a made-up scene.

    The scene is one in perspective: a ground that ends at a horizon, or also a ceiling and walls, before them objects
    of all sizes with rough outlines, and behind them what is farthest. Its edges know nothing of the image; with
    `follow_prob` a guided filter moves them to edges of the image, as depth has them in photos. With `linear_prob` an
    image is blended in linear light, where physics is, else in the values of a display, as RESIDE is. `haze_even` is
    always the latter, and its air is alike everywhere.

    Args:
        beta: optical depth of the air before the farthest point of a scene, whether objects hide it or not, [0, 10]; 0
            means no haze. At 3.9 the contrast of what is there has fallen to 2 %, the limit of visibility.
        reach: distance of the farthest point divided by that of the nearest, [1, 1000]; drawn uniformly in its
            logarithm. Small ones stand for crops of a photo.
        airlight: brightness of the haze, [0, 1].
        tint: how far the colour channels of the airlight differ from it, [0, 1].
        gradient: how much brighter one side of the airlight is than the other, [0, 1].
        patches: how far the density of the haze differs from place to place, as a share of it, [0, 1].
        angstrom: Angstrom exponent, [0, 4]: scattering goes with wavelength ** -angstrom; about 0 in fog, 1.3 in haze
            over land, 4 in clean air. Channels beyond RGB scatter like green.
        follow_prob: how likely the depth of an image follows its edges, in [0, 1].
        linear_prob: how likely an image is blended in linear light, in [0, 1].

    Koschmieder's law as in Narasimhan and Nayar, "Vision and the atmosphere", IJCV 2002; the exponent as in Angstrom,
    "On the atmospheric transmission of sun radiation and on dust in the air", Geografiska Annaler 1929; the filter of
    He, Sun and Tang, "Guided image filtering", ECCV 2010. No constant is fitted to a data set.
    """

    beta: Annotated[Range, Bounds(0, 10)] = (0.3, 3.0)
    reach: Annotated[Range, Bounds(1, 1000)] = (1.2, 30)
    airlight: Annotated[Range, Bounds(0, 1)] = (0.6, 1.0)
    tint: Annotated[Range, Bounds(0, 1)] = (0.0, 0.06)
    gradient: Annotated[Range, Bounds(0, 1)] = (0.0, 0.25)
    patches: Annotated[Range, Bounds(0, 1)] = (0.0, 0.4)
    angstrom: Annotated[Range, Bounds(0, 4)] = (0.0, 1.3)
    follow_prob: Annotated[float, Bounds(0, 1)] = 0.75
    linear_prob: Annotated[float, Bounds(0, 1)] = 0.5

    variants: ClassVar[dict[str, dict[str, Any]]] = {
        "haze_even": {"gradient": 0.0, "patches": 0.0, "angstrom": 0.0, "linear_prob": 0.0}
    }

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        depth = draw_scene(draw_log(self.reach, image, generator), image, generator)
        follows = draw((0.0, 1.0), image, generator) < self.follow_prob
        depth = torch.where(follows, follow_edges(depth, image), F.avg_pool2d(depth, 3, 1, 1, count_include_pad=False))
        patchy = 1 + draw(self.patches, image, generator) * draw_clouds(3, image, generator)
        optical_depth = draw(self.beta, image, generator) * patchy * depth
        transmission = torch.exp(-optical_depth * scattering(draw(self.angstrom, image, generator), image))
        airlight = self.draw_airlight(image, generator)
        linear = draw((0.0, 1.0), image, generator) < self.linear_prob
        scene, air = (torch.where(linear, to_linear(light), light) for light in (image, airlight))
        hazy = scene * transmission + air * (1 - transmission)
        return torch.where(linear, to_display(hazy), hazy).clamp(0, 1)

    def draw_airlight(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """Light of the haze, (B, C, H, W) in [0, 1]: brighter towards one side, as where the sun is."""
        y, x = positions(image)
        side = draw((0.0, 2 * torch.pi), image, generator)
        slope = draw(self.gradient, image, generator) * ((y - 0.5) * side.sin() + (x - 0.5) * side.cos())
        colour = draw((-1.0, 1.0), image, generator, image.shape[1]) * draw(self.tint, image, generator)
        return (draw(self.airlight, image, generator) + colour + slope).clamp(0, 1)


def scattering(angstrom: Tensor, image: Tensor) -> Tensor:
    """How much more than green light that of each channel is scattered, (B, C, 1, 1)."""
    known = list(WAVELENGTHS[: image.shape[1]])
    lengths = torch.tensor(known + [WAVELENGTHS[1]] * (image.shape[1] - len(known)), device=image.device).to(
        image.dtype
    )
    return (WAVELENGTHS[1] / lengths).view(1, -1, 1, 1) ** angstrom


def positions(image: Tensor) -> tuple[Tensor, Tensor]:
    """Positions from 0 to 1 down (H, 1) and across (W,) the image, at the middles of its pixels."""
    y, x = ((torch.arange(side, device=image.device, dtype=image.dtype) + 0.5) / side for side in image.shape[-2:])
    return y.view(-1, 1), x


def draw_clouds(cells: int, image: Tensor, generator: BatchGenerator) -> Tensor:
    """Smooth random values (B, 1, H, W) in about [-1, 1] with so many hills across."""
    heights = draw((-1.0, 1.0), image, generator, cells * cells).view(-1, 1, cells, cells)
    return F.interpolate(heights, image.shape[-2:], mode="bilinear", align_corners=True)


def draw_scene(reach: Tensor, image: Tensor, generator: BatchGenerator) -> Tensor:
    """Depth (B, 1, H, W) in (0, 1] of a scene in perspective; 1 is the farthest point, 1 / reach about the nearest.

    What is drawn is 1 / depth, which over a plane changes evenly from pixel to pixel, and whose largest value is seen.
    """
    y, x = positions(image)
    horizon, vanishing = draw((-0.2, 0.8), image, generator), draw((0.0, 1.0), image, generator)
    ground = ((y - horizon) / (1 - horizon)).clamp(min=0).expand(-1, -1, -1, image.shape[-1])
    # Each in its own share of the images: outdoors there is no ceiling, and on a plain there are no walls.
    walls, near = draw((0.0, 1.0), image, generator, 3), draw((0.3, 1.2), image, generator, 4)
    lengths = (y / horizon.clamp(min=0.05), x / vanishing.clamp(min=0.05), (1 - x) / (1 - vanishing).clamp(min=0.05))
    inverse = near[:, 3:] * ground
    for wall, nearness, length in zip(walls.split(1, 1), near[:, :3].split(1, 1), lengths, strict=True):
        inverse = torch.maximum(inverse, (wall < 0.4) * nearness * (1 - length).clamp(0, 1))
    inverse = draw_objects(inverse, image, generator)
    farthest = 1 / reach
    return farthest / (farthest + (1 - farthest) * inverse.clamp(0, 1))


def draw_objects(inverse: Tensor, image: Tensor, generator: BatchGenerator) -> Tensor:
    """1 / depth (B, 1, H, W), with objects in it: boxes and ellipses, upright or leaning, with rough outlines.

    An object is about as near as what is behind its foot. Sizes are as likely in every octave from 3 to 60 % of the
    picture.
    """
    y, x = positions(image)
    rough = draw_clouds(7, image, generator) + 0.5 * draw_clouds(17, image, generator)
    foot_y, foot_x = draw((0.2, 1.2), image, generator, OBJECTS), draw((-0.1, 1.1), image, generator, OBJECTS)
    height, slim = draw_log((0.03, 0.6), image, generator, OBJECTS), draw_log((0.3, 2.0), image, generator, OBJECTS)
    lean, bend = draw((-0.3, 0.3), image, generator, OBJECTS), draw((0.0, 0.3), image, generator, OBJECTS)
    corners, nearer = draw_log((1.5, 12.0), image, generator, OBJECTS), draw((0.0, 0.25), image, generator, OBJECTS)
    drawn = (foot_y, foot_x, height, slim, lean, bend, corners, nearer)
    for bottom, middle, tall, ratio, tilt, unrest, power, closer in zip(*(v.split(1, 1) for v in drawn), strict=True):
        up = (bottom - y) / tall  # 0 at the foot, 1 at the top
        across = (x - middle - tilt * (bottom - y)) / (tall * ratio)
        outline = (2 * up - 1).abs() ** power + (2 * across).abs() ** power + unrest * rough
        row = (bottom.clamp(0, 1) * (image.shape[-2] - 1)).long()
        column = (middle.clamp(0, 1) * (image.shape[-1] - 1)).long()
        behind = inverse.flatten(2).gather(2, (row * image.shape[-1] + column).flatten(1)[:, None])[..., None]
        inverse = torch.where(outline < 1, torch.maximum(inverse, behind + closer), inverse)
    return inverse


def follow_edges(depth: Tensor, image: Tensor) -> Tensor:
    """A depth map (B, 1, H, W) with the edges of the image: around each pixel a linear function of its brightness.

    He, Sun and Tang's guided filter, in windows of a quarter of the image, 49 pixels at most.
    """
    grey = image.mean(1, keepdim=True)
    radius = max(1, min(24, min(image.shape[-2:]) // 8))
    mean_grey, mean_depth = box_mean(grey, radius), box_mean(depth, radius)
    variance = box_mean(grey.square(), radius) - mean_grey.square()
    slope = (box_mean(grey * depth, radius) - mean_grey * mean_depth) / (variance.clamp(min=0) + 1e-3)
    followed = box_mean(slope, radius) * grey + box_mean(mean_depth - slope * mean_grey, radius)
    return followed.clamp(0, 1)


def box_mean(values: Tensor, radius: int) -> Tensor:
    """The mean of the values (B, 1, H, W) within `radius` pixels, inside the image."""
    side = 2 * radius + 1
    rows = F.avg_pool2d(values, (side, 1), 1, (radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, radius), count_include_pad=False)
