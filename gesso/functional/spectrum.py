"""The Fourier domain: masks over frequencies, images without the masked ones, and distances between spectra.

One convention holds everywhere. Spectra and masks are *centred*: frequency zero lies at (H // 2, W // 2), for even and
odd sides. A mask is 1 where a frequency is kept and 0 where it is removed. Transforms run in float32 at least, also
under mixed precision, because sums over all pixels overflow or round in half precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.fft import fft2, fftshift, ifft2, ifftshift

from gesso.functional.checks import check_choice
from gesso.functional.processes import mean_over_processes
from gesso.functional.random import BatchGenerator, rand, randint

Geometry = Literal["symmetric", "published"]
Part = Literal["real", "modulus"]
Component = Literal["real", "imaginary", "amplitude", "pixel"]
SPACE = (-2, -1)
EPS = 1e-12  # inside every square root: its derivative at 0 is infinite

# --------------------------------------------------------------------------------------------------------------- masks


def offsets(height: int, width: int, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """Signed distance from frequency zero along each axis, integers that broadcast to (H, W): rows, columns."""
    rows = torch.arange(height, device=device) - height // 2
    columns = torch.arange(width, device=device) - width // 2
    return rows[:, None], columns[None, :]


def ring_total(height: int, width: int) -> int:
    """Number of rings R of an image; ring i < R is the square outline at Chebyshev distance i from frequency zero.

    Rings fill the square inscribed in the spectrum. Frequencies outside it, and the Nyquist row and column of an even
    side, belong to no ring.
    """
    return min(height, width) // 2


def draw_rings(
    batch: int, height: int, width: int, mask_ratio: float, generator: BatchGenerator, *, replacement: bool = False
) -> Tensor:
    """Rings to remove, drawn anew for every image: integers (batch, int(R * mask_ratio)) on the generator's device.

    Args:
        batch: number of images.
        height: height of the image in pixels.
        width: width of the image in pixels.
        mask_ratio: share of the R rings that are drawn, in (0, 1).
        generator: where the draw comes from.
        replacement: whether a ring may be drawn twice, as in Algorithm 1 of the IFP paper; then fewer distinct rings
            than asked for disappear (53 % instead of 75 % at 224 x 224).
    """
    total = ring_total(height, width)
    count = int(total * mask_ratio)
    if replacement:
        return randint(0, total, (batch, count), generator)
    order = rand((batch, total), generator).argsort(dim=1)
    return order[:, :count]


def ring_mask(height: int, width: int, rings: Tensor, geometry: Geometry = "symmetric") -> Tensor:
    """Mask (B, 1, H, W), float32, that removes the given rings of each image (IFP paper, section 3.2).

    Ring i holds the 8 i frequencies with max(|row|, |column|) = i; ring 0 is frequency zero itself and stays.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        rings: ring numbers (B, K), each in [0, R); repeats have no further effect.
        geometry: "symmetric" removes whole rings, so that the image stays real. "published" spares the corner
            (i, i) of every ring, as Algorithm 1 and the official code do.
    """
    check_choice("geometry", geometry, Geometry)
    total = ring_total(height, width)
    rows, columns = offsets(height, width, rings.device)
    ring = torch.maximum(rows.abs(), columns.abs()).clamp(max=total)  # `total` stands for "in no ring"
    kept = torch.ones(len(rings), total + 1, dtype=torch.float32, device=rings.device).scatter(1, rings, 0.0)
    kept[:, 0] = 1.0
    mask = kept[:, ring]
    if geometry == "published":
        mask = mask.masked_fill((rows == columns) & (rows > 0), 1.0)
    return mask[:, None]


def disc_mask(
    height: int, width: int, radius: float, outer_radius: float = float("inf"), device: torch.device | str | None = None
) -> Tensor:
    """Low-pass mask (1, 1, H, W), float32: 1 within `radius` of frequency zero; 1 - mask is the high-pass (MFM).

    Frequencies at `outer_radius` and beyond are kept too; MFM ships with this second radius switched off.
    """
    rows, columns = offsets(height, width, device)
    distance = rows.square() + columns.square()
    mask = (distance < radius**2) | (distance >= outer_radius**2)
    return mask.float()[None, None]


# ---------------------------------------------------------------------------------------------------------- transforms


def full_precision(image: Tensor) -> Tensor:
    """`image` in float32, or unchanged where it is more precise already."""
    return image.float() if image.dtype in (torch.float16, torch.bfloat16) else image


def spectrum(image: Tensor) -> Tensor:
    """Centred orthonormal spectrum of the last two axes, complex; it has the energy of the image."""
    return fftshift(fft2(full_precision(image), norm="ortho"), dim=SPACE)


def amplitude(image: Tensor, eps: float = EPS) -> Tensor:
    """Amplitude of the centred orthonormal spectrum, sqrt(re^2 + im^2 + eps); white noise N(0, 1) has mean 0.886."""
    coefficients = spectrum(image)
    return (coefficients.real.square() + coefficients.imag.square() + eps).sqrt()


def apply_mask(image: Tensor, mask: Tensor, part: Part = "real") -> Tensor:
    """`image` (B, C, H, W) without the frequencies where `mask` (B, 1, H, W) is 0, in float32 at least, unclamped.

    Args:
        image: any real image.
        mask: centred, 1 = kept. Removing a coefficient is removing its amplitude: the phase of zero means nothing.
        part: what is taken of the inverse transform. "real": exact for a symmetric mask. "modulus": as the official
            IFP code does; it folds negative values up, so a zero-mean image is lost.
    """
    check_choice("part", part, Part)
    inverse = ifft2(fft2(full_precision(image)) * ifftshift(mask, dim=SPACE))
    return inverse.real if part == "real" else inverse.abs()


def radial_profile(image: Tensor) -> Tensor:
    """Mean power of each image by frequency, (B, R) from 0 to Nyquist: how much detail of which fineness it holds.

    Entry i holds the frequencies within half a step of i / min(H, W) cycles per pixel, averaged over channels; white
    noise has a flat profile, a natural photo falls like 1 / i^2.
    """
    height, width = image.shape[-2:]
    total = ring_total(height, width)
    rows, columns = offsets(height, width, image.device)
    frequency = ((rows / height).square() + (columns / width).square()).sqrt()
    bins = (frequency * min(height, width)).round().long().flatten()
    inside = bins < total
    power = spectrum(image).abs().square().mean(dim=1).flatten(1)  # (B, H * W)
    sums = power.new_zeros(len(power), total).index_add(1, bins[inside], power[:, inside])
    return sums / bins[inside].bincount(minlength=total)


# ----------------------------------------------------------------------------------------------------------- distances


def split_tiles(image: Tensor, patch_factor: int) -> Tensor:
    """`image` (B, C, H, W) as patch_factor^2 tiles in reading order, (B, P, C, H / patch_factor, W / patch_factor)."""
    batch, channels, height, width = image.shape
    if height % patch_factor or width % patch_factor:
        raise ValueError(f"patch_factor: {height} x {width} pixels cannot be cut into {patch_factor} x {patch_factor}")
    tall, wide = height // patch_factor, width // patch_factor
    tiles = image.reshape(batch, channels, patch_factor, tall, patch_factor, wide)
    return tiles.permute(0, 2, 4, 1, 3, 5).reshape(batch, patch_factor**2, channels, tall, wide)


def component(image: Tensor, name: Component) -> Tensor:
    """One real map of `image` (..., H, W): a component of its centred spectrum, or its pixels as they are.

    "amplitude" is clamped to [0, 1] as in the official IFP code: larger ones have no gradient.
    """
    match name:
        case "real":
            return spectrum(image).real
        case "imaginary":
            return spectrum(image).imag
        case "amplitude":
            return amplitude(image).clamp(0, 1)
        case "pixel":
            return full_precision(image)


@dataclass(frozen=True)
class FocalWeight:
    """Weight in [0, 1] of each frequency, large where the distance (B, P, C, h, w) is large; without gradient.

    distance^gamma, or its ln(1 + .), relative to the largest of the tile's channel, or of everything.

    Attributes:
        gamma: exponent.
        log: take the logarithm.
        over_batch: one maximum for the whole batch.
    """

    gamma: float = 1.0
    log: bool = False
    over_batch: bool = False

    def __call__(self, distance: Tensor) -> Tensor:
        """The weights of a map of distances."""
        weight = distance.detach() ** self.gamma
        if self.log:
            weight = weight.log1p()
        largest = weight.amax() if self.over_batch else weight.amax(dim=SPACE, keepdim=True)
        return (weight / largest).nan_to_num(0.0).clamp(0, 1)  # 0 / 0: nothing differs, nothing weighs


def frequency_distance(
    prediction: Tensor,
    target: Tensor,
    components: Sequence[Component] = ("real", "imaginary"),
    *,
    pixel_weight: float = 0.8,
    loss_gamma: float = 1.0,
    patch_factor: int = 1,
    average_spectrum: bool = False,
    focal: FocalWeight | None = None,
) -> Tensor:
    """Distance map (B, P, C, h, w) of two images: sqrt(sum of squared component differences + 1e-12)^loss_gamma.

    ("real", "imaginary") is the loss of MFM; ("pixel", "amplitude") that of the official IFP code, which pairs the
    pixel at (y, x) with the frequency at the same index of the centred spectrum.

    Args:
        prediction: image (B, C, H, W).
        target: image (B, C, H, W).
        components: what is compared, see `component`.
        pixel_weight: factor of the squared pixel difference.
        loss_gamma: exponent of the distance.
        patch_factor: the images are cut into P = patch_factor^2 tiles, each with its own spectrum.
        average_spectrum: compare means over the batch; the map then has B = 1.
        focal: weight of each frequency, which knows no `pixel_weight`; None: all weigh the same.
    """
    differences = []
    for name in components:
        of_prediction, of_target = (component(split_tiles(image, patch_factor), name) for image in (prediction, target))
        if average_spectrum:
            of_prediction, of_target = of_prediction.mean(0, keepdim=True), of_target.mean(0, keepdim=True)
        differences.append(of_prediction - of_target)
    factors = [pixel_weight if name == "pixel" else 1.0 for name in components]
    squares = torch.stack([factor * part.square() for factor, part in zip(factors, differences, strict=True)]).sum(0)
    distance = (squares + EPS).sqrt() ** loss_gamma
    if focal is None:
        return distance
    plain = torch.stack([part.detach().square() for part in differences]).sum(0).sqrt()
    return distance * focal(plain)


def mean_where_removed(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, ..., C, H, W) over the positions where `mask` (B, 1, H, W) is 0; 0 if there are none.

    Images whose masks remove more count for more. So where a batch is shared out over devices, positions are counted on
    all of them: the mean of what the devices return is the mean over the whole batch.
    """
    removed = 1.0 - mask
    if values.dim() == 5:
        removed = removed[:, None]
    if values.shape[-2:] != mask.shape[-2:]:
        tile, whole = tuple(values.shape[-2:]), tuple(mask.shape[-2:])
        raise ValueError(f"a mask over {whole} frequencies cannot select among {tile}; use patch_factor=1")
    repeats = values[0, ..., 0, 0].numel()  # tiles * channels share one mask
    return (values * removed).sum() / (mean_over_processes(removed.sum()) * repeats).clamp(min=1.0)
