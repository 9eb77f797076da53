"""Pink noise: the spectrum and the colours of natural photos, without their edges (see `_photo_statistics`)."""

import numpy as np
import torch
from torch import Tensor

from gesso.functional.random import seed_for
from gesso.sources._photo_statistics import COLOUR_AXES, IMAGE_SPREAD, MEAN_COLOUR, coloured_noise, log_normal

PINK_SPREAD = np.array([0.28, 0.06, 0.025], np.float32)


def pink(seed: int, index: int, size: int) -> Tensor:
    """Coloured 1/f noise (3, size, size) in [0, 1]: the spectrum and the colours of photos, without their edges.

    The amplitude falls as frequency ** -a, with a normal around 1.2 (deviation 0.2) from image to image.

    Args:
        seed: one seed for all images.
        index: which image.
        size: side in pixels.

    Field, "Relations between the statistics of natural images and the response properties of cortical cells", JOSA A
    1987.
    """
    rng = np.random.default_rng(seed_for(seed, "pink", index))
    exponent = round(rng.normal(1.2, 0.2), 1)  # rounded, so that `coloured_noise` can remember it
    noise = np.stack([coloured_noise(rng, size, exponent) for _ in range(3)], axis=-1)
    middle = MEAN_COLOUR + rng.standard_normal(3) * IMAGE_SPREAD @ COLOUR_AXES
    image = middle + log_normal(rng, 0.95, 0.45) * (noise * PINK_SPREAD) @ COLOUR_AXES
    return torch.from_numpy(np.clip(image, 0, 1).astype(np.float32)).permute(2, 0, 1).contiguous()
