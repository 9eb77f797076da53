import csv
from pathlib import Path

import pytest
import torch

from gesso.commands.check_data import check_data
from gesso.data.io import read_image, write_image
from gesso.sources.leaves import leaves
from tests._data import ROOT, data_folder

SETS = [
    "clean_bsds",
    "clean_cbsd68",
    "clean_set5",
    "deblur_gopro",
    "dehaze_sots_indoor",
    "derain_rain100h",
    "lowlight_fivek_dpe",
    "lowlight_lol_train",
    "noise_polyu",
    "sr_set5_x2",
    "sr_set5_x4",
]


def scene(number: int, height: int = 48, width: int = 56) -> torch.Tensor:
    return leaves(0, number, 64)[:, :height, :width]


def write_pairs(root: Path, numbers: range, noise: float = 0.05) -> Path:
    generator = torch.Generator().manual_seed(0)
    for number in numbers:
        gt = scene(number)
        write_image(root / f"target/{number}.png", gt)
        write_image(root / f"input/{number}.png", gt + noise * torch.randn(gt.shape, generator=generator))
    return root


@pytest.mark.parametrize("name", SETS)
def test_real_data_passes_and_the_input_has_the_psnr_that_is_known(name):
    report = check_data(data=data_folder(name))
    assert report.exit_code == 0, report.errors
    with (ROOT / "pairs.csv").open() as file:
        known = {ROOT / row["input"]: float(row["psnr_input_db"]) for row in csv.DictReader(file) if row["set"] == name}
    seen = {finding.files[0].ref: finding.psnr for finding in report.splits["all"] if finding.psnr is not None}
    assert seen == pytest.approx(known, abs=0.02)


def test_good_pairs_pass(tmp_path, capsys):
    report = check_data(data=write_pairs(tmp_path, range(3)), task="denoise")
    assert (report.exit_code, report.errors, report.warnings) == (0, [], [])
    assert [finding.name for finding in report.splits["all"]] == ["0", "1", "2"]
    assert "56x48" in capsys.readouterr().out


def test_every_split_is_looked_at(tmp_path):
    write_pairs(tmp_path / "train", range(2))
    write_pairs(tmp_path / "test", range(2, 5))
    report = check_data(data=tmp_path)
    assert {split: len(findings) for split, findings in report.splits.items()} == {"train": 2, "test": 3}


