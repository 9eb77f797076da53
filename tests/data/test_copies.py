"""Copies are known by their pixels, under any name and in any lossless format."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gesso
from gesso.data import copies
from gesso.data.copies import group_copies
from gesso.data.io import read_pixels
from gesso.data.layouts import Pair, find_pairs
from gesso.data.training_data import SceneWarning, hold_out
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


def test_a_photo_that_exif_turns_is_a_copy_of_the_turned_one(tmp_path):
    upright, turned = photo(tmp_path / "a.png", 0), photo(tmp_path / "b.png", 1)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.open(upright).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "c.png", exif=exif)
    assert group_copies([upright, turned, tmp_path / "c.png"]) == [0, 1, 0]


def noisy(seed, mode, size=(24, 40)):
    """A picture of Pillow's of another's random pixels, whose first rows are alike in all."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 4), np.uint8)
    pixels[:18] = np.random.default_rng(99).integers(0, 256, (18, *pixels.shape[1:]), np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return Image.fromarray(pixels).convert("RGB").quantize(32) if mode == "P" else Image.fromarray(pixels).convert(mode)


SAVED = [
    (".png", {}),
    (".png", {"compress_level": 0}),
    (".png", {"optimize": True}),
    (".png", {"dpi": (300, 300)}),
    (".tif", {}),
]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16", "P"])
@pytest.mark.parametrize(("suffix", "options"), SAVED)
def test_only_pixels_tell_copies_whatever_wrote_them(tmp_path, mode, suffix, options):
    """Pictures that differ below their first rows are none."""
    for seed in range(3):
        noisy(seed, mode).save(tmp_path / f"{seed}.png")
    noisy(1, mode).save(tmp_path / f"again{suffix}", **options)
    assert group_copies([*(tmp_path / f"{seed}.png" for seed in range(3)), tmp_path / f"again{suffix}"]) == [0, 1, 2, 1]


def jpeg(path, seed, *, quality=90, **options):
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 24, 3), np.uint8)).resize((48, 80))
    image.save(path, quality=quality, **options)
    return path


@pytest.mark.parametrize("options", [{}, {"comment": b"again"}, {"dpi": (72, 72)}, {"optimize": True}])
def test_a_jpeg_with_other_metadata_or_codes_is_a_copy(tmp_path, options):
    photos = [jpeg(tmp_path / f"{seed}.jpg", seed) for seed in range(3)]
    photos += [jpeg(tmp_path / "again.jpeg", 2, **options), jpeg(tmp_path / "worse.jpg", 2, quality=80)]
    assert group_copies(photos) == [0, 1, 2, 2, 4]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_jpeg_that_exif_turns_is_a_copy_of_one_that_it_turns_alike(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photos = [jpeg(tmp_path / f"{seed}.jpg", seed, exif=exif) for seed in range(2)]
    photos += [jpeg(tmp_path / "again.jpg", 1, exif=exif, comment=b"again"), jpeg(tmp_path / "upright.jpg", 1)]
    assert group_copies(photos) == [0, 1, 1, 3]


def test_a_jpeg_and_its_png_are_copies(tmp_path):
    photos = [jpeg(tmp_path / f"{seed}.jpg", seed) for seed in range(2)]
    Image.open(photos[1]).save(tmp_path / "1.png")
    assert group_copies([*photos, tmp_path / "1.png"]) == [0, 1, 1]


@pytest.mark.parametrize("save", [lambda path, seed: photo(path.with_suffix(".png"), seed), jpeg])
def test_photos_of_one_size_that_differ_at_once_are_not_decoded(tmp_path, monkeypatch, save):
    decoded = []
    monkeypatch.setattr(copies, "read_pixels", lambda ref: decoded.append(ref) or read_pixels(ref))
    photos = [save(tmp_path / f"{seed}.jpg", seed) for seed in range(5)]
    assert group_copies(photos) == [0, 1, 2, 3, 4]
    assert not decoded
    again = shutil.copy(photos[3], tmp_path / f"again{photos[3].suffix}")
    assert group_copies([*photos, Path(again)]) == [0, 1, 2, 3, 4, 3]
    assert len(decoded) == 2


# ------------------------------------------------------------------------------------------------------- holding out


def scenes(folder, *numbers, size=(9, 12)):
    """Pairs of scenes, so many of each: inputs of their own, and one ground truth under names of their own."""
    pairs = []
    for scene, count in enumerate(numbers):
        for number in range(count):
            lq = photo(folder / f"input/{scene}-{number}.png", 100 * (scene + 1) + number, size)
            pairs.append(Pair(f"{scene}-{number}", lq, photo(folder / f"target/{scene}-{number}.png", scene, size)))
    return pairs


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("sizes", "count", "held"),
    [
        ((1,) * 8, 3, {3}),
        ((2, 2, 2, 1, 1), 3, {2, 3}),  # whichever are drawn first
        ((3, 3, 3), 4, {3}),
        ((5, 4, 4), 2, {4}),  # no scene is as small: the smallest
        ((2,) * 10, None, {2}),
    ],
)
def test_no_scene_is_on_both_sides_of_what_is_held_out(sizes, count, held, seed, tmp_path):
    pairs = scenes(tmp_path, *sizes)
    train, kept, of_test, note = hold_out(pairs, count, seed)
    assert len(kept) in held
    assert sorted(pair.name for pair in [*train, *kept]) == sorted(pair.name for pair in pairs)
    assert not {pair.name[0] for pair in train} & {pair.name[0] for pair in kept}
    assert bool(note) == (max(sizes) > 1)
    assert not of_test


def test_where_nothing_is_shared_the_same_are_held_out_as_ever():
    """So that runs of older versions are resumed."""
    names = [Path(f"{number}.png") for number in range(30)]  # which cannot be read: each is unlike all others
    assert [path.stem for path in hold_out(names, None, 0).held] == ["12", "15", "29"]


def test_of_one_scene_nothing_new_can_be_held_out(tmp_path):
    with pytest.warns(SceneWarning, match="all 4 samples share one image, so what is held out is no test: give --val"):
        assert len(hold_out(scenes(tmp_path, 4), 1, 0).held) == 1


def test_a_run_says_that_copies_stay_together(tmp_path, capsys):
    scenes(tmp_path, 2, 1, 1, 1, size=(16, 16))
    gesso.finetune(task="derain", data=tmp_path, out=tmp_path / "run", dry_run=True, backbone="nafnet_tiny", steps=1,
                   crop_size=8, batch_size=1)  # fmt: skip
    assert (
        "4 pairs to train, 1 to validate; 2 share an image with another and stay on one side" in capsys.readouterr().out
    )
