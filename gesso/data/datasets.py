"""Training samples as pure functions of (seed, sample index), and whole images to measure on.

Training sets are indexed by `(index, crop_size)`. Indices count on through a run: file number `index` of an endless
stream of shuffled epochs. So neither workers nor interruptions change what a run sees.
"""

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from gesso.data.cache import PixelCache
from gesso.data.image_ref import ImageRef, files_of
from gesso.data.io import is_turned, read_pixels, read_size, to_tensor
from gesso.data.names import tell_apart
from gesso.data.pairing import Pair, find_files
from gesso.degradations import Degradation
from gesso.formats import RGB, PixelFormat
from gesso.functional.dihedral import dihedral
from gesso.functional.padding import pad
from gesso.functional.random import generator_for

Sample = dict[str, Any]
Key = tuple[int, int]
RESIDE_BORDER = 10  # pixels that indoor ground truths of RESIDE have more at each side


class PaddedWarning(UserWarning):
    """An image is smaller than the training crop."""


class CutWarning(UserWarning):
    """Ground truths are cut to a multiple of the scale."""


class Window(NamedTuple):
    """A square part of an image, and which of its eight symmetries is taken (see `dihedral`)."""

    top: int
    left: int
    size: int
    symmetry: int


@dataclass(eq=False, kw_only=True)
class Crops(Dataset[Sample]):
    """What sets of crops share: a sample by (index, crop_size).

    Attributes:
        format: how images are read, and the channels of samples.
        seed: order, crops, augmentation and degradation follow from it.
        augment: flips and rotations, uniformly among all eight.
        budget: bytes for decoded files, see `PixelCache`.
    """

    format: PixelFormat = RGB
    seed: int = 0
    augment: bool = True
    budget: int | None = None

    def read_through(self, refs: Sequence[ImageRef]) -> None:
        """Has these images decoded once, where they fit."""
        self.cache = PixelCache(refs, self.format, self.budget)

    def window(self, pixels: np.ndarray, size: int, index: int, folder: Path) -> Window:
        """Where sample `index` is cut from an image (H, W, C) of a folder, every place alike likely."""
        height, width = pixels.shape[:2]
        info = get_worker_info()
        if min(height, width) < size and (info is None or info.id == 0):
            message = f"{folder}: images smaller than the crop of {size} pixels are padded by reflection"
            warnings.warn(message, PaddedWarning, stacklevel=3)  # Python shows a message once, so once for each folder
        generator = generator_for(self.seed, "crop", index)
        top, left = (int(torch.randint(max(1, side - size + 1), (), generator=generator)) for side in (height, width))
        symmetry = int(torch.randint(8, (), generator=generator))
        return Window(top, left, size, symmetry if self.augment else 0)


@dataclass(eq=False)
class PairDataset(Crops):
    """Crops of pairs: `dataset[(index, crop_size)]` is `{"lq": (3, c, c), "gt": (3, s*c, s*c), "name"}`.

    Attributes:
        pairs: where the degraded images and their ground truths are.
        scale: side of the ground truth divided by that of the degraded image; `crop_size` counts pixels of the latter.
    """

    pairs: Sequence[Pair]
    scale: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        self.read_through([ref for pair in self.pairs for ref in (pair.lq, pair.gt)])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        pair = self.pairs[shuffled(index, len(self), self.seed)]
        lq, gt = self.cache[pair.lq], self.cache[pair.gt]
        gt = ground_truth(pair, lq, gt, self.scale)
        window = self.window(lq, crop_size, index, files_of(pair.lq)[0].parent)
        lq, gt = self.format.from_stored(cut(lq, window)), self.format.from_stored(cut(gt, window, self.scale))
        return {"lq": lq, "gt": gt, "name": pair.name}


@dataclass(eq=False)
class PhotoCrops(Crops):
    """Crops of photos.

    Attributes:
        photos: files of images.
    """

    photos: Sequence[Path]

    def __post_init__(self) -> None:
        self.read_through(self.photos)

    def __len__(self) -> int:
        return len(self.photos)

    def crop(self, size: int, index: int) -> tuple[Tensor, Path]:
        """The part (C, size, size) of a photo that is number `index` of the endless stream, and the photo."""
        photo = self.photos[shuffled(index, len(self), self.seed)]
        pixels = self.cache[photo]
        return self.format.from_stored(cut(pixels, self.window(pixels, size, index, photo.parent))), photo


