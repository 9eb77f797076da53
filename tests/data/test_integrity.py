"""Damaged files and pairs that do not fit are known before anything is trained: refused with a list, or left out."""

import itertools
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import gesso
from gesso import cli
from gesso.commands.refine import refine
from gesso.commands.restore import restore
from gesso.comparison.compare import compare
from gesso.data import integrity
from gesso.data.integrity import DamagedWarning, IntegrityCheck, find_broken_jpegs
from gesso.data.layouts import Pair, find_pairs
from tests._runs import NAFNET, SMALL_NETWORK

RUN = {"steps": 1, "crop_size": 16, "batch_size": 1, "precision": "float32", "accelerator": "cpu"}


def picture(seed, height=24, width=32):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def data(tmp_path):
    """Eight pairs by Pillow, none of them damaged."""
    for i in range(8):
        for side in ("input", "target"):
            (tmp_path / "data" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i) // (1 + (side == "input"))).save(tmp_path / "data" / side / f"{i}.png")
    return tmp_path / "data"


def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


def blot(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    path.write_bytes(content)


DAMAGE = {
    "cut short": cut,
    "a hole": blot,
    "empty": lambda path: path.write_bytes(b""),
    "half a header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "a page of a web server": lambda path: path.write_text("<html>404</html>"),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("gone.png")),
    "another size": lambda path: Image.fromarray(picture(0, 24, 30)).save(path),
    "turned by EXIF": lambda path: Image.fromarray(picture(0)).save(path, exif=turned()),
}


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("what", list(DAMAGE))
@pytest.mark.parametrize("side", ["input", "target"])
def test_what_is_damaged_is_found_in_the_structure_of_files(data, what, side):
    DAMAGE[what](data / side / "3.png")
    pairs = [pair for pair in find_pairs(data) if pair.name != "3"]
    pairs.append(Pair("3", data / "input/3.png", data / "target/3.png"))
    assert IntegrityCheck()(pairs[:-1]) == pairs[:-1]
    with pytest.raises(ValueError, match=rf"1 of 8 images cannot be used.*--skip_damaged\n.*{side}/3\.png"):
        IntegrityCheck()(pairs)
    with pytest.warns(DamagedWarning, match=rf"left out\n.*{side}/3\.png"):
        assert IntegrityCheck(skip=True)(pairs) == pairs[:-1]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {}),
        ("jpg", {"progressive": True}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("tif", {"compression": "tiff_deflate"}),
        ("bmp", {}),
        ("webp", {"lossless": True}),
        ("ppm", {}),
    ],
)
def test_files_of_every_format_that_are_cut_short_are_found(tmp_path, suffix, options):
    photos = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for photo in photos:
        Image.fromarray(picture(1, 64, 64)).save(photo, **options)
    assert IntegrityCheck()(photos) == photos
    whole = photos[1].read_bytes()
    for share in (0.99, 0.5, 0.1):
        photos[1].write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=rf"1 of 2 images .*\n.*1\.{suffix}"):
            IntegrityCheck()(photos)


def test_sides_that_are_turned_alike_fit(tmp_path):
    Image.fromarray(picture(0)).save(tmp_path / "lq.jpg", exif=turned())
    Image.fromarray(picture(0, 32, 24)).save(tmp_path / "gt.png")
    assert IntegrityCheck()([Pair("a", tmp_path / "lq.jpg", tmp_path / "gt.png")])


def test_of_many_only_some_are_listed(tmp_path):
    photos = [tmp_path / f"{i}.png" for i in range(40)]
    for photo in photos[1:]:
        photo.write_bytes(b"")
    Image.fromarray(picture(0)).save(photos[0])
    with pytest.raises(ValueError, match="39 of 40") as raised:
        IntegrityCheck()(photos)
    assert len(str(raised.value).splitlines()) == 12
    assert "and 29 more" in str(raised.value)
    with pytest.raises(ValueError, match="39 of 39"):  # nothing would be left
        IntegrityCheck(skip=True)(photos[1:])


def finetune(out, data, **more):
    gesso.finetune(out=out, task="derain", data=data, holdout=2, **SMALL_NETWORK, **RUN, **more)


def refine_shortly(out, data, **more):
    gesso.save(gesso.create_backbone("nafnet_tiny", **NAFNET), out.parent / "net.safetensors")
    refine(out=out, checkpoint=out.parent / "net.safetensors", prior="none", task="derain", data=data, **RUN, **more)


def pretrain(out, data, **more):
    gesso.pretrain(out=out, images=str(data / "input"), layout="photos", **SMALL_NETWORK, **RUN, **more)


def pretrain_on_classes(out, data, **more):
    images = [{"task": "derain", "data": str(data)}, {"task": "dehaze", "data": str(data)}]
    options = {"pretext": "dcpt", "pretext_args": {"degradations": ["rain", "haze"]}}
    gesso.pretrain(out=out, images=images, **options, **SMALL_NETWORK, **RUN | {"batch_size": 2}, **more)


