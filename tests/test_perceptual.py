"""Perceptual metrics: by name, from packages and files, never from the network."""

import csv
import json
import socket
import sys

import numpy as np
import pytest
import torch

import gesso
from gesso.metrics import Protocol
from gesso.perceptual import Perceptual, open_metrics, without_downloads
from tests._networks import photo_like

REASON = "needs pyiqa and torchvision: pip install 'gesso[perceptual]'"


def absolute(restored, gt):
    return float((restored - gt).abs().mean())


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of 48 x 64 pixels."""
    for i in range(2):
        photo = photo_like(3, 48, 64, seed=i)
        for side, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(tmp_path / "data" / side / f"{i}.png", image)
    return tmp_path / "data"


def test_images_are_seen_as_they_are_measured_but_in_colour():
    seen = []
    metric = Perceptual({"mine": lambda *pair: seen.extend(pair) or 0.5})
    image = photo_like(3, 20, 24)
    assert metric(image + 1, image, Protocol(channel="y", border=2)) == {"mine": 0.5}
    assert [tuple(part.shape) for part in seen] == [(1, 3, 16, 20)] * 2
    assert seen[0].max() == 1, "clamped"
    torch.testing.assert_close(seen[1], (255 * image[None, :, 2:-2, 2:-2].double()).round().float() / 255)
    seen.clear()
    metric(image[:1], image[:1], Protocol(channel="grey"))
    assert torch.equal(seen[0][:, 0], seen[0][:, 2])


@pytest.mark.parametrize("names", [None, "", "psnr,ssim", ["psnr"], " PSNR , ssim"])
def test_psnr_and_ssim_are_always_there(names):
    assert open_metrics(names) is None


def test_a_folder_of_weights_that_is_not_there_is_said():
    with pytest.raises(FileNotFoundError, match="metric_weights: nowhere: expected a folder of weights"):
        open_metrics("lpips", "nowhere")


@pytest.mark.parametrize(("name", "package"), [("lpips", "torchvision"), ("dists", "torchvision"), ("niqe", "pyiqa")])
def test_without_its_package_a_metric_says_what_to_install(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"metrics: {name} needs a package .*pip install 'gesso\[perceptual\]'"):
        open_metrics(name)


def test_a_mistyped_metric_is_told_the_nearest_where_pyiqa_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ValueError, match=r"lpipss needs a package that is not installed: .*; did you mean lpips"):
        open_metrics("psnr,lpipss")


def test_every_download_is_refused_and_all_is_as_before(tmp_path):
    hub, fetch, connect = torch.hub.get_dir(), torch.hub.download_url_to_file, socket.socket.connect
    with without_downloads("mine", tmp_path):
        assert torch.hub.get_dir() != hub
        with pytest.raises(
            FileNotFoundError, match=rf"mine: its file net.pth is not in {tmp_path}; nothing is downloaded"
        ):
            torch.hub.download_url_to_file("https://example.org/net.pth", "elsewhere/net.pth")
        with socket.socket() as connection, pytest.raises(OSError, match="weights come from files"):
            connection.connect(("127.0.0.1", 9))
    assert (torch.hub.get_dir(), torch.hub.download_url_to_file, socket.socket.connect) == (hub, fetch, connect)


def test_evaluation_shows_and_writes_them(tmp_path, pairs, monkeypatch, capsys):
    monkeypatch.setattr("gesso.commands._evaluate.open_metrics", lambda *_: Perceptual({"lpips": absolute}))
    scores = gesso.evaluate(task="derain", data=pairs, metrics="psnr,ssim,lpips", out=tmp_path / "scores")
    expected = [row.others["lpips"] for row in scores.rows]
    assert scores.mean.others["lpips"] == pytest.approx(np.mean(expected))
    assert f"{np.mean(expected):.4f}" in capsys.readouterr().out
    with (tmp_path / "scores/scores.csv").open(newline="") as file:
        assert [float(row["lpips"]) for row in csv.DictReader(file)] == pytest.approx(expected, abs=1e-6)
    assert json.loads((tmp_path / "scores/scores.json").read_text())["mean"]["others"]["lpips"] > 0
    assert "LPIPS" in (tmp_path / "scores/scores.md").read_text()


def test_training_measures_and_writes_them(tmp_path, pairs, monkeypatch, capsys):
    monkeypatch.setattr("gesso.commands._finetune.open_metrics", lambda *_: Perceptual({"lpips": absolute}))
    small = {"backbone": "restormer_tiny", "backbone_args": {"dim": 8, "num_blocks": [1, 1, 1, 1]}}
    gesso.finetune(
        out=tmp_path / "run", task="derain", data=pairs, holdout=1, steps=2, val_every=1, crop_size=16, batch_size=1,
        metrics="psnr,ssim,lpips", precision="float32", **small,
    )  # fmt: skip
    with (tmp_path / "run/images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(float(row["lpips"]) > 0 for row in rows)
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[-1]["derain/lpips"]) == pytest.approx(
            float(rows[-1]["lpips"]), abs=1e-4
        )
    assert "derain: lpips 0." in capsys.readouterr().out


def test_a_comparison_has_their_means(tmp_path, monkeypatch):
    for module in ("commands._finetune", "comparison._runs"):
        monkeypatch.setattr(f"gesso.{module}.open_metrics", lambda *_: Perceptual({"lpips": absolute}))
    for i in range(4):
        photo = photo_like(3, 24, 32, seed=i)
        for side, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(tmp_path / "data" / side / f"{i}.png", image)
    gesso.compare(
        out=tmp_path / "out", data=tmp_path / "data", task="derain", steps=2, val_every=2, crop_size=16, batch_size=1,
        folds=2, starts="random,leaves-restore", seeds="0", metrics="lpips", backbone="restormer_tiny",
        backbone_args={"dim": 8, "num_blocks": [1, 1, 1, 1]}, finetune_args={"precision": "float32"},
        pretrain_args={"steps": 2, "crop_size": 16, "batch_size": 1},
    )  # fmt: skip
    means = json.loads((tmp_path / "out/comparison.json").read_text())["perceptual"]
    assert means.keys() == {"random", "leaves-restore"}
    page, table = ((tmp_path / "out" / name).read_text() for name in ("comparison.html", "comparison.md"))
    for start in means:
        assert f"{means[start]['lpips']:.4f}" in page
        assert f"{means[start]['lpips']:.4f}" in table
    assert "LPIPS" in page


# ---------------------------------------------------------------------------------------------- the packages themselves


@pytest.fixture
def weights(tmp_path):
    """A folder with random weights, named as they are published."""
    torchvision = pytest.importorskip("torchvision", reason=REASON)
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(0)
    for build, kind in ((torchvision.models.alexnet, "AlexNet_Weights"), (torchvision.models.vgg16, "VGG16_Weights")):
        name = getattr(torchvision.models, kind).DEFAULT.url.rpartition("/")[2]
        torch.save(build(weights=None).state_dict(), folder / name)
    return folder


@pytest.mark.parametrize("name", ["lpips", "lpips_vgg", "dists"])
def test_metrics_of_torchmetrics_from_files(weights, name):
    metric = open_metrics(name, weights)
    image = photo_like(3, 72, 80)
    same, other = (metric(restored, image, Protocol())[name] for restored in (image, image.flip(2)))
    assert abs(same) < 1e-5 < other
    assert metric(image.flip(2), image, Protocol())[name] == pytest.approx(other, rel=1e-5), "nothing is carried over"


def test_a_missing_file_is_named(tmp_path):
    pytest.importorskip("torchvision", reason=REASON)
    with pytest.raises(
        FileNotFoundError, match=r"lpips: its file alexnet-\w+-\w+.pth is not in .*--metric_weights FOLDER"
    ):
        open_metrics("lpips", tmp_path)


def test_metrics_of_pyiqa_from_files(tmp_path):
    pytest.importorskip("pyiqa", reason=REASON)
    scipy_io = pytest.importorskip("scipy.io")
    with pytest.raises(FileNotFoundError, match=r"niqe: its file niqe_modelparameters.mat is not in"):
        open_metrics("niqe", tmp_path)
    parameters = {"mu_prisparam": np.linspace(0.1, 1, 36)[None], "cov_prisparam": np.eye(36)}
    scipy_io.savemat(tmp_path / "niqe_modelparameters.mat", parameters)
    metric = open_metrics("niqe,gmsd", tmp_path)
    image = photo_like(3, 200, 210)
    values = metric(image, image, Protocol())
    assert metric.names == ("niqe", "gmsd")
    assert values["niqe"] > 0
    assert values["gmsd"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="did you mean niqe"):
        open_metrics("niqee")
    with pytest.raises(ValueError, match="niqe: an image of 10x12 pixels"):
        metric(photo_like(3, 12, 10), photo_like(3, 12, 10), Protocol())
