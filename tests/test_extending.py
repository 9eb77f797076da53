"""Parts of a user's own, each a file outside the package, as docs/extending.md shows them: from Python, YAML, names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import gesso
from gesso import _discovery, cli
from gesso.checkpoint import read_header
from gesso.sources.leaves import leaves

OWN = Path(__file__).parent / "extending"
PAGE = OWN.parents[1] / "docs" / "extending.md"
NAMES = sorted(path.stem for path in OWN.glob("own_*.py"))
SMALL = {"steps": 2, "crop_size": 16, "batch_size": 1, "accelerator": "cpu", "precision": "float32"}
TARGET = "own_backbone:HalfSize"
PRETRAIN = {
    "backbone": TARGET, "pretext": "own_pretext:Colours", "pretext_args": {"share": 0.9}, "images": "own_source:waves",
    "schedule": "own_losses:linear", **SMALL,
}  # fmt: skip
FINETUNE = {
    "backbone": TARGET, "task": "own_task:LAMPS", "data": "data", "layout": "own_layout:lamps", "val_every": 0,
    "loss": {"name": "own_losses:edges", "weight": 0.5}, "critic": {"name": "own_losses:Sparse", "power": 2.0}, **SMALL,
}  # fmt: skip
EVALUATE = {"task": "own_task:LAMPS", "data": "data", "layout": "own_layout:lamps"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the user's files and data: five pairs to train, two to test."""
    folder = tmp_path_factory.mktemp("extending")
    for name in NAMES:
        shutil.copy(OWN / f"{name}.py", folder)
    for split, count in (("train", 5), ("test", 2)):
        for number in range(count):
            for side, light in (("dim", 0.4), ("bright", 1.0)):
                gesso.write_image(folder / "data" / split / f"{number}.{side}.png", light * leaves(0, number, 32))
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """The working folder is on the path, as it is for a script that lies in it."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [str(place), *sys.path])
    yield
    _discovery.code_is_allowed.set(False)
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def runs(place):
    """The folder of a pre-training and a fine-tuning, told by names in YAML with --allow_code."""
    path = sys.path
    sys.path = [str(place), *path]
    try:
        for verb, recipe, folder in (("pretrain", PRETRAIN, "one"), ("finetune", FINETUNE, "two")):
            (place / f"{verb}.yaml").write_text(yaml.safe_dump(recipe))
            words = [verb, "--config", str(place / f"{verb}.yaml"), "--out", str(place / folder)]
            words += ["--init", str(place / "one/backbone.safetensors")] if verb == "finetune" else []
            words += ["--data", str(place / "data")] if verb == "finetune" else []
            assert cli.main(words) == cli.BAD_INPUT, "code that a file names does not run unasked"
            assert not (place / folder).exists()
            assert cli.main([*words, "--allow_code"]) == 0
    finally:
        sys.path = path
    return place


def test_the_page_shows_the_files_that_are_run():
    page = PAGE.read_text()
    assert len(NAMES) == 10
    for name in NAMES:
        assert f'title="{name}.py"\n{(OWN / f"{name}.py").read_text().rstrip()}\n```' in page, name


def test_a_recipe_of_names_runs_and_its_record_repeats_it(runs):
    assert read_header(runs / "one/backbone.safetensors")["backbone"] == TARGET
    record = yaml.safe_load((runs / "two/config.yaml").read_text())
    assert {name: record[name] for name in ("task", "layout", "loss", "critic", "backbone")} == {
        name: FINETUNE[name] for name in ("task", "layout", "loss", "critic", "backbone")
    }
    words = ["pretrain", "--config", str(runs / "one/config.yaml"), "--out", "again"]
    assert cli.main(words) == cli.BAD_INPUT
    assert cli.main([*words, "--allow_code"]) == 0
    first, again = (gesso.load(f"{folder}/backbone.safetensors", target=TARGET) for folder in ("one", "again"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_the_same_things_themselves_make_the_same_network(runs):
    from own_backbone import HalfSize
    from own_layout import lamps
    from own_losses import edges, linear
    from own_pretext import Colours
    from own_source import waves
    from own_task import LAMPS

    options = PRETRAIN | {"backbone": HalfSize, "pretext": Colours, "images": waves, "schedule": linear}
    first = gesso.pretrain(out="objects", **options)
    assert gesso.load(first, target=TARGET).options == gesso.load("one/backbone.safetensors", target=TARGET).options
    tensors = [gesso.load(path, target=TARGET).state_dict() for path in (first, "one/backbone.safetensors")]
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    record = yaml.safe_load(Path("objects/config.yaml").read_text())
    assert (record["pretext"], record["images"]) == ("own_pretext:Colours", "own_source:waves")
    assert (record["backbone"], record["schedule"]) == (TARGET, "own_losses:linear")
    scores = gesso.evaluate(
        checkpoint=gesso.finetune(
            out="tuned", backbone=HalfSize(), init=first, task=LAMPS, data="data", layout=lamps, loss=edges, **SMALL
        ),
        backbone_args={"target": TARGET}, task=LAMPS, data="data", layout=lamps,
    )  # fmt: skip
    assert scores is not None


def test_it_is_evaluated_inspected_compared_and_exported_by_name(runs):
    file, trust = str(runs / "two/backbone.safetensors"), ["--backbone_args.target", TARGET]
    data = ["--task", "own_task:LAMPS", "--data", "data", "--layout", "own_layout:lamps"]
    assert cli.main(["evaluate", "--checkpoint", file, *data]) == cli.BAD_INPUT
    assert cli.main(["evaluate", "--checkpoint", file, *data, *trust]) == 0
    assert cli.main(["export", file, "lamps.pth", "--format", "basicsr", *trust]) == 0
    assert "params" in torch.load("lamps.pth", weights_only=True)
    restorer = gesso.Restorer.load(file, target=TARGET)
    assert restorer(torch.rand(3, 21, 30)).shape == (3, 21, 30)


LOOK = {"count": 4, "crop_size": 16}


def test_what_ones_own_pre_training_did_is_inspected(runs, capsys):
    words = ["inspect", "one", "--out", "seen", "--count", "4", "--crop_size", "16", "--images", "own_source:waves"]
    degradations = ("own_degradation:Fade", "own_degradation:grain", "rain")
    words += ["--spectra", "true", "--degradations", f"[{', '.join(degradations)}]"]
    assert cli.main(words) == cli.BAD_INPUT
    assert "own_backbone:HalfSize" in capsys.readouterr().err
    assert not Path("seen").exists()
    assert cli.main([*words, "--allow_code"]) == 0
    _discovery.code_is_allowed.set(False)
    found = gesso.inspect(
        "one", out="again", images="own_source:waves", spectra=True, pretext="own_pretext:Colours",
        backbone_args={"target": TARGET}, degradations=list(degradations), **LOOK,
    )  # fmt: skip
    assert found == json.loads(Path("seen/inspection.json").read_text())
    assert found["spectra"]["classes"] == ["fade", "grain", "rain"]
    assert list(found["features"]) == ["noise", "leaves", "own_source:waves"]
    assert "as config.yaml beside the file says" in found["start"]["words"]
    assert max(one["relative"] for one in found["weights"]["its beginning"]["parts"].values()) < 0.1


@pytest.mark.parametrize("what", [TARGET, "class", "object", "own_network:Plain", "package.own:Net"])
def test_networks_of_ones_own_are_inspected_by_name_class_or_object(runs, what):
    from own_backbone import HalfSize
    from own_degradation import Fade
    from own_source import waves

    Path("package").mkdir(exist_ok=True)
    shutil.copy("own_network.py", "package/own.py")
    Path("package/own.py").write_text(Path("package/own.py").read_text().replace("class Plain", "class Net"))
    spec = {"class": HalfSize, "object": HalfSize(width=4)}.get(what, what)
    out = f"looked-{what.replace(':', '-')}"
    found = gesso.inspect(spec, out=out, images=waves, against="nafnet_tiny", degradations=[Fade(), "rain"], **LOOK)
    assert list(found["features"]) == ["noise", "leaves", "waves"]
    name = "HalfSize" if what == "object" else "random start"
    assert name in found["networks"]
    assert Path(out, "features.svg").exists()


def test_an_object_that_nothing_builds_again_is_inspected_without_a_start(runs):
    from own_network import Plain

    class Wide(Plain):
        """A class that no name finds."""

        def __init__(self, width):
            super().__init__(width)

    found = gesso.inspect(Wide(6), out="wide", **LOOK)
    assert found["start"]["words"] == "nothing says how it began"
    assert found["networks"] == ["Wide"]


@pytest.mark.parametrize("spec", ["own_refiner:Touch", "class", "object"])
def test_a_refiner_of_ones_own_follows_a_restorer_by_name_class_or_object(runs, spec):
    from own_prior import Brightness
    from own_refiner import Touch

    built = {"class": Touch, "object": Touch(12, width=4)}
    options = {key: FINETUNE[key] for key in ("task", "data", "layout", "val_every")} | SMALL
    file, out = "two/backbone.safetensors", f"refined-{spec[:3]}"
    refined = gesso.refine(
        out=out, checkpoint=file, backbone_args={"target": TARGET}, prior="own_prior:Brightness",
        refiner=built.get(spec, spec), refiner_args=None if spec == "object" else {"width": 4}, **options,
    )  # fmt: skip
    facts = {"target": TARGET, "prior": Brightness()}
    with pytest.raises(ValueError, match="its refiner is a class of your own, own_refiner:Touch, which is run only"):
        gesso.load(refined, **facts)
    net = gesso.load(refined, refiner="own_refiner:Touch", **facts)
    assert type(net.refiner).__name__ == "Touch"
    assert net.refiner.first.out_channels == 4
    assert net.refiner.last.weight.any(), "it was trained"
    assert yaml.safe_load(Path(out, "config.yaml").read_text())["refiner"].endswith(
        "own_refiner:Touch" if spec != "object" else "this record alone cannot make it again"
    )
    words = ["evaluate", "--checkpoint", str(refined), "--backbone_args.target", TARGET, "--task", "own_task:LAMPS"]
    words += ["--data", "data", "--layout", "own_layout:lamps", "--backbone_args.prior", "own_prior:Brightness"]
    assert cli.main(words) == cli.BAD_INPUT
    assert cli.main([*words, "--backbone_args.refiner", "own_refiner:Touch"]) == 0


@pytest.mark.parametrize(
    ("refiner", "options", "message"),
    [
        ("ptgrm", {}, "unknown refiner 'ptgrm'; did you mean ptg_rm"),
        ("own_prior:Brightness", {}, "own_prior has no nn.Refiner 'Brightness'"),
        ("own_refiner:Touch", {"refiner_args": {"widht": 4}}, "did you mean width"),
        ("own_refiner:Touch", {"ablation": "larger"}, "ablation: expected full, got 'larger'"),
    ],
)
def test_what_is_no_refiner_is_said(runs, refiner, options, message):
    given = {key: FINETUNE[key] for key in ("task", "data", "layout")} | SMALL
    facts = {"checkpoint": "two/backbone.safetensors", "backbone_args": {"target": TARGET}, "prior": "none"}
    with pytest.raises(ValueError, match=message):
        gesso.refine(out="refused", refiner=refiner, **facts, **given, **options)


def test_degradations_of_ones_own_make_pairs(runs):
    for number, degradation in enumerate(
        ["own_degradation:Fade", "own_degradation:grain", "[own_degradation:Fade, jpeg]"]
    ):
        words = ["degrade", "data/train/0.bright.png", f"pairs{number}", "--degradation", degradation]
        assert cli.main(words) == 0
        assert len(list(Path(f"pairs{number}").rglob("*.png"))) == 2
    import own_degradation

    written = gesso.degrade("data/train/0.bright.png", "pairs3", degradation=own_degradation.Fade(share=0.5))
    assert written is not None


@pytest.mark.parametrize("backbone", ["own_network:Plain", "object"])
def test_a_module_that_knows_nothing_of_gesso_is_enough(runs, backbone):
    from own_network import Plain

    network = Plain() if backbone == "object" else backbone
    out = gesso.pretrain(out=f"plain-{backbone[:3]}", backbone=network, pretext="ifp", **SMALL)
    assert gesso.load(out, target="own_network:Plain").channels == [8]


def test_a_pretext_of_ones_own_is_a_start_of_a_comparison_and_a_recipe_names_none_unasked(runs):
    from gesso.comparison.arms import Common, find_arms

    common = Common({"backbone": TARGET, "backbone_args": {}}, {}, "derain")
    _, own = find_arms(["own_pretext:Colours"], {}, {}, common)
    assert own.pretraining["pretext"] == "own_pretext:Colours"
    with pytest.raises(ValueError, match=r"pretrain\.yaml: names the class own_"):
        find_arms([str(runs / "pretrain.yaml")], {}, {}, common)


def test_a_file_chooses_no_class(runs):
    with pytest.raises(
        ValueError, match="its network is a class of your own, own_backbone:HalfSize, which is run only"
    ):
        gesso.load("one/backbone.safetensors")
    code = "import sys, gesso\ntry: gesso.load('one/backbone.safetensors')\n"
    code += "except ValueError: print('own_backbone' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=runs)
    assert answer.stdout.strip() == "False"
