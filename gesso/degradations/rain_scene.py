"""Rain as a camera sees it: drops of many sizes and depths, drawn out by the exposure, before a mist of their own."""

import dataclasses
import math
from typing import Annotated

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw, draw_log, ends
from gesso.degradations._particles import draw_angles, falling
from gesso.degradations.blur import filter_image, gaussian_kernel
from gesso.degradations.haze import draw_depth
from gesso.functional.color import to_display, to_linear
from gesso.functional.random import BatchGenerator, rand, randn

BANKS = 6  # slabs of the air before the camera, whose drops are alike
NEAREST, FARTHEST = 0.3, 6.0  # metres: nearer ones are seldom, and beyond drops are too small to tell
GRAINS = 2  # layers of blurred noise
DROPS_PER_METRE4 = 8e6  # Marshall and Palmer's N0: 8000 drops per cubic metre of air and millimetre of diameter


@dataclasses.dataclass(frozen=True)
class RainScene(Degradation):
    """A rainy image: banks of streaks from near to far, streaks of blurred noise, and mist that dims what is behind.

    Each image draws the weather (`rainfall`, `wind`) and the camera (`focal`, `exposure`, `aperture`). Each of six
    banks at depths from 0.3 to 6 m has drops of one size; size, speed and distance make the length, the width, the
    direction and the blur of its streaks. Near streaks are long, wide and out of focus, far ones fine, dense and faint.
    How strongly rain shows in published pictures, real or made, is not a matter of physics alone: `density` and
    `brightness` say it, as for `rain`. Half of the images are blended in linear light, the others in the values of a
    display; half of either add the light of the streaks, the others screen it, `1 - (1 - a) (1 - b)`. What exceeds
    white is lost, as in a sensor.

    Args:
        density: share of the image that streaks cover, those counted less that are fainter than the brightest, in
            [0, 0.99]; 0 means no streaks.
        brightness: light that the brightest streaks add, [0, 1]; single streaks vary between half of it and all of it.
        rainfall: mm per hour, [0.1, 300], drawn uniformly in its logarithm. More rain has larger drops.
        wind: across the view in m/s, [-30, 30].
        spread: how far the directions within one image differ from that of wind and fall, in degrees, [0, 45].
        focal: focal length in pixels, [50, 20000]; 0.9 times the width of an uncropped picture of 60 degrees. Drawn
            uniformly in its logarithm.
        exposure: in seconds, [1e-5, 1]; drawn uniformly in its logarithm.
        aperture: diameter of the lens opening in mm, [0, 50]; the scene is in focus, near drops are not.
        grain: how much of the rain is blurred noise instead of single streaks, [0, 1]: 0 none, 0.5 both, 1 all.
        distance: of the farthest point of the scene in metres, [0, 10000]: how much mist there is before it.
        softness: standard deviation in pixels of the blur behind the densest mist, [0, 10].

    Sizes of drops: Marshall and Palmer, "The distribution of raindrops with size", J. Meteorology 1948. Speeds: Atlas,
    Srivastava and Sekhon, Reviews of Geophysics 1973. Streaks: Garg and Nayar, "Vision and rain", IJCV 2007. Mist: the
    same drops, extinction efficiency 2 (geometric optics), and the blur of Narasimhan and Nayar, "Shedding light on the
    weather", CVPR 2003. Blurred noise, thresholded: what tutorials of image editors teach, and data sets made so (Fu et
    al., "Removing rain from single images via a deep detail network", CVPR 2017). No constant is fitted to a data set.
    """

    density: Annotated[Range, Bounds(0, 0.99)] = (0.02, 0.95)
    brightness: Annotated[Range, Bounds(0, 1)] = (0.05, 0.5)
    rainfall: Annotated[Range, Bounds(0.1, 300)] = (1, 150)
    wind: Annotated[Range, Bounds(-30, 30)] = (-5, 5)
    spread: Annotated[Range, Bounds(0, 45)] = (0, 6)
    focal: Annotated[Range, Bounds(50, 20_000)] = (300, 3000)
    exposure: Annotated[Range, Bounds(1e-5, 1)] = (1 / 1000, 1 / 30)
    aperture: Annotated[Range, Bounds(0, 50)] = (0.5, 8)
    grain: Annotated[Range, Bounds(0, 1)] = (0, 1)
    distance: Annotated[Range, Bounds(0, 10_000)] = (0, 200)
    softness: Annotated[Range, Bounds(0, 10)] = (0, 1)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        decay = 4.1 * draw_log(self.rainfall, image, generator) ** -0.21  # of the number of drops with diameter, per mm
        scene = self.behind_mist(image, decay, generator)
        density, grain = draw(self.density, image, generator), draw(self.grain, image, generator)
        layers = self.draw_layers(image, decay, generator)
        banks = draw_banks(image, density, [value[:, :BANKS] for value in layers], generator)
        noise = draw_grain(image, density, [value[:, BANKS:] for value in layers], generator)
        light = torch.maximum(banks * (2 - 2 * grain).clamp(max=1), noise * (2 * grain).clamp(max=1))
        return blend(scene, draw(self.brightness, image, generator) * light, generator)

    def behind_mist(self, image: Tensor, decay: Tensor, generator: BatchGenerator) -> Tensor:
        """The image behind the rain that is too far away to be seen as streaks."""
        extinction = math.pi * DROPS_PER_METRE4 / (1e3 * decay) ** 3  # efficiency 2, times the area of all drops
        depth = draw_depth(image, generator) * draw(self.distance, image, generator)
        through = torch.exp(-extinction * depth)
        sigma = draw(self.softness, image, generator)
        soft = filter_image(image, gaussian_kernel(sigma, sigma, sigma, math.ceil(3 * ends(self.softness)[1])))
        return torch.lerp(soft, image, through) * through + draw((0.5, 0.95), image, generator) * (1 - through)

    def draw_layers(self, image: Tensor, decay: Tensor, generator: BatchGenerator) -> tuple[Tensor, ...]:
        """Of the banks, then of the noise, each (B, BANKS + GRAINS, 1, 1): direction in degrees from straight down,
        length, width and blur of a streak in pixels, and depth in metres.
        """
        count = BANKS + GRAINS
        diameter = draw_diameters(decay, image, generator, count)
        part = torch.linspace(0, 1, BANKS + 1, device=image.device, dtype=image.dtype)[:-1].view(1, -1, 1, 1)
        place = draw((0.0, 1.0), image, generator, count)  # of the banks in their slabs, of noise anywhere
        place = torch.cat([part + place[:, :BANKS] / BANKS, place[:, BANKS:]], dim=1)
        depth = NEAREST * (FARTHEST / NEAREST) ** place
        scale = draw_log(self.focal, image, generator) / depth  # pixels per metre
        fall = 9.65 - 10.3 * torch.exp(-0.6 * diameter)  # m/s
        wind = draw(self.wind, image, generator)
        angle = torch.rad2deg(torch.atan2(wind, fall)) + draw_angles(0.0, self.spread, image, generator, count)
        length = torch.hypot(wind, fall) * draw_log(self.exposure, image, generator) + 1e-3 * diameter
        blur = (1e-3 * draw(self.aperture, image, generator) * scale).clamp(
            min=1
        )  # of what is near, the scene in focus
        return angle, length * scale, 1e-3 * diameter * scale, blur, depth


