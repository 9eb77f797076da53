import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gesso.data.cache import PixelCache
from gesso.data.datasets import (
    CleanDataset,
    CutWarning,
    ImageDataset,
    PaddedWarning,
    PairDataset,
    WholePairs,
    WholePhotos,
    shuffled,
)
from gesso.data.generated import GeneratedImages
from gesso.data.inspection import inspect
from gesso.data.io import ImageError, read_array, read_image, write_image
from gesso.data.layouts import Pair
from gesso.degradations.bicubic import Bicubic
from gesso.degradations.noise import GaussianNoise
from gesso.functional.dihedral import dihedral


def write(path: Path, height: int, width: int, bits: int = 8) -> Path:
    """A file of unrelated pixels, another for every name."""
    generator = torch.Generator().manual_seed(sum(path.name.encode()))
    write_image(path, torch.rand(3, height, width, generator=generator), bits=bits)
    return path


@pytest.fixture
def pairs(tmp_path) -> list[Pair]:
    return [
        Pair(f"{n}", write(tmp_path / f"lq{n}.png", 20 + n, 31), write(tmp_path / f"gt{n}.png", 20 + n, 31))
        for n in range(5)
    ]


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    return [write(tmp_path / f"photo{n}.png", 24, 30 + n) for n in range(4)]


def sources(pairs, photos):
    """One training set of every kind."""
    return {
        "pairs": PairDataset(pairs, seed=3),
        "clean": CleanDataset(photos, GaussianNoise(25), seed=3),
        "images": ImageDataset(photos, seed=3, per_sample=2),
        "noise": GeneratedImages("noise", seed=3, count=3),
    }


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


# ------------------------------------------------------------------------------------------------ determinism


@pytest.mark.parametrize("kind", ["pairs", "clean", "images", "noise"])
def test_workers_change_nothing(pairs, photos, kind):
    keys = [[(index, 8 + 4 * (index >= 6)) for index in range(start, start + 3)] for start in range(0, 15, 3)]
    batches = [list(DataLoader(sources(pairs, photos)[kind], batch_sampler=keys, num_workers=n)) for n in (0, 2)]
    assert len(batches[0]) == 5
    assert all(equal(*both) for both in zip(*batches, strict=True))


@pytest.mark.parametrize("kind", ["pairs", "clean", "images", "noise"])
def test_a_sample_does_not_depend_on_what_came_before(pairs, photos, kind):
    walked = sources(pairs, photos)[kind]
    samples = [walked[index, 16] for index in range(12)]
    assert equal(sources(pairs, photos)[kind][11, 16], samples[11])
    assert not equal(samples[10], samples[11])


