import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gesso.functional.tiles import even_sides, spans, weights


@st.composite
def axes(draw):
    multiple = draw(st.sampled_from([1, 2, 8]))
    tile = multiple * draw(st.integers(1, 24))
    overlap = multiple * draw(st.integers(0, tile // multiple - 1))
    return draw(st.integers(1, 400)), tile, overlap, multiple


@given(axes())
def test_tiles_cover_the_axis_on_the_networks_grid(axis):
    size, tile, overlap, multiple = axis
    tiles = spans(size, tile, overlap, multiple)
    assert tiles[0][0] == 0
    assert tiles[-1][1] == size
    assert all(start % multiple == 0 and 0 < stop - start <= max(tile, multiple) for start, stop in tiles)
    for (_, stop), (start, _) in itertools.pairwise(tiles):
        assert stop - start >= min(overlap, size)


@given(axes())
def test_even_tiles_are_the_smallest_for_as_many(axis):
    size, tile, overlap, multiple = axis
    least = max(tile, overlap + multiple)
    sides = even_sides(size, overlap, least, multiple, multiple)
    assert sides == sorted(set(sides), reverse=True)
    assert all(side % multiple == 0 for side in sides)
    assert sides[-1] >= min(least, sides[0])
    for side in sides:
        count = len(spans(size, side, overlap, multiple))
        smaller = side - multiple
        assert smaller < max(least, overlap + multiple) or len(spans(size, smaller, overlap, multiple)) > count


@given(axes(), st.sampled_from(["smooth", "uniform"]))
def test_weights_sum_to_one_everywhere(axis, blend):
    tiles = spans(*axis)
    total = torch.zeros(axis[0])
    for (start, stop), weight in zip(tiles, weights(tiles, blend=blend), strict=True):
        assert weight.min() >= 0
        total[start:stop] += weight
    torch.testing.assert_close(total, torch.ones_like(total))


def test_smooth_weights_leave_out_the_border_of_a_tile_inside_the_image_only():
    first, second = weights([(0, 32), (16, 48)])
    assert first[0] == second[-1] == 1  # the image ends here
    assert (first[-4:] == 0).all()
    assert (second[:4] == 0).all()
    assert (second[4:12].diff() > 0).all()


def test_uniform_weights_are_one_over_the_coverage():
    first, second = weights([(0, 6), (4, 10)], blend="uniform")
    assert first.tolist() == [1, 1, 1, 1, 0.5, 0.5]
    assert second.tolist() == [0.5, 0.5, 1, 1, 1, 1]


def test_an_axis_that_fits_stays_whole():
    assert spans(37, tile=40, overlap=16, multiple=8) == [(0, 37)]


@pytest.mark.parametrize("overlap", [-8, 16, 99])
def test_an_overlap_that_leaves_no_step_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap: expected 0 to 8"):
        spans(100, tile=16, overlap=overlap, multiple=8)


def test_an_unknown_blend_is_refused():
    with pytest.raises(ValueError, match="smooth or uniform"):
        weights([(0, 4)], blend="linear")
