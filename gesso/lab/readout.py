"""The best last convolution: what a linear read-out of features can make of them, in closed form."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

RIDGE = 1e-4  # relative to the power of each column: enough to solve, too little to see


def least_squares_conv(samples: Iterable[tuple[Tensor, Tensor]], kernel: int = 3) -> tuple[Tensor, Tensor]:
    """The convolution from features to targets with the least squared error: weight (O, C, kernel, kernel), bias (O,).

    Ridge regression on every position, as the last layer of a network would be after endless training with the
    features frozen. Kernels are cut off at the borders, where zeros stand.

    Args:
        samples: features (B, C, H, W) and targets (B, O, H, W), batch by batch, so that memory stays small.
        kernel: side of the kernel in pixels, odd.

    Raises:
        ValueError: if there are no samples.
    """
    gram = cross = None
    channels = 0
    for feature, target in samples:
        channels = feature.shape[1]
        columns = F.unfold(feature.float(), kernel, padding=kernel // 2).transpose(0, 1).flatten(1)
        columns = torch.cat([columns, torch.ones_like(columns[:1])])  # the bias
        wanted = target.float().flatten(2).transpose(0, 1).flatten(1)
        now = (columns @ columns.T).double(), (columns @ wanted.T).double()
        gram, cross = now if gram is None or cross is None else (gram + now[0], cross + now[1])
    if gram is None or cross is None:
        raise ValueError("expected features and targets to fit a convolution to, got none")
    power = gram.diagonal()
    ridge = RIDGE * power.clamp(min=1e-9 * float(power.max()))  # channels that are always 0 get a weight of 0
    solution = torch.linalg.solve(gram + torch.diag(ridge), cross).float()
    return solution[:-1].T.unflatten(1, (channels, kernel, kernel)), solution[-1]
