"""Images that are no file of their own: blocks of MATLAB files, and both views of a dual-pixel camera."""

import pickle

import numpy as np
import pytest
import scipy.io
import torch

from gesso.data.cache import PixelCache
from gesso.data.datasets import PairDataset, WholePairs
from gesso.data.image_ref import Block, Views, find_blocks
from gesso.data.inspection import inspect
from gesso.data.io import ImageError, read_pixels, read_tensor, write_image
from gesso.data.layouts import find_pairs, find_splits, find_unpaired

NOISY, GT = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"


def write_blocks(folder, shape=(2, 3, 24, 24, 3), **other):
    """SIDD's two files, small; `other` are arrays by the name of the file."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (NOISY, GT):
        array = other.get(name, rng.integers(0, 256, shape, np.uint8))
        scipy.io.savemat(folder / f"{name}.mat", {name: array}, do_compression=True)
    return folder


@pytest.fixture
def dpdd(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for i in range(count):
            for shade, side in enumerate(("inputL", "inputR", "inputC", "target")):
                path = tmp_path / split / "DPDD" / (side + "_crops" * (split == "train")) / f"{i}.png"
                write_image(path, torch.full((3, 20, 28), (10 * i + shade) / 255), bits=16)
    return tmp_path


# ------------------------------------------------------------------------------------------------------------- MATLAB


def test_sidds_blocks_are_pairs(tmp_path):
    root = write_blocks(tmp_path / "SIDD" / "test" / "SIDD").parents[1]
    for side in ("input_crops", "target_crops"):
        write_image(root / "train" / "SIDD" / side / "0.png", torch.zeros(3, 8, 8))
    assert find_splits(root) == ["train", "test"]
    pairs = find_pairs(root, "test")
    assert [pair.name for pair in pairs] == ["00_00", "00_01", "00_02", "01_00", "01_01", "01_02"]
    stored = scipy.io.loadmat(pairs[0].lq.file)[NOISY]
    sample = WholePairs(pairs)[4]
    assert torch.equal((255 * sample["lq"]).round().permute(1, 2, 0), torch.from_numpy(stored[1, 1]).float())
    assert [pair.name for pair in find_pairs(root, "train")] == ["0"]
    assert find_unpaired(pairs) == []


def test_a_folder_of_nothing_else_and_two_files_are_found_too(tmp_path):
    write_blocks(tmp_path, shape=(4, 16, 16, 3))
    scipy.io.savemat(tmp_path / "BenchmarkNoisyBlocksSrgb.mat", {"x": np.zeros(1)})
    assert len(find_pairs(tmp_path, "test")) == len(find_pairs(tmp_path, "val")) == 4
    by_hand = find_pairs(lq=tmp_path / f"{NOISY}.mat", gt=tmp_path / f"{GT}.mat")
    assert by_hand == find_pairs(tmp_path)


def test_blocks_are_trained_on_and_looked_over_like_files(tmp_path):
    pairs = find_pairs(write_blocks(tmp_path))
    dataset = PairDataset(pairs, seed=1)
    sample = pickle.loads(pickle.dumps(dataset))[7, 16]
    assert torch.equal(sample["lq"], dataset[7, 16]["lq"])
    assert sample["lq"].shape == (3, 16, 16)
    finding = inspect(pairs[0])
    assert finding.error is None
    assert finding.psnr is not None
    assert str(finding.files[0].ref) == f"{tmp_path / NOISY}.mat [0, 0]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"blocks": np.zeros((2, 2, 8, 8, 3), np.uint8)},
            rf"expected a variable {NOISY}, .* found blocks \(2, 2, 8, 8, 3\)",
        ),
        ({}, "found none"),
        ({NOISY: np.zeros((2, 8, 8), np.uint8)}, r"found uint8 \(2, 8, 8\)"),
        ({NOISY: np.zeros((2, 2, 8, 8, 3))}, r"found double \(2, 2, 8, 8, 3\)"),
        (b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM", r"version 7\.3 \(HDF5\); expected 5 to 7\.2"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "expected a MATLAB file"),
        (b"", "expected a MATLAB file"),
        ({NOISY: np.zeros((1, 8, 8, 3), np.uint8)}, "holds 1 images and .* 6; expected as many"),
    ],
    ids=["other key", "no key", "no colours", "floats", "7.3", "HDF5", "empty", "another count"],
)
def test_other_matlab_files_are_refused_by_name(tmp_path, content, message):
    file = write_blocks(tmp_path) / f"{NOISY}.mat"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        scipy.io.savemat(file, content)
    with pytest.raises(ValueError, match=message) as error:
        find_pairs(tmp_path)
    assert NOISY in str(error.value)


def test_a_matlab_file_cut_short_is_refused(tmp_path):
    file = write_blocks(tmp_path) / f"{GT}.mat"
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(ImageError, match=r"Gt.*\.mat: .*(cut short or damaged|cannot be read)"):
        WholePairs(find_pairs(tmp_path))[5]
    with pytest.raises(FileNotFoundError, match="no such file"):
        find_blocks(tmp_path / "nowhere.mat")


# --------------------------------------------------------------------------------------------------------- dual pixel


def test_both_views_make_an_image_of_six_channels(dpdd):
    pairs = find_pairs(dpdd, "test", layout="dual_pixel")
    assert [pair.name for pair in pairs] == ["0", "1"]
    sample = WholePairs(pairs)[1]
    assert sample["lq"].shape == (6, 20, 28)
    assert torch.equal((255 * sample["lq"][:, 0, 0]).round(), torch.tensor([10.0, 10, 10, 11, 11, 11]))
    assert (255 * sample["gt"][0, 0, 0]).round() == 13
    crop = PairDataset(find_pairs(dpdd, "train", layout="dual_pixel"))[0, 16]
    assert crop["lq"].shape == (6, 16, 16)
    assert torch.equal((255 * (crop["lq"][3] - crop["lq"][0])).round(), torch.ones(16, 16))
    assert find_pairs(dpdd, "test")[0].lq.parent.name == "inputC", "by itself the combined view is found"
    assert inspect(pairs[0]).error is None


def test_a_missing_view_is_said(dpdd):
    (dpdd / "test/DPDD/inputR/1.png").unlink()
    with pytest.raises(ValueError, match="expected both views of every image; only one of 1"):
        find_pairs(dpdd, "test", layout="dual_pixel")
    with pytest.raises(ValueError, match="expected folders inputL, inputR and target"):
        find_pairs(dpdd / "test/DPDD/target", layout="dual_pixel")


def test_views_of_two_sizes_are_refused(tmp_path):
    for width, side in ((8, "left"), (9, "right")):
        write_image(tmp_path / f"{side}.png", torch.zeros(3, 8, width))
    with pytest.raises(ImageError, match="the two views are 8x8 and 9x8"):
        read_pixels(Views(tmp_path / "left.png", tmp_path / "right.png"))


def test_decoded_views_are_read_once(dpdd):
    (pair, *_) = find_pairs(dpdd, "test", layout="dual_pixel")
    decoded = PixelCache([pair.lq, pair.gt])
    before = decoded[pair.lq].copy()
    assert np.array_equal(before, read_pixels(pair.lq))
    (dpdd / "test/DPDD/inputL/0.png").unlink()
    assert np.array_equal(decoded[pair.lq], before)
    assert read_tensor(pair.gt).shape == (3, 20, 28)
    assert str(Block(dpdd, (1, 2))).endswith("[1, 2]")
