"""Rain of a data set: the streaks of its pairs, laid over other images."""

import dataclasses
import functools
from typing import Annotated, Any

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.functional.random import BatchGenerator, rand, randint

HELD = 512  # streak maps in memory at a time; 80 MiB of Rain100L's size


@dataclasses.dataclass(frozen=True)
class RainStreaks(Degradation):
    """A rainy image: `image + strength * streaks`, clamped; the streaks are what rainy images of pairs have more.

    Of a pair, input minus ground truth, not below 0: grey, the largest difference of the channels, for one that was
    clipped at white shows less. Every image draws a pair, a place in it and whether it is mirrored; a map smaller than
    the image is repeated. IPT is pre-trained on streaks of RainTrainL added to ImageNet.

    Args:
        folder: root of pairs in a published layout, such as RainTrainL; of the training split where it is divided.
        strength: factor of the streaks, [0, 10].

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it holds no pairs, or two images of a pair differ in size.
    """

    folder: str = ""
    strength: Annotated[Range, Bounds(0, 10)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.folder or not isinstance(self.folder, str):
            expected = "the root of rainy pairs, such as RainTrainL"
            raise ValueError(f"{self.name}.folder: expected {expected}, got {self.folder!r}")
        pairs_of(self.folder)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        pairs = pairs_of(self.folder)
        which = randint(0, len(pairs), image.shape[:1], generator).tolist()
        places = rand((len(image), 3), generator).tolist()
        height, width = image.shape[-2:]
        maps = [cut(streaks_of(pairs[k]), height, width, *place) for k, place in zip(which, places, strict=True)]
        streaks = torch.stack(maps)[:, None].to(image) / 255
        return (image + draw(self.strength, image, generator) * streaks).clamp(0, 1)


# Pairs are found and read as all data is; nothing else of this folder knows files.


@functools.lru_cache(maxsize=16)
def pairs_of(folder: str) -> tuple[Any, ...]:
    """The pairs of a data set, of its training split where it is divided."""
    from gesso.data.layouts import find_pairs, find_splits

    splits = find_splits(folder)
    return tuple(find_pairs(folder, "train" if "train" in splits or not splits else splits[0]))


@functools.lru_cache(maxsize=HELD)
def streaks_of(pair: Any) -> Tensor:
    """The streaks of a pair, (H, W) in 8 bits."""
    from gesso.data.io import read_pixels, to_tensor

    lq, gt = (to_tensor(read_pixels(side)) for side in (pair.lq, pair.gt))
    if lq.shape != gt.shape:
        sizes = f"{tuple(lq.shape)} and {tuple(gt.shape)}"
        raise ValueError(f"rain_streaks: expected images of one size, {pair.lq} and {pair.gt} have {sizes}")
    return (255 * (lq - gt).amax(0).clamp(0, 1)).round().byte()


def cut(streaks: Tensor, height: int, width: int, down: float, right: float, mirrored: float) -> Tensor:
    """A part (height, width) of a map (H, W), repeated where it is smaller, at a place in [0, 1) of what there is."""
    streaks = streaks.repeat(-(-height // streaks.shape[0]), -(-width // streaks.shape[1]))
    top, left = int(down * (streaks.shape[0] - height + 1)), int(right * (streaks.shape[1] - width + 1))
    part = streaks[top : top + height, left : left + width]
    return part.flip(1) if mirrored < 0.5 else part
