"""Operations whose gradients are written by hand, where autograd would pass over large maps more often than needed.

Each computes what a plain formula does, and is that formula where no gradient is wanted or a compiler fuses it anyway.
Their gradients cannot be differentiated a second time; PyTorch then says so.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.amp import is_autocast_available
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gesso.functional.onednn import linear


def by_hand(*inputs: Tensor) -> bool:
    """Whether gradients of `inputs` will be wanted from eager operations."""
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    return wanted and not torch.compiler.is_compiling()


# -------------------------------------------------------------------------------------- several projections of one map


def projections(x: Tensor, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    """`x @ weight.T` for each of `weights` (C_out, C); `x` is (..., C).

    Gradients of `x` are added up inside the matrix products, so that none of them is held or read by itself.

    Example:
        >>> [tuple(y.shape) for y in projections(torch.ones(2, 5, 3), [torch.ones(4, 3), torch.ones(1, 3)])]
        [(2, 5, 4), (2, 5, 1)]
    """
    if not by_hand(x, *weights):
        return [linear(x, weight) for weight in weights]
    if is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):  # "meta" has none
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weights = x.to(dtype), [weight.to(dtype) for weight in weights]
    return _Projections.apply(x, *weights)


class _Projections(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, *weights)
        return tuple(linear(x, weight) for weight in weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, *weights = ctx.saved_tensors
        rows = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]
        grad_x = rows[0] @ weights[0]
        for gradient, weight in zip(rows[1:], weights[1:], strict=True):
            grad_x.addmm_(gradient, weight)
        flat = x.reshape(-1, x.shape[-1])
        return grad_x.view(x.shape), *(gradient.t() @ flat for gradient in rows)


# ------------------------------------------------------------------------------------------------------------ the gate


def gelu_gate(gate: Tensor, value: Tensor) -> Tensor:
    """`gelu(gate) * value`, all of one shape.

    Example:
        >>> gelu_gate(torch.tensor([-9.0, 9.0]), torch.tensor([2.0, 2.0])).round().int()
        tensor([ 0, 18], dtype=torch.int32)
    """
    return _GeluGate.apply(gate, value) if by_hand(gate, value) else F.gelu(gate) * value


class _GeluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, value: Tensor) -> Tensor:
        opening = F.gelu(gate)
        ctx.save_for_backward(gate, value, opening)
        return opening * value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gate, value, opening = ctx.saved_tensors
        grad_gate = gradients[0] * value
        torch.ops.aten.gelu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate, gradients[0] * opening


# --------------------------------------------------------------------------------------- attention between the channels


Fold = Callable[..., Tensor]


def channel_attention(q: Tensor, k: Tensor, v: Tensor, fold: Fold, *parameters: Tensor) -> Tensor:
    """`v @ matrix.T` with `matrix = fold(q.T @ k, squares of q, squares of k, *parameters)`; maps (B, N, C).

    Only small matrices lie between the maps that go in and the map that comes out: autograd differentiates these, and
    the maps take two matrix products and one multiplication each.

    Args:
        q: queries (B, N, C); keys and values have the same shape.
        k: keys.
        v: values.
        fold: from (B, C, C) products of channels, (B, C) sums of squares of queries and of keys, which are in float32
            at least, and `parameters`, the matrix (B, C, C) that meets the values.
        parameters: what else `fold` is to be differentiated by.
    """
    if by_hand(q, k, v, *parameters):
        return _ChannelAttention.apply(q, k, v, fold, *parameters)
    return v @ fold(*_products(q, k), *parameters).to(v.dtype).mT


def _products(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Products of all channels of `q` with all of `k`, and of each channel with itself: sums over all pixels.

    Float16 cannot hold such sums; bfloat16 can.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    return (q.mT @ k).to(wide), q.square().sum(1, dtype=wide), k.square().sum(1, dtype=wide)


class _ChannelAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, fold: Fold, *parameters: Tensor) -> Tensor:
        products = _products(q, k)
        matrix = fold(*products, *parameters).to(v.dtype)
        ctx.fold = fold
        ctx.save_for_backward(q, k, v, matrix, *products, *parameters)
        return v @ matrix.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, matrix, *small = ctx.saved_tensors
        grad = gradients[0]
        small = [tensor.detach().requires_grad_() for tensor in small]
        with torch.enable_grad():
            folded = ctx.fold(*small)
        grad_matrix = (grad.mT @ v).to(folded.dtype)
        grad_products, grad_q, grad_k, *rest = torch.autograd.grad(folded, small, grad_matrix)
        grad_products, grad_q, grad_k = (part.to(q.dtype) for part in (grad_products, 2 * grad_q, 2 * grad_k))
        grad_q = (q * grad_q.unsqueeze(1)).baddbmm_(k, grad_products.mT)
        grad_k = (k * grad_k.unsqueeze(1)).baddbmm_(q, grad_products)
        return grad_q, grad_k, grad @ matrix, None, *rest
