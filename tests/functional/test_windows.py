"""Windows: every pixel has one place, a shift tears only border windows, and attention is the formula."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gesso.functional.windows import MASKED, attend, find_windows, move, relative_position_index, reorder

CPU = torch.device("cpu")


@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    side=st.integers(2, 4),
    shifted=st.booleans(),
)
def test_windows_are_squares_of_the_rolled_map(batch, rows, columns, side, shifted):
    height, width, shift = rows * side, columns * side, side // 2 if shifted else 0
    order, inverse, mask = find_windows(batch, height, width, side, shift, CPU)
    pixels = torch.arange(batch * height * width)
    assert torch.equal(order[inverse].long(), pixels)
    image, place = order.view(-1, batch, side * side).long() // (height * width), order % (height * width)
    assert torch.equal(image, torch.arange(batch)[:, None].expand_as(image))
    y, x = (place // width).view(-1, batch, side, side), (place % width).view(-1, batch, side, side)
    assert torch.equal((y[..., 1:, :] - y[..., :-1, :]) % height, torch.ones_like(y[..., 1:, :]) % height)
    assert torch.equal((x[..., 1:] - x[..., :-1]) % width, torch.ones_like(x[..., 1:]) % width)
    torn = ((y[:, 0] < y[:, 0, :1]) | (x[:, 0] < x[:, 0, :, :1])).flatten(1)  # beyond the seam
    assert torch.equal(torn.any(1).nonzero().flatten(), torch.arange(len(y) - len(mask), len(y)))
    assert len(mask) == (rows + columns - 1 if shifted else 0)


def test_pixels_across_a_seam_must_not_meet():
    order, _, mask = find_windows(1, 8, 12, 4, 2, CPU)
    y, x = order.view(-1, 16)[-len(mask) :] // 12, order.view(-1, 16)[-len(mask) :] % 12
    from_start = torch.stack([y < 2, x < 2])  # what the roll has brought from the upper and left border
    at_end = (y.amax(1) == 7)[:, None, None], (x.amax(1) == 11)[:, None, None]
    apart = [(side[:, :, None] != side[:, None, :]) & torn for side, torn in zip(from_start, at_end, strict=True)]
    assert torch.equal(mask, torch.where(apart[0] | apart[1], MASKED, 0.0))
    assert mask.softmax(-1).eq(0).any()  # exactly, not a subnormal number
    assert not ((mask.softmax(-1) > 0) & (mask.softmax(-1) < 1e-30)).any()


def test_moving_between_layouts_is_the_way_through_the_map():
    plain, shifted = (find_windows(2, 8, 12, 4, shift, CPU) for shift in (0, 2))
    rows = torch.rand(2 * 8 * 12, 3, requires_grad=True)
    moved = move(reorder(rows, plain.order, plain.inverse), plain, shifted)
    assert torch.equal(moved, rows[shifted.order.long()])
    assert move(moved, shifted, shifted) is moved
    weight = torch.rand_like(rows)
    (gradient,) = torch.autograd.grad((moved * weight).sum(), rows)
    assert torch.equal(gradient, weight[shifted.inverse.long()])
    assert torch.autograd.gradgradcheck(lambda t: move(t, plain, shifted) ** 2, rows.detach().double().requires_grad_())


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("shape", [(2, 8, 12), (1, 4, 4), (2, 4, 8)])
def test_attention_is_the_formula(biased, trained, shape):
    mask = find_windows(*shape, 4, 2, CPU).mask
    windows = shape[1] * shape[2] // 16
    q, k, v = torch.randn(3, windows, shape[0], 2, 16, 5, dtype=torch.float64, requires_grad=trained)
    bias = torch.randn(2, 16, 16, dtype=torch.float64, requires_grad=trained) if biased else None
    full = torch.zeros(windows, 1, 1, 16, 16)
    full[windows - len(mask) :, 0, 0] = mask
    for scale in (None, 0.3):
        logits = q @ k.mT * (scale or 5**-0.5) + full + (0 if bias is None else bias)
        torch.testing.assert_close(attend(q, k, v, bias, mask, scale), (logits.softmax(-1) @ v).transpose(2, 3))


def test_one_row_of_the_table_for_one_offset():
    index = relative_position_index(3)
    assert index.shape == (9, 9)
    assert index.unique().tolist() == list(range(25))
    assert (index[0, 0], index[0, 8], index[8, 0], index[0, 1]) == (12, 0, 24, 11)
