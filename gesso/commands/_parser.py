"""The options of a command on the command line: a parser made from its fields, its help, and its errors in words."""

import argparse
import importlib
import json
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin

from gesso import _discovery
from gesso._values import UNIONS, IfUnnamed, expected
from gesso.options import Command, Option, options_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


OF_A_LINE = ("config", "allow_code", "print_config", "help")
"""What a command line has beside the options of its command."""


def parser_for(command: type[Command[Any]]) -> "ArgumentParser":
    """The command line of a command: its fields in groups, with their types, defaults and sentences."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(
        instantiate_subclass_spec_in_any=False,  # values are values: none of them names what is imported, called
        import_path_denylist=["*"],
    )
    first_line = (importlib.import_module(command.__module__).__doc__ or "").split("\n")[0]
    width = shutil.get_terminal_size().columns - 2
    parser = ArgumentParser(
        prog=f"gesso {command.verb()}",
        usage=usage(command),
        description=f"{textwrap.fill(first_line, width)}\n\nexample: {command.example}",
        exit_on_error=False,
        allow_abbrev=False,  # `--step` beside a recipe would be taken for an option that nobody gave
        formatter_class=argparse.RawDescriptionHelpFormatter,  # the example stands alone
    )
    parser.add_argument("--config", metavar="RECIPE|FILE", help="a recipe by name, or a YAML file of these options")
    trust = "let --config name classes of your own (MODULE:CLASS), whose code then runs; of a file that you trust"
    parser.add_argument("--allow_code", action="store_true", help=trust)
    parser.add_argument("--print_config", action="store_true", help="print all options as a recipe, and do nothing")
    titles = titles_of(command)
    groups = {title: parser.add_argument_group(title) for title in titles}
    for option in sorted(options_of(command).values(), key=lambda option: titles.index(option.group)):
        given = {"required": True} if option.is_needed else {"default": option.default}
        action: Any = groups[option.group].add_argument(f"--{option.name}", type=plain(option.kind), **given)
        if isinstance(action.metavar, str):  # {true,false,null}, in words of people who do not write Python
            action.metavar = action.metavar.replace(",null}", ",none}")
        action.help = in_help(option, action.metavar).replace("%", "%%")
    return parser


def titles_of(command: type[Command[Any]]) -> list[str]:
    """The titles of the groups of options: what they work on first, then what is the command's own, then the rest."""
    titles = list(dict.fromkeys(option.group for option in options_of(command).values()))
    before = [title for title in ("data", "network") if title in titles and title != command.title]
    return [*before, command.title, *(title for title in titles if title not in (*before, command.title))]


def plain(kind: Any) -> Any:
    """A type without what `Annotated` says of it, which the parser does not need."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner = plain(parts[0])
        return inner | None if any(isinstance(extra, IfUnnamed) for extra in parts[1:]) else inner
    if origin in UNIONS:
        united = plain(parts[0])
        for part in parts[1:]:
            united = united | plain(part)
        return united
    return cast(Any, origin)[tuple(map(plain, parts))] if origin in (list, tuple, dict) else kind


def in_help(option: Option, metavar: Any) -> str:
    """What the help says of an option: its sentence, then type and default in words of who does not write Python."""
    kind = plain(option.kind)
    told = metavar or Any in (kind, *get_args(kind))  # by {its,choices}, or by the sentence before
    kinds = [] if told else [expected(kind).removesuffix(" or null")]
    default = "required" if option.is_needed else f"default: {shown(option.default)}"
    return f"{option.text} ({', '.join([*kinds, default])})"


def shown(default: Any) -> str:
    """A default as one would give it.

    Example:
        >>> shown(None), shown(True), shown((1, 2)), shown(0.1)
        ('none', 'true', '[1, 2]', '0.1')
    """
    if default is None:
        return "none"
    return json.dumps(default) if isinstance(default, bool | list | tuple | dict) else str(default)


def usage(command: type[Command[Any]]) -> str:
    """The command line in its shortest form: what may be given by position, what must be given, that there is more."""
    words = [word for word in map(in_usage, options_of(command).values()) if word]
    return " ".join(["gesso", command.verb(), *words, "[--config RECIPE|FILE] [--option value ...]"])


def in_usage(option: Option) -> str:
    """How an option stands in the usage; nothing if it need not be given."""
    value = option.name.upper()
    if option.positional:
        return value if option.is_needed else f"[{value}]"
    return f"--{option.name} {value}" if option.is_needed else ""


def explain(error: Exception, command: type[Command[Any]]) -> str:
    """What is wrong with a command line: what an option expects and what it got, or the nearest option to a word."""
    text, verb = str(error).strip(), f"gesso {command.verb()}"
    options = options_of(command)
    wrong = re.match(r'Parser key "([\w.]+)":', text)
    values = re.findall(r"(?:Got|Given) value: (.*)", text)  # of a list first its items, and then all of it
    if wrong and values and wrong[1] in options:
        got = re.sub(r"NestedArg\(key=(.*), val=(.*)\)", r"{\1: \2}", values[-1])
        return f"--{wrong[1]}: expected {expected(plain(options[wrong[1]].kind))}, got {got}"
    stray = re.search(r"unrecognized arguments: ([^-\s].*)", text)
    if stray:
        return f"{stray[1]}: expected --option value; {verb} --help lists the options"
    if "arguments are required" in text:
        return f"{text}; {verb} --help explains them"
    unknown = re.search(r"(?:unrecognized arguments: -*|Option ')([\w.-]+)", text)
    known = [*options, *OF_A_LINE]
    if unknown and unknown[1].split(".")[0] not in known:
        return f"--{unknown[1]}: there is no such option; {_discovery.suggest(unknown[1], known)}"
    return text
