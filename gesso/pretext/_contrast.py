"""Contrastive losses over patches: those of one image belong together, those of different images do not."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

HELD = 2**26  # cosines in memory at a time, 256 MiB in float32


def patch_contrast(features: Tensor, *, distinct: bool = False, all_patches: bool = False) -> Tensor:
    """Mean over pairs of patches (i, k) of image j of -ln(exp d(ji, jk) / sum over images l != j of exp d(ji, lk)).

    d is the cosine; there is no temperature, and the pair itself is not in the sum, so the loss may be negative
    (IPT, equation 5, read literally).

    Args:
        features: patches (B, N, C) of B images, B > 1.
        distinct: leave out the pairs of a patch with itself.
        all_patches: sum over all patches of the other images, not only those at position k.
    """
    batch, patches, _ = features.shape
    check_several(batch)

    def losses(unit: Tensor, images: slice) -> Tensor:
        """Those of the pairs of some images, (images, N, N)."""
        cosines = torch.einsum("jic,lkc->jlik", unit[images], unit)
        own = torch.eye(batch, dtype=torch.bool, device=unit.device)[images]
        others = cosines.masked_fill(own[:, :, None, None], -torch.inf)
        against = others.logsumexp((1, 3))[..., None] if all_patches else others.logsumexp(1)  # (images, N, N or 1)
        return against - cosines[own]

    pairs = in_parts(losses, F.normalize(features, dim=-1))
    if not distinct:
        return pairs.mean()
    same = torch.eye(patches, dtype=torch.bool, device=features.device)
    return pairs[:, ~same].mean()


def supervised_contrast(features: Tensor, temperature: float = 0.07, eps: float = 0.0) -> Tensor:
    """Mean over patches, and over the other patches p of their image, of -ln(exp s_p / sum of exp s), s = cosine / t.

    The sum runs over all patches of all images but the patch itself (Khosla et al., "Supervised contrastive learning",
    NeurIPS 2020).

    Args:
        features: patches (B, N, C) of B images, B > 1.
        temperature: t.
        eps: added to the sum after division by exp(1 / t); the authors' MindSpore trainer has 1e-8, which weakly
            similar patches feel.
    """
    batch, patches, _ = features.shape
    check_several(batch)
    number = torch.arange(batch * patches, device=features.device)

    def losses(unit: Tensor, images: slice) -> Tensor:
        """Those of the patches of some images, (images * N,)."""
        row = number.view(batch, -1)[images].reshape(-1, 1)
        similarity = (unit[images].flatten(0, 1) @ unit.flatten(0, 1).T - 1) / temperature  # at most 0: no overflow
        anchor = row == number
        positive = (row // patches == number // patches) & ~anchor
        total = similarity.exp().masked_fill(anchor, 0.0).sum(1, keepdim=True)
        log_probs = similarity - (total + eps).log()
        return -log_probs.masked_fill(~positive, 0.0).sum(1)

    return in_parts(losses, F.normalize(features, dim=-1)).mean() / (patches - 1)


def in_parts(losses: Callable[[Tensor, slice], Tensor], unit: Tensor) -> Tensor:
    """`losses(unit, images)` of all images of `unit` (B, N, C), joined: of some at a time where cosines are too many.

    All pairs of 64 images of 256 patches are 1 GiB, several times over with gradients; those of parts are computed
    once more for the gradient instead of being kept.
    """
    batch, patches, _ = unit.shape
    at_once = max(HELD // (batch * patches**2), 1)
    if at_once >= batch:
        return losses(unit, slice(batch))
    parts = [slice(first, first + at_once) for first in range(0, batch, at_once)]
    return torch.cat([cast("Tensor", checkpoint(losses, unit, part, use_reentrant=False)) for part in parts])


def check_several(images: int) -> None:
    """Raises ValueError if there is only one image: nothing would differ from it."""
    if images < 2:
        raise ValueError(
            "contrastive loss: needs two images or more in a batch, got one; raise batch_size, or set "
            "contrastive_weight to 0"
        )
