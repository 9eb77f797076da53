"""Scaled dot-product attention, by the fastest way that PyTorch has on the device at hand."""

from torch import Tensor
from torch.nn import functional as F


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
    return F.scaled_dot_product_attention(q, k, v, bias, scale=scale)
