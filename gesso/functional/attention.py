"""Scaled dot-product attention, by the fastest way that PyTorch has on the device at hand."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.functional.onednn import prefers_onednn

FEW_KEYS = 64
"""Keys up to which logits may be rounded to half precision: windows of 8 x 8 pixels lose nothing, IPT loses 1.4 dB."""


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """softmax(scale q k^T + bias) v, shape of `q`.

    Args:
        q: queries (B, heads, N, d).
        k: keys (B, heads, M, d); values have the same shape.
        v: values.
        bias: added to the logits, (B or 1, heads or 1, N, M); None for none.
        scale: 1 / sqrt(d) if None.
    """
    # On a CPU, fused attention differentiates no bias and falls back to a path two times slower than the formula; in
    # half precision its gradients take up to five times as long.
    slow = (bias is not None and bias.requires_grad) or q.element_size() == 2
    if q.device.type == "cpu" and q.requires_grad and slow:
        logits = (q * (scale or q.shape[-1] ** -0.5)) @ k.mT
        return (logits if bias is None else logits.add_(bias)).softmax(-1) @ v
    few = k.shape[-2] <= FEW_KEYS and q.dtype == torch.bfloat16 and prefers_onednn(torch.bfloat16)
    if q.device.type == "cpu" and few and not torch.compiler.is_compiling():
        return _by_products(q, k, v, bias, scale or q.shape[-1] ** -0.5)
    return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)


def _by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The same by two products of all heads at a time, which CPUs do in bf16 in two thirds of the time."""
    added = q.new_zeros(()) if bias is None else bias.expand(*q.shape[:-1], -1).flatten(0, 1)
    shape, (q, k, v) = q.shape[:2], (part.flatten(0, 1) for part in (q, k, v))
    logits = torch.baddbmm(added, q, k.mT, beta=0 if bias is None else 1, alpha=scale)
    return torch.bmm(logits.softmax(-1), v).unflatten(0, shape)
