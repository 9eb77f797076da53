"""List backbones, pretexts, degradations, tasks or recipes; with a name, its options and their defaults."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from docstring_parser import parse

from gesso import _discovery
from gesso.backbones import backbone_classes, list_backbones
from gesso.degradations import degradation_classes
from gesso.pretext import list_pretexts, pretext_class
from gesso.report.console import say, show_table
from gesso.tasks import TASKS

Kind = Literal["backbones", "pretexts", "degradations", "tasks", "recipes"]


def list(kind: Kind, name: str | None = None) -> None:
    """Prints what there is of a kind, or the options of one of them.

    Args:
        kind: "backbones", "pretexts", "degradations", "tasks" or "recipes".
        name: one of that kind, to see its options with their defaults and units.

    Raises:
        ValueError: for a name that does not exist.
    """
    entries = CATALOGUES[kind]()
    if name is None:
        show_table(("name", "what it is"), [(key, first_line(value)) for key, value in sorted(entries.items())])
    elif name not in entries:
        raise _discovery.UnknownNameError(f"unknown name {name!r} in {kind}; {_discovery.suggest(name, entries)}")
    elif isinstance(entries[name], str):
        say(entries[name])
    else:
        show_options(name, entries[name])


def first_line(thing: Any) -> str:
    """What a thing says of itself in one line."""
    text = thing.lstrip("# ") if isinstance(thing, str) else inspect.getdoc(thing) or ""
    return text.split("\n")[0]


def show_options(name: str, thing: Any) -> None:
    """Prints the options of a class with their defaults and documentation."""
    say(f"[bold]{name}[/bold]: {first_line(thing)}\n")
    documented = {p.arg_name: p.description for p in parse(inspect.getdoc(thing) or "").params}
    signature = inspect.signature(thing)
    preset = getattr(thing, "variants", {}).get(name, {})
    rows = [
        (option, repr(preset.get(option, parameter.default)), (documented.get(option) or "").replace("\n", " "))
        for option, parameter in signature.parameters.items()
        if option != "backbone"
    ]
    show_table(("option", "default", "meaning"), [tuple(cell.replace("[", r"\[") for cell in row) for row in rows])


def backbones() -> dict[str, Any]:
    """Backbone classes by the names of their published sizes."""
    classes = backbone_classes().values()
    return {name: next(c for c in classes if name in c.variants) for name in list_backbones()}


def recipes() -> dict[str, Any]:
    """The text of every recipe by `verb/name`."""
    folder = _discovery.ROOT / "recipes"
    return {str(path.relative_to(folder).with_suffix("")): path.read_text() for path in folder.glob("*/*.yaml")}


CATALOGUES: dict[str, Callable[[], dict[str, Any]]] = {
    "backbones": backbones,
    "pretexts": lambda: {name: pretext_class(name) for name in list_pretexts()},
    "degradations": lambda: dict(degradation_classes()),
    "tasks": lambda: {name: str(task) for name, task in TASKS.items()},
    "recipes": recipes,
}