def draw_banks(image: Tensor, density: Tensor, layers: list[Tensor], generator: BatchGenerator) -> Tensor:
    """Light of single streaks (B, 1, H, W), 1 where a streak of the most visible bank is; see `draw_layers`."""
    angle, length, width, blur, depth = layers
    # A streak is as strong as the time is long that its drop stays before a pixel. All slabs hold equally many drops in
    # a cubic metre, so that what they cover is as their thickness, and as the length of their streaks.
    strength = width / length
    strength = strength / (strength * (width / blur).clamp(max=1)).amax(1, keepdim=True)
    cover = depth / strength
    cover = -torch.log1p(-density) * cover / (cover * strength).sum(1, keepdim=True)
    count = cover / (length * width)
    spectrum = torch.zeros((), device=image.device)
    banks = (value.split(1, dim=1) for value in (count, angle, strength, length, width, blur))
    for rate, direction, light, *form in zip(*banks, strict=True):
        shape = light * streak(*falling(direction, image), *form)
        seeds = rand(shape.shape, generator, image.dtype)
        # Where more than one drop a pixel is expected, each pixel gets one that is as bright as all of them.
        seeds = torch.where(seeds < rate, (0.5 + 0.5 * seeds / rate) * rate.clamp(min=1), 0.0)
        spectrum = spectrum + torch.fft.rfft2(seeds) * torch.fft.rfft2(shape)
    return torch.fft.irfft2(spectrum, s=image.shape[-2:]).relu()


