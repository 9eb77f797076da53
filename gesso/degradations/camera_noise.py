"""The noise of a camera: photons and electrons counted in the raw image, and what the camera then makes of them."""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.degradations._base import Bounds, Degradation, Range, draw, draw_integer, draw_log, ends
from gesso.degradations.jpeg import compress
from gesso.degradations.noise import normal_like
from gesso.functional.color import to_display, to_linear
from gesso.functional.padding import pad
from gesso.functional.random import BatchGenerator, poisson

MARGIN = 4  # pixels around the image that demosaicing and smoothing reach into

# How what was not seen at a pixel is guessed from pixels around it: green where there is red or blue; red and blue from
# neighbours in the row, from those in the column, and from those at the corners.
BILINEAR = (
    ((0, 0, 0, 0, 0), (0, 0, 1, 0, 0), (0, 1, 0, 1, 0), (0, 0, 1, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0)),
    ((0, 0, 0, 0, 0), (0, 1, 0, 1, 0), (0, 0, 0, 0, 0), (0, 1, 0, 1, 0), (0, 0, 0, 0, 0)),
)  # divided by 4
MALVAR = (
    ((0, 0, -2, 0, 0), (0, 0, 4, 0, 0), (-2, 4, 8, 4, -2), (0, 0, 4, 0, 0), (0, 0, -2, 0, 0)),
    ((0, 0, 1, 0, 0), (0, -2, 0, -2, 0), (-2, 8, 10, 8, -2), (0, -2, 0, -2, 0), (0, 0, 1, 0, 0)),
    ((0, 0, -2, 0, 0), (0, -2, 8, -2, 0), (1, 0, 10, 0, 1), (0, -2, 8, -2, 0), (0, 0, -2, 0, 0)),
    ((0, 0, -3, 0, 0), (0, 4, 0, 4, 0), (-3, 0, 12, 0, -3), (0, 4, 0, 4, 0), (0, 0, -3, 0, 0)),
)  # divided by 16


