"""Haze of a data set: airlight and transmission of its pairs, laid over other images. A control, not a start.

What a network reaches on a benchmark that was primed on the benchmark's own haze, over procedural images, tells how
much better procedural haze could serve. `{name: "haze_of_pairs:HazeOfPairs", folder: dehaze_sots_indoor}`, where Python
finds this file.
"""

import dataclasses
import functools

import cv2
import numpy as np
import torch
from torch import Tensor

from gesso.data.io import read_pixels, to_tensor
from gesso.degradations import Degradation
from gesso.degradations.rain_streaks import cut, pairs_of
from gesso.functional.random import BatchGenerator, rand, randint

AIRLIGHTS = np.arange(0.5, 1.001, 0.01)
LEAST = 0.02  # transmission


@dataclasses.dataclass(frozen=True)
class HazeOfPairs(Degradation):
    """A hazy image: `image * t + airlight * (1 - t)`, of which `t` and the grey airlight are those of a pair.

    Args:
        folder: root of pairs.
    """

    folder: str = ""

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        pairs = pairs_of(self.folder)
        which = randint(0, len(pairs), image.shape[:1], generator).tolist()
        places = rand((len(image), 3), generator).tolist()
        hazes = [estimate(pairs[k]) for k in which]
        airlight = torch.tensor([light for light, _ in hazes]).view(-1, 1, 1, 1).to(image)
        parts = [cut(through, *image.shape[-2:], *place) for (_, through), place in zip(hazes, places, strict=True)]
        through = torch.stack(parts)[:, None].to(image)
        return image * through + airlight * (1 - through)


@functools.lru_cache(maxsize=512)
def estimate(pair: object) -> tuple[float, Tensor]:
    """The grey airlight that explains a pair best, and its transmission (H, W); single pixels are smoothed away."""
    hazy, clear = (to_tensor(read_pixels(side)).permute(1, 2, 0).numpy() for side in (pair.lq, pair.gt))
    _, airlight, through = min((explain(hazy, clear, value) for value in AIRLIGHTS), key=lambda found: found[0])
    smooth = cv2.medianBlur((255 * through).round().astype(np.uint8), 5)
    return airlight, torch.from_numpy(smooth).float() / 255


def explain(hazy: np.ndarray, clear: np.ndarray, airlight: float) -> tuple[float, float, np.ndarray]:
    """What is left unexplained (mean absolute difference), the airlight, and the transmission that goes with it."""
    lit = clear - airlight
    through = ((hazy - airlight) * lit).sum(2) / np.maximum((lit * lit).sum(2), 1e-4)
    through = through.clip(LEAST, 1)
    left = hazy - airlight - lit * through[..., None]
    return float(np.abs(left).mean()), float(airlight), through
