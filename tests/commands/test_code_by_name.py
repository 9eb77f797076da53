"""What a stranger's file may do: name options, and run nothing."""

import subprocess
import sys
import textwrap

import pytest
import torch
import yaml

import gesso
from gesso import _discovery, _recipes, checkpoint, cli
from gesso.backbones import create_backbone
from gesso.commands.finetune import finetune

SOURCE = """
    from pathlib import Path
    from torch import nn

    Path("code_has_run").touch()

    class Net(nn.Module):
        def __init__(self, width=4):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        def forward(self, x):
            return self.b(self.a(x).relu()) + x

    class Look(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    class Other:
        def __init__(self, *args, **options):
            Path("other_has_run").touch()

    def function(*args, **options):
        Path("other_has_run").touch()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that holds a module whose import leaves a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"stranger_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(SOURCE))
    yield tmp_path, name
    sys.modules.pop(name, None)
    _discovery.code_is_allowed.set(False)


def run(folder, verb, recipe, *words):
    """The exit code of a verb with a recipe."""
    (folder / "recipe.yaml").write_text(recipe if isinstance(recipe, str) else yaml.safe_dump(recipe))
    return cli.main([verb, "--config", str(folder / "recipe.yaml"), *words])


TINY = {"out": "run", "steps": 1, "crop_size": 16, "batch_size": 1, "sample_every": 0}
RECIPES = [
    ("pretrain", {**TINY, "backbone": "MOD:Net"}),
    ("pretrain", {**TINY, "backbone": "MOD:Other"}),
    ("pretrain", {**TINY, "backbone": "MOD:function"}),
    ("finetune", {**TINY, "task": "denoise", "data": "leaves", "backbone": "MOD:Net"}),
    ("refine", {**TINY, "task": "denoise", "data": "leaves", "checkpoint": "net.safetensors", "prior": "MOD:Look"}),
    ("refine", {**TINY, "task": "denoise", "data": "leaves", "checkpoint": "net.safetensors", "prior": "MOD:Other"}),
    ("refine", {**TINY, "task": "denoise", "checkpoint": "net.safetensors", "prior": "none", "refiner": "MOD:Net"}),
    ("refine", {**TINY, "task": "denoise", "checkpoint": "own.safetensors", "prior": "none",
                "backbone_args": {"target": "MOD:Net"}}),
    ("evaluate", {"task": "denoise", "data": "leaves", "checkpoint": "own.safetensors",
                  "backbone_args": {"target": "MOD:Net"}}),
    ("evaluate", {"task": "denoise", "data": "leaves", "checkpoint": "own.safetensors",
                  "backbone_args": "{target: 'MOD:Net'}"}),
    ("evaluate", {"task": "denoise", "data": "leaves", "checkpoint": "own.safetensors",
                  "backbone_args": {"options": {"options": [{"target": "MOD:Net"}]}}}),
    ("restore", {"input": "x", "out": "y", "checkpoint": "own.safetensors", "backbone_args": {"target": "MOD:Net"}}),
    ("export", {"checkpoint": "own.safetensors", "out": "y.pth", "backbone_args": {"target": "MOD:Net"}}),
    ("probe", {"backbone": "MOD:Net", "count": 3}),
    ("inspect", {"what": "MOD:Net", "out": "seen"}),
    ("compare", {**TINY, "task": "denoise", "data": "leaves", "backbone": "MOD:Net"}),
    ("pretrain", {**TINY, "images": {"class_path": "MOD.Other"}}),
    ("pretrain", {**TINY, "images": "{class_path: MOD.Other}"}),
    ("pretrain", {**TINY, "pretext_args": {"degradation": {"class_path": "MOD.Other"}}}),
    ("finetune", {**TINY, "task": "denoise", "degradation": {"class_path": "MOD.Other", "init_args": {}}}),
    ("finetune", {**TINY, "task": "all-in-one", "mix": [{"class_path": "MOD.Other"}, {"class_path": "MOD.Other"}]}),
    ("pretrain", {**TINY, "backbone": "!!python/object/apply:MOD.Other []"}),
    ("pretrain", "out: run\nimages: !!python/object/apply:MOD.Other []\n"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "recipe"), RECIPES)
def test_a_recipe_runs_no_code(folder, verb, recipe, capsys):
    place, module = folder
    text = (recipe if isinstance(recipe, str) else yaml.safe_dump(recipe)).replace("MOD", module)
    assert run(place, verb, text) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    assert not (place / "code_has_run").exists(), error
    assert not (place / "other_has_run").exists(), error
    assert not (place / "run").exists(), error


def test_with_the_flag_or_the_option_beside_it_it_does(folder):
    place, module = folder
    recipe = {**TINY, "backbone": f"{module}:Net", "pretext": "mfm"}
    assert run(place, "pretrain", recipe, "--out", "one", "--backbone", f"{module}:Net") == 0
    assert run(place, "pretrain", recipe, "--out", "two", "--allow_code") == 0
    assert (place / "code_has_run").exists()
    assert run(place, "pretrain", recipe, "--out", "three") == cli.BAD_INPUT  # the flag holds for one command


def test_no_file_allows_itself_anything(folder, capsys):
    place, module = folder
    assert run(place, "pretrain", {**TINY, "backbone": f"{module}:Net", "allow_code": True}) == cli.BAD_INPUT
    assert "no file allows itself to run code" in capsys.readouterr().err
    assert not (place / "code_has_run").exists()


def test_a_class_is_looked_at_before_it_is_called(folder):
    place, module = folder
    for name in ("Other", "function", "Path", "nn"):
        with pytest.raises(ValueError, match=r"has no nn\.Module"):
            create_backbone(f"{module}:{name}")
    for name in ("os:system", "a b:c", "x/y:Net", ":Net", "mod:", "mod:Net.inner"):
        with pytest.raises(ValueError, match=r"expected a class as package\.module:Class|has no nn\.Module"):
            create_backbone(name)
    assert not (place / "other_has_run").exists()


def test_the_record_of_a_strangers_run_runs_no_code(folder, capsys):
    place, module = folder
    gesso.save(create_backbone("restormer_tiny"), place / "theirs" / "backbone.safetensors")
    record = {"pretext": "ifp", "backbone": f"{module}:Net", "steps": 3, "seed": 0}
    (place / "theirs" / "config.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(ValueError, match=f"config.yaml: names the class {module}:Net, and code that a file names"):
        gesso.inspect(place / "theirs", out=place / "seen", count=4)
    assert cli.main(["pretrain", "--config", str(place / "theirs/config.yaml"), "--out", "x"]) == cli.BAD_INPUT
    assert "names the class" in capsys.readouterr().err
    assert not (place / "code_has_run").exists()


def test_a_start_of_a_comparison_chooses_no_network(folder):
    """A recipe's own network gives way to that of the comparison, whatever it is."""
    from gesso.comparison.arms import Common, find_arms

    place, module = folder
    (place / "mine.yaml").write_text(yaml.safe_dump({"pretext": "mfm", "backbone": f"{module}:Net", "steps": 3}))
    network = {"backbone": "restormer_tiny", "backbone_args": {}}
    _, start = find_arms([str(place / "mine.yaml")], {}, {}, Common(network, {}, "denoise"))
    assert start.pretraining["backbone"] == "restormer_tiny"
    assert not (place / "code_has_run").exists()


