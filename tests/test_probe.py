"""The probe: nearest neighbours of frozen features."""

import csv

import numpy as np
import pytest
import torch

import gesso
from gesso.commands.probe import clean_images, neighbour_accuracies, squared_distances

SMALL = {
    "backbone": "nafnet_tiny",
    "images": "leaves",
    "count": 12,
    "crop_size": 32,
    "degradations": ["rain", "low_light"],
}


def test_distances_are_those_of_the_rows_whatever_the_parts():
    rows = torch.randn(6, 50, dtype=torch.float16)
    expected = torch.cdist(rows.double(), rows.double()).square().numpy()
    assert np.allclose(squared_distances(rows, chunk=7), expected, atol=1e-3)


def test_neighbours_tell_apart_what_lies_apart_and_guess_where_nothing_does():
    labels = np.repeat(np.arange(3), 30)
    apart = torch.nn.functional.one_hot(torch.from_numpy(labels)) * 10 + torch.randn(90, 3) * 0.1
    assert neighbour_accuracies(squared_distances(apart), labels, 5) == (1.0,) * 5
    noise = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
    assert np.mean(neighbour_accuracies(squared_distances(noise), labels, 5)) < 0.6


def test_the_same_seed_gives_the_same_accuracies_and_files_hold_them(tmp_path, capsys):
    first = gesso.probe(**SMALL, out=tmp_path)
    assert first == gesso.probe(**SMALL)
    with (tmp_path / "probe.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["mean"]) == pytest.approx(first[0].mean)
    assert (tmp_path / "probe.png").stat().st_size > 5_000
    with pytest.raises(FileExistsError, match="overwrite"):
        gesso.probe(**SMALL, out=tmp_path)


def test_pixels_need_no_network(capsys):
    network = {"backbone": "nafnet_tiny"}
    alone = gesso.probe(**{key: value for key, value in SMALL.items() if key not in network}, pixels=True)
    assert [accuracy.start for accuracy in alone] == ["pixels"]
    assert alone[0].mean > 0.5  # of rain and low light


def test_checkpoints_stand_beside_random_weights(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    gesso.save(gesso.create_backbone("nafnet_tiny"), path)
    found = gesso.probe(**SMALL, checkpoint=str(path))
    assert [accuracy.start for accuracy in found] == ["random", str(path)]
    assert "52±1" in capsys.readouterr().out


def test_photos_are_cut_in_the_middle(tmp_path):
    photo = torch.zeros(3, 10, 15)
    photo[:, 3:7, 5:9] = 1
    gesso.write_image(tmp_path / "photo.png", photo)
    assert clean_images(str(tmp_path), 1, 4, seed=0)[0].min() == 1
    assert clean_images(str(tmp_path), 1, 12, seed=0)[0].shape == (3, 12, 12)


def test_each_class_may_have_its_own_images():
    """Two classes that nothing tells apart: with shared images the neighbours are the other version, and wrong."""
    alike = SMALL | {"degradations": [{"name": "compose"}, {"name": "compose"}], "count": 40, "neighbours": 1}
    (shared,), (own,) = gesso.probe(**alike), gesso.probe(**alike, own_images=True)
    assert shared.mean < 0.4
    assert 0.3 < own.mean < 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": None}, "expected a backbone"),
        ({"degradations": ["rain"]}, "two classes"),
        ({"count": 2}, "three images in each, got 2 and 2"),
        ({"images": "noise"}, "noise"),
        ({"count": 3, "neighbours": 50}, "neighbours: expected 1 to 4, as many images as there are to ask, got 50"),
    ],
)
def test_what_cannot_be_probed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gesso.probe(**(SMALL | options))