@dataclass(eq=False)
class CleanDataset(PhotoCrops):
    """Crops of clean photos, degraded on the fly: `{"lq", "gt", "name"}` as in `PairDataset`.

    Attributes:
        degradation: makes `lq` from `gt`; every sample index draws its own.
        scale: by how much the degradation shrinks the image.
    """

    degradation: Degradation
    scale: int = field(default=1, kw_only=True)

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        gt, photo = self.crop(self.scale * crop_size, index)
        return {"lq": degrade(gt, self.degradation, self.seed, index), "gt": gt, "name": photo.stem}


@dataclass(eq=False)
class ImageDataset(PhotoCrops):
    """Crops of photos for pretexts: `{"image": (3, c, c), "name"}`, or `image` (K, 3, c, c) of `per_sample` K photos.

    Attributes:
        per_sample: independent crops that one sample holds.
    """

    per_sample: int = field(default=1, kw_only=True)

    def __getitem__(self, key: Key) -> Sample:
        index, crop_size = key
        positions = range(index * self.per_sample, (index + 1) * self.per_sample)
        crops, photos = zip(*(self.crop(crop_size, position) for position in positions), strict=True)
        return {"image": stack(crops), "name": " + ".join(photo.stem for photo in photos)}


@dataclass(eq=False)
class WholePairs(Dataset[Sample]):
    """Whole pairs in their order: `dataset[i]` is `{"lq": (3, H, W), "gt": (3, s*H, s*W), "name"}`.

    Attributes:
        pairs: where the degraded images and their ground truths are.
        scale: side of the ground truth divided by that of the degraded image; None: as each pair has it.
        format: how images are read, and the channels of samples.
    """

    pairs: Sequence[Pair]
    scale: int | None = field(default=None, kw_only=True)
    format: PixelFormat = field(default=RGB, kw_only=True)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        lq, gt = read_pixels(pair.lq, self.format), read_pixels(pair.gt, self.format)
        gt = ground_truth(pair, lq, gt, self.scale or scale_between(lq, gt))
        lq, gt = self.format.from_stored(to_tensor(lq)), self.format.from_stored(to_tensor(gt))
        return {"lq": lq, "gt": gt, "name": pair.name}

    @property
    def names(self) -> list[str]:
        """What each is called."""
        return [pair.name for pair in self.pairs]

    def files(self, index: int) -> list[Path]:
        """The files that both sides of a pair are read from; MATLAB files are none."""
        return find_files(self.pairs[index])

    def sizes(self) -> list[tuple[int, int] | None]:
        """Height and width of every degraded image, as its header declares them; None where it does not."""
        return [read_size(pair.lq) for pair in self.pairs]


