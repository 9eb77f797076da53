"""Losses of supervised restoration, each a function of (restored, gt), images (B, C, H, W), that gives a scalar."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso._discovery import UnknownNameError, suggest

Loss = Callable[[Tensor, Tensor], Tensor]


def l1(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean absolute error (Restormer)."""
    return F.l1_loss(restored, gt)


def mse(restored: Tensor, gt: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(restored, gt)


def charbonnier(restored: Tensor, gt: Tensor, eps: float = 1e-3) -> Tensor:
    """Mean of sqrt(error^2 + eps^2), an absolute error that is smooth at zero (Uformer)."""
    return torch.sqrt((restored - gt).square() + eps**2).mean()


def psnr(restored: Tensor, gt: Tensor) -> Tensor:
    """Minus the PSNR in dB, peak 1, the mean over the batch (NAFNet, after HINet)."""
    error = (restored - gt).square().flatten(1).mean(1)
    return 10 / math.log(10) * torch.log(error + 1e-8).mean()


LOSSES: dict[str, Loss] = {"l1": l1, "mse": mse, "charbonnier": charbonnier, "psnr": psnr}


def find_loss(name: str) -> Loss:
    """The loss of this name.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
    """
    if name not in LOSSES:
        raise UnknownNameError(f"unknown loss {name!r}; {suggest(name, LOSSES)}")
    return LOSSES[name]
