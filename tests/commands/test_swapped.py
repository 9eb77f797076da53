"""Sides of pairs that are the wrong way round are told by what the degradation of their task does."""

from dataclasses import replace

import pytest
import torch

import gesso
from gesso import cli
from gesso.commands._swapped import are_swapped
from gesso.data.layouts import Pair, find_pairs
from gesso.functional.random import generator_for
from gesso.tasks import find_task
from tests._data import data_folder
from tests._networks import photo_like

SETS = {
    "derain_rain100h": "derain",
    "deblur_gopro": "deblur",
    "dehaze_sots_indoor": "dehaze",
    "lowlight_lol_train": "lowlight",
    "noise_polyu": "realnoise",
}


@pytest.mark.parametrize("name", SETS)
def test_real_pairs_are_told_apart_from_swapped_ones(name):
    pairs, task = find_pairs(data_folder(name)), find_task(SETS[name])
    assert not are_swapped(pairs, task)
    assert are_swapped([replace(pair, lq=pair.gt, gt=pair.lq) for pair in pairs], task)


def pairs_of(folder, count):
    for number in range(count):
        photo = photo_like(3, 64, 64, seed=number)
        noise = 0.1 * torch.randn(photo.shape, generator=generator_for(number))
        for side, image in (("input", photo), ("target", (photo + noise).clamp(0, 1))):
            gesso.write_image(folder / side / f"{number}.png", image)
    return folder


def test_check_data_says_so_and_names_the_files(tmp_path, capsys):
    folder = pairs_of(tmp_path, 5)
    assert cli.main(["check-data", str(folder), "--task", "denoise"]) == 0
    said = capsys.readouterr().out
    assert "the sides look swapped, for denoise changes an image the other way round" in said
    assert f"degraded: {folder / 'input' / '0.png'}" in said


def test_of_few_pairs_nothing_is_said(tmp_path):
    folder = pairs_of(tmp_path, 3)
    found = [Pair(str(n), folder / f"input/{n}.png", folder / f"target/{n}.png") for n in range(3)]
    assert not are_swapped(found, find_task("denoise"))
