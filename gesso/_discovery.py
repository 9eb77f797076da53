"""The folder is the registry: a file in `backbones`, `pretext`, `degradations` or `recipes` is all it takes.

Names are read off file names (no import), components off the one class a module defines, options off its signature.
"""

import difflib
import importlib
import inspect
from collections.abc import Collection, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent


class UnknownNameError(ValueError):
    """A name or option that does not exist; the message lists what does, nearest first."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The sentence that ends an error: `did you mean ...?` where something is near, else what is known.

    Example:
        >>> suggest("restormr", ["restormer", "nafnet"])
        'did you mean restormer?'
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def files(folder: str) -> list[str]:
    """Module names in a folder of gesso that hold a component, sorted; names that begin with `_` are private."""
    return sorted(path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_"))


def module(folder: str, name: str) -> ModuleType:
    """The module `gesso.<folder>.<name>`, imported.

    Raises:
        UnknownNameError: if there is no such file.
    """
    if name not in files(folder):
        raise UnknownNameError(f"unknown {folder.rstrip('s')} {name!r}; {suggest(name, files(folder))}")
    return importlib.import_module(f"gesso.{folder}.{name}")


def classes(folder: str, base: type) -> dict[str, type]:
    """Every public subclass of `base` that the files of a folder define: class name -> class."""
    found: dict[str, type] = {}
    for name in files(folder):
        for key, value in vars(module(folder, name)).items():
            ours = inspect.isclass(value) and issubclass(value, base) and value.__module__ == f"gesso.{folder}.{name}"
            if ours and not key.startswith("_"):
                found[key] = value
    return found


def check_options(function: Any, options: Iterable[str], what: str) -> None:
    """Checks option names against a signature.

    Raises:
        UnknownNameError: naming the option, what `what` takes, and the nearest match.
    """
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    check_names(options, [name for name in parameters if name != "self"], what)


def check_names(options: Iterable[str], known: Collection[str], what: str) -> None:
    """Checks option names against those that `what` takes.

    Raises:
        UnknownNameError: naming the option, what `what` takes, and the nearest match.
    """
    for option in options:
        if option not in known:
            raise UnknownNameError(f"{what} has no option {option!r}; {suggest(option, known)}")


def recipe_file(verb: str, name: str) -> Path:
    """The YAML file of a recipe by its name, or the file that `name` is.

    Raises:
        UnknownNameError: if it is neither.
    """
    folder = ROOT / "recipes" / verb
    known = {path.stem: path for path in folder.glob("*.yaml")}
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if name in known:
        return known[name]
    if path.is_file():
        return path
    raise UnknownNameError(f"no recipe or file {name!r} for {verb}; {suggest(name, known)}")
