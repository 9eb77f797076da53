"""Bands of the spectrum taken out of an image, and how much of them a network brings back."""

from itertools import pairwise

import torch
from torch import Tensor

from gesso.functional.spectrum import apply_mask, ring_mask, ring_total, spectrum


def band_rings(height: int, width: int, bands: int) -> list[range]:
    """The rings of an image (see `ring_total`) from the second on, divided into so many bands, coarse to fine.

    Ring 0, the mean of the image, stays out. There are fewer bands where there are fewer rings.
    """
    total = ring_total(height, width)
    bands = min(bands, total - 1)
    edges = [1 + (total - 1) * number // bands for number in range(bands + 1)]
    return [range(first, last) for first, last in pairwise(edges)]


def band_frequency(rings: range, height: int, width: int) -> float:
    """The middle of a band in cycles per pixel along the shorter side, in (0, 0.5)."""
    return (rings[0] + rings[-1]) / 2 / min(height, width)


def without_band(image: Tensor, rings: range) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) without a band, unclamped, and the mask (1, 1, H, W) over centred spectra: 0 in the band."""
    height, width = image.shape[-2:]
    mask = ring_mask(height, width, torch.tensor([list(rings)], device=image.device))
    return apply_mask(image, mask), mask


def restored_share(restored: Tensor, image: Tensor, mask: Tensor) -> float:
    """The share of what a mask took from images (B, C, H, W) that restored ones have again, 1 at most.

    1 - |R - X|^2 / |X|^2 over the removed frequencies of all images, R and X the spectra: 1 where they are back as they
    were, 0 where nothing is, below 0 where what stands there is worse than nothing.
    """
    removed = 1 - mask
    wanted = spectrum(image) * removed
    error = spectrum(restored) * removed - wanted
    return float(1 - error.abs().square().sum() / wanted.abs().square().sum())
