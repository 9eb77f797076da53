"""An environment of the twelve core dependencies alone: every module can be imported, and verbs need no extra."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from gesso.cli import main

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

WITHOUT_EXTRAS = """
import importlib, pkgutil, sys


class Without:
    def __init__(self, finder, names):
        self.finder, self.names = finder, names

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in self.names else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder, sys.argv[1].split(",")) for finder in sys.meta_path]

import gesso

own = [info.name for info in pkgutil.walk_packages(gesso.__path__, "gesso.") if not info.name.endswith("__main__")]
for name in own:
    importlib.import_module(name)
print(len(own))

from gesso.cli import main

for words in (["list", "backbones"], ["list", "primed"], ["finetune", "--help"], ["restore", *sys.argv[2:]]):
    try:
        main(words)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def name_extras() -> set[str]:
    """The modules of all optional dependencies that no core dependency is, and what they bring."""
    pyproject = tomllib.loads(PYPROJECT.read_text())
    modules = pyproject["tool"]["deptry"]["package_module_name_map"]
    extras = pyproject["project"]["optional-dependencies"]
    names = {re.split(r"[^\w-]", line)[0] for extra, lines in extras.items() if extra != "dev" for line in lines}
    brought = {"jinja2", "torchmetrics"}  # by PyTorch, and by Lightning
    return {modules.get(name, name) for name in names - brought} | {"onnx_ir", "skimage", "timm", "pandas"}


def test_the_core_alone_imports_lists_and_restores(tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (24, 16), (90, 120, 60)).save(photo)
    words = [sys.executable, "-c", WITHOUT_EXTRAS, ",".join(sorted(name_extras()))]
    words += [str(photo), str(tmp_path / "out.png"), "--task", "derain"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["compare", "--data", "gone", "--task", "derain", "--backbone", "nafnet_tiny"], "compare"),
        (["inspect", "gone"], "lab"),
        (["probe", "--backbone", "gone"], "lab"),
    ],
)
def test_what_is_missing_for_charts_is_said_before_any_work(words, extra, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else find(name))
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    told = f"needs matplotlib, which is not installed; pip install 'gesso[{extra}]'"
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["matplotlib", "onnx", "onnxruntime", "sklearn", "tensorboard", "tifffile", "wandb"])
def test_the_extras_are_known_by_their_modules(name):
    assert name in name_extras()
