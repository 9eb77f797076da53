"""Augmentation of batches, by name; flips and rotations, which every batch has, are in `gesso.functional.dihedral`.

An augmentation is a function (lq, gt, generator) -> (lq, gt) of a batch (B, C, H, W); with super-resolution gt is
larger than lq. What it draws comes from the generator alone, so that a run can be repeated.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from gesso._discovery import load_object
from gesso._specs import AugmentSpec

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
SIDE = 16  # of the images that an augmentation is tried with
CUT = 0.7  # side of the rectangle over that of the crop, in the mean (CutBlur's code for every task)


def list_augmentations() -> list[str]:
    """Names that `--augment` takes."""
    return sorted(AUGMENTATIONS)


def open_augmentation(spec: AugmentSpec, channels: tuple[int, int] = (3, 3), scale: int = 1) -> Augment:
    """The augmentation that a name of `list_augmentations()`, `module:function` or a function means; it is tried once.

    Args:
        spec: the name, or the function.
        channels: of the degraded image and of the ground truth.
        scale: enlargement of the task.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if it does not fit images of the task, or returns none.
    """
    if isinstance(spec, str):
        known = AUGMENTATIONS.get(spec)
        augment = known or cast("Augment", load_object(spec, "augmentation", list_augmentations()))
    else:
        augment = spec
    generator = torch.Generator().manual_seed(0)
    lq = torch.rand(2, channels[0], SIDE, SIDE, generator=generator)
    gt = torch.rand(2, channels[1], SIDE * scale, SIDE * scale, generator=generator)
    wanted = "augment: expected a function (lq, gt, generator) -> (lq, gt)"
    try:
        found = augment(lq, gt, generator)
    except TypeError as error:
        raise ValueError(f"{wanted}; {plain_name(augment)} says {error}") from error
    shapes = [tuple(getattr(one, "shape", ())) for one in found] if isinstance(found, tuple | list) else []
    if shapes != [tuple(lq.shape), tuple(gt.shape)]:
        raise ValueError(f"{wanted} of the same shapes; {plain_name(augment)} made {shapes or type(found).__name__}")
    return augment


def plain_name(augment: Augment) -> str:
    """What an augmentation is called in errors."""
    return getattr(augment, "__name__", type(augment).__name__)


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


def cutmix(lq: Tensor, gt: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A rectangle of every image is that of another in the batch, in `lq` and `gt` alike.

    Yun et al., "CutMix", ICCV 2019, as Yoo et al., "Rethinking Data Augmentation for Image Super-resolution", CVPR 2020
    (section 3.1, and their code for its numbers), use it for restoration: one rectangle for the batch, its sides 0.7 of
    the crop's in the mean with a deviation of 0.01.
    """
    partner = torch.randperm(len(gt), generator=generator, device=generator.device).to(gt.device)
    inside = rectangle(lq, generator)
    return torch.where(inside, lq[partner], lq), torch.where(enlarged(inside, gt), gt[partner], gt)


def cutblur(lq: Tensor, gt: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A rectangle of the input is restored already, or everything but it: a network learns where to do nothing.

    Yoo et al., CVPR 2020, section 3.2; sizes as in `cutmix`. Images of one size are asked for.

    Raises:
        ValueError: for super-resolution, whose images would have to be enlarged first, and for two views of a scene.
    """
    if lq.shape != gt.shape:
        raise ValueError(f"augment: cutblur pastes gt into lq, got {tuple(gt.shape[1:])} and {tuple(lq.shape[1:])}")
    inside = rectangle(lq, generator)
    if torch.rand((), generator=generator, device=generator.device) < 0.5:
        inside = ~inside
    return torch.where(inside, gt, lq), gt


def rectangle(images: Tensor, generator: torch.Generator) -> Tensor:
    """Where a rectangle of random size and place lies in images (B, C, H, W): (H, W)."""
    height, width = images.shape[-2:]
    drawn = torch.randn((), generator=generator, device=generator.device, dtype=torch.float64)
    places = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64).tolist()
    share = min(max(CUT + 0.01 * drawn.item(), 0.0), 1.0)
    inside = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    tall, wide = int(height * share), int(width * share)
    top, left = int(places[0] * (height - tall + 1)), int(places[1] * (width - wide + 1))
    inside[top : top + tall, left : left + wide] = True
    return inside


def enlarged(inside: Tensor, gt: Tensor) -> Tensor:
    """A rectangle at the size of `gt`."""
    scale = gt.shape[-1] // inside.shape[-1]
    return inside.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


AUGMENTATIONS: dict[str, Augment] = {"mixup": mixup, "cutmix": cutmix, "cutblur": cutblur}
