"""What a set leaves out, and data of 10, 12 or 14 bits, in every verb that reads images."""

import cv2
import numpy as np
import pytest
import torch

from gesso.commands.check_data import check_data
from gesso.commands.degrade import degrade
from gesso.commands.evaluate import evaluate
from gesso.commands.finetune import finetune
from gesso.commands.pretrain import pretrain
from gesso.data.cache import CacheFolder, PixelCache
from gesso.data.datasets import ImageDataset
from gesso.data.io import ImageError, read_array, read_layout, read_pixels
from gesso.data.left_out import WhiteLevelWarning, doubt_of_white, other_files, other_frames
from gesso.data.mixes import open_parts
from gesso.data.training_data import open_images
from gesso.formats import PixelFormat
from gesso.lab.probe import probe
from tests.data._kinds import kinds

BITS = (10, 12, 14)


@pytest.fixture(params=BITS)
def few(request, tmp_path):
    """Pairs of a few bits in PNG files of 16, and the same with white at 65535."""
    rng, most = np.random.default_rng(0), 2**request.param - 1
    for i in range(4):
        gt = rng.integers(most // 2, most + 1, (40, 48, 3)).astype(np.uint16)
        lq = np.clip(gt + rng.normal(0, most / 20, gt.shape), 0, most).astype(np.uint16)
        for side, image in (("input", lq), ("target", gt)):
            for root, scaled in (("few", image), ("full", np.rint(image * (65535 / most)).astype(np.uint16))):
                (tmp_path / root / side).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / root / side / f"{i}.png"), scaled)
    return tmp_path, request.param


def test_evaluate_measures_the_white_that_it_is_told(few, capsys):
    root, bits = few
    dark = evaluate(task="denoise", data=root / "few")
    assert f"if they hold {bits} bits, --white_level {2**bits - 1} says so" in " ".join(capsys.readouterr().out.split())
    right = evaluate(task="denoise", data=root / "few", white_level=2**bits - 1)
    assert "white_level" not in capsys.readouterr().out
    full = evaluate(task="denoise", data=root / "full")
    assert right.psnr == pytest.approx(full.psnr, abs=0.02)
    assert dark.psnr > right.psnr + 6 * (16 - bits) - 8  # 24 dB for 12 bits, but for what 8 bits round away
    assert f"white level {2**bits - 1}" in right.protocol


def test_check_data_names_the_doubt_and_takes_the_level(few):
    root, bits = few
    report = check_data(root / "few")
    assert any(f"--white_level {2**bits - 1}" in told for told in report.warnings)
    right = check_data(root / "few", white_level=2**bits - 1)
    assert not any("white_level" in told for told in right.warnings)
    seen = [finding.psnr for split in right.splits.values() for finding in split]
    full = [finding.psnr for split in check_data(root / "full").splits.values() for finding in split]
    assert seen == pytest.approx(full, abs=0.02)


def test_training_sees_white_where_it_is(few):
    root, bits = few
    with pytest.warns(WhiteLevelWarning, match=f"--white_level {2**bits - 1}"):
        open_parts("denoise", None, seed=0, data=root / "few")
    (part,) = open_parts("denoise", None, seed=0, data=root / "few", white_level=2**bits - 1)
    sample, held = part.samples.train[(0, 32)], part.samples.validation[0]
    assert sample["gt"].max() > 0.9
    assert held["gt"].max() > 0.9
    (clean,) = open_parts(
        "denoise", None, seed=0, data=root / "few" / "target", degradation="rain", white_level=2**bits - 1
    )
    assert clean.samples.train[(0, 32)]["gt"].max() > 0.9
    images = open_images(str(root / "few" / "target"), seed=0, white_level=2**bits - 1)
    assert images[(0, 32)]["image"].max() > 0.9
    four = ImageDataset([root / "few" / "target" / "0.png"], format=PixelFormat(white_level=2**bits - 1))
    assert four[(0, 32)]["name"] == "0"


def test_every_cache_knows_the_level(few):
    root, bits = few
    file = root / "few" / "target" / "0.png"
    format = PixelFormat(white_level=2**bits - 1)
    expected = read_array(file) / np.float32(2**bits - 1)
    assert read_layout(file, format) == (40 * 48, 3, np.float32)
    np.testing.assert_array_equal(read_pixels(file, format), expected)
    for _ in range(2):
        np.testing.assert_array_equal(PixelCache([file], format, budget=1 << 20)[file], expected)
        np.testing.assert_array_equal(CacheFolder(root / "cache", format)[file], expected)
        np.testing.assert_array_equal(CacheFolder(root / "cache")[file], read_array(file))
    with pytest.raises(ImageError, match="expected values up to the white_level 300"):
        read_pixels(file, PixelFormat(white_level=300))


def test_the_other_verbs_take_it(few):
    root, bits = few
    level, photos = 2**bits - 1, root / "few" / "target"
    degrade(photos, root / "made", degradation="gaussian_blur", white_level=level)
    made = cv2.imread(str(root / "made" / "target" / "0.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(made, cv2.imread(str(photos / "0.png"), cv2.IMREAD_UNCHANGED))
    assert probe(images=str(photos), pixels=True, count=4, crop_size=32, neighbours=1, white_level=level)
    small = {"steps": 1, "crop_size": 32, "batch_size": 1, "backbone": "restormer_tiny"}
    finetune(out=root / "run", task="denoise", data=root / "few", white_level=level, **small)
    assert f"white_level: {level}" in (root / "run" / "config.yaml").read_text()
    pretrain(out=root / "start", pretext="mfm", images=str(photos), white_level=level, **small)
    assert f"white_level: {level}" in (root / "start" / "config.yaml").read_text()


def test_white_of_sixteen_bits_is_not_doubted(few):
    root, _ = few
    assert doubt_of_white(sorted((root / "full").rglob("*.png"))) is None
    eight = np.zeros((8, 8, 3), np.uint8)
    cv2.imwrite(str(root / "eight.png"), eight)
    assert doubt_of_white([root / "eight.png"]) is None


def test_what_lies_beside_images_and_behind_first_frames_is_counted(tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    for i, name in enumerate(["png RGB by Pillow", "apng", "webp animated RGB", "tiff of three pages"]):
        kind = kinds()[name]
        (photos / "deep" / f"{i}{kind.suffix}").write_bytes(kind.data)
    for name in ("a.heic", "deep/b.HEIC", "deep/c.txt", "notes", ".hidden"):
        (photos / name).write_text("no image")
    files, frames = "4 files left out: 2 .heic, 1 .txt, 1 without suffix", "6 frames left out, of 3 files such as"
    assert other_files(photos) == files
    assert other_frames(photos.rglob("*.*")).startswith(frames)
    (part,) = open_parts("denoise", None, seed=0, data=photos)
    assert files in part.samples.summary
    assert frames in part.samples.summary
    evaluate(task="denoise", data=photos, degradation="gaussian_noise")
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count(files) == 1
    assert printed.count(frames) == 1
    report = check_data(photos)
    assert files in report.warnings
    assert any(frames in told for told in report.warnings)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".pnm", ".apng", ".dib", ".TIFF", ".pbm", ".pgm", ".pam", ".mpo"])
def test_other_suffixes_are_read(tmp_path, suffix):
    kind = next(kind for kind in kinds().values() if kind.suffix == suffix.lower())
    (tmp_path / f"x{suffix}").write_bytes(kind.data)
    assert len(open_images(str(tmp_path), seed=0)) == 1
    assert torch.isfinite(open_images(str(tmp_path), seed=0)[(0, 8)]["image"]).all()