@dataclass(eq=False)
class WholePhotos(Dataset[Sample]):
    """Whole clean photos in their order, degraded on the fly, the same at every access; samples as in `WholePairs`.

    Attributes:
        photos: files of clean images.
        degradation: makes `lq` from `gt`.
        scale: by how much the degradation shrinks the image; `gt` is cut to a multiple of it.
        format: how images are read, and the channels of samples.
        seed: the degradation's draws follow from it and from the photo's place in the list.
    """

    photos: Sequence[Path]
    degradation: Degradation
    scale: int = field(default=1, kw_only=True)
    format: PixelFormat = field(default=RGB, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Sample:
        photo = self.photos[index]
        pixels = cut_to_multiple(read_pixels(photo, self.format), self.scale, photo.parent)
        gt = self.format.from_stored(to_tensor(pixels))
        return {"lq": degrade(gt, self.degradation, self.seed, index), "gt": gt, "name": self.names[index]}

    @functools.cached_property
    def names(self) -> list[str]:
        """What each is called, see `tell_apart`."""
        return tell_apart(self.photos)

    def files(self, index: int) -> list[Path]:
        """The file of a photo."""
        return [self.photos[index]]

    def sizes(self) -> list[tuple[int, int] | None]:
        """As those of `WholePairs`."""
        sizes = [read_size(photo) for photo in self.photos]
        return [size and (size[0] // self.scale, size[1] // self.scale) for size in sizes]


# --------------------------------------------------------------------------------------------------------- draws


def shuffled(index: int, count: int, seed: int) -> int:
    """Which of `count` things comes at `index` in an endless stream of epochs, each in its own random order."""
    epoch, position = divmod(index, count)
    return int(_order(seed, epoch, count)[position])


@functools.lru_cache(maxsize=32)  # more than a mix of data sets has parts
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return torch.randperm(count, generator=generator_for(seed, "order", epoch)).numpy()


def cut(pixels: np.ndarray, window: Window, scale: int = 1) -> Tensor:
    """The window of stored pixels (H, W, C) as (C, scale*size, scale*size) in [0, 1].

    What the image lacks is mirrored at its right and bottom, the edge repeated (Restormer).
    """
    top, left, size = (scale * number for number in window[:3])
    part = to_tensor(pixels[top : top + size, left : left + size])
    part = pad(part, 0, size - part.shape[-1], 0, size - part.shape[-2], mode="symmetric")
    return dihedral(part, window.symmetry).contiguous()


def degrade(gt: Tensor, degradation: Degradation, seed: int, index: int) -> Tensor:
    """The degraded image of one clean image (C, H, W); its draws follow from the seed and the index."""
    return degradation(gt.unsqueeze(0), generator_for(seed, "degrade", index)).squeeze(0)


# ------------------------------------------------------------------------------------------------------- tensors


def ground_truth(pair: Pair, lq: np.ndarray, gt: np.ndarray, scale: int) -> np.ndarray:
    """The part of a ground truth (H, W, C) that its degraded image shows, `scale` times as large: all of it.

    For super-resolution that is what remains where it is cut at the right and at the bottom to a multiple of the scale,
    as MATLAB's `modcrop` does and everybody who reports Set5 x3.

    Indoor images of RESIDE as published (ITS, SOTS) show 10 pixels less at each side than their ground truths, of which
    the middle is taken (as DegAE does). They are told by their names and that border.

    Raises:
        ValueError: naming both files and sizes, if they differ otherwise.
    """
    (height, width), (gt_height, gt_width) = lq.shape[:2], gt.shape[:2]
    if (gt_height, gt_width) == (scale * height, scale * width):
        return gt
    if (gt_height // scale, gt_width // scale) == (height, width):
        return cut_to_multiple(gt, scale, files_of(pair.gt)[0].parent)
    border, names = RESIDE_BORDER, [files_of(side)[0].stem for side in (pair.lq, pair.gt)]
    as_in_reside = scale == 1 and names[0].startswith(f"{names[1]}_")  # 1400_1.png and 1400.png
    if as_in_reside and (gt_height, gt_width) == (height + 2 * border, width + 2 * border):
        return gt[border:-border, border:-border]
    expected = "the same size" if scale == 1 else f"a ground truth {scale} times as large"
    expected += "" if scale == 1 else f" (scale {scale}), but for less than {scale} pixels at the right and the bottom"
    seen = f"{pair.lq} is {width}x{height} and {pair.gt} is {gt_width}x{gt_height}"
    turned = [side for side, array in ((pair.lq, lq), (pair.gt, gt)) if is_turned(side, *array.shape[:2])]
    if len(turned) == 1 and gt_height * height == gt_width * width:
        seen += f", for EXIF has turned {turned[0]} and not the other; save both upright, or take the tag out of it"
    raise ValueError(f"{seen}; expected {expected}")


def cut_to_multiple(pixels: np.ndarray, scale: int, folder: Path) -> np.ndarray:
    """An image (H, W, C) of a folder without what makes it no multiple of the scale; it is said once that there is."""
    height, width = (side - side % scale for side in pixels.shape[:2])
    if pixels.shape[:2] != (height, width) and get_worker_info() is None:
        message = (
            f"{folder}: ground truths are cut to a multiple of the scale {scale}, less than {scale} pixels each side"
        )
        warnings.warn(message, CutWarning, stacklevel=2)  # Python shows a message once, so once for each folder
    return pixels[:height, :width]


def scale_between(lq: np.ndarray, gt: np.ndarray) -> int:
    """The scale at which a ground truth (H, W, C) was shrunk to its degraded image, or may have been."""
    largest = max(large // small for large, small in zip(gt.shape[:2], lq.shape[:2], strict=True))
    for scale in range(largest, 0, -1):
        if all(large // scale == small for large, small in zip(gt.shape[:2], lq.shape[:2], strict=True)):
            return scale
    return max(1, int(gt.shape[0] / lq.shape[0] + 0.1))  # 0.1: some make 43 of 128 pixels at scale 3


def stack(images: Sequence[Tensor]) -> Tensor:
    """One image as it is, several along a new first axis."""
    return images[0] if len(images) == 1 else torch.stack(list(images))
