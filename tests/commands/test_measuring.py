"""Measurements depend on images, weights and protocol, and are lost to no name and no single image."""

import contextlib
import csv
import json
import math
import os
import sys

import pytest
import torch

import gesso
from gesso import cli
from gesso._names import LONGEST, fitting, readable
from gesso.backbones import create_backbone
from gesso.commands.evaluate import evaluate
from gesso.commands.finetune import finetune
from gesso.data.io import atomic_path, atomic_text, read_image, write_image
from gesso.metrics import mean_psnr, psnr
from gesso.restorer import Restorer
from tests._networks import photo_like

SMALL = {"backbone": "restormer_tiny", "backbone_args": {"dim": 4, "num_blocks": [1, 1, 1, 1]}}
RUN = {"steps": 2, "val_every": 1, "crop_size": 16, "batch_size": 1, "sample_every": 0, "precision": "float32"}


def pairs(root, names=("a", "b", "c"), same=(), size=(24, 36)):
    """Noisy images and their ground truths, some of which are `same`."""
    for number, name in enumerate(names):
        gt = photo_like(3, *size, seed=number)
        lq = gt if name in same else gt + 0.1 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(number))
        write_image(root / "input" / f"{name}.png", lq)
        write_image(root / "target" / f"{name}.png", gt)
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    gesso.save(create_backbone(SMALL["backbone"], **SMALL["backbone_args"]), path)
    return path


# ------------------------------------------------------------------------------------------------------------- tiles


def test_what_does_not_fit_is_refused_with_the_tile_that_would(tmp_path, network, monkeypatch, capsys):
    root = pairs(tmp_path / "set", size=(160, 200))
    words = ["evaluate", "--task", "denoise", "--data", str(root), "--checkpoint", str(network), "--device", "cpu"]
    whole = evaluate(task="denoise", data=root, checkpoint=network, device="cpu")
    assert "tiles" not in whole.protocol
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 4e6)
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert "no memory on cpu for 200 x 160 pixels at a time" in error
    assert not (tmp_path / "out").exists()
    tile = error.split("--tile ")[1].split()[0]
    assert cli.main([*words, "--out", str(tmp_path / "out"), "--tile", tile]) == 0
    content = json.loads((tmp_path / "out/scores.json").read_text())
    assert f"restored in tiles of {tile} pixels that share 32" in content["protocol"]
    assert f"restored in tiles of {tile} pixels that share 32" in (tmp_path / "out/scores.md").read_text()


def test_a_number_does_not_depend_on_the_memory_that_is_free(tmp_path, network, monkeypatch):
    root = pairs(tmp_path / "set", size=(100, 120))
    first = evaluate(task="denoise", data=root, checkpoint=network, device="cpu")
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 3e7)
    assert evaluate(task="denoise", data=root, checkpoint=network, device="cpu").rows == first.rows


@pytest.mark.parametrize("tile", [None, 128])
def test_memory_that_runs_out_all_the_same_changes_no_tile(tile, monkeypatch):
    net = create_backbone(SMALL["backbone"], **SMALL["backbone_args"])
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 1e12)

    def hungry(image):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    restorer = Restorer(net, tile, precision="float32", device="cpu", adapt=False)
    restorer._bytes_per_pixel = 1.0
    monkeypatch.setattr(net, "features", hungry)
    with pytest.raises(MemoryError, match=r"not cut into tiles unasked; --tile \d+ would fit"):
        restorer(photo_like(3, 150, 190))
    assert restorer.tile == tile


