"""What a run needs in memory is known before its first step: it is cut, or refused with what would fit."""

import pytest
import torch

import gesso
from gesso.training import needs, timing
from gesso.training.needs import Line
from tests._networks import photo_like

NETWORK = {"width": 8, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
SMALL = {"backbone": "nafnet_tiny", "backbone_args": NETWORK, "precision": "float32", "accelerator": "cpu"}
RUN = {"task": "derain", "steps": 1, "crop_size": 64, "batch_size": 4, "holdout": 1}
MIB = 2**20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for i in range(3):
        photo = photo_like(3, 72, 96, seed=i)
        for name, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(folder / name / f"{i}.png", image)
    return folder


def finetune(out, data, **more):
    return gesso.finetune(out=out, data=data, **{**SMALL, **RUN, **more})


def leave_free(monkeypatch, mib):
    monkeypatch.setattr(timing, "free_bytes", lambda device: mib * MIB)
    monkeypatch.setattr(needs, "reserved_memory", lambda: 0)  # what other tests have kept in memory is not this run's


def test_lines_give_bytes_and_pixels():
    line = Line.through((100, 1000), (300, 2000))
    assert (line.fixed, line.slope) == (500, 5)
    assert line.pixels(line.bytes(1234)) == pytest.approx(1234)
    assert Line.through((100, 1000)) == Line(0, 10)
    assert Line.through((100, 1000), (300, 500)).slope == 0  # nothing is told


def test_enough_memory_is_not_mentioned(tmp_path, data, capsys):
    finetune(tmp_path / "run", data)
    assert "are free" not in capsys.readouterr().out


def test_a_batch_that_does_not_fit_is_computed_in_parts(tmp_path, data, monkeypatch, capsys):
    leave_free(monkeypatch, 268)
    finetune(tmp_path / "run", data)
    said = capsys.readouterr().out
    assert "4 crops of 64 pixels need about 0.3 GiB in a step, and 0.3 GiB are free; " in said
    assert "2 at a time, whose gradients are accumulated: the same result but for rounding" in said
    state = torch.load(tmp_path / "run/last.ckpt", weights_only=True)["gesso"]
    assert state["at_a_time"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 128, "batch_size": 1}, r"1 crops of 128 pixels need .*; what would fit: --crop_size \d\d$"),
        ({"augment": "mixup"}, r"4 crops of 64 pixels .*; what would fit: --batch_size 2 or --crop_size \d\d$"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_what_would_fit(tmp_path, data, monkeypatch, options, message):
    leave_free(monkeypatch, 268)
    with pytest.raises(ValueError, match="memory: " + message):
        finetune(tmp_path / "run", data, **options)
    assert not (tmp_path / "run/config.yaml").exists()  # the folder does not block the next try
    leave_free(monkeypatch, 10**5)
    finetune(tmp_path / "run", data, **options)
