"""Layers on a CPU by oneDNN, where that is faster than what PyTorch calls by itself.

Linear layers: PyTorch gives products of float32 matrices to MKL. On processors of AMD this is slower than oneDNN: by 5
to 15 % where sides are multiples of 16, and up to two times where they are not, as the 180 channels of SwinIR and the
127 of Restormer. Products in bf16 go to oneDNN, but a bias is laid out over the result first; here
oneDNN adds it. GELU, without gradients: oneDNN computes it while what it is of lies in the cache.

The operations are those that torch.compile's own code calls; they have no public name. Where they are missing or
cannot be computed, PyTorch's own are called.
"""

import functools
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LARGE = {torch.float32: 2**23, torch.bfloat16: 2**16}
"""Multiplications of a product above which what oneDNN takes to begin, some 15 microseconds, does not matter."""


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (..., C) as (..., C_out)."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """`x @ weight.T + bias`, up to rounding: `x` (..., C), weight (C_out, C), bias (C_out,); through GELU if `gelu`.

    Gradients cannot be differentiated a second time where oneDNN computes them; PyTorch then says so.

    Example:
        >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.ones(1))
        tensor([[4.],
                [4.]])
    """
    # First of all: to compare its size would tie a graph that is recorded to images of such a size.
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return by_pytorch(x, weight, bias, gelu)
    if x.numel() * len(weight) < LARGE.get(x.dtype, float("inf")):
        return by_pytorch(x, weight, bias, gelu)
    learns = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (x, weight, bias))
    if torch.is_autocast_enabled("cpu"):
        if learns:  # autocast keeps what it has cast, for others that share a weight
            return by_pytorch(x, weight, bias, gelu)
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    alike = weight.dtype == x.dtype and (bias is None or bias.dtype == x.dtype)
    if not alike or x.dtype not in LARGE or not prefers_onednn(x.dtype):
        return by_pytorch(x, weight, bias, gelu)
    if learns:
        product = _Linear.apply(x, weight, bias)
        return F.gelu(product) if gelu else product
    return by_onednn(x, weight, bias, gelu)


def by_pytorch(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """The layer as PyTorch computes it."""
    product = F.linear(x, weight, bias)
    return F.gelu(product) if gelu else product


def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False) -> Tensor:
    """The layer by oneDNN, GELU while the product is in the cache; torch.compile's own code calls this operation."""
    activation = "gelu" if gelu else "none"
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")


class _Linear(torch.autograd.Function):
    """A product whose gradients oneDNN computes, but for that of the weight, in which MKL is as fast."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, weight), (gradient,) = ctx.saved_tensors, gradients
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            by_onednn(gradient, weight.t()) if wants_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def depthwise_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """GELU of a zero-padded depthwise convolution: `x` (B, C, H, W), weight (C, 1, k, k) with k odd, bias (C,)."""
    padding, plain = weight.shape[-1] // 2, torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    fused = x.device.type == "cpu" and not plain and not torch.compiler.is_compiling()
    if not fused or x.dtype not in LARGE or not computes(depthwise_gelu_by_onednn, x.dtype):
        return F.gelu(F.conv2d(x, weight, bias, padding=padding, groups=len(weight)))
    return depthwise_gelu_by_onednn(x, weight, bias)


def depthwise_gelu_by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution and GELU by oneDNN, which torch.compile's own code calls so as well."""
    ones, padding, operation = [1, 1], [weight.shape[-1] // 2] * 2, torch.ops.mkldnn._convolution_pointwise
    return operation(x, weight, bias, padding, ones, ones, len(weight), "gelu", [], "none")


@functools.cache
def prefers_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies matrices of this type no slower than what PyTorch calls by itself."""
    return computes(by_onednn, dtype) and (dtype == torch.bfloat16 or not may_be_intels())


@functools.cache
def computes(layer: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> bool:
    """Whether a layer by oneDNN can be computed in this type here: it is tried once.

    PyTorch may be built without the operation, the processor may lack what bf16 asks for, or oneDNN be held to less
    than the processor has (`ONEDNN_MAX_CPU_ISA`), which nothing but a trial shows.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        with torch.no_grad():
            layer(one, one)
    except (AttributeError, RuntimeError):
        return False
    return True


def may_be_intels() -> bool:
    """Whether the processor is not AMD's: Intel's, for which MKL is made, or of a maker that nobody names."""
    information = Path("/proc/cpuinfo")
    windows = os.environ.get("PROCESSOR_IDENTIFIER", "")
    said = information.read_text(encoding="utf-8") if information.exists() else windows
    return "AuthenticAMD" not in said
