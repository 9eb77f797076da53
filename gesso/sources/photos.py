"""Photos of a folder, as the images of a run: windows in any of the eight orientations."""

import functools
from typing import Any

from torch import Tensor

from gesso.formats import PixelFormat


def photos(seed: int, index: int, size: int, folder: str, channels: int = 3) -> Tensor:
    """A window (channels, size, size) in [0, 1] of a photo of a folder, flipped or turned; smaller photos are repeated.

    Each photo comes once before one comes again. `open_source` makes a source of a folder, which is given as it is.

    Args:
        seed: order, windows and orientations follow from it.
        index: which image.
        size: side in pixels.
        folder: where photos are looked for, at any depth; of the training split where it is divided.
        channels: 3, or 1 for grey, or 4, which files then have to have.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no images, or pairs with their degraded side.
    """
    return _open(folder, channels, seed)[index, size]["image"]


# Photos are found and read as all data is; nothing else of this folder knows files.


@functools.lru_cache(maxsize=8)
def _open(folder: str, channels: int, seed: int) -> Any:
    """The photos of a folder as samples."""
    from gesso.data.datasets import ImageDataset
    from gesso.data.layouts.photos import find_photos

    return ImageDataset(find_photos(folder, refuse=True), format=PixelFormat.of_channels(channels), seed=seed)
