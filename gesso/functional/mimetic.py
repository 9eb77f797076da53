"""Weights drawn in the shape that trained ones have: a start in closed form, without data and without time.

Attention: Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", ICML 2023 (arXiv 2305.09828): the
product of queries and keys lies near the identity, that of values and output projection near its negative. Depthwise
convolutions: Trockman, Willmott and Kolter, "Understanding the Covariance Structure of Convolutional Filters", ICLR
2023 (arXiv 2210.03651): kernels are drawn from a normal distribution whose covariance is built of shifted Gaussians.
The constants and the covariance follow the ideas of both papers, not their code.

All draws come from PyTorch's global generator, as those of `torch.nn.init` do.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MIMETIC = "mimetic"  # where a file of weights is asked for: draw them so
QUERY_KEY = (0.7, 0.7)  # share of noise and of the identity in the product of queries and keys
VALUE_OUTPUT = (0.4, 0.4)  # the same of values and output projection, with a minus before the identity


class AttentionWeights(NamedTuple):
    """The weights of one attention layer, (out, in) each; they are written to in place.

    Attributes:
        query: (heads * head channels, C).
        key: the same.
        value: the same, or another number of channels a head.
        output: (C, heads * head channels of the values).
        heads: how many.
        across_channels: whether channels attend to channels instead of pixels to pixels.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    heads: int
    across_channels: bool = False


@torch.no_grad()
def draw_attention(layer: AttentionWeights) -> None:
    """Draws the weights of an attention layer so that W_q' W_k is near I for each head, and W_o W_v near -I.

    With C channels, of which a head sees fewer, the product has the rank of the head and is the nearest such matrix to
    alpha Z + beta I, Z of independent entries of variance 1/C. Where channels attend to channels, similarity is summed
    over the pixels, and what lies near I is W_q W_k', a matrix of the head's channels.
    """
    for query, key in zip(layer.query.chunk(layer.heads), layer.key.chunk(layer.heads), strict=True):
        rows, channels = query.shape
        if layer.across_channels:
            basis = draw_orthonormal(channels, rows, like=key).T
            query.copy_(draw_near_identity(rows, *QUERY_KEY, like=query) @ basis)
            key.copy_(basis)
        else:
            left, right = factorise(draw_near_identity(channels, *QUERY_KEY, like=query), rows)
            query.copy_(left.T)
            key.copy_(right)
    noise, identity = VALUE_OUTPUT
    inner, channels = layer.value.shape
    left, right = factorise(draw_near_identity(channels, noise, -identity, like=layer.value), min(inner, channels))
    basis = draw_orthonormal(inner, min(inner, channels), like=layer.value)
    layer.value.copy_(basis @ right)
    layer.output.copy_(left @ basis.T)


def draw_near_identity(size: int, noise: float, identity: float, like: Tensor) -> Tensor:
    """The matrix noise * Z + identity * I, (size, size), where the entries of Z have variance 1/size."""
    drawn = torch.randn(size, size, device=like.device, dtype=torch.float32)
    return noise * drawn / size**0.5 + identity * torch.eye(size, device=like.device)


def factorise(product: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Two matrices (N, rank) and (rank, N) of equal size, whose product is the nearest of this rank to `product`."""
    left, size, right = torch.linalg.svd(product)
    root = size[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def draw_orthonormal(rows: int, columns: int, like: Tensor) -> Tensor:
    """A random matrix (rows, columns), rows >= columns, whose columns are orthonormal."""
    return torch.linalg.qr(torch.randn(rows, columns, device=like.device, dtype=torch.float32))[0]


@torch.no_grad()
def draw_depthwise(weight: Tensor, std: float) -> None:
    """Draws the kernels (C, 1, side, side) of a depthwise convolution from a normal law with `kernel_covariance`.

    Their mean square stays what it was, so that only the shape of kernels changes and not what a layer passes on.

    Args:
        weight: written to in place.
        std: of the Gaussians, in pixels: the larger, the smoother the kernels.
    """
    side = weight.shape[-1]
    values, vectors = torch.linalg.eigh(kernel_covariance(side, std).to(weight.device))
    shaped = torch.randn(weight.shape[0], side * side, device=weight.device) @ (vectors * values.clamp(min=0).sqrt()).T
    shaped = shaped.view_as(weight)
    weight.copy_(shaped * (weight.square().mean() / shaped.square().mean()).sqrt())


def kernel_covariance(side: int, std: float) -> Tensor:
    """The covariance of two places of a kernel, (side * side, side * side): M * (C - S / 2), made symmetric.

    With Z a Gaussian around the middle, C is Z around the first place (weights resemble their neighbours), S is Z at
    the second (what all kernels share is taken off), and M is Z at the first (kernels vary most in the middle).

    Example:
        >>> kernel_covariance(3, 1.0).view(3, 3, 3, 3)[1, 1].argmax().item()  # the middle goes with itself
        4
    """
    places = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    at = torch.cartesian_prod(places, places)  # (side * side, 2), from the middle

    def gaussian(offset: Tensor) -> Tensor:
        return (-offset.square().sum(-1) / (2 * std**2)).exp()

    first, second = at[:, None], at[None]
    built = gaussian(first) * (gaussian(first - second) - gaussian(second) / 2)
    return (built + built.T) / 2
