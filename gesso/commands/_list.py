"""List what there is of a kind, such as backbones, pretexts or tasks; with a name, its options and defaults."""

import inspect
import itertools
import re
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from docstring_parser import parse

from gesso import _discovery
from gesso.backbones import backbone_classes, create_backbone, list_backbones
from gesso.commands.list import List
from gesso.data.layouts import list_layouts, open_layout
from gesso.degradations import degradation_classes
from gesso.pretext import list_pretexts, pretext_class
from gesso.primed import list_primed
from gesso.refiner import list_refiners, refiner_class
from gesso.report.console import console, say, show_entries, show_table
from gesso.sources import all_sources
from gesso.tasks import TASKS


def run(command: List) -> None:
    """Does what `gesso.commands.list.List` describes."""
    if command.kind is None:
        show_entries(("kind", "names"), [(kind, ", ".join(sorted(entries()))) for kind, entries in CATALOGUES.items()])
        say("`gesso list KIND` says what each is, `gesso list KIND NAME` its options")
        return
    entries = CATALOGUES[command.kind]()
    if not entries:
        say(f"there are none; {NONE_OF[command.kind]}")
        return
    if command.name is None and command.kind == "backbones":
        show_sizes(entries)
        return
    if command.name is None and command.kind == "primed":
        show_primed()
        return
    if command.name is None:
        rows = [(key, first_line(value)) for key, value in sorted(entries.items())]
        show_entries(("name", "what it is"), rows)
        return
    named = sorted(
        key for key in entries if key == command.name or key.endswith(f"/{command.name}")
    )  # a recipe, with or without verb
    if not named:
        raise _discovery.UnknownNameError(
            f"unknown name {command.name!r} in {command.kind}; {_discovery.suggest(command.name, entries)}"
        )
    for key in named:
        if isinstance(entries[key], str):
            say(f"# {key}\n{entries[key]}" if key != command.name else entries[key])
        else:
            show_options(key, entries[key])


def first_line(thing: Any) -> str:
    """What a thing says of itself in one line; of a recipe, the first sentence of its comment."""
    if not isinstance(thing, str):
        return (inspect.getdoc(thing) or "").split("\n")[0]
    head = itertools.takewhile(lambda line: line.startswith("#"), thing.split("\n"))
    comment = " ".join(line.lstrip("# ") for line in head)
    return re.split(r"(?<=[.;]) ", comment)[0].rstrip(".;") + "." if comment else thing


def show_sizes(entries: dict[str, Any]) -> None:
    """Prints every network with the names of its sizes, and the options that make them."""
    for thing in dict.fromkeys(entries.values()):
        say("\n" + textwrap.fill(first_line(thing), console.width), "bold")
        rows = [(name, options_in_words(thing.variants[name])) for name in thing.variants]
        show_entries(("name", "options beside the defaults"), rows)


def show_primed() -> None:
    """Prints the networks of the package, what each reaches on real pairs, and which are starts alone."""
    rows, known = [], list_primed()
    for name, one in known.items():
        if not one.measured:
            rows.append((name, "not measured on real pairs", "", "", ""))
        for number, found in enumerate(one.measured):
            before, psnr = found.get("input_psnr"), found["psnr"]
            told = (
                ("", f"{psnr:.2f}", "") if before is None else (f"{before:.2f}", f"{psnr:.2f}", f"{psnr - before:+.2f}")
            )
            rows.append(("" if number else name, found["set"], *told))
    show_table(("name", "real pairs", "input (dB)", "PSNR (dB)", "gain (dB)"), rows, words=2)
    say("All were trained without a photo or a pair; `gesso list primed NAME` tells more.")
    if below := [name for name, one in known.items() if one.worsens]:
        say(f"Below its input in the mean, so a start to fine-tune from: {', '.join(below)}.")


def options_in_words(options: dict[str, Any]) -> str:
    """Options in one line.

    Example:
        >>> options_in_words({"width": 32, "enc_blk_nums": [1, 1], "train_size": (256, 256)})
        'width 32, enc_blk_nums 1 1, train_size 256 256'
    """
    values = {name: re.sub(r"[\[\](),]", "", str(value)) for name, value in options.items()}
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "none"


def show_options(name: str, thing: Any) -> None:
    """Prints the options of a class with their defaults and documentation."""
    say(f"{name}: {first_line(thing)}", "bold")
    if name in list_backbones():
        with torch.device("meta"):  # shapes alone
            say(f"{sum(weight.numel() for weight in create_backbone(name).parameters()):,} parameters")
    say("")
    documented = {p.arg_name: p.description for p in parse(inspect.getdoc(thing) or "").params}
    signature = inspect.signature(thing)
    preset = getattr(thing, "variants", {}).get(name, {})
    rows = [
        (option, usual_value(preset.get(option, parameter.default)), (documented.get(option) or "").replace("\n", " "))
        for option, parameter in signature.parameters.items()
        if option != "backbone"
    ]
    show_entries(("option", "default", "meaning"), rows)


def usual_value(default: Any) -> str:
    """A default in a table; an option without one has to be given."""
    return "required" if default is inspect.Parameter.empty else repr(default)


def backbones() -> dict[str, Any]:
    """Backbone classes by the names of their published sizes."""
    classes = backbone_classes().values()
    return {name: next(c for c in classes if name in c.variants) for name in list_backbones()}


def recipes() -> dict[str, Any]:
    """The text of every recipe by `verb/name`."""
    folder = _discovery.ROOT / "recipes"
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.glob("*/*.yaml")}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


CATALOGUES: dict[str, Callable[[], dict[str, Any]]] = {
    "backbones": backbones,
    "pretexts": lambda: {name: pretext_class(name) for name in list_pretexts()},
    "refiners": lambda: {name: refiner_class(name) for name in list_refiners()},
    "degradations": lambda: dict(degradation_classes()),
    "sources": lambda: dict(all_sources()),
    "layouts": lambda: {name: open_layout(name) for name in list_layouts()},
    "tasks": lambda: {name: str(task) for name, task in TASKS.items()},
    "recipes": recipes,
    "primed": lambda: {name: str(one) for name, one in list_primed().items()},
}

NONE_OF = {"primed": "`gesso pretrain --config restore_leaves_small --pretext_args.task TASK` makes one in minutes"}
