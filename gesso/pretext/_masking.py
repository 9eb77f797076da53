"""Hidden patches: masks, and networks that see through them alone."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from gesso.functional.random import BatchGenerator, rand

CONVOLUTIONS = (F.conv2d, F.conv_transpose2d)


def patch_mask(image: Tensor, mask_ratio: float, size: int, generator: BatchGenerator) -> Tensor:
    """Which pixels of `image` (B, C, H, W) are seen, (B, 1, H, W) of ones and zeros: whole square patches at random.

    In every image as many are seen, N * (1 - mask_ratio) rounded and at least one, drawn for each.
    """
    batch, _, height, width = image.shape
    rows, columns = -(-height // size), -(-width // size)
    seen = max(1, round(rows * columns * (1 - mask_ratio)))
    order = rand((batch, rows * columns), generator).argsort(dim=1).argsort(dim=1)
    mask = (order >= rows * columns - seen).view(batch, 1, rows, columns)
    mask = mask.repeat_interleave(size, dim=2).repeat_interleave(size, dim=3)
    return mask[..., :height, :width].to(image.dtype)


def mask_like(mask: Tensor, feature: Tensor) -> Tensor:
    """The mask (B, 1, H, W) at the size of a feature map (B, C, h, w).

    Raises:
        ValueError: if the map is none of these images: cut to pieces, or of another batch.
    """
    if len(feature) != len(mask):
        raise ValueError(
            f"mask_features: expected maps of {len(mask)} whole images, this network makes one of {len(feature)}; "
            "take a crop_size that it does not cut, or set mask_features to false"
        )
    height, width = feature.shape[-2:]
    if mask.shape[-2:] == feature.shape[-2:]:
        return mask.to(feature.dtype)
    return F.interpolate(mask, (height, width), mode="nearest").to(feature.dtype)


class SeenThrough(TorchFunctionMode):
    """Inside, every convolution that looks beyond its pixel gives 0 where the mask (B, 1, H, W) hides the image.

    So nothing leaks from seen to hidden pixels step by step: a submanifold convolution on dense maps, as SparK has it
    (Tian et al., "Designing BERT for convolutional networks", ICLR 2023).
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """What `func` returns, masked if it is such a convolution."""
        options: Mapping[str, Any] = kwargs or {}
        result = func(*args, **options)
        if func in CONVOLUTIONS:
            weight = args[1] if len(args) > 1 else options["weight"]
            if max(weight.shape[-2:]) > 1:
                return result * mask_like(self.mask, result)
        return result