def test_files_that_cannot_be_read_are_all_reported(tmp_path):
    write_pairs(tmp_path, range(4))
    (tmp_path / "input/1.png").write_text("no image")
    whole = (tmp_path / "target/2.png").read_bytes()
    (tmp_path / "target/2.png").write_bytes(whole[: len(whole) // 2])
    report = check_data(data=tmp_path)
    assert report.exit_code == 1
    assert len(report.errors) == 2
    assert "1.png: expected PNG" in report.errors[0]
    assert "2.png: the PNG file is cut short" in report.errors[1]


def test_sides_of_different_size_are_an_error(tmp_path):
    write_pairs(tmp_path, range(2))
    write_image(tmp_path / "input/1.png", scene(1, 40), overwrite=True)
    report = check_data(data=tmp_path)
    assert report.exit_code == 1
    assert "56x40" in report.errors[0]
    assert "56x48" in report.errors[0]


def test_the_scale_must_be_one_and_that_of_the_task(tmp_path):
    for number, factor in ((0, 2), (1, 2)):
        write_image(tmp_path / f"input/{number}.png", scene(number)[:, ::factor, ::factor])
        write_image(tmp_path / f"target/{number}.png", scene(number))
    assert check_data(data=tmp_path).exit_code == 0
    assert check_data(data=tmp_path, task="sr").exit_code == 0
    assert "1 times the size of their inputs, got 2" in check_data(data=tmp_path, task="derain").errors[0]
    write_image(tmp_path / "input/1.png", scene(1)[:, ::4, ::4], overwrite=True)
    assert "got 2 (1 of them), 4 (1 of them)" in check_data(data=tmp_path).errors[0]


def write_scaled(root: Path, *scales: int) -> Path:
    """DIV2K's folders, with ground truths of 48 x 56 pixels."""
    for split, numbers in (("train", range(2)), ("valid", range(2, 4))):
        for number in numbers:
            write_image(root / f"DIV2K_{split}_HR/{number:04d}.png", scene(number))
            for scale in scales:
                small = scene(number)[:, : 48 // scale * scale : scale, : 56 // scale * scale : scale]
                write_image(root / f"DIV2K_{split}_LR_bicubic/X{scale}/{number:04d}x{scale}.png", small)
    return root


def test_scaled_layouts_are_looked_at_at_the_scale_that_is_asked_for(tmp_path, capsys):
    root = write_scaled(tmp_path, 2, 3)
    report = check_data(data=root, scale=3)
    assert (report.exit_code, report.errors) == (0, [])
    assert {split: [f.scale for f in found] for split, found in report.splits.items()} == {
        "train": [3, 3],
        "val": [3, 3],
    }
    assert check_data(data=root, task="sr", scale=2).exit_code == 0
    for task in (None, "sr"):
        assert "for the scales 2, 3; give --scale" in check_data(data=root, task=task).errors[0]
    assert "scales 2, 3, none for 4" in check_data(data=root, scale=4).errors[0]
    photos = check_data(data=root, task="denoise")
    assert (photos.exit_code, {len(found) for found in photos.splits.values()}) == (0, {2}), "high resolution alone"
    capsys.readouterr()


def test_the_only_scale_that_folders_name_is_found(tmp_path, capsys):
    report = check_data(data=write_scaled(tmp_path, 4))
    assert report.exit_code == 0
    assert {f.scale for found in report.splits.values() for f in found} == {4}
    assert "low resolution for the scale 4" in capsys.readouterr().out


def test_pairs_that_are_not_recognised_are_an_error_and_no_photos(tmp_path):
    for side in ("foo", "bar"):
        for number in range(2):
            write_image(tmp_path / f"{side}/{number}.png", scene(number))
    report = check_data(data=tmp_path)
    assert report.exit_code == 1
    assert f"--lq {tmp_path / 'bar'} --gt {tmp_path / 'foo'}" in report.errors[0]
    assert check_data(data=tmp_path, layout="photos").splits["all"]
    assert check_data(data=tmp_path, lq="foo", gt="bar", pair_by="{gt}").exit_code == 0


def test_the_same_image_in_two_splits_is_an_error_also_in_another_format(tmp_path):
    write_pairs(tmp_path / "train", range(2))
    write_pairs(tmp_path / "test", range(2, 4))
    write_image(tmp_path / "test/target/2.tif", read_image(tmp_path / "train/target/0.png"))
    (tmp_path / "test/target/2.png").unlink()
    report = check_data(data=tmp_path)
    assert report.exit_code == 1
    assert any("the same image in two splits" in error and "0.png (train)" in error for error in report.errors)


def test_another_set_must_not_share_an_image(tmp_path):
    train, test = write_pairs(tmp_path / "a", range(2)), write_pairs(tmp_path / "b", range(1, 3))
    report = check_data(data=train, val=test)
    assert len(report.errors) == 1, "the noise differs, so only the ground truth is shared"
    assert "target/1.png (all) = " in report.errors[0]


def test_a_pair_that_is_clearly_shifted_is_an_error_and_a_pixel_is_a_doubt(tmp_path):
    for number, shift in ((0, 0), (1, 9), (2, 2)):
        image = leaves(0, number, 160)
        write_image(tmp_path / f"target/{number}.png", image[:, :140, :140])
        write_image(tmp_path / f"input/{number}.png", image[:, shift : 140 + shift, :140])
    report = check_data(data=tmp_path)
    assert [error.split(" (")[0] for error in report.errors] == ["1: shifted by 0 columns and 9 rows"]
    assert any("2: perhaps shifted by 0 columns and 2 rows" in warning for warning in report.warnings)


def test_what_may_be_wrong_is_said_but_passes(tmp_path):
    write_pairs(tmp_path, range(4))
    write_image(tmp_path / "target/0.png", scene(0), bits=16, overwrite=True)
    write_image(tmp_path / "input/1.png", leaves(0, 1, 400), overwrite=True)
    write_image(tmp_path / "target/1.png", leaves(0, 7, 400), overwrite=True)
    write_image(tmp_path / "input/2.png", scene(2), overwrite=True)
    write_image(tmp_path / "input/extra.png", scene(9))
    report = check_data(data=tmp_path)
    assert report.exit_code == 0
    warnings = "\n".join(report.warnings)
    for text in (
        "1 images have no partner, such as",
        "extra.png",
        "bit depths differ: 8 (7 of them), 16 (1 of them)",
        "1: input and ground truth seem to have nothing in common",
        "2: input and ground truth are identical",
    ):
        assert text in warnings


def test_an_image_twice_in_a_split_is_a_doubt(tmp_path):
    write_pairs(tmp_path, range(2))
    write_image(tmp_path / "target/1.png", scene(0), overwrite=True)
    assert any("the same image twice" in warning for warning in check_data(data=tmp_path).warnings)


def test_clean_photos_are_looked_at_one_by_one(tmp_path):
    for number in range(3):
        write_image(tmp_path / f"{number}.png", scene(number))
    report = check_data(data=tmp_path)
    assert report.exit_code == 0
    assert [finding.psnr for finding in report.splits["all"]] == [None] * 3


def test_folders_without_pairs_are_an_error(tmp_path):
    write_image(tmp_path / "input/1.png", scene(0))
    write_image(tmp_path / "target/b.png", scene(0))
    report = check_data(data=tmp_path)
    assert report.exit_code == 1
    assert "no name of" in report.errors[0]
    (tmp_path / "empty").mkdir()
    assert "no images" in check_data(data=tmp_path / "empty").errors[0]
    assert "no images" in check_data(lq=tmp_path / "input", gt=tmp_path / "empty").errors[0]


def test_many_errors_are_all_kept_but_not_all_printed(tmp_path, capsys):
    write_pairs(tmp_path, range(15))
    for number in range(15):
        (tmp_path / f"input/{number}.png").write_text("[b]no image[/b]")
    assert len(check_data(data=tmp_path).errors) == 15
    assert "and 5 more of the kind" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "expected the root"), ({"lq": Path("x")}, "lq and gt"), ({"data": Path(), "task": "derainn"}, "derain")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_data(**options)


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check_data(data=tmp_path / "nowhere")
