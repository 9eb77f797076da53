"""The options of a verb: a parser made from the signature of its function, its help, and its errors in words."""

import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from gesso import _discovery

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

IN_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", Any: "anything",
    list: "a list [..., ...]", tuple: "a list [..., ...]", dict: "options {name: value}", types.NoneType: "null",
}  # fmt: skip


def parser_for(verb: str, function: Callable[..., Any]) -> "ArgumentParser":
    """The command line of a function: its parameters, their types, defaults and documentation."""
    from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_style=_google_style())
    parser = ArgumentParser(
        prog=f"gesso {verb}",
        usage=usage(verb, function),
        description=(sys.modules[function.__module__].__doc__ or "").split("\n")[0],
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


def check_call(function: Callable[..., Any], options: Mapping[str, Any], what: str) -> None:
    """Checks that `function`, a verb's, has all these options and takes such values, of the types that YAML has.

    Raises:
        ValueError: for the first that it does not take, beginning with `what`.
    """
    from jsonargparse import ArgumentError

    parser = parser_for(function.__name__, function)
    needed = {action.dest: "x" for action in parser._actions if action.required}
    try:
        parser.parse_object({**needed, **options})
    except ArgumentError as error:
        raise ValueError(f"{what}: {explain(error, parser).removeprefix('--')}") from None


def explain(error: Exception, parser: "ArgumentParser") -> str:
    """What is wrong with a command line: what an option expects and what it got, or the nearest option to a word."""
    text = str(error).strip()
    options = {action.dest: action for action in parser._actions}
    wrong = re.match(r'Parser key "([\w.]+)":', text)
    values = re.findall(r"(?:Got|Given) value: (.*)", text)  # of a list first its items, and then all of it
    if wrong and values and (kind := getattr(options.get(wrong[1]), "_typehint", None)) is not None:
        got = re.sub(r"NestedArg\(key=(.*), val=(.*)\)", r"{\1: \2}", values[-1])
        return f"--{wrong[1]}: expected {expected(kind)}, got {got}"
    stray = re.search(r"unrecognized arguments: ([^-\s].*)", text)
    if stray:
        return f"{stray[1]}: expected --option value; {parser.prog} --help lists the options"
    if "arguments are required" in text:
        return f"{text}; {parser.prog} --help explains them"
    unknown = re.search(r"(?:unrecognized arguments: -*|Option ')([\w.-]+)", text)
    if unknown and unknown[1].split(".")[0] not in options:
        return f"--{unknown[1]}: there is no such option; {_discovery.suggest(unknown[1], options)}"
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
