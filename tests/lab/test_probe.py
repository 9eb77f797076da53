"""The probe: nearest neighbours of frozen features."""

import csv
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import gesso
from gesso import cli
from gesso.lab._probe import clean_images, from_folders, neighbour_accuracies, squared_distances

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
    drawing = ElementTree.parse(tmp_path / "probe.svg").getroot()
    assert "random" in "".join(drawing.itertext())
    marks = [one.get("style") for one in drawing.iter() if "fill: var(--tone" in one.get("style", "")]
    assert len(marks) > SMALL["count"] * len(SMALL["degradations"])
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
        ({"degradations": None, "classes": {"a": "none", "b": "none"}}, "none"),
        ({"classes": {"a": "none", "b": "none"}}, "classes: their images are degraded already"),
        ({"count": 3, "neighbours": 50}, "neighbours: expected 1 to 4, as many images as there are to ask, got 50"),
    ],
)
def test_what_cannot_be_probed_is_refused(options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        gesso.probe(**(SMALL | options))


def write_classes(folder, count=12):
    """A folder of dark images and one of bright ones; the latter with its ground truths, as RESIDE publishes them."""
    for i in range(count):
        noise = torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(i))
        gesso.write_image(folder / f"dark/{i}.png", noise / 4)
        gesso.write_image(folder / f"SOTS/outdoor/hazy/{i}_0.8.png", 0.75 + noise / 4)
        gesso.write_image(folder / f"SOTS/outdoor/gt/{i}.png", noise / 4)
    return {"low light": str(folder / "dark"), "haze": str(folder / "SOTS/outdoor")}


def test_classes_are_folders_of_degraded_images(tmp_path, monkeypatch, capsys):
    """Of pairs these are the degraded ones: the ground truths of the haze are as dark as the other class."""
    classes = write_classes(tmp_path / "data")
    folders = ", ".join(f"{name}: {folder}" for name, folder in classes.items())
    words = ["probe", "--classes", f"{{{folders}}}", "--backbone", "nafnet_tiny", "--crop_size", "32", "--count", "10"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out/probe.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["mean"]) == 1.0
    drawn = from_folders(classes, 5, 32, 0, 3)
    assert drawn.names == ["low light", "haze"]
    assert drawn.labels.tolist() == [0] * 5 + [1] * 5
    images = torch.cat([make() for make in drawn.batches])
    assert images.shape == (10, 3, 32, 32)
    assert images[:5].max() < 0.3 < 0.7 < images[5:].min()
    other = torch.cat([make() for make in from_folders(classes, 5, 32, 1, 3).batches])
    assert not torch.equal(images, other), "drawn by seed, not the first names"


def test_snapshots_of_a_run_are_probed_in_their_order(tmp_path):
    for step in (2, 10):
        gesso.save(gesso.create_backbone("nafnet_tiny"), tmp_path / f"snapshots/{step}.safetensors")
    found = gesso.probe(**SMALL | {"backbone": None}, checkpoint=str(tmp_path / "snapshots"))
    assert [Path(accuracy.start).name for accuracy in found] == ["2.safetensors", "10.safetensors"]
    with pytest.raises(FileNotFoundError, match=r"holds no \.safetensors; --snapshot_every keeps"):
        gesso.probe(**SMALL, checkpoint=str(tmp_path))


def test_the_network_of_the_released_script():
    with torch.device("meta"):
        net = gesso.create_backbone("nafnet_dcpt_probe")
    assert net.channels == [128, 64, 32]
    assert len(net.middle_blks) == 12
    assert [len(blocks) for blocks in net.encoders] == [2, 4, 8]
    assert [len(blocks) for blocks in net.decoders] == [2, 2, 2]
    assert "decoder0.0.conv1.weight" in net.to_official()
