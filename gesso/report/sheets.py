"""Labelled contact sheets: what went in, what came out, what was wanted."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gesso.data.io import write_image
from gesso.functional.color import as_rgb

GAP, BAR = 6, 22  # pixels between pictures; height of the line of labels
LEAST_WIDTH = 96  # of the widest picture, so that labels fit over it
TRUTHS = ("ground truth", "original", "noise")  # labels of what the other pictures of a row should be


def label_bar(text: str, width: int) -> np.ndarray:
    """A line of text on white as (BAR, width, 3) uint8, in the font that Pillow brings along."""
    from PIL import Image, ImageDraw, ImageFont

    bar = Image.new("RGB", (width, BAR), "white")
    fonts = [ImageFont.load_default(size) for size in range(13, 6, -1)]
    font = next((font for font in fonts if font.getlength(text) <= width - 2), fonts[-1])
    ImageDraw.Draw(bar).text((1, 2), text, fill="black", font=font)
    return np.asarray(bar)


def with_psnr(pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pictures of a row, the PSNR of each behind its label, against the truth among them; unchanged without one.

    On RGB of 8 bits, whatever the task measures; pictures of another size than the truth keep their label.
    """
    truth = next((pictures[label] for label in TRUTHS if label in pictures), None)
    if truth is None:
        return dict(pictures)
    return {
        label if label in TRUTHS or picture.shape != truth.shape else f"{label} {decibels(picture, truth)}": picture
        for label, picture in pictures.items()
    }


def decibels(picture: Tensor, truth: Tensor) -> str:
    """The PSNR of a picture (C, H, W) in words."""
    one, other = ((255 * as_rgb(image).detach().double().clamp(0, 1)).round() for image in (picture, truth))
    error = (one - other).square().mean().item()
    return f"{10 * math.log10(255**2 / error):.2f} dB" if error else "identical"


def sheet(rows: Sequence[Mapping[str, Tensor]], names: Sequence[str] = ()) -> Tensor:
    """A contact sheet (3, H, W) in [0, 1]: one row of pictures per entry, each picture under its label.

    Where all pictures are small, each of their pixels is shown as a square of pixels.

    Args:
        rows: pictures (C, h, w) by label; a row's pictures may differ in size, values outside [0, 1] are clipped.
        names: what stands over each row, such as the name of the image; none: nothing.
    """
    times = -(-LEAST_WIDTH // max(picture.shape[-1] for row in rows for picture in row.values()))
    lines = []
    for number, row in enumerate(rows):
        height = times * max(picture.shape[-2] for picture in row.values())
        cells = []
        for label, picture in row.items():
            pixels = (as_rgb(picture).detach().float().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
            canvas = np.full((BAR + height + GAP, pixels.shape[1] + GAP, 3), 255, np.uint8)
            canvas[:BAR, :-GAP] = label_bar(label, pixels.shape[1])
            canvas[BAR : BAR + pixels.shape[0], :-GAP] = pixels
            cells.append(canvas)
        line = np.concatenate(cells, axis=1)
        lines += [label_bar(names[number], line.shape[1]), line] if names else [line]
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    return torch.from_numpy(np.concatenate(lines)).permute(2, 0, 1) / 255


def write_sheet(path: Path, rows: Sequence[Mapping[str, Tensor]], names: Sequence[str] = ()) -> None:
    """Writes `sheet(rows, names)` as PNG, replacing an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, sheet(rows, names), overwrite=True)
