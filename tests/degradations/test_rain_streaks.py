"""Streaks of real pairs: what is added is what the rainy images have more, and nothing else."""

import pytest
import torch

import gesso
from gesso import cli
from gesso.degradations import create_degradation, parse_degradation
from gesso.functional.random import generator_for
from tests._streaks import rainy_pairs


def test_what_is_added_are_the_streaks_of_the_pairs():
    """Columns of 0.2 from one pair, rows of 0.4 from the other, where the image was dark enough to show them."""
    rain = create_degradation("rain_streaks", folder=rainy_pairs())
    image = torch.full((40, 3, 24, 30), 0.5)
    added = rain(image, generator_for(0)) - image
    kinds = set()
    for one in added:
        assert torch.equal(one[0], one[1]), "grey"
        values = one.unique()
        assert len(values) == 2
        assert values[0] == 0
        level = round(values[1].item(), 2)
        hit = one[0] > 0
        assert hit.sum() == (24 if level == 0.2 else 30)
        assert hit.all(dim=0 if level == 0.2 else 1).any(), "a whole column, or a whole row"
        kinds.add(level)
    assert kinds == {0.2, 0.4}


def test_maps_are_repeated_where_the_image_is_larger_and_cut_where_it_is_smaller():
    rain = parse_degradation({"name": "rain_streaks", "folder": rainy_pairs(), "strength": 2.0})
    large = rain(torch.zeros(8, 3, 60, 70), generator_for(0))
    rows, columns = (large[:, 0] > 0).all(2).sum(1), (large[:, 0] > 0).all(1).sum(1)
    assert {*rows.tolist()} <= {0, 2, 3}
    assert {*columns.tolist()} <= {0, 2, 3}
    assert large.max().item() == pytest.approx(0.8, abs=0.01)
    assert rain(torch.zeros(2, 3, 5, 6), generator_for(0)).shape == (2, 3, 5, 6)


def test_the_generator_decides_and_it_compares():
    rain = create_degradation("rain_streaks", folder=rainy_pairs())
    image = torch.zeros(6, 3, 10, 10)
    assert torch.equal(rain(image, generator_for(1)), rain(image, generator_for(1)))
    assert not torch.equal(rain(image, generator_for(1)), rain(image, generator_for(2)))
    assert rain == create_degradation("rain_streaks", folder=rainy_pairs(), strength=1.0)


def test_bad_folders_are_said_before_anything_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"rain_streaks.folder: expected the root of rainy pairs, .* got ''"):
        create_degradation("rain_streaks")
    gesso.write_image(tmp_path / "photos/1.png", torch.rand(3, 20, 24))
    for folder, message in (("none", "no such folder"), ("photos", "expected two folders such as input and target")):
        words = ["--degradation", f"{{name: rain_streaks, folder: {folder}}}"]
        assert cli.main(["degrade", "photos", "out", *words]) == cli.BAD_INPUT
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_it_serves_as_the_rain_of_ipt(tmp_path):
    ipt = gesso.create_pretext(
        "ipt",
        gesso.create_backbone("nafnet_tiny"),
        tasks=["bicubic", {"name": "rain_streaks", "folder": rainy_pairs()}],
    )
    batch = {"image": torch.rand(2, 3, 32, 32)}
    assert torch.isfinite(ipt(batch, generator_for(0))["loss"])
