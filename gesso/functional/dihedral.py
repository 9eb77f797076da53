"""The eight flips and rotations of a square."""

import torch
from torch import Tensor


def dihedral(image: Tensor, number: int) -> Tensor:
    """`image` (..., H, W) under one of the eight symmetries: `number` % 4 quarter turns, after a flip from 4 on.

    Odd numbers exchange H and W. Number 0 is the image itself.
    """
    return torch.rot90(image.flip(-1) if number >= 4 else image, number % 4, (-2, -1))


def undo_dihedral(image: Tensor, number: int) -> Tensor:
    """What `dihedral` with the same number was given.

    Example:
        >>> image = torch.arange(6).view(2, 3)
        >>> all(undo_dihedral(dihedral(image, number), number).equal(image) for number in range(8))
        True
    """
    turned = torch.rot90(image, -(number % 4), (-2, -1))
    return turned.flip(-1) if number >= 4 else turned
