"""`gesso VERB --option value`: a word is a file in `commands`, `comparison` or `lab`, its flags are the fields there.

Nothing is imported but the verb that is asked for, so `gesso --help` needs neither torch nor anything else.
"""

import io
import os
import re
import sys
import time
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from gesso import __version__, _discovery
from gesso._names import readable
from gesso._recipes import read_recipe
from gesso.commands._parser import explain, parser_for, plain
from gesso.commands._verbs import command, function_of, homes, verbs
from gesso.options import Command, began, check_options, options_of, rename_former

__all__ = ["command", "function_of", "homes", "main", "parser_for", "read_options", "verbs"]

BAD_INPUT, INTERRUPTED = 2, 130
PRINT = "--print_config"


def overview() -> str:
    """What `gesso --help` prints."""
    lines = [
        "gesso primes image-restoration networks before they see a picture.",
        "",
        "usage: gesso VERB [--config RECIPE|FILE] [--option value ...]",
        "       gesso VERB --help",
        "",
    ]
    lines += [f"  {verb:<12} {line}" for verb, line in verbs().items()]
    return "\n".join(lines)


def spell_out(command: type[Command[Any]], words: Sequence[str]) -> list[str]:
    """The words of a command line with positional arguments and flags spelled out.

    `--resume` alone means `--resume=true`, `none` is `null` where there may be nothing, and `1,2` in an option of
    options is a list.

    Raises:
        ValueError: for options deeper than options of options.
    """
    hints = {f"--{name}": plain(option.kind) for name, option in options_of(command).items()}
    switches = {name for name, hint in hints.items() if hint is bool or {*get_args(hint)} == {bool, types.NoneType}}
    nullable = {name for name, hint in hints.items() if types.NoneType in get_args(hint)}
    positional = [name for name, option in options_of(command).items() if option.positional]
    words, spelled = list(words), []
    while words and positional and not words[0].startswith("-"):
        spelled += [f"--{positional.pop(0)}", words.pop(0)]
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word in switches and (i + 1 == len(words) or words[i + 1].startswith("--")):
            words[i] = f"{word}=true"
        elif word in nullable and words[i + 1 : i + 2] == ["none"]:
            words[i + 1] = "null"
        elif word.endswith("=none") and word.removesuffix("=none") in nullable:
            words[i] = word.removesuffix("none") + "null"
        elif name.startswith("--") and "." in name:
            if name.count(".") > 1:
                outer, inner = name.rsplit(".", 1)
                raise ValueError(f"{name}: expected one dot at most; write {outer} '{{{inner}: ...}}'")
            if equals:
                words[i] = f"{name}={as_list(value)}"
            elif i + 1 < len(words):
                words[i + 1] = as_list(words[i + 1])
    return spelled + words


def as_list(value: str) -> str:
    """Numbers with commas as the list that the parser would not see in them.

    Example:
        >>> as_list("1,2,4"), as_list("rain,snow"), as_list("8")
        ('[1,2,4]', 'rain,snow', '8')
    """
    return f"[{value}]" if re.fullmatch(r"-?[\d.]+(,-?[\d.]+)+", value) else value


def split_recipes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The recipes that a command line names by `--config`, and its other words."""
    names, others = [], []
    rest = iter(words)
    for word in rest:
        if word.startswith("--config="):
            names.append(word.removeprefix("--config="))
        elif word == "--config" and (name := next(rest, None)) is not None:
            names.append(name)
        else:
            others.append(word)
    return names, others


def open_recipe(command: type[Command[Any]], name: str) -> tuple[Path, dict[str, Any]]:
    """The file of a recipe and its options, whose values are of the types that the command takes: text is no number.

    Raises:
        UnknownNameError: if there is no such recipe or file, or it has an option that the command has not.
        ValueError: if it is no recipe, or has values of other types.
    """
    path = _discovery.recipe_file(command.verb().replace("-", "_"), name)
    recipe = rename_former(command, read_recipe(path))
    check_options(command, recipe, str(path))
    return path, recipe


def show_warning(message: Warning | str, *_: Any) -> None:
    """A warning of Python's as a line for people."""
    sys.stderr.write(readable(f"warning: {message}\n"))


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command line; returns 0, 1 (done, but something failed), 2 (bad input) or 130 (interrupted)."""
    began.set(time.monotonic())
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["help"] and words[1:]:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview() + "\n")
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"gesso {__version__}\n")
        return 0
    warnings.showwarning = show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a character ends no measurement
    try:
        return run(words[0], words[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("GESSO_TRACEBACK"):
            raise
        sys.stderr.write(readable(f"gesso {words[0]}: {error}\n"))
        return BAD_INPUT
    except RuntimeError as error:
        lost = "RANK" in os.environ and any(word in str(error) for word in ("gloo", "NCCL"))
        if lost:
            error = RuntimeError("another rank failed; see its error")
        elif type(error).__name__ not in ("TrainingError", "ProcessError"):
            raise
        sys.stderr.write(readable(f"gesso {words[0]}: {error}\n"))
        return 1


def run(verb: str, words: Sequence[str]) -> int:
    """Runs one verb."""
    kind = command(verb)
    options = read_options(kind, [word for word in words if word != PRINT])
    if PRINT in words:
        sys.stdout.write(yaml.safe_dump(options, sort_keys=False))
        return 0
    result = kind(**options).run()
    if isinstance(result, Path) and not options.get("dry_run"):
        from gesso.report.console import say

        say(f"written to {result}")
    return getattr(result, "exit_code", 0)


def read_options(command: type[Command[Any]], words: Sequence[str]) -> dict[str, Any]:
    """The options that a command line gives to a command, with those of its recipes; the line has the last word.

    Raises:
        ValueError: for options, or files of options, that cannot be.
    """
    from jsonargparse import ArgumentError

    parser = parser_for(command)
    names, words = split_recipes(words)
    files, recipe = [], {}
    for name in names:
        path, options = open_recipe(command, name)
        files.append(path)
        recipe |= options
    parser.set_defaults(recipe)  # so that options of options on the line are added to those of the recipe
    try:
        words = spell_out(command, words)
        options = vars(parser.parse_args(words))
    except ArgumentError as error:
        raise ValueError(explain(error, command)) from None
    _discovery.code_is_allowed.set(options.pop("allow_code"))
    del options["config"], options[PRINT.removeprefix("--")]
    given = {re.split(r"[=.]", word.removeprefix("--"), maxsplit=1)[0] for word in words if word.startswith("--")}
    options |= {name: value for name, value in recipe.items() if name not in given}  # as they are: "25" is no 25
    if files:
        named = [name for word in words for name in _discovery.CODE.findall(word)]
        _discovery.check_code(options, ", ".join(map(str, files)), named)
    for name in given & options.keys():
        if options[name] == "" and Path in get_args(plain(options_of(command)[name].kind)):
            raise ValueError(f"--{name}: expected a path, got nothing")
    return from_home(options)


def from_home(value: Any) -> Any:
    """An option with the home folder for a leading `~`, which no shell puts into `--out=~/runs` or a recipe."""
    if isinstance(value, dict):
        return {name: from_home(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(from_home, value))
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111, as text


if __name__ == "__main__":
    sys.exit(main())
