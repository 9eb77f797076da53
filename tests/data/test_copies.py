"""Copies are known by their pixels, under any name and in any lossless format."""

import pytest
import torch
from PIL import Image

import gesso
from gesso.data.copies import group_copies
from gesso.data.layouts import Pair, find_pairs
from gesso.functional.random import generator_for
from tests._data import data_folder


def photo(path, number, size=(9, 12)):
    gesso.write_image(path, torch.rand(3, *size, generator=generator_for(number)))
    return path


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp", ".ppm"])
def test_a_photo_in_another_format_is_a_copy(tmp_path, suffix):
    one, other = photo(tmp_path / "a.png", 0), photo(tmp_path / "b.png", 1)
    Image.open(other).save(tmp_path / f"c{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    assert group_copies([one, other, tmp_path / f"c{suffix}"]) == [0, 1, 1]


def test_pairs_are_of_one_group_through_either_side_and_through_each_other(tmp_path):
    a, b, c, d, e = (photo(tmp_path / f"{name}.png", number) for number, name in enumerate("abcde"))
    Image.open(b).save(tmp_path / "b again.png", compress_level=0)
    pairs = [Pair("0", a, b), Pair("1", c, d), Pair("2", c, tmp_path / "b again.png"), Pair("3", e, e)]
    assert group_copies(pairs) == [0, 0, 0, 3]
    assert group_copies(pairs[:2]) == [0, 1]


def test_equal_bytes_of_another_shape_are_no_copy(tmp_path):
    for name, size in (("wide", (4, 6)), ("high", (6, 4))):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / f"{name}.png")
    assert group_copies([tmp_path / "wide.png", tmp_path / "high.png"]) == [0, 1]


def test_what_cannot_be_read_is_like_nothing_else(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "also.png").write_bytes(b"\x89PNG")
    assert group_copies([tmp_path / "broken.png", tmp_path / "also.png", tmp_path / "gone.png"]) == [0, 1, 2]


def test_the_photo_that_rain100h_has_twice_is_found():
    pairs = find_pairs(data_folder("derain_rain100h"))
    more = find_pairs(data_folder("derain_rain100h_more"))
    groups = group_copies([*pairs, *more])
    assert len(set(groups)) < len(pairs) + len(more)