# --------------------------------------------------------------------------------------------------- files of options

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
LONG = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 9_000)}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 10,000 values"),
        (LONG, "more than 10,000 values"),
        ("a: &a [*a]\n", "more than 10,000 values"),
        ("x: " + "[" * 100_000, "expected YAML"),
        ("steps: " + "9" * 100_000, "expected text, numbers, lists and options|more than 10,000 values"),
        ("x" * 11_000_000, "more than 10,000,000 bytes"),
        ("config: /etc/passwd\n", "config: a recipe is a whole sentence and reads no other file"),
        ("steps: 2020-99-99\n", "expected text, numbers, lists and options"),
        ("steps: !!timestamp secret\n", "expected text, numbers, lists and options"),
        ("? [a, b]\n: 3\n", "expected text, numbers, lists and options|steps|expected"),
        ("secret: 'of somebody\nroot:x:0:0\n", "expected YAML in line"),
        ("root:x:0:0:secret:/root:/bin/bash\nbin:x:1:1\n", "expected options"),
    ],
    ids=range(12),
)
def test_what_is_no_recipe_is_refused_at_once_and_not_quoted(text, message, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        _recipes.read_recipe(tmp_path / "recipe.yaml")
    assert cli.main(["pretrain", "--config", str(tmp_path / "recipe.yaml"), "--out", "x"]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert "secret" not in error
    assert "root:x" not in error
    assert len(error) < 500


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E5", 1e5), ("-.5", -0.5), ("3", 3), ("1_000", 1000), ("x1", "x1"), ("1.2.3", "1.2.3"),
     ("'3'", "3"), ("1.", 1.0), ("-", ["-"]), ("e5", "e5"), ("0.9", 0.9)],
)  # fmt: skip
def test_numbers_are_what_everybody_takes_them_for(text, value, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"x: {text}\n" if text != "-" else "x: ['-']\n")
    read = _recipes.read_recipe(tmp_path / "recipe.yaml")["x"]
    assert (type(read), read) == (type(value), value)


