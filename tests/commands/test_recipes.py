"""Recipes that run anywhere do run, and those that need data say which."""

import pytest
import torch
import yaml

from gesso import _discovery, cli
from gesso.backbones import create_backbone
from gesso.data.generated import WholeGenerated
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext

QUICK = ["--steps", "2", "--crop_size", "16", "--batch_size", "2", "--val_every", "0", "--precision", "float32"]


def settings(verb, name):
    return yaml.safe_load(_discovery.recipe_file(verb, name).read_text())


@pytest.mark.parametrize("name", ["all_in_one_small", "all_in_one_ten_small", "mixed_small"])
def test_recipes_on_procedural_images_run_anywhere(tmp_path, name, capsys, monkeypatch):
    monkeypatch.setattr(WholeGenerated, "__len__", lambda self: 1)  # fewer images to validate on
    assert cli.main(["finetune", "--config", name, "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert (tmp_path / "run/backbone.safetensors").exists()
    assert "procedural images (leaves)" in capsys.readouterr().out


def test_recipes_that_need_data_name_every_folder_that_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for verb, name, parts in (("finetune", "all_in_one_ten", 10), ("evaluate", "mixed", 11)):
        words = [verb, "--config", name, *(["--out", "run"] if verb == "finetune" else [])]
        assert cli.main(words) == cli.BAD_INPUT
        error = capsys.readouterr().err
        assert "Traceback" not in error
        for part in settings(verb, name)["mix"]:
            folders = [part[side] for side in ("data", "val", "lq") if side in part]
            assert any(f"mix part {part['name']}: {folder}: no such folder" in error for folder in folders)
        assert len(settings(verb, name)["mix"]) == parts


def test_tasks_of_a_mix_are_measured_as_they_are_trained():
    for name in ("all_in_one_five", "all_in_one_ten"):
        train, test = (settings(verb, name)["mix"] for verb in ("finetune", "evaluate"))
        assert [part["task"] for part in train] == [part["task"] for part in test]
        assert [part.get("protocol") for part in train] == [part.get("protocol") for part in test]


def test_the_recipe_of_ipt_gives_the_body_images_of_its_own_size():
    recipe = settings("pretrain", "ipt")
    with torch.device("meta"):
        net = create_backbone(recipe["backbone"], num_layers=1)
    crops = torch.rand(1, 3, recipe["crop_size"], recipe["crop_size"])
    degrade = create_pretext("ipt", net).degrade
    tasks = {task: lq.shape[-1] for _, lq, task in (degrade(crops, generator_for(0, draw)) for draw in range(8))}
    assert set(tasks.values()) == {net.size_multiple}
    assert len(tasks) > 2


@pytest.mark.parametrize("words", [
    ["evaluate", "--task", "realnoise", "--data", "blocks"],
    ["check-data", "--data", "blocks"],
])  # fmt: skip
def test_a_matlab_file_of_something_else_is_explained(tmp_path, monkeypatch, capsys, words):
    scipy_io = pytest.importorskip("scipy.io")
    (tmp_path / "blocks").mkdir()
    for side in ("Noisy", "Gt"):
        scipy_io.savemat(tmp_path / f"blocks/Validation{side}BlocksSrgb.mat", {"other": [[1]]})
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) != 0
    said = capsys.readouterr()
    assert "expected a variable ValidationNoisyBlocksSrgb" in said.err + said.out
