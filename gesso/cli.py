"""`gesso VERB --option value`: a word is a file in `gesso/commands`, its flags are that function's signature.

Nothing is imported but the verb that is asked for, so `gesso --help` needs neither torch nor anything else.
"""

import ast
import functools
import importlib
import inspect
import io
import os
import re
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gesso import __version__, _discovery
from gesso._names import readable
from gesso._options import check_values
from gesso._recipes import read_recipe
from gesso.commands._parser import explain, options_of, parser_for

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

BAD_INPUT, INTERRUPTED = 2, 130


@functools.cache
def verbs() -> dict[str, str]:
    """Every verb and the first line of its file, read without importing it."""
    folder = _discovery.ROOT / "commands"
    files = [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
    return {p.stem.replace("_", "-"): (ast.get_docstring(ast.parse(p.read_text())) or "").split("\n")[0] for p in files}


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


def command(verb: str) -> Callable[..., Any]:
    """The function behind a verb.

    Raises:
        UnknownNameError: with the nearest verb.
    """
    if verb not in verbs():
        raise _discovery.UnknownNameError(f"unknown verb {verb!r}; {_discovery.suggest(verb, verbs())}")
    name = verb.replace("-", "_")
    return getattr(importlib.import_module(f"gesso.commands.{name}"), name)


def normalise(verb: str, function: Callable[..., Any], parser: "ArgumentParser", words: Sequence[str]) -> list[str]:
    """The words of a command line with positional arguments, recipe names and flags spelled out.

    Parameters of the function that are not keyword-only may be given by position; `--config NAME` may name a recipe;
    `--resume` alone means `--resume=true`, `none` is `null` where there may be nothing, and `1,2` in an option of
    options is a list.

    Raises:
        ValueError: for options deeper than options of options.
    """
    kinds = inspect.signature(function).parameters.items()
    hints = {f"--{a.dest}": getattr(a, "_typehint", None) for a in parser._actions}
    switches = {name for name, hint in hints.items() if hint is bool or {*get_args(hint)} == {bool, types.NoneType}}
    nullable = {name for name, hint in hints.items() if types.NoneType in get_args(hint)}
    positional = [name for name, p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD]
    words, spelled = list(words), []
    while words and positional and not words[0].startswith("-"):
        spelled += [f"--{positional.pop(0)}", words.pop(0)]
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word == "--config" and i + 1 < len(words):
            words[i + 1] = str(checked(verb, words[i + 1], function))
        elif word.startswith("--config="):
            words[i] = f"--config={checked(verb, word.removeprefix('--config='), function)}"
        elif word in switches and (i + 1 == len(words) or words[i + 1].startswith("--")):
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


def checked(verb: str, name: str, function: Callable[..., Any]) -> Path:
    """The file of a recipe, whose values are of the types that the verb takes: as from Python, text is no number.

    Raises:
        UnknownNameError: if there is no such recipe or file.
        ValueError: if it is no recipe, or has values of other types.
    """
    path = _discovery.recipe_file(verb, name)
    kinds, options = options_of(function), read_recipe(path)
    known = {option: value for option, value in options.items() if option in kinds}  # others the parser complains of
    check_values(kinds, known, str(path))
    return path


def show_warning(message: Warning | str, *_: Any) -> None:
    """A warning of Python's as a line for people."""
    sys.stderr.write(readable(f"warning: {message}\n"))


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command line; returns 0, 1 (done, but something failed), 2 (bad input) or 130 (interrupted)."""
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
            error = RuntimeError("another device has left the run; its own message says why")
        elif type(error).__name__ not in ("TrainingError", "ProcessError"):
            raise
        sys.stderr.write(readable(f"gesso {words[0]}: {error}\n"))
        return 1


def run(verb: str, words: Sequence[str]) -> int:
    """Runs one verb."""
    function = command(verb)
    result = function(**read_options(verb, function, parser_for(verb, function), words))
    if isinstance(result, Path):
        from gesso.report.console import say

        say(f"written to {result}")
    return getattr(result, "exit_code", 0)


def read_options(
    verb: str, function: Callable[..., Any], parser: "ArgumentParser", words: Sequence[str]
) -> dict[str, Any]:
    """What to call a verb's function with.

    Raises:
        ValueError: for options, or files of options, that cannot be.
    """
    from jsonargparse import ArgumentError

    try:
        words = normalise(verb, function, parser, words)
        options = parser.parse_args(words)
    except ArgumentError as error:
        raise ValueError(explain(error, parser)) from None
    _discovery.code_is_allowed.set(options.pop("allow_code"))
    if files := options.pop("config", None):
        given = [name for word in words for name in _discovery.CODE.findall(word)]
        _discovery.check_code(vars(options), ", ".join(map(str, files)), given)
    for action in parser._actions:
        if Path in get_args(getattr(action, "_typehint", None)) and options.get(action.dest) == "":
            raise ValueError(f"--{action.dest}: expected a path, got nothing")
    return from_home(vars(parser.instantiate_classes(options)) | told(words))


def told(words: Sequence[str]) -> dict[str, Any]:
    """Options of options as recipes have them, where the command line adds nothing: the parser takes "25" for 25."""
    paths = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    paths += [words[i + 1] for i, word in enumerate(words) if word == "--config"]
    recipe = {name: value for path in paths for name, value in read_recipe(Path(path)).items()}
    given = {re.split(r"[=.]", word.removeprefix("--"), maxsplit=1)[0] for word in words if word.startswith("--")}
    return {name: value for name, value in recipe.items() if name not in given and holds_options(value)}


def holds_options(value: Any) -> bool:
    """Whether a value is options, or a list of them."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(holds_options, value)))


def from_home(value: Any) -> Any:
    """An option with the home folder for a leading `~`, which no shell puts into `--out=~/runs` or a recipe."""
    if isinstance(value, dict):
        return {name: from_home(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(from_home, value))
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111, as text


if __name__ == "__main__":
    sys.exit(main())