def draw_grain(image: Tensor, density: Tensor, layers: list[Tensor], generator: BatchGenerator) -> Tensor:
    """Light of noise (B, 1, H, W) in [0, 1] that has been blurred along the fall and then thresholded."""
    angle, length = layers[:2]
    width = draw((0.5, 2.5), image, generator, GRAINS)
    # Of a normal number. Half as dense as the streaks: where noise covers most of a picture, its gaps look like rain.
    threshold = torch.special.ndtri(1 - density / 2)
    contrast = draw((0.7, 3.0), image, generator, GRAINS)
    light = torch.zeros_like(image[:, :1])
    for direction, slope, reach, across in zip(*(v.split(1, 1) for v in (angle, contrast, length, width)), strict=True):
        shape = streak(*falling(direction, image), reach, across, across.clamp(min=1))
        shape = shape / shape.square().sum((-2, -1), keepdim=True).sqrt().clamp(min=1e-6)
        noise = torch.fft.rfft2(randn(shape.shape, generator, image.dtype))
        noise = torch.fft.irfft2(noise * torch.fft.rfft2(shape), s=image.shape[-2:])
        light = torch.maximum(light, ((noise - threshold) / slope).clamp(0, 1))
    return light


def draw_diameters(decay: Tensor, image: Tensor, generator: BatchGenerator, layers: int) -> Tensor:
    """Diameters of drops in mm, (B, layers, 1, 1): Marshall and Palmer's, as often as the area that they cover."""
    # The density D^2 exp(-decay D) is that of the sum of three exponential numbers.
    uniform = rand((image.shape[0], layers, 3), generator, image.dtype)
    return (-torch.log1p(-uniform).sum(-1)[..., None, None] / decay).clamp(0.4, 6)


def streak(along: Tensor, across: Tensor, length: Tensor, width: Tensor, blur: Tensor) -> Tensor:
    """Share in [0, 1] of the light of one streak that arrives at distances along and across it.

    A bar convolved with a square of `blur` pixels, at least 1: the pixel, or the disc that a point out of focus makes.
    """
    profile = ((width + blur) / 2 - across.abs()).relu() / blur
    ends = (((length + blur) / 2 - along.abs()) / blur).clamp(0, 1)
    return ends * torch.minimum(profile, (width / blur).clamp(max=1))


def blend(scene: Tensor, streaks: Tensor, generator: BatchGenerator) -> Tensor:
    """Streaks (B, 1, H, W) before a scene: in linear light or not, added or screened, as each image draws."""
    linear, screened = (draw((0.0, 1.0), scene, generator) < 0.5 for _ in range(2))
    light = draw((0.6, 1.0), scene, generator) + draw((-0.05, 0.05), scene, generator, scene.shape[1])
    seen = torch.where(linear, to_linear(scene), scene)
    seen = (seen + streaks * (light - screened * seen).relu()).clamp(0, 1)
    return torch.where(linear, to_display(seen), seen).clamp(0, 1)
