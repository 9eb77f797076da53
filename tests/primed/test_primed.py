"""Primed networks: found by name wherever weights are asked for, made of a run, made again, described."""

import contextlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import gesso
from gesso import cli, primed
from gesso._discovery import UnknownNameError
from gesso.checkpoint import read_header, read_state
from gesso.commands._finetune import rehearsed_images, restores_already
from gesso.commands._primed import PAGE, cards
from gesso.commands.pretrain import Pretrain
from gesso.commands.primed import primed as command
from gesso.comparison.arms import Common, find_arms
from gesso.options import rename_former
from gesso.primed import find_primed, list_primed, restores

QUICK = {"width": 8, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
RECIPE = {"pretext": "restore", "pretext_args": {"task": "derain"}, "backbone": "nafnet_tiny", "backbone_args": QUICK,
          "images": "leaves", "crop_size": 16, "batch_size": 1, "steps": 2, "precision": "float32", "sample_every": 0,
          "workers": 0}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    gesso.pretrain(out=folder, **RECIPE)
    return folder


def scores(path: Path, psnr: float, ssim: float) -> str:
    rows = [{"set": "Rain", "name": str(number), "psnr": psnr, "ssim": ssim} for number in range(3)]
    means = {"set": "Rain", "name": "mean", "psnr": psnr, "ssim": ssim}
    path.write_text(json.dumps({"task": "derain", "protocol": "Y", "rows": rows, "sets": [means]}))
    return str(path)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """A folder with one primed network, made of the run."""
    place = tmp_path_factory.mktemp("primed")
    measured = {"scores": [scores(place / "scores.json", 20.0, 0.8)], "inputs": [scores(place / "in.json", 13.0, 0.4)]}
    command("add", "derain/nafnet_tiny", from_run=run, minutes=9.5, out=place, **measured)
    return place


@pytest.fixture
def there(folder, monkeypatch):
    """The folder of one's own, and no network of the package."""
    monkeypatch.setenv(primed.FOLDER, str(folder))
    monkeypatch.setattr(primed, "find_folders", lambda: [folder])
    return folder


@pytest.fixture
def none(monkeypatch, tmp_path):
    monkeypatch.setattr(primed, "find_folders", lambda: [tmp_path])


def test_a_primed_file_holds_the_run_in_half_precision_and_says_how_it_was_made(run, there):
    file = there / "derain/nafnet_tiny.safetensors"
    state, made = read_state(file), read_state(run / "backbone.safetensors")
    assert all(torch.equal(state[key], made[key].half()) for key in made)
    header = read_header(file)
    assert header == find_primed("derain").header
    assert header["recipe"]["pretext_args"] == {"task": "derain"}
    assert (header["step"], header["minutes"], header["tasks"]) == (2, 9.5, ["derain"])
    assert header["parameters"] == sum(tensor.numel() for tensor in made.values())
    assert header["measured"] == [
        {"set": "Rain", "images": 3, "protocol": "Y", "psnr": 20.0, "ssim": 0.8, "input_psnr": 13.0, "input_ssim": 0.4}
    ]
    assert find_primed("derain").gain == 7


@pytest.mark.parametrize("name", ["primed:derain", "primed:derain/nafnet_tiny"])
def test_a_name_means_the_file_wherever_weights_are_loaded(there, name):
    network = gesso.load(name)
    assert next(network.parameters()).dtype == torch.float32
    assert torch.equal(network.state_dict()["ending.weight"].half(), read_state(name)["ending.weight"])


def test_fine_tuning_keeps_the_last_layer_of_a_start_that_restores_the_task(there, tmp_path, capsys):
    options = {"data": "leaves", "holdout": 1, "crop_size": 16, "batch_size": 1, "steps": 1, "val_every": 0}
    options |= {"workers": 0, "backbone": "nafnet_tiny", "backbone_args": QUICK, "precision": "float32"}
    gesso.finetune(out=tmp_path / "same", task="derain", init="primed", **options)  # that of the task
    said = capsys.readouterr().out
    assert "init: primed:derain" in (tmp_path / "same/config.yaml").read_text()
    with pytest.raises(UnknownNameError, match="no primed network primed:denoise"):
        gesso.finetune(out=tmp_path / "other", task="denoise", init="primed", **options)
    assert "keep_last: true, because primed:derain/nafnet_tiny restores derain already" in said
    assert "relearned" not in said
    gesso.finetune(out=tmp_path / "other", task="denoise", init="primed:derain", **options)
    assert "relearned 2: ending.weight, ending.bias" in capsys.readouterr().out


def test_the_best_state_of_fine_tuning_is_never_behind_a_start_that_restores_the_task(there, tmp_path, capsys):
    options = {"data": "leaves", "holdout": 1, "crop_size": 16, "batch_size": 1, "steps": 2, "val_every": 1}
    options |= {"workers": 0, "backbone": "nafnet_tiny", "backbone_args": QUICK, "precision": "float32"}
    harm = {"init": "primed:derain", "task": "derain", "lr": 10.0}
    gesso.finetune(out=tmp_path / "forgets", **harm, **options)
    assert "best.safetensors is the start" in " ".join(capsys.readouterr().out.split())
    best = tmp_path / "forgets/best.safetensors"
    assert read_header(best)["step"] == 0
    assert all(torch.equal(tensor.half(), read_state("primed:derain")[key]) for key, tensor in read_state(best).items())
    gesso.finetune(out=tmp_path / "anew", keep_last=False, **harm, **options)
    assert read_header(tmp_path / "anew/best.safetensors")["step"] > 0


@pytest.mark.parametrize(
    ("header", "task", "expected"),
    [
        ({"task": "derain"}, "derain", True),
        ({"task": "derain"}, "dehaze", False),
        ({"task": "any", "tasks": ["derain", "dehaze"]}, "dehaze", True),
        ({"pretext": "restore", "pretext_args": {"task": "derain"}}, "derain", True),
        ({"pretext": "restore", "pretext_args": {"degradation": "rain"}}, "derain", False),
        ({"pretext": "ifp", "pretext_args": {"task": "derain"}}, "derain", False),
        ({}, "derain", False),
    ],
)
def test_what_a_file_says_decides_whether_it_restores_a_task(header, task, expected):
    assert restores(header, task) == expected


@pytest.mark.parametrize(("task", "message"), [("derain", ""), ("denoise", "no primed network primed:denoise")])
def test_an_arm_may_begin_with_the_network_of_the_task(there, task, message):
    common = Common({"backbone": "nafnet_tiny"}, {}, task)
    with pytest.raises(UnknownNameError, match=message) if message else contextlib.nullcontext():
        arms = find_arms(["primed"], {}, {"averaged": {"init": "primed", "ema_decay": 0.9}}, common)
        assert [arm.name for arm in arms] == ["random", "primed", "averaged"]
        assert arms[1].init == arms[2].init == str((there / "derain/nafnet_tiny.safetensors").resolve())


@pytest.mark.parametrize(
    ("header", "images"),
    [
        ({"pretext": "restore", "images": "scenes"}, "scenes"),
        ({"pretext": "restore", "images": "/photos"}, "leaves"),
        ({"pretext": "restore", "images": "their.module:draw"}, "leaves"),  # a file may not name code to be run
        ({"pretext": "restore", "images": [{"images": "leaves"}]}, "leaves"),
        ({"pretext": "ifp", "images": "noise"}, "leaves"),
        ({}, "leaves"),
    ],
)
def test_what_a_start_was_trained_on_is_rehearsed(header, images):
    assert rehearsed_images(header) == images


def test_random_weights_and_the_papers_transfer_keep_nothing(there):
    assert not restores_already("random", ["derain"], "network")
    assert not restores_already("primed:derain", ["derain"], "paper")
    assert not restores_already("primed:derain", ["derain", "denoise"], "network")


@pytest.mark.parametrize(("words", "value"), [([], None), (["--keep_last"], True), (["--keep_last", "false"], False)])
def test_whether_the_last_layer_is_kept_can_be_said(words, value):
    finetune = cli.command("finetune")
    given = ["--task", "derain", "--out", "x", *words]
    assert cli.read_options(finetune, given)["keep_last"] is value


def test_restore_takes_the_primed_network_of_the_task_and_says_which(there, tmp_path, capsys):
    photo = np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    words = ["restore", str(tmp_path / "photo.png"), str(tmp_path / "out.png")]
    assert cli.main([*words, "--task", "derain"]) == 0
    said = capsys.readouterr().out
    assert "primed:derain/nafnet_tiny: nafnet_tiny, " in said
    assert "Rain 20.00 dB (input 13.00)" in said
    assert cv2.imread(str(tmp_path / "out.png")).shape == photo.shape
    for more, message in (
        ([], "expected --checkpoint FILE, or --task"),
        (["--task", "derain", "--checkpoint", "x.pth"], "leave one out"),
        (["--task", "sr"], "no primed network primed:sr; known: derain; make one by `gesso pretrain "),
        (["--task", "dering"], "no primed network primed:dering; did you mean derain?\n"),
    ):
        assert cli.main([*words, "--overwrite", *more]) == cli.BAD_INPUT
        assert message in capsys.readouterr().err


def lowered(there: Path, place: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """The network of `there` as one that ends below its input, for `task`, in a folder of its own."""
    (place / task).mkdir(parents=True)
    file = there / "derain/nafnet_tiny.safetensors"
    row = {"set": "Rain", "images": 3, "psnr": 12.0, "ssim": 0.3, "input_psnr": 13.5, "input_ssim": 0.4}
    facts = read_header(file) | {"task": task, "tasks": [task], "measured": [row]}
    gesso.checkpoint.save_state(read_state(file), place / task / "nafnet_tiny.safetensors", **facts)
    monkeypatch.setenv(primed.FOLDER, str(place))
    monkeypatch.setattr(primed, "find_folders", lambda: [place])


def test_one_that_ends_below_its_input_is_a_start_and_restores_only_by_its_full_name(
    there, tmp_path, monkeypatch, capsys
):
    lowered(there, tmp_path / "primed", monkeypatch, "deblur")
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((16, 16, 3), np.uint8))
    words = ["restore", str(tmp_path / "photo.png"), str(tmp_path / "out.png")]
    assert cli.main([*words, "--task", "deblur"]) == cli.BAD_INPUT
    said = capsys.readouterr().err
    assert "on real pairs it ends 1.50 dB below its input" in said
    assert "--checkpoint primed:deblur/nafnet_tiny" in said
    assert cli.main([*words, "--checkpoint", "primed:deblur/nafnet_tiny"]) == 0
    assert "BELOW ITS INPUT" in capsys.readouterr().out
    assert find_primed("deblur").worsens  # --init primed:deblur takes it
    page = command("cards", out=tmp_path / "page.md").read_text()
    assert "- below its input: by 1.50 dB on real pairs: a start to fine-tune from" in page


def test_what_is_not_there_is_explained(there):
    with pytest.raises(UnknownNameError, match="for derain there are nafnet_tiny; make one by `gesso pretrain"):
        find_primed("primed:derain", "restormer_tiny")
    with pytest.raises(UnknownNameError, match=r"primed:derane; did you mean derain\?$"):
        gesso.load("primed:derane")
    with pytest.raises(UnknownNameError, match=r"primed:desnow; known: .*; make one by `gesso pretrain .*task desnow"):
        gesso.load("primed:desnow")


@pytest.mark.usefixtures("none")
def test_an_installation_without_any_says_so(capsys):
    with pytest.raises(
        UnknownNameError, match="this installation has none; make one by `gesso pretrain --config restore"
    ):
        gesso.load("primed:derain")
    assert cli.main(["list", "primed"]) == 0
    assert "there are none" in capsys.readouterr().out


def test_lines_call_a_primed_file_by_its_name_wherever_it_is_installed(there, tmp_path):
    assert primed.spell_file(there / "derain/nafnet_tiny.safetensors") == "primed:derain/nafnet_tiny"
    assert primed.spell_file("primed:derain/nafnet_tiny") == "primed:derain/nafnet_tiny"
    assert primed.spell_file(tmp_path / "mine.safetensors") == str(tmp_path / "mine.safetensors")


def test_one_of_any_stands_in_for_a_task_that_has_none(run, there, tmp_path, monkeypatch):
    monkeypatch.setattr(primed, "find_folders", lambda: [tmp_path])
    (tmp_path / "any").mkdir()
    header = read_header(there / "derain/nafnet_tiny.safetensors") | {"task": "any", "tasks": ["derain", "dehaze"]}
    gesso.checkpoint.save_state(
        read_state(run / "backbone.safetensors"), tmp_path / "any/nafnet_tiny.safetensors", **header
    )
    assert find_primed("dehaze").name == "any/nafnet_tiny"
    with pytest.raises(UnknownNameError):
        find_primed("deblur")


def test_listed_networks_say_what_they_reach(there, capsys):
    assert cli.main(["list", "primed"]) == 0
    said = capsys.readouterr().out
    assert "derain/nafnet_tiny" in said
    assert "trained without a photo or a pair" in " ".join(said.split())


def test_a_network_that_is_made_again_has_the_same_bits(there, tmp_path):
    verdict = command("verify", "derain/nafnet_tiny", out=tmp_path / "again")
    assert verdict.same == verdict.total
    assert verdict.exit_code == 0
    assert "the same bits in all" in str(verdict)


def test_another_network_under_the_name_is_found_out(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv(primed.FOLDER, str(tmp_path))
    (tmp_path / "derain").mkdir()
    state = {key: torch.full_like(tensor, 0.3) for key, tensor in read_state(run / "backbone.safetensors").items()}
    header = read_header(folder / "derain/nafnet_tiny.safetensors")
    gesso.checkpoint.save_state(state, tmp_path / "derain/nafnet_tiny.safetensors", **header)
    verdict = command("verify", "derain/nafnet_tiny", out=tmp_path / "again")
    assert verdict.exit_code == 1
    assert "NOT alike" in str(verdict)


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({"pretext": "mfm"}, "derain/nafnet_tiny", "expected the pretext restore"),
        ({"images": "/photos"}, "derain/nafnet_tiny", "expected images from nothing"),
        ({"init": "x.pth"}, "derain/nafnet_tiny", "no other start"),
        ({"steps": 9}, "derain/nafnet_tiny", "step 2 of 9"),
        ({}, "derain/restormer_tiny", "expected TASK/nafnet_tiny"),
        ({}, "dehaze/nafnet_tiny", "was trained for derain"),
    ],
)
def test_what_may_not_be_shipped_is_refused(run, tmp_path, change, name, message):
    import yaml

    copy = tmp_path / "run"
    copy.mkdir()
    (copy / "backbone.safetensors").write_bytes((run / "backbone.safetensors").read_bytes())
    first, rest = (run / "config.yaml").read_text().split("\n", 1)
    (copy / "config.yaml").write_text(f"{first}\n{yaml.safe_dump(yaml.safe_load(rest) | change)}")
    with pytest.raises(ValueError, match=message):
        command("add", name, from_run=copy, out=tmp_path / "primed")


