"""What feature maps are like: how many directions they use, how alike two networks see, how far weights have gone."""

import torch
from torch import Tensor


def rows_of(maps: Tensor) -> Tensor:
    """Every position of maps (B, C, H, W) as a row of its channels, (B * H * W, C), in double precision."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double()


def covariance(rows: Tensor) -> Tensor:
    """Covariance (C, C) of the columns of rows (N, C)."""
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def effective_rank(covariance: Tensor) -> float:
    """How many directions the rows behind a covariance (C, C) use, from 1 to C; 0 if they do not vary.

    The exponential of the entropy of the singular values of the centred rows, taken as shares of their sum (Roy and
    Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1).

    Example:
        >>> round(effective_rank(torch.diag(torch.tensor([4.0, 4.0, 0.0]))), 6)
        2.0
    """
    singular = torch.linalg.eigvalsh(covariance.double()).clamp(min=0).sqrt()
    if singular.sum() == 0:
        return 0.0
    share = singular / singular.sum()
    return float(torch.special.entr(share).sum().exp())


def mean_correlation(covariance: Tensor) -> float:
    """Mean absolute correlation between two different channels that vary, in [0, 1]; 0 where there are no two."""
    alive = covariance.diagonal() > 0
    covariance = covariance[alive][:, alive]
    count = len(covariance)
    if count < 2:
        return 0.0
    deviation = covariance.diagonal().sqrt()
    correlation = (covariance / deviation[:, None] / deviation).abs()
    return float((correlation.sum() - correlation.diagonal().sum()) / (count * (count - 1)))


def alignment_of_kernels(x: Tensor, y: Tensor) -> float:
    """Linear centred-kernel alignment of what two networks make of the same N inputs, x (N, C) and y (N, D).

    1 if one is the other turned, mirrored or scaled as a whole; around 0, and below by chance, if they have nothing in
    common. Kornblith et al., "Similarity of neural network representations revisited", ICML 2019, with the unbiased
    estimate of HSIC (Song et al., JMLR 2012): the plain one calls wide maps alike on few inputs.

    Raises:
        ValueError: if there are not equally many rows, or fewer than 4.
    """
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"expected as many rows of both, and 4 or more, got {len(x)} and {len(y)}")
    k, l = (hollow(rows - rows.mean(0)) for rows in (x.double(), y.double()))  # noqa: E741 (HSIC's own letters)
    norm = (unbiased_hsic(k, k) * unbiased_hsic(l, l)).clamp(min=0).sqrt()
    return float(unbiased_hsic(k, l) / norm) if norm > 0 else 0.0


def hollow(rows: Tensor) -> Tensor:
    """The linear kernel (N, N) of rows (N, C) without its diagonal."""
    kernel = rows @ rows.T
    return kernel.fill_diagonal_(0)


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Hilbert-Schmidt independence criterion of two hollow kernels (N, N), equation 5 of Song et al."""
    n = len(k)
    rows = k.sum(0), l.sum(0)
    total = (k * l).sum() + rows[0].sum() * rows[1].sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows[0] @ rows[1])
    return total / (n * (n - 3))


def cosine_similarities(rows: Tensor) -> Tensor:
    """Cosine of the angle between every two rows (N, D), as (N, N) in [-1, 1]; 0 for rows of zeros."""
    lengths = rows.norm(dim=1, keepdim=True)
    unit = rows / lengths.clamp(min=torch.finfo(rows.dtype).tiny)
    return (unit @ unit.T).clamp(-1, 1)
