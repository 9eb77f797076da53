"""Whether the two sides of pairs are swapped, by what the degradation of their task does to an image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gesso.data.layouts import Pair
from gesso.data.training_data import whole_pairs
from gesso.functional.random import generator_for
from gesso.tasks import Task

MOST, FEWEST = 12, 4  # pairs that are looked at
SIDE = 256  # of the window that is looked at, in pixels
CLEAR, SHARE = 0.05, 0.9  # a difference of logarithms that says something, and the pairs that agree


def are_swapped(pairs: Sequence[Pair], task: Task) -> bool:
    """Whether degraded images differ from their ground truths the wrong way round, on nearly all pairs.

    Of brightness, contrast and fine detail those count which the task's own degradation changes reliably: one has to
    differ the wrong way, and none the right way.
    """
    if len(pairs) < FEWEST or task.scale != 1 or task.format.has_two_views:
        return False
    samples = whole_pairs(task, pairs[:: -(-len(pairs) // MOST)])
    expected, seen = [], []
    for number in range(len(samples)):
        sample = samples[number]
        lq, gt = (sample[side][None, ..., :SIDE, :SIDE] for side in ("lq", "gt"))
        degraded = task.degradation(gt, generator_for(0, "swapped", number))
        expected.append(look_of(degraded) - look_of(gt))
        seen.append(look_of(lq) - look_of(gt))
    wanted, found = torch.stack(expected), torch.stack(seen)
    mean = wanted.mean(0)
    reliable = (mean.abs() > CLEAR) & ((wanted * mean.sign() > 0).float().mean(0) >= SHARE)
    agree, against = ((sign * found * mean.sign() > CLEAR).float().mean(0) >= SHARE for sign in (1, -1))
    return bool((reliable & against).any() and not (reliable & agree).any())


def look_of(image: Tensor) -> Tensor:
    """The logarithms of brightness, contrast and fine detail of an image (1, C, H, W)."""
    detail = (image[..., 1:] - image[..., :-1]).abs().mean()
    return torch.stack([image.mean(), image.std(), detail]).clamp(min=1e-4).log()
