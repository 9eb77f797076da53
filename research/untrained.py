"""What methods that nobody trained reach on the images of `no_pair.sh`, by the same protocols, on the same noise.

The dark channel prior (He et al., CVPR 2009; its transmission refined by the guided filter of He et al., ECCV 2010) for
haze; non-local means (scikit-image) and BM3D (`pip install bm3d`, its own licence) for noise. Camera noise has
no known strength: scikit-image estimates it from the image, by wavelets (`pip install PyWavelets`).

usage: python research/untrained.py DATA OUT.csv [SET ...]     (rows are added; without SET, of every set)
"""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch

from gesso.commands._test_sets import SetOptions, open_test_sets

Image = np.ndarray  # height x width x 3, 0 to 1
NOISE = {"name": "gaussian_noise", "sigma": 25, "clip": False}
SETS = (
    ("dehaze", "dehaze_sots_indoor", None),
    ("dehaze", "dehaze_sots_indoor_more", None),
    ("denoise", "clean_cbsd68", NOISE),
    ("denoise", "clean_set5", NOISE),
    ("realnoise", "noise_polyu", None),
)


def remove_haze_by_dark_channel(hazy: Image) -> Image:
    """Patches of 15 x 15, 95 % of the haze removed, transmission at least 0.1, as the paper has them."""
    patch = np.ones((15, 15), np.uint8)
    dark = cv2.erode(hazy.min(2), patch)
    brightest = np.argsort(dark.ravel())[-max(1, dark.size // 1000) :]
    candidates = hazy.reshape(-1, 3)[brightest]
    airlight = candidates[candidates.sum(1).argmax()]
    transmission = 1 - 0.95 * cv2.erode((hazy / np.maximum(airlight, 1e-3)).min(2), patch)
    transmission = guided_filter(cv2.cvtColor(hazy, cv2.COLOR_RGB2GRAY), transmission, 60, 1e-3)
    return (hazy - airlight) / np.maximum(transmission, 0.1)[..., None] + airlight


def guided_filter(guide: Image, image: Image, radius: int, eps: float) -> Image:
    """`image` (height x width) smoothed but for the edges of `guide`."""

    def mean(values: Image) -> Image:
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide**2) - mean_guide**2 + eps)
    return mean(slope) * guide + mean(mean_image - slope * mean_guide)


def denoise_by_non_local_means(noisy: Image, sigma: float | None) -> Image:
    """Patches of 5 x 5 in windows of 13 x 13, weighted by 0.6 of the noise, as scikit-image's example has it."""
    from skimage.restoration import denoise_nl_means

    sigma = estimate_noise(noisy) if sigma is None else sigma
    options = {"patch_size": 5, "patch_distance": 6, "h": 0.6 * sigma, "sigma": sigma}
    return denoise_nl_means(noisy, fast_mode=True, channel_axis=-1, **options)


def denoise_by_bm3d(noisy: Image, sigma: float | None) -> Image:
    """BM3D of colour images, with its authors' settings."""
    from bm3d import bm3d_rgb

    return bm3d_rgb(noisy, estimate_noise(noisy) if sigma is None else sigma)


def estimate_noise(noisy: Image) -> float:
    """The standard deviation of an image's noise."""
    from skimage.restoration import estimate_sigma

    return float(estimate_sigma(noisy, channel_axis=-1, average_sigmas=True))


def methods_for(task: str) -> dict[str, Callable[[Image], Image]]:
    """What restores a task without training, by name."""
    if task == "dehaze":
        return {"dark_channel": remove_haze_by_dark_channel}
    sigma = NOISE["sigma"] / 255 if task == "denoise" else None
    return {
        "non_local_means": lambda noisy: denoise_by_non_local_means(noisy, sigma),
        "bm3d": lambda noisy: denoise_by_bm3d(noisy, sigma),
    }


def rows(data: Path, wanted: list[str]) -> Iterator[tuple[str, str, str, int, str, str]]:
    """A row of the table for each set and method."""
    for task, name, degradation in SETS:
        if wanted and name not in wanted:
            continue
        (found,) = open_test_sets(SetOptions(task=task, data=data / name, degradation=degradation), None)
        for method, restore in methods_for(task).items():
            scores = []
            for index in range(len(found.images)):
                one = found.images[index]
                restored = restore(one["lq"].permute(1, 2, 0).double().numpy().astype(np.float32))
                tensor = torch.from_numpy(np.ascontiguousarray(restored.transpose(2, 0, 1))).float()
                scores.append(found.task.protocol(tensor, one["gt"]))
            psnr, ssim = (fmean(score[metric] for score in scores) for metric in ("psnr", "ssim"))
            yield task, method, name, len(scores), f"{psnr:.3f}", f"{ssim:.4f}"


def main(data: Path, out: Path, wanted: list[str]) -> None:
    """Adds rows to the table as they come, and prints them."""
    new = not out.exists()
    with out.open("a", newline="") as file:
        lines = csv.writer(file)
        if new:
            lines.writerow(["task", "method", "set", "count", "psnr", "ssim"])
        for row in rows(data, wanted):
            print(*row)
            lines.writerow(row)
            file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
