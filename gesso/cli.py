"""`gesso VERB --option value`: a word is a file in `gesso/commands`, its flags are that function's signature.

Nothing is imported but the verb that is asked for, so `gesso --help` needs neither torch nor anything else.
"""

import ast
import importlib
import inspect
import json
import os
import re
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from gesso import __version__, _discovery

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

BAD_INPUT, INTERRUPTED = 2, 130
MOST_VALUES = 10_000  # in a recipe
IN_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", Any: "anything",
    list: "a list [..., ...]", tuple: "a list [..., ...]", dict: "options {name: value}", types.NoneType: "null",
}  # fmt: skip


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


def parser_for(verb: str, function: Callable[..., Any]) -> "ArgumentParser":
    """The command line of a function: its parameters, their types, defaults and documentation."""
    from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_style=_google_style())
    parser = ArgumentParser(
        prog=f"gesso {verb}",
        usage=usage(verb, function),
        description=verbs()[verb],
        exit_on_error=False,
        formatter_class=help_in_words(),
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a recipe by name, or a YAML file of these options")
    parser.add_function_arguments(function, fail_untyped=False)
    return parser


def help_in_words() -> Any:
    """The parser's help, with types and defaults in the words of people who do not write Python."""
    from jsonargparse import ActionConfigFile, DefaultHelpFormatter

    class Help(DefaultHelpFormatter):
        def _get_help_string(self, action: Any) -> str:
            kind = getattr(action, "_typehint", None)
            if kind is None or isinstance(action, ActionConfigFile):
                return super()._get_help_string(action)
            told = action.metavar or Any in (kind, *get_args(kind))  # by {its,choices}, or by the sentence before
            kinds = [] if told else [expected(kind).removesuffix(" or null")]
            default = "required" if action.required else f"default: {shown(action.default)}"
            return f"{action.help or ''} ({', '.join([*kinds, default])})"

    return Help


def shown(default: Any) -> str:
    """A default as one would give it.

    Example:
        >>> shown(None), shown(True), shown((1, 2)), shown(0.1)
        ('none', 'true', '[1, 2]', '0.1')
    """
    if default is None:
        return "none"
    return json.dumps(default) if isinstance(default, bool | list | tuple | dict) else str(default)


def usage(verb: str, function: Callable[..., Any]) -> str:
    """The command line in its shortest form: what may be given by position, what must be given, that there is more.

    Example:
        >>> def restore(input: str, out: str, *, checkpoint: str, tile: int = 0): ...
        >>> usage("restore", restore)
        'gesso restore INPUT OUT --checkpoint CHECKPOINT [--config RECIPE|FILE] [--option value ...]'
    """
    words = ["gesso", verb]
    for name, p in inspect.signature(function).parameters.items():
        value = name.upper()
        if p.kind is p.POSITIONAL_OR_KEYWORD:
            words.append(value if p.default is p.empty else f"[{value}]")
        elif p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            words += [f"--{name}", value]
    return " ".join([*words, "[--config RECIPE|FILE] [--option value ...]"])


def _google_style() -> Any:
    from docstring_parser import DocstringStyle

    return DocstringStyle.GOOGLE


def normalise(verb: str, function: Callable[..., Any], parser: "ArgumentParser", words: Sequence[str]) -> list[str]:
    """The words of a command line with positional arguments, recipe names and flags spelled out.

    Parameters of the function that are not keyword-only may be given by position; `--config NAME` may name a recipe;
    `--resume` alone means `--resume=true`, and `none` is `null` where there may be nothing.
    """
    kinds = inspect.signature(function).parameters.items()
    switches = {f"--{a.dest}" for a in parser._actions if getattr(a, "_typehint", None) is bool}
    nullable = {f"--{a.dest}" for a in parser._actions if types.NoneType in get_args(getattr(a, "_typehint", None))}
    positional = [name for name, p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD]
    words, spelled = list(words), []
    while words and positional and not words[0].startswith("-"):
        spelled += [f"--{positional.pop(0)}", words.pop(0)]
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            words[i + 1] = str(checked(_discovery.recipe_file(verb, words[i + 1])))
        elif word.startswith("--config="):
            words[i] = f"--config={checked(_discovery.recipe_file(verb, word.removeprefix('--config=')))}"
        elif word in switches and (i + 1 == len(words) or words[i + 1].startswith("--")):
            words[i] = f"{word}=true"
        elif word in nullable and words[i + 1 : i + 2] == ["none"]:
            words[i + 1] = "null"
        elif word.endswith("=none") and word.removesuffix("=none") in nullable:
            words[i] = word.removesuffix("none") + "null"
    return spelled + words


def checked(recipe: Path) -> Path:
    """`recipe`, if it is YAML of a size that can be read: a few aliases of aliases unfold to more than memory holds.

    Raises:
        ValueError: if not.
    """
    import yaml

    sizes: dict[int, int] = {}

    def unfolded(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES  # of a node that holds itself
            children = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))]
            sizes[id(node)] = 1 + sum(unfolded(child) for child in children if isinstance(child, yaml.Node))
        return sizes[id(node)]

    try:
        node = yaml.compose(recipe.read_text(), yaml.SafeLoader)
        if node is not None and unfolded(node) > MOST_VALUES:
            raise ValueError(f"{recipe}: expected a recipe, got more than {MOST_VALUES:,} values")
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{recipe}: expected YAML, got {error}") from None
    return recipe


