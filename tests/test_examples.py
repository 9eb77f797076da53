"""The demo runs from its first line to its last, in fewer steps, and ends with its numbers and its picture."""

import importlib.util
import json
from pathlib import Path

import cv2
import pytest

import gesso

ROOT = Path(__file__).parents[1]


def load_script(path: str):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crop_photos(demo, folder: Path, side: int = 128) -> Path:
    """The middle of each photo of the demo, in a folder of its own."""
    folder.mkdir()
    for name in (*demo.TRAIN, *demo.TEST):
        photo = cv2.imread(str(demo.PACKAGED / name))
        top, left = ((length - side) // 2 for length in photo.shape[:2])
        cv2.imwrite(str(folder / name), photo[top : top + side, left : left + side])
    return folder


def test_the_demo_restores_at_once_then_primes_and_fine_tunes(tmp_path, monkeypatch, capsys):
    demo = load_script("examples/demo.py")
    pretrain, finetune = gesso.pretrain, gesso.finetune
    monkeypatch.setattr(demo, "OUT", tmp_path / "demo")
    monkeypatch.setattr(demo, "NETWORK", "nafnet_tiny")
    monkeypatch.setattr(demo, "TEST", ["chelsea.png"])
    monkeypatch.setattr(demo, "PACKAGED", crop_photos(demo, tmp_path / "packaged"))
    monkeypatch.setattr(gesso, "pretrain", lambda **given: pretrain(**given | {"steps": 2}))
    monkeypatch.setattr(gesso, "finetune", lambda **given: finetune(**given | {"steps": 2}))
    demo.main()
    said = capsys.readouterr().out
    assert "primed:derain/" in said
    lines = {line.split("  ")[0]: line for line in said.splitlines() if "PSNR" in line and "dB, SSIM" in line}
    before, at_once = (float(lines[name].split("PSNR ")[1].split()[0]) for name in ("input", "at once"))
    assert at_once > before + 5
    assert "fine-tuned" in lines
    assert cv2.imread(str(tmp_path / "demo/sheet.png")) is not None


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, capsys):
    """Its cells in their order, as a kernel would, in a folder of their own; fewer runs, fewer and smaller steps."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.setattr(pyplot, "show", lambda: pyplot.close("all"))
    monkeypatch.chdir(tmp_path)
    fewer, compare, finetune = {"steps": 2, "crop_size": 32, "batch_size": 1}, gesso.compare, gesso.finetune
    monkeypatch.setattr(gesso, "compare", lambda **given: compare(**given | fewer | {"val_every": 2, "seeds": 0}))
    monkeypatch.setattr(gesso, "finetune", lambda **given: finetune(**given | fewer))
    notebook = json.loads((ROOT / "examples/first_hour.ipynb").read_text())
    assert notebook["nbformat"] == 4
    scope = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), scope)
    said = capsys.readouterr().out
    assert "restored at once" in said
    assert scope["at_once"].psnr > scope["before"].psnr + 3
    assert scope["outcome"].page.is_file()
    assert gesso.psnr(scope["restored"], scope["truth"]) > gesso.psnr(scope["rainy"], scope["truth"]) + 3


def test_no_scene_of_the_learning_curve_is_on_both_sides():
    prepare = load_script("research/prepare.py")
    pairs = [prepare.Pair(f"{scene}_{level}", Path(f"{scene}_{level}.png"), Path(f"{scene}.png"))
             for scene in range(10) for level in range(1 + scene % 3)]  # fmt: skip
    train, test = prepare.split_by_scene(pairs, prepare.SCENES["curve_dehaze"], 4)
    scenes = [{pair.gt.stem for pair in side} for side in (train, test)]
    assert len(scenes[1]) == 4
    assert not scenes[0] & scenes[1]
    assert sorted(pair.name for pair in train + test) == sorted(pair.name for pair in pairs)
    assert (train, test) == prepare.split_by_scene(pairs[::-1], prepare.SCENES["curve_dehaze"], 4)


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("Canon5D2_5_160_6400_desk_10_real.JPG", "Canon5D2_5_160_6400_desk"),
        ("NikonD800_6-3_125_5000_plant__4_real.JPG", "NikonD800_6-3_125_5000_plant"),
    ],
)
def test_crops_of_one_scene_of_polyu_are_known_by_their_names(name, scene):
    prepare = load_script("research/prepare.py")
    assert prepare.SCENES["curve_realnoise"](prepare.Pair("x", Path(name), Path("y"))) == scene
