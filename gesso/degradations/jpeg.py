"""JPEG compression by a real encoder."""

import dataclasses
from typing import Annotated

import torch
from torch import Tensor

from gesso.degradations._base import Bounds, Degradation, Range, draw_integer
from gesso.functional.random import BatchGenerator


@dataclasses.dataclass(frozen=True)
class Jpeg(Degradation):
    """An image saved as JPEG and read again, by libjpeg-turbo in memory (4:2:0 chroma). No gradient passes.

    Args:
        quality: libjpeg quality, whole numbers in [1, 100]; 100 still rounds, so it is near the image but not equal.
    """

    rgb_only = True

    quality: Annotated[Range, Bounds(1, 100)] = (10, 95)

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        return compress(image, [int(quality) for quality in draw_integer(self.quality, image, generator).flatten()])


def compress(image: Tensor, qualities: list[int]) -> Tensor:
    """Each image of (B, 3, H, W) after JPEG of its own quality."""
    import cv2

    # Colours in BGR, as the encoder takes them.
    pictures = (image.detach() * 255).round().clamp(0, 255).byte().flip(1).permute(0, 2, 3, 1).cpu().numpy()
    decoded = []
    for picture, quality in zip(pictures, qualities, strict=True):
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded.append(torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR)))
    return torch.stack(decoded).permute(0, 3, 1, 2).flip(1).to(image) / 255