def explain(error: Exception, parser: "ArgumentParser") -> str:
    """What is wrong with a command line: what an option expects and what it got, or the nearest option to a word."""
    text = str(error).strip()
    options = {action.dest: action for action in parser._actions}
    wrong = re.match(r'Parser key "([\w.]+)":', text)
    value = re.search(r"(?:Got|Given) value: (.*)", text, re.DOTALL)
    if wrong and value and (kind := getattr(options.get(wrong[1]), "_typehint", None)) is not None:
        got = re.sub(r"NestedArg\(key=(.*), val=(.*)\)", r"{\1: \2}", value[1])
        return f"--{wrong[1]}: expected {expected(kind)}, got {got}"
    stray = re.search(r"unrecognized arguments: ([^-\s].*)", text)
    if stray:
        return f"{stray[1]}: expected --option value; {parser.prog} --help lists the options"
    if "arguments are required" in text:
        return f"{text}; {parser.prog} --help explains them"
    unknown = re.search(r"(?:unrecognized arguments: -*|Option ')([\w.-]+)", text)
    if unknown and unknown[1].split(".")[0] not in options:
        return f"{text}\n{unknown[1]}: {_discovery.suggest(unknown[1], options)}"
    return text


def expected(kind: Any) -> str:
    """A type in words.

    Example:
        >>> expected(int | None), expected(str | Path), expected(Literal["constant", "cosine"])
        ('a whole number or null', 'a path', 'constant or cosine')
    """
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(map(str, parts))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(expected(part) for part in parts if part is not str or Path not in parts))
    kind = get_origin(kind) or kind
    return IN_WORDS.get(kind, str(kind))


def show_warning(message: Warning | str, *_: Any) -> None:
    """A warning of Python's as a line for people."""
    sys.stderr.write(f"warning: {message}\n")


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
    try:
        return run(words[0], words[1:])
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ValueError, OSError) as error:
        if os.environ.get("GESSO_TRACEBACK"):
            raise
        sys.stderr.write(f"gesso {words[0]}: {error}\n")
        return BAD_INPUT
    except RuntimeError as error:
        lost = "RANK" in os.environ and any(word in str(error) for word in ("gloo", "NCCL"))
        if lost:
            error = RuntimeError("another device has left the run; its own message says why")
        elif type(error).__name__ not in ("TrainingError", "ProcessError"):
            raise
        sys.stderr.write(f"gesso {words[0]}: {error}\n")
        return 1


def run(verb: str, words: Sequence[str]) -> int:
    """Runs one verb."""
    function = command(verb)
    result = function(**read_options(verb, function, parser_for(verb, function), words))
    if isinstance(result, Path):
        from rich.markup import escape

        from gesso.report.console import say

        say(f"written to {escape(str(result))}")
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
        options = parser.parse_args(normalise(verb, function, parser, words))
    except ArgumentError as error:
        raise ValueError(explain(error, parser)) from None
    options.pop("config", None)
    return vars(parser.instantiate_classes(options))


if __name__ == "__main__":
    sys.exit(main())