def test_a_run_is_refused_before_its_folder_is_made(tmp_path, monkeypatch):
    root = pairs(tmp_path / "set", names=[str(number) for number in range(5)], size=(160, 200))
    monkeypatch.setattr("gesso.restorer.free_bytes", lambda device: 4e6)
    options = {"task": "denoise", "data": root, **SMALL, **RUN, "accelerator": "cpu"}
    with pytest.raises(MemoryError, match=r"--tile \d+ would fit"):
        finetune(out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    finetune(out=tmp_path / "run", tile=64, **options)


# --------------------------------------------------------------------------------------------------------- identical


def test_means_leave_identical_images_out():
    assert mean_psnr([30.0, math.inf, 34.0]) == 32
    assert mean_psnr([math.inf, math.inf]) == math.inf
    assert math.isnan(mean_psnr([30.0, math.nan, math.inf]))
    image, other = torch.rand(3, 16, 16), torch.rand(3, 16, 16)
    assert psnr(torch.stack([image, other]), torch.stack([image, image])) == psnr(other, image)
    assert math.isnan(psnr(image * math.nan, image))  # broken, not perfect


def test_evaluate_says_how_many_are_identical(tmp_path, capsys):
    root = pairs(tmp_path / "set", same=("b",))
    scores = evaluate(task="denoise", data=root, out=tmp_path / "out")
    finite = [row.psnr for row in scores.rows if row.name != "b"]
    assert scores.psnr == pytest.approx(sum(finite) / 2)
    assert f"{scores.psnr:.2f} (1 of 3 identical)" in capsys.readouterr().out
    assert f"{scores.psnr:.2f} (1 of 3 identical)" in (tmp_path / "out/scores.md").read_text()
    content = json.loads((tmp_path / "out/scores.json").read_text(), parse_constant=pytest.fail)
    assert content["mean"] | {"ssim": 0} == {
        "set": "all", "name": "mean", "psnr": scores.psnr, "ssim": 0, "beside": " (1 of 3 identical)",
        "others": {},
    }  # fmt: skip
    assert [row["psnr"] for row in content["rows"]].count("inf") == 1
    with (tmp_path / "out/scores.csv").open() as file:
        assert [row["psnr"] for row in csv.DictReader(file)].count("inf") == 1


def test_a_run_counts_identical_pairs_and_warns_for_nothing(tmp_path, capsys):
    """From the identity on, an untrained network with its residual leaves a clean input as it is."""
    root = pairs(tmp_path / "set", names=["0", "1", "2", "3"])
    val = pairs(tmp_path / "val", same=("b",))
    options = {"task": "denoise", "data": root, "val": val, **SMALL, **RUN, "lr": 1e-12, "min_lr": 0.0}
    finetune(out=tmp_path / "run", **options)
    printed = capsys.readouterr().out
    assert "dB (1 of 3 identical)" in printed
    assert "inf" not in printed
    header = gesso.checkpoint.read_header(tmp_path / "run/best.safetensors")
    assert math.isfinite(header["validation_psnr"])


def test_a_comparison_with_an_identical_pair_has_an_answer(tmp_path):
    root = pairs(tmp_path / "set", names=list("abcd"))
    pairs(root / "test", names=list("efg"), same=("f",))
    outcome = gesso.compare(
        out=tmp_path / "out", task="denoise", lq=root / "input", gt=root / "target", starts="random,mfm", seeds="0,1",
        steps=2, crop_size=16, batch_size=1, folds=2, lr=1e-12, **SMALL, finetune_args={"precision": "float32"},
        pretrain_args={"steps": 1, "crop_size": 16, "batch_size": 1},
    )  # fmt: skip
    assert outcome.failures == {}
    same = pairs(tmp_path / "same", names=list("abcd"), same=("c",))
    outcome = gesso.compare(
        out=tmp_path / "again", task="denoise", data=same, starts="random,mfm", seeds="0,1", steps=2, crop_size=16,
        batch_size=1, folds=2, lr=1e-12, **SMALL, finetune_args={"precision": "float32", "min_lr": 0.0},
        pretrain_args={"steps": 1, "crop_size": 16, "batch_size": 1}, tile=64,
    )  # fmt: skip
    assert outcome.failures == {}
    assert "1 of 4 identical and left out" in outcome.verdicts[0]
    page, table = outcome.page.read_text(), (tmp_path / "again/comparison.md").read_text()
    assert "identical)" in page
    assert "(2 of 8 identical)" in table
    assert "(1 of 4 identical)" in table  # of the inputs
    assert "restored in tiles of 64 pixels" in table
    assert "inf" not in table.replace("information", "")


# ------------------------------------------------------------------------------------------------------------- names

NAMES = {
    "no utf-8": "rain_\udce9\udcff",
    "newline": "two\nlines",
    "quotes": 'it\'s "this"',
    "dash": "--out",
    "brackets": "[bold]a{b}*?[red]",
    "emoji": "🌧 ☔",
    "combining": "e\u0301te\u0301",
    "escape": "a\x1b[2Jb",
    "comma": "a,b;c|d",
    "238 bytes": "x" * 238,
    "251 bytes": "é" * 125 + "x",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_no_name_costs_an_evaluation(name, tmp_path, network, capsys):
    root = pairs(tmp_path / "set", names=["a", name])
    out, words = tmp_path / "out", ["--task", "denoise", "--data", str(root), "--checkpoint", str(network)]
    assert cli.main(["evaluate", *words, "--out", str(out), "--save_images", "--device=cpu"]) == 0
    with (out / "scores.csv").open(newline="", encoding="utf-8") as file:
        assert name.encode("utf-8", "backslashreplace").decode() in [row["name"] for row in csv.DictReader(file)]
    assert len(json.loads((out / "scores.json").read_text(encoding="utf-8"))["rows"]) == 2
    assert (out / "images" / "set" / f"{name}.png").exists()
    assert sorted(path.name for path in out.iterdir()) == ["images", "scores.csv", "scores.json", "scores.md"]
    capsys.readouterr()


def test_a_set_may_have_any_name_too(tmp_path, capsys):
    root = pairs(tmp_path / "a|b\n\udce9[red]")
    evaluate(task="denoise", data=root, out=tmp_path / "out")
    assert r"| a\|b\n\udce9[red] | 3 |" in (tmp_path / "out/scores.md").read_text(encoding="utf-8")
    assert r"a|b\n\udce9[red]" in capsys.readouterr().out


def test_no_name_costs_a_restoration(tmp_path, network):
    for name in NAMES.values():
        write_image(tmp_path / "in" / f"{name}.png", photo_like(3, 16, 16))
    done = gesso.restore(tmp_path / "in", tmp_path / "out", checkpoint=network, device="cpu")
    assert {path.name for path in done.written} == {f"{name}.png" for name in NAMES.values()}


def test_no_name_costs_a_run_or_a_comparison(tmp_path, capsys):
    root = pairs(tmp_path / "set", names=list(NAMES.values())[:6])
    outcome = gesso.compare(
        out=tmp_path / "out", task="denoise", data=root, starts="random,mfm", seeds="0", steps=1, crop_size=16,
        batch_size=1, folds=2, **SMALL, pretrain_args={"steps": 1, "crop_size": 16, "batch_size": 1},
    )  # fmt: skip
    assert outcome.failures == {}
    with (tmp_path / "out/comparison.csv").open(newline="", encoding="utf-8") as file:
        assert {row["image"] for row in csv.DictReader(file)} == {readable(name) for name in list(NAMES.values())[:6]}
    assert outcome.page.read_text(encoding="utf-8")


@pytest.mark.parametrize("length", [1, 200, 237, 238, 239, 250, 251])
@pytest.mark.parametrize("letter", ["x", "é", "\udce9"])
def test_files_of_long_names_are_written_whole_or_not_at_all(length, letter, tmp_path):
    stem = letter * (length // len(os.fsencode(letter)))
    path = tmp_path / f"{stem}.txt"
    with atomic_text(path) as file:
        file.write("first")
    with contextlib.suppress(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("second")
        raise RuntimeError
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_that_are_too_long_are_cut_and_stay_apart():
    one, two = fitting("x" * 300 + "1", ".png"), fitting("x" * 300 + "2", ".png")
    assert one != two
    assert len(os.fsencode(fitting("é" * 200, ".png"))) <= LONGEST
    assert fitting("short", ".png") == "short.png"


def test_a_terminal_that_knows_ascii_alone_ends_nothing(tmp_path, network, monkeypatch):
    import subprocess

    root = pairs(tmp_path / "été")
    words = ["evaluate", "--task", "denoise", "--data", str(root), "--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}
    answer = subprocess.run([sys.executable, "-m", "gesso.cli", *words], env=environment, capture_output=True)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "out/scores.json").exists()


# -------------------------------------------------------------------------------------------------------- the choice


def test_what_best_is_chosen_on_is_said_once_at_the_start(tmp_path, capsys):
    from gesso.commands._supervised import open_data, open_validations
    from gesso.commands.finetune import Finetune
    from gesso.comparison.jobs import mark_as_comparison

    net = create_backbone(SMALL["backbone"], **SMALL["backbone_args"])
    root = pairs(tmp_path / "set" / "train", names=[str(number) for number in range(5)]).parent
    pairs(root / "test")

    def said(**options):
        command = Finetune(task="denoise", data=root, out=tmp_path / "run", **options)
        open_validations(open_data(command, net.in_channels), net, None, "cpu")
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]

    (line,) = said()
    assert "best.safetensors is chosen on the test split" in line
    assert said(val=pairs(tmp_path / "mine")) == []
    assert said(holdout=2) == []
    (line,) = said(holdout=1)
    assert "best.safetensors is chosen on one image" in line
    with mark_as_comparison():  # which keeps no best.safetensors
        assert said() == said(holdout=1) == []


def test_an_image_that_is_no_number_is_a_failure_not_a_record(tmp_path, network, monkeypatch):
    root = pairs(tmp_path / "set")
    real = Restorer.__call__
    calls = iter(range(100))
    monkeypatch.setattr(
        Restorer, "__call__", lambda self, image, watch=iter: real(self, image) * (math.nan if next(calls) == 0 else 1)
    )
    scores = evaluate(task="denoise", data=root, checkpoint=network, device="cpu")
    assert len(scores.rows) == 2
    assert "values that are not finite" in scores.failed[0]
    assert read_image(root / "input" / "a.png").isfinite().all()
