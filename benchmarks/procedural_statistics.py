"""How near procedural images come to photos: radial power spectra, gradients, contrast, colour.

    python -m benchmarks.procedural_statistics PHOTOS

PHOTOS is a folder of clean natural photos; the published figures are those of 132 photos of BSDS500. Writes
`docs/figures/procedural_statistics.png` and `docs/figures/procedural_images.jpg`, and prints the table.
"""

import argparse
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from torch import Tensor

from gesso.data.folders import find_images
from gesso.data.io import read_image
from gesso.functional.random import generator_for
from gesso.functional.spectrum import radial_profile
from gesso.sources import batch_of
from gesso.sources.leaves import leaves
from gesso.sources.pink import pink
from gesso.sources.scenes import scenes

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SIDE, COUNT = 128, 528
RINGS = slice(3, SIDE * 3 // 8)  # frequencies of the fit: the lowest suffer from the window, the highest from the lens
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    sources = {
        "photos": crops(parser.parse_args().photos),
        "leaves": batch_of(leaves, 0, range(COUNT), SIDE),
        "scenes": batch_of(scenes, 0, range(COUNT), SIDE),
        "pink": batch_of(pink, 0, range(COUNT), SIDE),
        "white noise": (0.5 + torch.randn(COUNT, 3, SIDE, SIDE, generator=generator_for(0)) / 6).clamp(0, 1),
    }
    table(sources)
    plot(sources)
    examples()


def crops(folder: Path) -> Tensor:
    """Random squares of photos, (COUNT, 3, SIDE, SIDE)."""
    photos = [read_image(path) for path in find_images(folder)]
    rng = np.random.default_rng(0)
    squares = []
    for k in range(COUNT):
        photo = photos[k % len(photos)]
        top, left = (rng.integers(0, side - SIDE + 1) for side in photo.shape[-2:])
        squares.append(photo[:, top : top + SIDE, left : left + SIDE])
    return torch.stack(squares)


def grey(images: Tensor) -> Tensor:
    return (images * LUMA).sum(1, keepdim=True)


def power(images: Tensor) -> Tensor:
    """Radial power (B, SIDE / 2) of the brightness, windowed so that the borders do not count as edges."""
    light = grey(images)
    window = torch.hann_window(SIDE)
    return radial_profile((light - light.mean((-2, -1), keepdim=True)) * window * window[:, None])


def slopes(profile: Tensor) -> np.ndarray:
    """How steeply each profile (B, R) falls: power ~ frequency ** -slope."""
    k = np.arange(SIDE // 2)[RINGS]
    return -np.polyfit(np.log(k), profile[:, RINGS].clamp(min=1e-12).log().numpy().T, 1, w=k**-0.5)[0]


def table(sources: dict[str, Tensor]) -> None:
    columns = ("slope of the mean power", "slope of an image (5, 50, 95 %)", "gradient deviation",
               "gradient kurtosis, median", "contrast (5, 50, 95 %)", "colour axes of an image")  # fmt: skip
    print(f"| | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for name, images in sources.items():
        profile = power(images)
        gradient = grey(images).diff(dim=-1).flatten(1)
        kurtosis = (gradient**4).mean(1) / (gradient**2).mean(1).square().clamp(min=1e-12)
        flat = (images - images.mean((-2, -1), keepdim=True)).flatten(2)
        covariance = flat @ flat.mT / flat.shape[-1]
        contrast = (covariance.diagonal(dim1=-2, dim2=-1).mean(-1)).sqrt()
        axes = torch.linalg.eigvalsh(covariance).mean(0).clamp(min=0).sqrt().flip(0)
        print(f"| {name} | {slopes(profile.mean(0, keepdim=True))[0]:.2f} | {spread(slopes(profile))} "
              f"| {gradient.std():.3f} | {kurtosis.median():.1f} | {spread(contrast.numpy())} "
              f"| {', '.join(f'{axis:.3f}' for axis in axes)} |")  # fmt: skip


def spread(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in np.percentile(values, [5, 50, 95]))


def plot(sources: dict[str, Tensor]) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (spectra, gradients) = plt.subplots(1, 2, figsize=(10, 3.8), dpi=90)
    for (name, images), style in zip(sources.items(), ("k-", "C2-", "C0-", "C3--", "C7:"), strict=True):
        k = np.arange(1, SIDE // 2)
        spectra.loglog(k / SIDE, power(images).mean(0)[1:], style, label=name)
        edges = np.linspace(-0.6, 0.6, 122)
        density, _ = np.histogram(grey(images).diff(dim=-1).flatten().numpy(), edges, density=True)
        gradients.semilogy((edges[1:] + edges[:-1]) / 2, np.maximum(density, 1e-4), style, label=name)
    spectra.set(xlabel="frequency (cycles per pixel)", ylabel="mean power", title="Radial power spectrum")
    gradients.set(xlabel="horizontal difference of brightness", title="Density of gradients", ylim=(1e-4, 50))
    for axes in (spectra, gradients):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.tight_layout()
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "procedural_statistics.png")


def examples() -> None:
    rows = [torch.cat(list(batch_of(source, 0, range(n, n + 6), SIDE)), -1) for source, n in EXAMPLES]
    pixels = (torch.cat(rows, -2) * 255).round().byte().flip(0).permute(1, 2, 0).numpy()
    cv2.imwrite(str(FIGURES / "procedural_images.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])


EXAMPLES = ((leaves, 0), (leaves, 6), (scenes, 0), (scenes, 6), (scenes, 12), (pink, 0))

if __name__ == "__main__":
    main()
