"""Every pretext as a run: killed and resumed it ends with the same bits, and its file is a start for fine-tuning."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import gesso
from gesso import cli
from gesso.backbones._blocks import DropPath, part_of_batch
from gesso.pretext import list_pretexts
from gesso.sources import list_sources
from gesso.training.callbacks import SaveCheckpoint

NETWORK = {"width": 8, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
SMALL = {"backbone": "nafnet_tiny", "backbone_args": NETWORK, "precision": "float32", "sample_every": 0}
OPTIONS = {
    "degae": {
        "representor_width": 4,
        "representor_blocks": 4,
        "decoder_width": 8,
        "adversarial_weight": 0.1,
        "generator_every": 2,
    },
    "dcpt": {"mode": "alternate"},
    "maskdcpt": {"decoder_width": 8},
}


@pytest.mark.parametrize("name", list_pretexts())
def test_killed_and_resumed_it_ends_with_the_same_bits_and_can_be_finetuned(name, tmp_path, monkeypatch, capsys):
    def save_and_copy(self, trainer, module, save=SaveCheckpoint.save):
        save(self, trainer, module)
        if module.step == 2 and not (tmp_path / "killed").exists():
            shutil.copytree(self.out, tmp_path / "killed")  # what a kill after this step leaves

    monkeypatch.setattr(SaveCheckpoint, "save", save_and_copy)
    recipe = {"pretext": name, "pretext_args": OPTIONS.get(name, {}), "images": "leaves", "crop_size": 24}
    recipe |= {"batch_size": 2, "steps": 3, "save_every": 2} | SMALL
    path = gesso.pretrain(out=tmp_path / "run", **recipe)
    resumed = gesso.pretrain(out=tmp_path / "killed", resume=True, **recipe)
    before, after = load_file(path), load_file(resumed)
    assert "resuming at step 2 of 3" in capsys.readouterr().out
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)

    goal = {"task": "denoise", "data": "leaves", "holdout": 1, "crop_size": 16, "batch_size": 1, "steps": 1}
    gesso.finetune(out=tmp_path / "tuned", init=str(path), **goal, **SMALL)
    assert "relearned 2: ending.weight, ending.bias" in capsys.readouterr().out


@pytest.mark.parametrize("name", list_pretexts())
def test_a_network_that_leaves_branches_out_is_pretrained(name, tmp_path):
    """DegAE shows the network two images of each sample."""
    network = {"backbone": "swinir_tiny", "backbone_args": {"depths": [2], "num_heads": [2], "drop_path_rate": 0.5}}
    options = {"images": "leaves", "crop_size": 24, "batch_size": 2, "steps": 1} | SMALL | network
    gesso.pretrain(out=tmp_path / "run", pretext=name, pretext_args=OPTIONS.get(name, {}), **options)


def test_branches_left_out_are_those_of_the_whole_batch():
    path = torch.nn.Sequential(DropPath(0.5)).train()

    def drawn(first, count, images):
        torch.manual_seed(0)
        with part_of_batch(path, first, count, 4):
            return path(torch.ones(images, 1)).flatten().tolist()

    for each in (1, 2):  # images of a sample
        assert drawn(1, 2, 2 * each) == drawn(0, 4, 4 * each)[each : 3 * each]


@pytest.mark.parametrize("images", [*list_sources(), "folder"])
@pytest.mark.parametrize("name", list_pretexts())
def test_images_of_every_kind(name, images, tmp_path):
    if images == "folder":
        images = str(tmp_path / "photos")
        for number in range(2):
            gesso.write_image(tmp_path / "photos" / f"{number}.png", torch.rand(3, 30, 34))
    options = {"images": images, "crop_size": 24, "batch_size": 2, "steps": 1} | SMALL
    small = OPTIONS.get(name, {})
    assert gesso.pretrain(out=tmp_path / "run", pretext=name, pretext_args=small, **options).exists()


def test_what_it_sees_is_said(tmp_path, capsys):
    gesso.pretrain(out=tmp_path / "run", pretext="restore", crop_size=16, steps=1, **SMALL)
    assert "images: the source leaves (the default of restore" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--pretext", "ipt"], "batch_size: ipt compares the images of a batch"),
        (["--pretext", "degae", "--images", "one"], "compares 2 images, and there are 1"),
        (["--pretext", "degae", "--images", "noise", "--count", "1"], "compares 2 images, got 1 of noise"),
        (["--pretext", "degae", "--images", "leaves", "--count", "1"], "at least 2 images"),
        (["--pretext", "restore", "--pretext_args.degradation", "rian"], "did you mean rain"),
        (["--pretext", "restore", "--pretext_args.degradation", "{name: jpeg, quality: 0}"], "quality: expected"),
        (
            ["--pretext", "dcpt", "--images", "[{task: derain, data: none}, {task: denoise, data: none}]"],
            "of 5 classes",
        ),
    ],
)
def test_bad_input_is_said_before_anything_is_written(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gesso.write_image(tmp_path / "one" / "photo.png", torch.rand(3, 30, 34))
    network = ["--backbone", "nafnet_tiny", "--steps", "1", "--out", "run"]
    assert cli.main(["pretrain", *network, *words]) == cli.BAD_INPUT
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert not (tmp_path / "run").exists()
