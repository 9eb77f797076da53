"""Real benchmark pairs and photographs through the whole path; skipped, loudly, where they are absent."""

import csv
from collections import defaultdict

import pytest

import gesso
from tests._data import data_folder

SMALL = {"backbone_args": {"dim": 8, "num_blocks": [1, 1, 1, 1]}, "backbone": "restormer_tiny"}
RUN = {"steps": 20, "crop_size": 32, "batch_size": 1, "holdout": 0, "workers": 0, "sample_every": 0, "save_every": 0}

PAIRED = {
    "derain_rain100h": ("derain", 1),
    "dehaze_sots_indoor": ("dehaze", 1),
    "deblur_gopro": ("deblur", 1),
    "lowlight_lol_train": ("lowlight", 1),
    "lowlight_fivek_dpe": ("lowlight", 1),
    "noise_polyu": ("realnoise", 1),
    "sr_set5_x2": ("sr", 2),
    "sr_set5_x4": ("sr", 4),
}
CLEAN = ["clean_bsds", "clean_cbsd68", "clean_set5"]


@pytest.mark.parametrize("folder", PAIRED)
def test_the_input_has_its_known_psnr(folder, capsys):
    """Measured on RGB without a border, as `pairs.csv` was."""
    task, scale = PAIRED[folder]
    root = data_folder(folder)
    known = defaultdict(float)
    with (root.parent / "pairs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["set"] == folder:
                known[row["input"].rsplit("/", 1)[1].rsplit(".", 1)[0]] = float(row["psnr_input_db"])
    plain = {"channel": "rgb", "border": 0, "ssim": "gaussian"}
    scores = gesso.evaluate(task=task, data=root, scale=scale, protocol=plain)
    assert scores.exit_code == 0
    assert {row.name: row.psnr for row in scores.rows} == pytest.approx(dict(known), abs=0.02)


@pytest.mark.parametrize("folder", PAIRED)
def test_pairs_train(folder, tmp_path):
    task, scale = PAIRED[folder]
    enlarger = {
        "backbone": f"swinir_light_x{scale}",
        "backbone_args": {"depths": [1], "num_heads": [2], "embed_dim": 12},
    }
    network = SMALL if scale == 1 else enlarger
    path = gesso.finetune(out=tmp_path, task=task, data=data_folder(folder), scale=scale, **network, **RUN)
    assert gesso.load(path).scale == scale


@pytest.mark.parametrize("folder", CLEAN)
def test_clean_photos_train(folder, tmp_path):
    assert gesso.finetune(out=tmp_path, task="denoise", data=data_folder(folder), **SMALL, **RUN).exists()
