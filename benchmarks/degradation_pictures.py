"""The pictures of docs/degradations.md: one clean photo and three draws of every degradation.

    python -m benchmarks.degradation_pictures [NAME ...]

Photos are scikit-image's `coffee` and `rocket` (both CC0).
"""

import sys
from pathlib import Path

import cv2
import torch
from torch import Tensor

from gesso.degradations import create_degradation, list_degradations
from gesso.functional.random import generator_for
from gesso.report.sheets import sheet

FOLDER = Path(__file__).parents[1] / "docs" / "figures" / "degradations"
SIDE = 176
OUTDOORS = ("haze", "haze_even", "haze_scene", "rain", "rain_heavy", "rain_light", "rain_scene", "rain_wide", "snow")
OPTIONS = {
    "camera_noise": {"photons": (150, 1500)},
    "compose": {"steps": ["rain_light", "haze", {"name": "jpeg", "quality": 30}]},
    "mix": {"choices": ["rain", "gaussian_noise", "motion_blur"]},
    "random_order": {"choices": ["rain", "gaussian_noise", "motion_blur", "haze", "low_light"], "prob": 0.5},
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or [name for name in list_degradations() if name != "rain_streaks"]:  # no pairs here
        clean = photo("rocket" if name in OUTDOORS else "coffee")
        degraded = create_degradation(name, **OPTIONS.get(name, {}))(
            clean.expand(3, -1, -1, -1), generator_for(4, name)
        )
        save(sheet([{"clean": clean} | {f"{name} {k}": picture for k, picture in enumerate(degraded, 1)}]), name)


def photo(name: str) -> Tensor:
    """A square of a photo at SIDE pixels, (3, SIDE, SIDE)."""
    from skimage import data

    pixels = getattr(data, name)()
    side = min(pixels.shape[:2])
    left = (pixels.shape[1] - side) // 2
    square = cv2.resize(pixels[:side, left : left + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(square).permute(2, 0, 1) / 255


def save(image: Tensor, name: str) -> None:
    pixels = (image * 255).round().byte().flip(0).permute(1, 2, 0).numpy()
    cv2.imwrite(str(FOLDER / f"{name}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
