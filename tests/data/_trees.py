"""Trees of tiny images, as data sets are published, made with Pillow."""

import itertools
import re
from pathlib import Path

import numpy as np
from PIL import Image


def expand(*patterns: str) -> list[str]:
    """Files that `a/{x,y}/1.png` stands for, as a shell expands it."""
    parts = [[part.split(",") for part in re.split(r"[{}]", pattern)[1::2]] for pattern in patterns]
    empty = [re.sub(r"{[^}]*}", "{}", pattern) for pattern in patterns]
    return [one.format(*words) for one, part in zip(empty, parts, strict=True) for words in itertools.product(*part)]


def make(root: Path, *files: str, size: int = 4) -> Path:
    """Writes a noisy image for each name."""
    rng = np.random.default_rng(0)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(root / file)
    return root


def make_photos(root: Path, *files: str, size: int = 96) -> Path:
    """Writes a smooth image for each name, unlike every other."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:size, :size] / size
    for file in files:
        image = np.zeros((size, size, 3))
        for y, x, width in rng.random((12, 3)):
            spot = np.exp(-((down - y) ** 2 + (right - x) ** 2) / (0.02 + 0.05 * width))
            image += rng.choice([-1, 1]) * rng.random(3) * spot[..., None]
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)).save(root / file)
    return root
