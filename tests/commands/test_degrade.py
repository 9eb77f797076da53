"""`gesso degrade`: pairs from clean photos."""

import re

import pytest
import torch

from gesso.commands.degrade import degrade
from gesso.data.io import read_image, read_picture, write_image
from gesso.data.layouts import find_pairs


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for seed, (name, bits) in enumerate({"a.png": 8, "deep/b.tif": 16, "c.jpg": 8}.items()):
        image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(seed))
        write_image(folder / name, image, bits=bits)
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pairs_keep_names_depth_and_the_clean_pixels(photos, tmp_path):
    done = degrade(photos, tmp_path / "pairs", degradation={"name": "gaussian_noise", "sigma": 25})
    assert done.exit_code == 0
    names = ["a.png", "c.png", "deep/b.tif"]
    assert files(tmp_path / "pairs") == [f"input/{name}" for name in names] + [f"target/{name}" for name in names]
    assert len(find_pairs(tmp_path / "pairs")) == 3
    for name in ("a.png", "deep/b.tif"):
        assert torch.equal(read_image(tmp_path / "pairs/target" / name), read_image(photos / name))
    assert torch.equal(read_image(tmp_path / "pairs/target/c.png"), read_image(photos / "c.jpg"))
    assert read_picture(tmp_path / "pairs/input/deep/b.tif").bits == 16
    noise = read_image(tmp_path / "pairs/input/a.png") - read_image(photos / "a.png")
    assert 0.06 < noise.std() < 0.11


def test_a_photo_draws_from_the_seed_and_its_name_alone(photos, tmp_path):
    degrade(photos, tmp_path / "one", seed=3)
    (photos / "c.jpg").unlink()
    degrade(photos, tmp_path / "two", seed=3)
    degrade(photos, tmp_path / "three", seed=4)
    one, two, three = (read_image(tmp_path / run / "input/a.png") for run in ("one", "two", "three"))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_only_the_degraded_photos(photos, tmp_path):
    degrade(photos / "a.png", tmp_path / "rainy", degradation=["gaussian_blur", "jpeg"], pairs=False)
    assert files(tmp_path / "rainy") == ["a.png"]


def test_nothing_is_replaced_unless_told(photos, tmp_path):
    out = tmp_path / "pairs"
    degrade(photos, out, seed=1)
    before = (out / "input/a.png").read_bytes()
    (out / "input/c.png").unlink()
    with pytest.raises(FileExistsError, match="--overwrite replaces"):
        degrade(photos, out, seed=2)
    assert (out / "input/a.png").read_bytes() == before
    assert not (out / "input/c.png").exists()
    degrade(photos, out, seed=2, overwrite=True)
    assert (out / "input/a.png").read_bytes() != before


def test_a_bad_file_is_reported_and_the_rest_is_done(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    done = degrade(photos, tmp_path / "pairs")
    assert done.exit_code == 1
    assert [path.name for path in done.failed] == ["bad.png"]
    assert len(done.written) == 3
    assert not any("bad" in name for name in files(tmp_path / "pairs"))


def test_out_below_the_photos_is_not_taken_for_photos(photos):
    degrade(photos, photos / "pairs")
    again = degrade(photos, photos / "pairs", overwrite=True)
    assert len(again.written) == 3


def test_bad_requests_are_refused_before_anything_is_written(photos, tmp_path):
    out = tmp_path / "pairs"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        degrade(tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        degrade(tmp_path / "empty", out)
    with pytest.raises(ValueError, match="did you mean rain"):
        degrade(photos, out, degradation="rian")
    with pytest.raises(ValueError, match="photos themselves"):
        degrade(photos, tmp_path)
    write_image(photos / "c.png", torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match=rf"both be written as {re.escape(str(out / 'c.png'))};"):
        degrade(photos, out)
    assert not out.exists()
    with pytest.raises(NotADirectoryError, match="expected a folder to write into"):
        degrade(photos / "a.png", photos / "a.png" / "pairs")
