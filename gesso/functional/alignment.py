"""Whether two images of one scene lie on top of each other."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.functional.color import rgb_to_y

WORKING_SIZE = 512  # longer side on which shifts are looked for
FARTHEST = 24  # pixels of the working size


class Shift(NamedTuple):
    """How an image lies on another one.

    Attributes:
        down: rows by which the first image must be moved down to match best; negative means up.
        right: columns by which it must be moved to the right.
        there: correlation of their details after that move; below 0.1 two images have nothing in common.
        here: correlation as they are; equal to `there` if no move helps.
    """

    down: int
    right: int
    there: float
    here: float


def find_shift(image: Tensor, reference: Tensor) -> Shift:
    """The shift between two images (3, H, W) of one size, in their pixels, exact to 1/512 of the longer side.

    Images are compared by fine luma structure of equalised local contrast, so that rain, noise, haze, blur and
    darkness, which change the picture but not where things are, matter little.
    """
    factor = max(1, round(max(image.shape[-2:]) / WORKING_SIZE))
    first, second = (_detail(_smaller(rgb_to_y(side), factor)) for side in (image, reference))
    height, width = first.shape
    spectrum = torch.fft.rfft2(second) * torch.fft.rfft2(first).conj()
    correlation = torch.fft.irfft2(spectrum, s=(height, width)) / (first.norm() * second.norm()).clamp(min=1e-9)
    reach_y, reach_x = min(FARTHEST, height // 4), min(FARTHEST, width // 4)
    near = correlation.roll((reach_y, reach_x), (0, 1))[: 2 * reach_y + 1, : 2 * reach_x + 1]
    here, there = near[reach_y, reach_x].item(), near.max().item()
    down, right = divmod(int(near.argmax()), 2 * reach_x + 1) if there > here else (reach_y, reach_x)
    return Shift(factor * (down - reach_y), factor * (right - reach_x), there, here)


def _smaller(y: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(y, factor, ceil_mode=True) if factor > 1 else y


def _detail(y: Tensor) -> Tensor:
    """Fine structure (H, W) of a luma image (1, H, W): a band of frequencies at equal local contrast, fading out."""
    band = _box(y, 1) - _box(_box(y, 4), 4)
    band = band / (_box(band.square(), 8).sqrt() + 0.01)
    height, width = y.shape[-2:]
    like = {"dtype": y.dtype, "device": y.device}
    fade = torch.hann_window(height, **like)[:, None] * torch.hann_window(width, **like)
    return band.squeeze(0) * fade


def _box(y: Tensor, radius: int) -> Tensor:
    """Mean over squares of 2 * radius + 1 pixels, cut off at the border."""
    side = 2 * radius + 1
    y = F.avg_pool2d(y, (side, 1), stride=1, padding=(radius, 0), count_include_pad=False)
    return F.avg_pool2d(y, (1, side), stride=1, padding=(0, radius), count_include_pad=False)
