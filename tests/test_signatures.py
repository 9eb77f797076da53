"""Functions that can be called by heart: whoever needs more than ten parameters needs a value with names."""

import ast
from pathlib import Path

import pytest

import gesso

MOST = 10
FILES = sorted(Path(gesso.__file__).parent.rglob("*.py"))
CONSTRUCTORS = ("__init__",)  # options of networks, methods and values, each documented in its class


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FILES[0].parent).as_posix())
def test_no_function_takes_more_than_ten_parameters(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name not in CONSTRUCTORS:
            names = [one.arg for one in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
            names = [name for name in names if name not in ("self", "cls")]
            assert len(names) <= MOST, f"{node.name} in line {node.lineno} takes {', '.join(names)}"
