"""The options of a verb: a parser made from the signature of its function, its help, and its errors in words."""

import functools
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

from gesso import _discovery, _options
from gesso._options import expected

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

Options = ParamSpec("Options")
Result = TypeVar("Result")


def parser_for(verb: str, function: Callable[..., Any]) -> "ArgumentParser":
    """The command line of a function: its parameters, their types, defaults and documentation."""
    from jsonargparse import ActionConfigFile, ArgumentParser, set_parsing_settings

    set_parsing_settings(
        docstring_parse_style=_google_style(),
        instantiate_subclass_spec_in_any=False,  # values are values: none of them names what is imported, called
        import_path_denylist=["*"],
    )
    parser = ArgumentParser(
        prog=f"gesso {verb}",
        usage=usage(verb, function),
        description=(sys.modules[function.__module__].__doc__ or "").split("\n")[0],
        exit_on_error=False,
        formatter_class=help_in_words(),
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a recipe by name, or a YAML file of these options")
    trust = "let --config name classes of your own (MODULE:CLASS), whose code then runs; of a file that you trust"
    parser.add_argument("--allow_code", action="store_true", help=trust)
    parser.add_function_arguments(function, fail_untyped=False)
    for action in parser._actions:
        if isinstance(action.metavar, str):  # {true,false,null}, in words of people who do not write Python
            action.metavar = action.metavar.replace(",null}", ",none}")
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


def checked(verb: Callable[Options, Result]) -> Callable[Options, Result]:
    """A verb that first holds its arguments against its signature, before it builds or opens anything.

    The call raises ValueError for an option that it does not have, with the nearest match, for one that is missing, and
    for a value of another type or out of range: the same from Python, YAML and the command line.
    """

    @functools.wraps(verb)
    def call(*args: Options.args, **options: Options.kwargs) -> Result:
        positional = [p.name for p in inspect.signature(verb).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        if len(args) > len(positional):
            raise ValueError(f"{verb.__name__}: expected {len(positional)} options without a name, got {len(args)}")
        given = dict(zip(positional, args, strict=False)) | options
        check_call(verb, given)
        missing = [p.name for p in inspect.signature(verb).parameters.values() if is_needed(p) and p.name not in given]
        if missing:
            raise ValueError(f"{verb.__name__}: {missing[0]} is missing; it has no default")
        return verb(*args, **options)

    return call


def is_needed(parameter: inspect.Parameter) -> bool:
    """Whether a parameter has no default."""
    return parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD


def check_call(function: Callable[..., Any], options: Mapping[str, Any], what: str = "") -> None:
    """Checks that `function`, a verb's, has all these options and takes such values, of the types that YAML has.

    Raises:
        ValueError: for the first that it does not take, beginning with `what`.
    """
    kinds, before = options_of(function), f"{what}: " if what else ""
    for name, value in options.items():
        if name not in kinds:
            raise _discovery.UnknownNameError(
                f"{before}{name}: there is no such option; {_discovery.suggest(name, kinds)}"
            )
        _options.check_values(kinds, {name: value}, what)
        _options.check_range(name, value, what)


@functools.cache
def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of all options of a verb by name, those that it hands on to the run among them."""
    function = inspect.unwrap(function)
    if all(p.kind is not p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
        return _options.declared(function)
    actions = parser_for(function.__name__, function)._actions
    return {a.dest: a._typehint for a in actions if hasattr(a, "_typehint")}  # pyright: ignore


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