# ----------------------------------------------------------------------------------------------------------- objects


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.b = torch.nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        return self.b(self.a(x).relu()) + x


@pytest.mark.parametrize("wrap", [lambda net: net, gesso.wrap], ids=["module", "wrapped"])
def test_an_object_stands_where_a_name_is_taken(wrap, tmp_path, capsys):
    torch.manual_seed(0)
    net = Own()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small = {"steps": 1, "crop_size": 16, "batch_size": 1, "sample_every": 0}
    first = gesso.pretrain(out=tmp_path / "one", pretext="mfm", backbone=wrap(net), **small)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    record = yaml.safe_load((tmp_path / "one/config.yaml").read_text())
    assert record["backbone"].startswith("an object of ")
    assert record["backbone"].endswith("Own given in Python; this record alone cannot make it again")
    gesso.pretrain(out=tmp_path / "one", pretext="mfm", backbone=wrap(net), resume=True, **small)
    assert cli.main(["pretrain", "--config", str(tmp_path / "one/config.yaml"), "--out", str(tmp_path / "x")]) == 2
    assert "give the object again, in Python" in capsys.readouterr().err
    small["val_every"] = 1
    out = finetune(
        out=tmp_path / "two", task="denoise", data="leaves", holdout=1, backbone=wrap(net), init=first, tile=64, **small
    )
    target = f"{Own.__module__}:{Own.__qualname__}"
    header = checkpoint.read_header(out)
    assert header["options"]["target"] == target


def test_a_degradation_stands_where_a_name_is_taken(tmp_path):
    from gesso.degradations.noise import GaussianNoise

    small = {"steps": 1, "crop_size": 16, "batch_size": 1, "sample_every": 0, "holdout": 1}
    noise = GaussianNoise(sigma=(5, 10))
    out = {"backbone": "restormer_tiny", "task": "denoise", "data": "leaves", "degradation": noise}
    gesso.finetune(out=tmp_path / "one", **out, **small)
    record = yaml.safe_load((tmp_path / "one/config.yaml").read_text())
    assert gesso.create_degradation(**record["degradation"]) == noise


def test_a_restorer_takes_what_its_file_does_not_tell(folder, monkeypatch):
    place, module = folder
    monkeypatch.syspath_prepend(str(place))
    gesso.save(create_backbone(f"{module}:Net", width=6), place / "own.safetensors")
    with pytest.raises(ValueError, match=f"target='{module}:Net'"):
        gesso.Restorer.load(place / "own.safetensors")
    restorer = gesso.Restorer.load(place / "own.safetensors", target=f"{module}:Net", tile=32)
    assert restorer.tile == 32
    assert restorer(torch.rand(3, 20, 20)).shape == (3, 20, 20)
    with pytest.raises(ValueError, match="has no option 'tilde'"):
        gesso.Restorer.load(place / "own.safetensors", target=f"{module}:Net", tilde=32)


def test_a_wrong_keyword_says_so_before_anything_heavy_is_imported():
    code = "import gesso, sys\ntry: gesso.pretrain(stepz=3)\nexcept ValueError as error: print(error)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "stepz: there is no such option; did you mean steps" in answer
