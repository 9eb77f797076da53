"""Labelled contact sheets: what went in, what came out, what was wanted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gesso.data.io import write_image
from gesso.functional.color import as_rgb

GAP, BAR = 6, 22  # pixels between pictures; height of the line of labels
LEAST_WIDTH = 96  # of the widest picture, so that labels fit over it


def label_bar(text: str, width: int) -> np.ndarray:
    """A line of text on white as (BAR, width, 3) uint8, in the font that Matplotlib brings along."""
    from matplotlib import font_manager
    from PIL import Image, ImageDraw, ImageFont

    bar = Image.new("RGB", (width, BAR), "white")
    path = font_manager.findfont("DejaVu Sans")
    font = ImageFont.truetype(path, 13)
    while font.size > 7 and font.getlength(text) > width - 2:
        font = ImageFont.truetype(path, font.size - 1)
    ImageDraw.Draw(bar).text((1, 2), text, fill="black", font=font)
    return np.asarray(bar)


def sheet(rows: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """A contact sheet (3, H, W) in [0, 1]: one row of pictures per entry, each picture under its label.

    Where all pictures are small, each of their pixels is shown as a square of pixels.

    Args:
        rows: pictures (C, h, w) by label; a row's pictures may differ in size, values outside [0, 1] are clipped.
    """
    times = -(-LEAST_WIDTH // max(picture.shape[-1] for row in rows for picture in row.values()))
    lines = []
    for row in rows:
        height = times * max(picture.shape[-2] for picture in row.values())
        cells = []
        for label, picture in row.items():
            pixels = (as_rgb(picture).detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
            canvas = np.full((BAR + height + GAP, pixels.shape[1] + GAP, 3), 255, np.uint8)
            canvas[:BAR, :-GAP] = label_bar(label, pixels.shape[1])
            canvas[BAR : BAR + pixels.shape[0], :-GAP] = pixels
            cells.append(canvas)
        lines.append(np.concatenate(cells, axis=1))
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return torch.from_numpy(np.concatenate(lines)).permute(2, 0, 1) / 255


def write_sheet(path: Path, rows: Sequence[Mapping[str, Tensor]]) -> None:
    """Writes `sheet(rows)` as PNG, replacing an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, sheet(rows), overwrite=True)
