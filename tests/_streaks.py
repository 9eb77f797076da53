"""Rainy pairs for `rain_streaks`, which needs a folder wherever all degradations are tried."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch

import gesso


@functools.cache
def rainy_pairs() -> str:
    """The root of two pairs of 24 x 30 as RainTrainL is published: one bright column, or one bright row, more."""
    root = Path(tempfile.mkdtemp(prefix="gesso-streaks-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for i in (1, 2):
        clean = torch.full((3, 24, 30), 0.25 * i)
        rainy = clean.clone()
        if i == 1:
            rainy[..., 7] += 0.2
        else:
            rainy[..., 5, :] += 0.4
        gesso.write_image(root / f"rain/rain-{i}.png", rainy)
        gesso.write_image(root / f"norain/norain-{i}.png", clean)
    return str(root)