def test_every_epoch_takes_every_file_once_in_another_order(pairs):
    dataset = PairDataset(pairs, seed=1)
    epochs = [[dataset[index, 8]["name"] for index in range(5 * e, 5 * e + 5)] for e in range(6)]
    assert all(sorted(epoch) == list("01234") for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 2
    assert [shuffled(i, 5, seed=1) for i in range(30)] != [shuffled(i, 5, seed=2) for i in range(30)]


# ------------------------------------------------------------------------------------------------------ crops


def find(crop: torch.Tensor, image: torch.Tensor) -> list[tuple[int, int, int]]:
    """Where a crop occurs in an image, and how it is turned."""
    size = crop.shape[-1]
    windows = image.unfold(1, size, 1).unfold(2, size, 1)
    places = []
    for number in range(8):
        equal = (windows == dihedral(crop, number)[:, None, None]).all(-1).all(-1).all(0)
        places += [(number, *place) for place in equal.nonzero().tolist()]
    return places


def test_both_sides_are_cut_at_the_same_place_and_turned_alike(pairs):
    pairs = [Pair(pair.name, pair.lq, pair.lq) for pair in pairs]
    dataset = PairDataset(pairs, seed=0)
    seen = set()
    for index in range(80):
        sample = dataset[index, 16]
        assert torch.equal(sample["lq"], sample["gt"])
        pair = next(pair for pair in pairs if pair.name == sample["name"])
        (place,) = find(sample["lq"], read_image(pair.lq))
        seen.add(place)
    assert {number for number, _, _ in seen} == set(range(8))
    assert {column for _, _, column in seen} == set(range(31 - 16 + 1)), "the last place counts, too"


def test_augmentation_can_be_left_out(pairs):
    dataset = PairDataset(pairs, seed=0, augment=False)
    for index in range(5):
        sample = dataset[index, 16]
        (place,) = find(sample["gt"], read_image(pairs[int(sample["name"])].gt))
        assert place[0] == 0


def test_the_ground_truth_of_super_resolution_is_cut_where_the_input_is(tmp_path):
    lq = write(tmp_path / "lq.png", 12, 17)
    gt = np.repeat(np.repeat(read_array(lq), 3, axis=0), 3, axis=1)
    write_image(tmp_path / "gt.png", torch.from_numpy(gt).permute(2, 0, 1) / 255)
    dataset = PairDataset([Pair("x", lq, tmp_path / "gt.png")], scale=3, seed=0)
    for index in range(8):
        sample = dataset[index, 8]
        assert sample["gt"].shape == (3, 24, 24)
        assert torch.equal(sample["lq"].repeat_interleave(3, -1).repeat_interleave(3, -2), sample["gt"])


@pytest.mark.parametrize(
    ("scale", "height", "width"), [(3, 37, 38), (3, 36, 37), (2, 25, 24), (4, 35, 33), (8, 31, 24)]
)
def test_a_ground_truth_that_is_no_multiple_of_the_scale_is_cut_and_that_is_said_once(tmp_path, scale, height, width):
    gt = write(tmp_path / "gt.png", height, width)
    pair = Pair("x", write(tmp_path / "lq.png", height // scale, width // scale), gt)
    expected = read_image(gt)[:, : height // scale * scale, : width // scale * scale]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for dataset in (WholePairs([pair]), WholePairs([pair], scale=scale), WholePairs([pair, pair], scale=scale)):
            assert torch.equal(dataset[0]["gt"], expected)
        for index in range(3):
            crop = PairDataset([pair], scale=scale, augment=False)[index, 2]["gt"]
            assert find(crop, expected)
        finding = inspect(pair, scale)
    assert (finding.error, finding.scale) == (None, scale)
    assert inspect(pair).scale == scale
    said = [str(one.message) for one in caught if one.category is CutWarning]
    assert said == [f"{tmp_path}: ground truths are cut to a multiple of the scale {scale}, "
                    f"less than {scale} pixels each side"]  # fmt: skip


@pytest.mark.parametrize(
    ("lq", "gt", "scale"), [((13, 12), (37, 36), 3), ((12, 12), (24, 24), 3), ((43, 43), (128, 128), 3)]
)
def test_messages_name_the_scale_that_was_asked_for(tmp_path, lq, gt, scale):
    pair = Pair("x", write(tmp_path / "lq.png", *lq), write(tmp_path / "gt.png", *gt))
    for read in (lambda: WholePairs([pair], scale=scale)[0], lambda: PairDataset([pair], scale=scale)[0, 4]):
        with pytest.raises(ValueError, match=rf"expected a ground truth {scale} times as large \(scale {scale}\)"):
            read()
    assert f"(scale {scale})" in str(inspect(pair, scale).error)


def test_an_image_smaller_than_the_crop_is_mirrored_and_that_is_said_once(tmp_path):
    lq = write(tmp_path / "lq.png", 5, 9)
    dataset = PairDataset([Pair("x", lq, lq)], augment=False)
    with pytest.warns(PaddedWarning, match="smaller than the crop of 16 pixels"):
        sample = dataset[0, 16]
    padded = np.pad(read_array(lq), ((0, 11), (0, 7), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal((255 * sample["lq"]).round().permute(1, 2, 0), padded)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for index in range(3):
            dataset[index, 16]
    assert len(caught) == 1


@pytest.mark.parametrize("bits", [8, 16])
def test_values_are_those_of_the_file(tmp_path, bits):
    path = write(tmp_path / "x.png", 8, 8, bits)
    sample = PairDataset([Pair("x", path, path)], augment=False)[0, 8]
    assert torch.equal(sample["gt"], read_image(path))


def test_sides_of_different_size_are_refused_with_both_names(tmp_path):
    pair = Pair("x", write(tmp_path / "a.png", 20, 30), write(tmp_path / "b.png", 20, 31))
    with pytest.raises(ValueError, match=r"a\.png is 30x20 and .*b\.png is 31x20; expected the same size"):
        PairDataset([pair])[0, 8]
    with pytest.raises(ValueError, match="expected a ground truth 2 times as large"):
        PairDataset([pair], scale=2)[0, 8]
    with pytest.raises(ValueError, match="expected the same size"):
        WholePairs([pair])[0]


def test_the_middle_of_resides_larger_ground_truths_is_taken(tmp_path):
    lq, gt = write(tmp_path / "1400_1.png", 30, 30), write(tmp_path / "1400.png", 50, 50)
    pair, middle = Pair("1400_1", lq, gt), read_image(gt)[:, 10:-10, 10:-10]
    for sample in (WholePairs([pair])[0], PairDataset([pair], augment=False)[0, 30]):
        assert torch.equal(sample["gt"], middle)
        assert torch.equal(sample["lq"], read_image(lq))
    assert inspect(pair).error is None
    other = Pair("x", lq, write(tmp_path / "x.png", 50, 49))
    assert "expected the same size" in str(inspect(other).error)
    alike = Pair("1400", write(tmp_path / "lq/1400.png", 30, 30), gt)  # named as in other sets
    assert "expected the same size" in str(inspect(alike).error)


# ----------------------------------------------------------------------------------------------- kinds of data


def test_clean_photos_are_degraded_anew_for_every_sample(photos):
    dataset = CleanDataset(photos[:1], GaussianNoise(25, clip=False), seed=0, augment=False)
    noises = [(sample["lq"] - sample["gt"]) for sample in (dataset[index, 24] for index in range(2))]
    assert all(abs(float(255 * noise.std()) - 25) < 3 for noise in noises)
    assert not torch.allclose(*noises)


def test_clean_photos_are_shrunk_for_super_resolution(photos):
    sample = CleanDataset(photos, Bicubic(scale=2, up=False), scale=2)[0, 10]
    assert (sample["lq"].shape, sample["gt"].shape) == ((3, 10, 10), (3, 20, 20))
    whole = WholePhotos(photos[1:2], Bicubic(scale=4, up=False), scale=4)[0]
    assert (whole["lq"].shape, whole["gt"].shape) == ((3, 6, 7), (3, 24, 28))


def test_whole_images_stay_whole_and_in_order(pairs, photos):
    dataset = WholePairs(pairs)
    assert [dataset[i]["name"] for i in range(len(dataset))] == list("01234")
    assert torch.equal(dataset[2]["lq"], read_image(pairs[2].lq))
    assert torch.equal(dataset[2]["gt"], read_image(pairs[2].gt))
    noisy = WholePhotos(photos, GaussianNoise(25), seed=5)
    assert equal(noisy[1], noisy[1])
    assert torch.equal(noisy[1]["gt"], read_image(photos[1]))


def test_a_sample_may_hold_several_images(photos):
    dataset = ImageDataset(photos, per_sample=2, seed=0)
    sample = dataset[0, 8]
    assert sample["image"].shape == (2, 3, 8, 8)
    names = [name for index in range(2) for name in dataset[index, 8]["name"].split(" + ")]
    assert sorted(names) == [photo.stem for photo in photos], "an epoch still takes every photo once"


# ------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("bits", [8, 16])
def test_decoded_files_are_read_once(tmp_path, bits):
    paths = [write(tmp_path / f"{n}.png", 3 + n, 5, bits) for n in range(3)]
    decoded = PixelCache(paths)
    arrays = [decoded[path].copy() for path in paths]
    for path in paths:
        path.unlink()
    assert all(np.array_equal(decoded[path], array) for path, array in zip(paths, arrays, strict=True))
    assert arrays[0].dtype == (np.uint8 if bits == 8 else np.uint16)


def test_forked_workers_share_what_each_has_decoded(tmp_path):
    paths = [write(tmp_path / f"{n}.png", 16, 16) for n in range(4)]
    dataset = ImageDataset(paths)
    keys = [[(index, 16)] for index in range(4)]
    list(DataLoader(dataset, batch_sampler=keys, num_workers=2, multiprocessing_context="fork"))
    for path in paths:
        path.unlink()
    assert dataset[0, 16]["image"].shape == (3, 16, 16)


@pytest.mark.parametrize("budget", [0, 100])
def test_without_memory_every_access_reads(tmp_path, budget):
    path = write(tmp_path / "x.png", 16, 16)
    decoded = PixelCache([path], budget=budget)
    assert np.array_equal(decoded[path], read_array(path))
    path.unlink()
    with pytest.raises(FileNotFoundError):
        decoded[path]


def test_a_pickled_set_reads_anew(tmp_path):
    path = write(tmp_path / "x.png", 16, 16)
    dataset = PairDataset([Pair("x", path, path)])
    assert equal(pickle.loads(pickle.dumps(dataset))[0, 8], dataset[0, 8])


def test_files_that_are_no_images_are_found_before_the_first_step(tmp_path):
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(ImageError, match=r"x\.png"):
        ImageDataset([tmp_path / "x.png"])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("size", [(64, 96), (50, 100)])
@pytest.mark.parametrize("turned", ["input", "target"])
def test_a_pair_of_which_exif_has_turned_one_says_so(suffix, size, turned, tmp_path):
    from PIL import Image

    for side in ("input", "target"):
        (tmp_path / side).mkdir()
        exif = Image.Exif()
        if side == turned:
            exif[0x0112] = 6
        Image.new("RGB", size, (90, 60, 30)).save(tmp_path / side / f"0{suffix}", exif=exif)
    pair = Pair("0", tmp_path / "input" / f"0{suffix}", tmp_path / "target" / f"0{suffix}")
    with pytest.raises(ValueError, match=rf"for EXIF has turned {tmp_path / turned}/0\{suffix} and not the other"):
        WholePairs([pair])[0]
