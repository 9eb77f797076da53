"""The options of a command on the command line: a parser made from its fields, its help, and its errors in words."""

import importlib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args, get_origin

from gesso import _discovery
from gesso._values import UNIONS, IfUnnamed, expected
from gesso.options import Command, Option, options_of

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def parser_for(command: type[Command[Any]]) -> "ArgumentParser":
    """The command line of a command: its fields in groups, with their types, defaults and sentences."""
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(
        instantiate_subclass_spec_in_any=False,  # values are values: none of them names what is imported, called
        import_path_denylist=["*"],
    )
    first_line = (importlib.import_module(command.__module__).__doc__ or "").split("\n")[0]
    parser = ArgumentParser(
        prog=f"gesso {command.verb()}",
        usage=usage(command),
        description=f"{first_line}\n\nexample: {command.example}",
        exit_on_error=False,
        formatter_class=help_in_words(),
    )
    parser.add_argument("--config", metavar="RECIPE|FILE", help="a recipe by name, or a YAML file of these options")
    trust = "let --config name classes of your own (MODULE:CLASS), whose code then runs; of a file that you trust"
    parser.add_argument("--allow_code", action="store_true", help=trust)
    parser.add_argument("--print_config", action="store_true", help="print all options as a recipe, and do nothing")
    titles = titles_of(command)
    groups = {title: parser.add_argument_group(title) for title in titles}
    for option in sorted(options_of(command).values(), key=lambda option: titles.index(option.group)):
        given = {"required": True} if option.is_needed else {"default": option.default}
        groups[option.group].add_argument(f"--{option.name}", type=plain(option.kind), help=option.text, **given)
    for action in parser._actions:
        if isinstance(action.metavar, str):  # {true,false,null}, in words of people who do not write Python
            action.metavar = action.metavar.replace(",null}", ",none}")
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


def help_in_words() -> Any:
    """The parser's help, with types and defaults in the words of people who do not write Python."""
    from jsonargparse import DefaultHelpFormatter

    class Help(DefaultHelpFormatter):
        def _get_help_string(self, action: Any) -> str:
            kind = getattr(action, "_typehint", None)
            if kind is None:
                return str(action.help)
            told = action.metavar or Any in (kind, *get_args(kind))  # by {its,choices}, or by the sentence before
            kinds = [] if told else [expected(kind).removesuffix(" or null")]
            default = "required" if action.required else f"default: {shown(action.default)}"
            return f"{action.help or ''} ({', '.join([*kinds, default])})"

        def _fill_text(self, text: str, width: int, indent: str) -> str:
            """The description line by line: the example stands alone."""
            return "\n".join(super(Help, self)._fill_text(line, width, indent) for line in text.split("\n"))

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
