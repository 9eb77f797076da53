"""Strips: the same numbers as in one piece, with less held at a time."""

import pytest
import torch
from torch.nn import functional as F

from gesso.functional import row_chunks
from gesso.functional.row_chunks import map_row_chunks


def blur(x):
    """A function of (B, H, W, C) that looks two pixels far and doubles the channels."""
    kernel = torch.arange(25.0).view(1, 1, 5, 5).expand(x.shape[-1] * 2, 1, 5, 5)
    return F.conv2d(x.permute(0, 3, 1, 2), kernel, padding=2, groups=x.shape[-1]).permute(0, 2, 3, 1)


@pytest.mark.parametrize("height", [1, 7, 8, 16, 33])
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_one_piece(height, batch, monkeypatch):
    monkeypatch.setattr(row_chunks, "STRIP", 100)
    x = torch.rand(batch, height, 5, 2)
    with torch.no_grad():
        torch.testing.assert_close(map_row_chunks(blur, x, reach=2), blur(x))


def test_strips_are_as_high_as_fits(monkeypatch):
    monkeypatch.setattr(row_chunks, "STRIP", 5 * 2 * 10)
    heights = []
    with torch.no_grad():
        map_row_chunks(lambda x: heights.append(x.shape[1]) or x, torch.rand(1, 25, 5, 2), reach=1)
    assert heights == [11, 12, 6]


def test_gradients_go_through_one_piece(monkeypatch):
    monkeypatch.setattr(row_chunks, "STRIP", 100)
    calls = []
    map_row_chunks(lambda x: calls.append(x) or x, torch.rand(1, 33, 5, 2), reach=0)
    assert len(calls) == 1
