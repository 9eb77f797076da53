"""Which images a run trains on and is measured on."""

import pytest
import torch

from gesso.data.io import write_image
from gesso.data.training_data import DataOptions, FewPhotosWarning, open_images, open_training_data, rehearse
from gesso.tasks import find_task


def write(folder, *names):
    for name in names:
        write_image(folder / f"{name}.png", torch.rand(3, 20, 24))


def pairs(root, *names):
    for side in ("input", "target"):
        write(root / side, *names)


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"train": "abc", "test": "de"}, "de"),
        ({"train": "abc", "val": "d", "test": "ef"}, "d"),
        ({"our485": "abc", "eval15": "f"}, "f"),
        ({".": "ghi"}, "ghi"),
    ],
)
def test_validation_data_falls_back_to_its_test_split_as_data_does(tmp_path, splits, expected):
    """LOL as published is divided into our485 and eval15: given as `val`, it has no validation split."""
    pairs(tmp_path / "data", "x", "y")
    write(tmp_path / "photos", "x", "y")
    for split, names in splits.items():
        pairs(tmp_path / "val" / split, *names)
        write(tmp_path / "clean" / split, *names)
    noise = {"data": tmp_path / "photos", "degradation": "gaussian_noise"}
    for options, task in (({"data": tmp_path / "data"}, "lowlight"), (noise, "denoise")):
        opened = open_training_data(find_task(task), DataOptions(val=tmp_path / "val", **options))
        assert "".join(sample["name"] for sample in opened.validation) == expected
    opened = open_training_data(find_task("denoise"), DataOptions(val=tmp_path / "clean", **noise))
    assert "".join(sample["name"] for sample in opened.validation) == expected


def names_of(folder, **options):
    dataset = open_images(str(folder), **options)
    return [path.stem for path in dataset.photos]


def test_count_draws_photos_of_a_folder_by_seed(tmp_path):
    write(tmp_path, *(f"{i:02d}" for i in range(20)))
    drawn = [names_of(tmp_path, seed=seed, count=5) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(len(names) == 5 and names == sorted(set(names)) for names in drawn)
    assert drawn[0] != [f"{i:02d}" for i in range(5)], "not the first names"
    assert len(names_of(tmp_path, seed=0)) == len(names_of(tmp_path, seed=0, count=20)) == 20


def test_fewer_photos_than_asked_for_are_said(tmp_path):
    write(tmp_path, "a", "b")
    with pytest.warns(FewPhotosWarning, match="holds 2 photos, fewer than the 3 asked for"):
        assert names_of(tmp_path, seed=0, count=3) == ["a", "b"]


def test_procedural_images_are_rehearsed_among_the_pairs(tmp_path):
    pairs(tmp_path, "a", "b", "c")
    task = find_task("derain")
    alone = open_training_data(task, DataOptions(data=tmp_path, holdout=1), seed=2).train
    among = rehearse(task, alone, 0.5, seed=2)
    assert [among[index, 8]["name"].startswith("leaves") for index in range(8)] == [False, True] * 4
    assert rehearse(task, alone, 0.5, images="scenes", seed=2)[1, 8]["name"].startswith("scenes")
    for index in range(4):
        assert torch.equal(among[2 * index, 8]["lq"], alone[index, 8]["lq"])
        assert among[2 * index + 1, 8]["lq"].shape == among[2 * index, 8]["lq"].shape


def test_what_is_procedural_already_rehearses_nothing():
    task = find_task("derain")
    with pytest.raises(ValueError, match="all are such already"):
        rehearse(task, open_training_data(task, DataOptions(data="leaves")).train, 0.5, seed=0)
