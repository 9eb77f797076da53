"""What holds for every file: none names a file of a registry, and none leans on what other packages call private."""

import ast
import re
from pathlib import Path

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

import gesso

ROOT = Path(gesso.__file__).parent
NAMED = re.compile(
    r"^\s*(?:from gesso\.(backbones|pretext|refiner|sources)\.([a-z]\w*) import|"
    r"import gesso\.(?:backbones|pretext|refiner|sources)\.[a-z])",
    re.MULTILINE,
)
WRAPPER = ("backbones", "external")  # not a network but what wraps one, which the folder and the public names offer
FILES = sorted(ROOT.rglob("*.py"))
FOREIGN_PRIVATE = {  # each with its reason beside it, in the file
    "checkpoint/graph.py": ["torch._dynamo"],
    "checkpoint/inert.py": ["_compat_pickle"],
    "functional/memory.py": ["torch.utils._python_dispatch"],
    "functional/onednn.py": ["torch.ops.mkldnn._convolution_pointwise", "torch.ops.mkldnn._linear_pointwise"],
    "restorer.py": ["torch.cpu._is_amx_tile_supported", "torch.cpu._is_avx512_bf16_supported"],
}
DOCUMENTED = {"_replace", "_fields", "_asdict", "_exit"}  # of named tuples and of `os`, in Python's own manual
OPTIONS_OF_A_METHOD = ("backbones", "pretext", "refiner")  # whose constructors have the options that the papers name
MOST_PARAMETERS = 10
BASES = (nn.Module, LightningModule, Callback, Trainer)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_of_a_registry_is_imported_by_name(path):
    found = NAMED.findall(path.read_text(encoding="utf-8"))
    may_wrap = path.name == "__init__.py" and path.parent in (ROOT, ROOT / "backbones")
    assert [one for one in found if not (may_wrap and one == WRAPPER)] == []


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_names_of_others(tree):
    """What a file takes from other packages though they call it private: by import, on an object, or by overriding."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("gesso"):
            if any(map(is_private, [*(node.module or "").split("."), *(name.name for name in node.names)])):
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if any(map(is_private, name.name.split("."))))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in DOCUMENTED:
            if ast.unparse(node.value) not in ("self", "cls", "super()"):
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            if isinstance(node.args[1], ast.Constant) and is_private(node.args[1].value):
                yield ast.unparse(node)
        elif isinstance(node, ast.ClassDef):
            own = [part for part in node.body if isinstance(part, ast.FunctionDef) and is_private(part.name)]
            own = [part.name for part in own if f"super().{part.name}(" in ast.unparse(part)]
            yield from (f"{node.name}.{name}" for name in own if any(hasattr(base, name) for base in BASES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_private_names_of_other_packages_are_those_that_are_listed(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).as_posix()
    assert sorted(private_names_of_others(tree)) == FOREIGN_PRIVATE.get(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_function_takes_more_than_ten_parameters(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
            is_method = node.name == "__init__" and path.parent.name in OPTIONS_OF_A_METHOD
            assert len(names) <= MOST_PARAMETERS or is_method, f"{node.name}, line {node.lineno}"