@dataclasses.dataclass(frozen=True)
class CameraNoise(Degradation):
    """A noisy image as a camera delivers it: raw counts, Bayer pattern, demosaicing, colours, gamma, often JPEG.

    The image is taken back to the linear values of a sensor; noise is drawn there, for the one colour that each pixel
    sees, and comes forward through the camera again. So it grows with the light, is stronger in red and blue, spreads
    over neighbours, and is largest in the shadows. The image itself is not mosaiced: what comes out differs by the
    noise and, with JPEG, by what that costs. Each image draws its camera: the phase of its Bayer pattern, and bilinear
    demosaicing or that of Malvar, He and Cutler, a tone curve or none, half of the images each.

    Args:
        photons: electrons that a green pixel counts at white, [1, 1e9]; drawn uniformly in its logarithm. A large
            pixel holds some 50,000, and sixteen times the lowest ISO number leaves a sixteenth.
        read: read noise in electrons, [0, 1000].
        red_gain: white balance of red against green, [1, 5].
        blue_gain: that of blue.
        saturation: how far the colour matrix of the camera is from the identity, [0, 2]: its rows are (1 + s, -s a,
            -s (1 - a)) with a drawn for each.
        chroma_blur: standard deviation in pixels of the smoothing of noise in colour, as cameras do it, [0, 4].
        quality: libjpeg quality, whole numbers in [1, 100].
        jpeg_prob: how likely the image is saved as JPEG, in [0, 1].

    Brooks et al., "Unprocessing images for learned raw denoising", CVPR 2019; the gains contain theirs (1.9 to 2.4 for
    red, 1.5 to 1.9 for blue, daylight) and those of lamps. Noise: Foi et al., IEEE TIP 2008, from what sensors hold and
    read (EMVA 1288 data sheets) instead of fits to a data set. Malvar et al., "High-quality linear interpolation for
    demosaicing of Bayer-patterned color images", ICASSP 2004.
    """

    rgb_only = True

    photons: Annotated[Range, Bounds(1, 1e9)] = (150, 50_000)
    read: Annotated[Range, Bounds(0, 1000)] = (1, 8)
    red_gain: Annotated[Range, Bounds(1, 5)] = (1.2, 2.6)
    blue_gain: Annotated[Range, Bounds(1, 5)] = (1.2, 2.6)
    saturation: Annotated[Range, Bounds(0, 2)] = (0.2, 0.9)
    chroma_blur: Annotated[Range, Bounds(0, 4)] = (0, 1.2)
    quality: Annotated[Range, Bounds(1, 100)] = (75, 100)
    jpeg_prob: Annotated[float, Bounds(0, 1)] = 0.5

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        curved = draw((0.0, 1.0), image, generator) < 0.5
        matrix, gains = self.draw_colours(image, generator)
        padded = pad(image.clamp(0, 1), MARGIN, MARGIN, MARGIN, MARGIN)
        linear = to_linear(torch.where(curved, flatten_tones(padded), padded))
        raw = mix_channels(torch.linalg.inv(matrix), linear) / gains
        noise = smooth_colours(
            self.draw_noise(raw, generator), draw(self.chroma_blur, image, generator), self.chroma_blur
        )
        seen = to_display(mix_channels(matrix, (raw + noise) * gains).clamp(0, 1))
        seen = torch.where(curved, seen * seen * (3 - 2 * seen), seen)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        return self.save_some(seen.clamp(0, 1), generator)

    def draw_colours(self, image: Tensor, generator: BatchGenerator) -> tuple[Tensor, Tensor]:
        """From balanced raw to linear sRGB, (B, 3, 3), rows summing to 1; and the gains before it, (B, 3, 1, 1)."""
        share, strength = draw((0.0, 1.0), image, generator, 3)[..., 0], draw(self.saturation, image, generator)[..., 0]
        zero = torch.zeros_like(share[:, 0])
        first, second = share[..., 0], 1 - share[..., 0]
        crosstalk = torch.stack(
            [
                zero,
                first[:, 0:1],
                second[:, 0:1],
                first[:, 1:2],
                zero,
                second[:, 1:2],
                first[:, 2:3],
                second[:, 2:3],
                zero,
            ],
            1,
        ).view(-1, 3, 3)
        matrix = (1 + strength) * torch.eye(3, device=image.device, dtype=image.dtype) - strength * crosstalk
        red, blue = draw(self.red_gain, image, generator), draw(self.blue_gain, image, generator)
        return matrix, torch.cat([red, torch.ones_like(red), blue], dim=1)

    def draw_noise(self, raw: Tensor, generator: BatchGenerator) -> Tensor:
        """What noise adds to demosaiced raw values (B, 3, H, W) in [0, 1] of green's white."""
        photons, read = draw_log(self.photons, raw, generator), draw(self.read, raw, generator)
        row, column = (draw_integer((0, 1), raw, generator) for _ in range(2))  # where red is
        height, width = raw.shape[-2:]
        odd_y = (torch.arange(height, device=raw.device).view(-1, 1) + row) % 2 == 1
        odd_x = (torch.arange(width, device=raw.device) + column) % 2 == 1
        light = torch.where(odd_y == odd_x, torch.where(odd_y, raw[:, 2:], raw[:, :1]), raw[:, 1:2])
        counted = poisson(light.clamp(min=0) * photons, generator) + read * normal_like(light, generator)
        noise = (counted / photons).clamp(max=1) - light.clamp(0, 1)  # a full pixel counts no more
        malvar = draw((0.0, 1.0), raw, generator) < 0.5
        return torch.where(malvar, demosaic(noise, odd_y, odd_x, MALVAR), demosaic(noise, odd_y, odd_x, BILINEAR))

    def save_some(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """The images, of which each may have been saved as JPEG."""
        quality = draw_integer(self.quality, image, generator).flatten().tolist()
        saved = (draw((0.0, 1.0), image, generator).flatten() < self.jpeg_prob).nonzero().flatten().tolist()
        if saved:
            image = image.clone()
            image[saved] = compress(image[saved], [int(quality[number]) for number in saved])
        return image


def demosaic(bayer: Tensor, odd_y: Tensor, odd_x: Tensor, kernels: tuple) -> Tensor:
    """Colours (B, 3, H, W) from Bayer samples (B, 1, H, W), linear in them; red where neither coordinate is odd."""
    weights = torch.tensor(kernels, device=bayer.device, dtype=bayer.dtype)[:, None]
    weights = weights / weights[0].sum()
    cross, row, column, corners = F.conv2d(F.pad(bayer, (2, 2, 2, 2)), weights).split(1, dim=1)
    # Red's own rows hold green and red, blue's hold green and blue.
    red = torch.where(odd_y, torch.where(odd_x, corners, column), torch.where(odd_x, row, bayer))
    blue = torch.where(odd_y, torch.where(odd_x, bayer, row), torch.where(odd_x, column, corners))
    return torch.cat([red, torch.where(odd_y == odd_x, cross, bayer), blue], dim=1)


def mix_channels(matrix: Tensor, image: Tensor) -> Tensor:
    """Each pixel's colour times a matrix (B, 3, 3) of its image."""
    return torch.einsum("bij,bjhw->bihw", matrix, image)


def flatten_tones(image: Tensor) -> Tensor:
    """The inverse of the tone curve `3 x^2 - 2 x^3`, as Brooks et al. have it."""
    return 0.5 - torch.sin(torch.asin((1 - 2 * image).clamp(-1, 1)) / 3)


def smooth_colours(noise: Tensor, sigma: Tensor, limits: Range) -> Tensor:
    """Noise (B, 3, H, W) whose colour, what differs from the mean of its channels, is blurred by a Gaussian."""
    if ends(limits)[1] == 0:
        return noise
    grey = noise.mean(1, keepdim=True)
    offset = torch.arange(-MARGIN, MARGIN + 1, device=noise.device, dtype=noise.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma.clamp(min=1e-3)).square())
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(3, dim=0)  # (3 B, 1, 1, K)
    batch, channels = noise.shape[:2]
    colour = (noise - grey).flatten(0, 1)[None]
    for weight, padding in ((kernel, (0, MARGIN)), (kernel.mT, (MARGIN, 0))):
        colour = F.conv2d(colour, weight, padding=padding, groups=batch * channels)
    return grey + colour.view(noise.shape)