def compare_shortly(out, data, **more):
    once = {"steps": 1, "crop_size": 16, "batch_size": 1}
    options = {"folds": 2, "seeds": "0", "starts": "restore", "pretrain_args": once}
    compare(out=out, task="derain", data=data, **once, **options, **SMALL_NETWORK, **more)


@pytest.mark.parametrize("verb", [finetune, refine_shortly, pretrain, pretrain_on_classes, compare_shortly])
def test_training_refuses_them_before_it_writes_or_leaves_them_out(tmp_path, data, verb, recwarn):
    cut(data / "input/3.png")
    with pytest.raises(ValueError, match=r"1 of \d images cannot be used.*--skip_damaged\n.*input/3\.png.*cut short"):
        verb(tmp_path / "run", data)
    assert not (tmp_path / "run").exists()
    verb(tmp_path / "run", data, skip_damaged=True)
    assert any("left out\n" in str(warning.message) for warning in recwarn if warning.category is DamagedWarning)


def test_validation_images_are_checked_too(tmp_path, data):
    shutil.copytree(data, tmp_path / "val")
    cut(tmp_path / "val/target/5.png")
    with pytest.raises(ValueError, match=r"1 of 8 images cannot be used.*\n.*val/target/5\.png"):
        finetune(tmp_path / "run", data, val=tmp_path / "val")


def test_a_run_whose_file_is_damaged_on_the_way_goes_on_without_it(tmp_path, data, capsys):
    words = ["finetune", "--task", "derain", "--data", str(data), "--out", str(tmp_path / "run"), "--holdout", "0"]
    words += ["--backbone", "nafnet_tiny", "--backbone_args", str(NAFNET), "--schedule", "constant", "--steps"]
    assert cli.main([*words, "1", "--crop_size", "16"]) == 0
    blot(data / "input/3.png")
    more = [*words, "2", "--crop_size", "16", "--resume"]
    assert cli.main(more) == cli.BAD_INPUT
    assert "leave them out: --skip_damaged" in capsys.readouterr().err
    assert cli.main([*more, "--skip_damaged"]) == 0
    assert "images of training have changed" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------- JPEG

WAYS = {"": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 2}, "grey": {}}


@pytest.mark.parametrize("way", WAYS)
def test_a_jpeg_whose_coded_data_are_broken_is_found(tmp_path, way, capfd):
    image = Image.fromarray(picture(0, 64, 64)).convert("L" if way == "grey" else "RGB")
    files = [tmp_path / f"{i} a photo.jpg" for i in range(5)]
    for file in files:
        image.save(file, quality=90, **WAYS[way])
    data = files[0].read_bytes()
    scans = [match.start() for match in re.finditer(b"\xff\xda", data)]
    begin = max(itertools.pairwise([*scans, len(data)]), key=lambda scan: scan[1] - scan[0])[0] + 100
    files[1].write_bytes(data[:begin] + data[begin + 100 :])
    files[3].write_bytes(data[:begin] + data[begin + 50 : begin + 100] + data[begin:])
    assert set(find_broken_jpegs(files)) == {files[1], files[3]}
    with pytest.raises(ValueError, match=r"2 of 5 images .*--skip_damaged\n.*1 a photo\.jpg.*Corrupt JPEG"):
        IntegrityCheck()(files)
    with pytest.warns(DamagedWarning, match=r"left out\n.*1 a photo\.jpg"):
        assert IntegrityCheck(skip=True)(files) == [files[0], files[2], files[4]]
    assert capfd.readouterr().err == ""


def test_a_broken_jpeg_is_neither_restored_nor_measured(tmp_path):
    for side in ("input", "target"):
        (tmp_path / "data" / side).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(picture(i, 64, 64)).save(tmp_path / "data" / side / f"{i}.jpg", quality=90)
    data = (tmp_path / "data/input/1.jpg").read_bytes()
    (tmp_path / "data/input/1.jpg").write_bytes(data[:1000] + data[1100:])
    scores = gesso.evaluate(task="derain", data=tmp_path / "data")
    assert [row.name for row in scores.rows] == ["0"]
    assert "1.jpg: the JPEG file is damaged (Corrupt JPEG data" in scores.failed[0]
    gesso.save(gesso.create_backbone("nafnet_tiny", **NAFNET), tmp_path / "net.safetensors")
    written = restore(tmp_path / "data/input", tmp_path / "out", checkpoint=tmp_path / "net.safetensors")
    assert [path.name for path in written.failed] == ["1.jpg"]
    assert not (tmp_path / "out/1.jpg").exists()


def test_files_that_are_no_jpeg_cost_no_process(tmp_path, monkeypatch):
    Image.fromarray(picture(0)).save(tmp_path / "x.png")
    monkeypatch.setattr(integrity.subprocess, "run", None)
    assert find_broken_jpegs([tmp_path / "x.png"]) == {}