def test_a_network_is_not_replaced_unasked(run, folder):
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        command("add", "derain/nafnet_tiny", from_run=run, out=folder)


def test_a_card_says_what_there_is_to_know(there, tmp_path):
    page = command("cards", out=tmp_path / "page.md").read_text()
    for part in ("## derain/nafnet_tiny", "images: leaves", "steps: 2, 9.5 minutes", "| Rain | 3 | 13.00, 0.4000 |",
                 "20.00, 0.8000 |", "SHA-256", "pretext: restore"):  # fmt: skip
        assert part in page


def test_the_page_of_the_documentation_is_that_of_the_package(monkeypatch):
    monkeypatch.delenv(primed.FOLDER, raising=False)
    ours = [one for one in list_primed().values() if one.path.is_relative_to(Path(primed.__file__).parent)]
    assert (Path(__file__).parents[2] / PAGE).read_text() == cards(ours)


# ------------------------------------------------------------------------------------------ those of the package


PACKAGE = Path(primed.__file__).parent
SHIPPED = sorted(f"{path.parent.name}/{path.stem}" for path in PACKAGE.glob("*/*.safetensors"))
LIMIT = 16_000_000  # bytes, of all together


def test_those_of_the_package_are_small():
    assert sum(path.stat().st_size for path in PACKAGE.glob("*/*.safetensors")) <= LIMIT


@pytest.mark.parametrize("name", SHIPPED)
def test_each_of_the_package_is_what_its_header_says(name):
    one = list_primed()[name]
    assert one.path.parent.parent == PACKAGE
    assert {"recipe", "command", "seed", "commit", "step", "minutes", "parameters", "tasks"} <= one.header.keys()
    assert one.measured
    assert all(row["images"] > 0 and row["input_psnr"] > 0 for row in one.measured)
    network = gesso.load(f"primed:{name}")
    assert sum(parameter.numel() for parameter in network.parameters()) == one.header["parameters"]
    with torch.no_grad():
        assert network(torch.rand(1, 3, 40, 56)).isfinite().all()
    if name.split("/")[0] in one.header["tasks"]:
        assert restores(one.header, name.split("/")[0])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_recipe_of_each_of_the_package_still_runs(name, tmp_path):
    recipe = list_primed()[name].header["recipe"]
    recipe = rename_former(Pretrain, recipe) | {"steps": 1, "crop_size": 16, "batch_size": 1, "workers": 0}
    made = gesso.pretrain(out=tmp_path / "run", **recipe)
    assert read_state(made).keys() == read_state(f"primed:{name}").keys()
