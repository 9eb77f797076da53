"""The verbs, a file each in `commands`, `comparison` or `lab`, read without importing what is not asked for."""

import ast
import functools
import importlib
from collections.abc import Callable
from typing import Any

from gesso import _discovery
from gesso.options import Command, command_of


@functools.cache
def homes() -> dict[str, str]:
    """Every verb and the module that it is in."""
    files = [path for folder in ("commands", "comparison", "lab") for path in _discovery.verb_files(folder)]
    return {p.stem.replace("_", "-"): f"gesso.{p.parent.name}.{p.stem}" for p in sorted(files, key=lambda p: p.stem)}


@functools.cache
def verbs() -> dict[str, str]:
    """Every verb and the first line of its file, read without importing it."""
    files = {verb: _discovery.ROOT.joinpath(*home.split(".")[1:]).with_suffix(".py") for verb, home in homes().items()}
    trees = {verb: ast.parse(path.read_text(encoding="utf-8")) for verb, path in files.items()}
    return {verb: (ast.get_docstring(tree) or "").split("\n")[0] for verb, tree in trees.items()}


def function_of(verb: str) -> Callable[..., Any]:
    """The public function of a verb.

    Raises:
        UnknownNameError: with the nearest verb.
    """
    if verb not in homes():
        raise _discovery.UnknownNameError(f"unknown verb {verb!r}; {_discovery.suggest(verb, homes())}")
    return getattr(importlib.import_module(homes()[verb]), verb.replace("-", "_"))


def command(verb: str) -> type[Command[Any]]:
    """The command of a verb.

    Raises:
        UnknownNameError: with the nearest verb.
    """
    return command_of(function_of(verb))
