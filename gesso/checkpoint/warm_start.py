"""Pre-trained weights brought nearer to random ones, before they are fine-tuned."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn


@torch.no_grad()
def shrink_and_perturb(
    net: nn.Module, fresh: Mapping[str, Tensor], names: Iterable[str], *, shrink: float = 1.0, rescale: bool = False
) -> None:
    """Rescales the parameters `names` of `net` to the norms of `fresh` ones, then mixes these in; in place.

    Args:
        net: the network, its weights loaded.
        fresh: what its parameters were before, by name.
        names: what was loaded; buffers are left alone.
        shrink: share of the loaded weights, in (0, 1]; the rest is `fresh`. Ash & Adams ("On warm-starting neural
            network training", NeurIPS 2020, section 4) add freshly drawn weights, too, times a factor of its own.
        rescale: give each matrix and kernel its former norm, as far as it had one. Biases and factors, most of which
            start from zero or one, stay as they are.

    Raises:
        ValueError: if `shrink` is out of range.
    """
    if not 0 < shrink <= 1:
        raise ValueError(f"shrink: expected a share of the pre-trained weights in (0, 1], got {shrink}")
    parameters = dict(net.named_parameters())
    for name in names:
        if name not in parameters:
            continue
        weight, random = parameters[name], fresh[name]
        if rescale and weight.ndim > 1 and random.any() and weight.any():
            weight *= random.norm() / weight.norm()
        if shrink < 1:
            weight.lerp_(random, 1 - shrink)
