"""Mosaic: one colour per pixel, as a sensor sees them, and a simple guess at the rest."""

import dataclasses
from typing import Literal

import torch
from torch import Tensor

from gesso.degradations._base import Degradation
from gesso.functional.padding import pad
from gesso.functional.random import BatchGenerator

Method = Literal["edge_aware", "bilinear", "none"]


@dataclasses.dataclass(frozen=True)
class Mosaic(Degradation):
    """An image sampled through a Bayer filter (RGGB), and its missing colours interpolated.

    Args:
        demosaic: "edge_aware" is OpenCV's, which DCPT trains on; "bilinear" is OpenCV's simplest; "none" leaves the
            colours that were not seen at 0.

    Hu et al., "Universal image restoration pre-training via degradation classification" (DCPT), ICLR 2025.
    """

    rgb_only = True

    demosaic: Method = "edge_aware"

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        seen = torch.zeros_like(image)
        seen[:, 0, 0::2, 0::2] = image[:, 0, 0::2, 0::2]
        seen[:, 1, 0::2, 1::2] = image[:, 1, 0::2, 1::2]
        seen[:, 1, 1::2, 0::2] = image[:, 1, 1::2, 0::2]
        seen[:, 2, 1::2, 1::2] = image[:, 2, 1::2, 1::2]
        if self.demosaic == "none":
            return seen
        # Mirroring at the edge pixel keeps the pattern, and OpenCV copies colours at the outermost pixels.
        bayer = pad(seen.sum(1), 2, 2, 2, 2)
        return demosaic(bayer, edge_aware=self.demosaic == "edge_aware")[..., 2:-2, 2:-2]


def demosaic(bayer: Tensor, *, edge_aware: bool) -> Tensor:
    """The colour image (B, 3, H, W) that OpenCV interpolates from Bayer samples (B, H, W), at 16 bits."""
    import cv2
    import numpy as np

    # OpenCV names the pattern after the second row and column: its BayerBG is the field's RGGB.
    code = cv2.COLOR_BayerBG2RGB_EA if edge_aware else cv2.COLOR_BayerBG2RGB
    samples = (bayer.detach() * 65535).round().clamp(0, 65535).cpu().numpy().astype(np.uint16)
    pictures = np.stack([cv2.cvtColor(sample, code) for sample in samples]).astype(np.float32)
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2) / 65535).to(bayer)
