"""Augmentation of batches; flips and rotations are in `gesso.functional.dihedral`."""

import torch
from torch import Tensor


def mixup(lq: Tensor, gt: Tensor, generator: torch.Generator, beta: float = 1.2) -> tuple[Tensor, Tensor]:
    """Every second batch on average: images blended pairwise within the batch, `lq` and `gt` (B, C, H, W) alike.

    One weight from Beta(beta, beta) for the whole batch, with probability 1/2; otherwise the batch itself. Restormer
    trains denoising so (its training configurations, `mixup_beta` and `use_identity`).
    """
    from scipy.special import betaincinv

    coin, quantile = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64).tolist()
    partner = torch.randperm(len(gt), generator=generator, device=generator.device).to(gt.device)
    if coin < 0.5:
        return lq, gt
    weight = float(betaincinv(beta, beta, quantile))  # inverse transform: one uniform number makes one Beta number
    return lq.lerp(lq[partner], 1 - weight), gt.lerp(gt[partner], 1 - weight)
