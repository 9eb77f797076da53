"""Contrastive losses over patches: those of one image belong together, those of different images do not."""

import torch
from torch import Tensor
from torch.nn import functional as F


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
    unit = F.normalize(features, dim=-1)
    cosines = torch.einsum("jic,lkc->jlik", unit, unit)  # (B, B, N, N)
    own = torch.eye(batch, dtype=torch.bool, device=features.device)
    others = cosines.masked_fill(own[:, :, None, None], -torch.inf)
    against = others.logsumexp((1, 3))[..., None] if all_patches else others.logsumexp(1)  # (B, N, N or 1)
    losses = against - cosines[own]
    if not distinct:
        return losses.mean()
    same = torch.eye(patches, dtype=torch.bool, device=features.device)
    return losses[:, ~same].mean()


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
    unit = F.normalize(features, dim=-1).flatten(0, 1)
    similarity = (unit @ unit.T - 1) / temperature  # at most 0, so that exp cannot overflow
    anchor = torch.eye(len(unit), dtype=torch.bool, device=features.device)
    image = torch.arange(len(unit), device=features.device) // patches
    positive = (image[:, None] == image) & ~anchor
    total = similarity.exp().masked_fill(anchor, 0.0).sum(1, keepdim=True)
    log_probs = similarity - (total + eps).log()
    return -log_probs.masked_fill(~positive, 0.0).sum(1).mean() / (patches - 1)


def check_several(images: int) -> None:
    """Raises ValueError if there is only one image: nothing would differ from it."""
    if images < 2:
        raise ValueError(
            "contrastive loss: needs two images or more in a batch, got one; raise batch_size, or set "
            "contrastive_weight to 0"
        )
