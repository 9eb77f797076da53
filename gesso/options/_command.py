"""A command is a frozen value: its fields are the Python signature, the flags, the keys of recipes and the record."""

import dataclasses
import functools
import importlib
import inspect
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar, cast, dataclass_transform

from gesso import _discovery, _values
from gesso.options._fields import Option, options_of

Options = ParamSpec("Options")
Result = TypeVar("Result")
Made = TypeVar("Made")


began: ContextVar[float | None] = ContextVar("began", default=None)
"""When the command was given that is being run, by `time.monotonic`; of a command in another, that of the outer one."""


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
def options(kind: type[Made]) -> type[Made]:
    """Makes a class of options a frozen, keyword-only dataclass, whose fields are documented by the text below them.

    A command checks what it is made of before Python does, whose own errors do not say which option was meant.
    """
    made = dataclasses.dataclass(frozen=True, kw_only=True)(kind)
    if not issubclass(made, Command):
        return made
    build = made.__init__

    @functools.wraps(build)
    def checked(self: Any, *args: Any, **given: Any) -> None:
        check_call(type(self), args, given)
        build(self, *args, **given)

    made.__init__ = checked
    return made


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[Result]):
    """Something to do, with everything that it depends on. What does it lies beside it, and is imported when it runs.

    Raises:
        ValueError: for an option that there is none of, one that is missing, a value of another type or out of range:
            the same from Python, recipes and the command line.
    """

    title: ClassVar[str] = ""
    """What its options are called together in the help; groups of options have names."""

    example: ClassVar[str] = ""
    """How a command line begins with it."""

    former: ClassVar[Mapping[str, str]] = {}
    """Options that older versions had, and what they are called now; "" if there is none any more."""

    former_values: ClassVar[Mapping[str, Mapping[Any, Any]]] = {}
    """What the values of such options are called now, where that changed, too."""

    def run(self) -> Result:
        """Does it."""
        token = began.set(time.monotonic()) if began.get() is None else None
        try:
            package, _, verb = type(self).__module__.rpartition(".")
            return importlib.import_module(f"{package}._{verb}").run(self)
        finally:
            if token is not None:
                began.reset(token)

    @classmethod
    def verb(cls) -> str:
        """The word for it on the command line."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")


def check_call(command: type, args: tuple[Any, ...], given: Mapping[str, Any]) -> None:
    """Checks that a command has the options that are given, is given those that it needs, and takes their values.

    Raises:
        UnknownNameError: with the nearest option.
        ValueError: if one is missing or out of range, or too much is given without a name.
    """
    known, called = options_of(command), command.__name__.lower()
    by_place = [name for name, option in known.items() if option.positional]
    if len(args) > len(by_place):
        raise ValueError(f"{called}: expected {len(by_place)} options without a name, got {len(args)}")
    check_names(command, given)
    if missing := [name for name, option in known.items() if option.is_needed and name not in given]:
        missing = [name for name in missing if name not in by_place[: len(args)]]
        if missing:
            raise ValueError(f"{called}: {missing[0]} is missing; it has no default")
    for name, value in {**dict(zip(by_place, args, strict=False)), **given}.items():
        check_option(known[name], value)


def check_names(command: type, given: Mapping[str, Any], what: str = "") -> None:
    """Checks that a command has options of these names.

    Raises:
        UnknownNameError: with the nearest option, beginning with `what`.
    """
    known, before = options_of(command), f"{what}: " if what else ""
    for name in given:
        if name not in known:
            advice = _discovery.suggest(name, known)
            raise _discovery.UnknownNameError(f"{before}{name}: there is no such option; {advice}")


def check_options(command: type, given: Mapping[str, Any], what: str) -> None:
    """Checks some options of a command, by name and by value, before there is a command.

    Raises:
        ValueError: for the first that it does not take, beginning with `what`.
    """
    check_names(command, given, what)
    for name, value in given.items():
        check_option(options_of(command)[name], value, what)


def check_option(option: Option, value: Any, what: str = "") -> None:
    """Checks a value against the type of its option, and its numbers against the range.

    Raises:
        ValueError: if it is of another type, or out of range.
    """
    _values.check_values({option.name: option.kind}, {option.name: value}, what)
    _values.check_range(option.kind, option.name, value, what)


def rename_former(command: type[Command[Any]], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a recipe under the names of today, without those that older versions had.

    Raises:
        ValueError: if one is given under both names.
    """
    found: dict[str, Any] = {}
    for name, value in recipe.items():
        now = command.former.get(name, name)
        if now in found or (now != name and now in recipe):
            raise ValueError(f"{now}: given twice, for {name} is its old name; keep one")
        if now:
            found[now] = command.former_values.get(name, {}).get(value, value) if name != now else value
    return found


def as_function(command: Callable[Options, Command[Result]]) -> Callable[Options, Result]:
    """A function with the options of a command as its parameters: it makes the value and runs it."""
    kind = cast("type[Command[Result]]", command)

    def call(*args: Options.args, **given: Options.kwargs) -> Result:
        return command(*args, **given).run()

    call.__module__, call.__doc__ = kind.__module__, document(kind)
    call.__name__ = call.__qualname__ = kind.verb().replace("-", "_")
    call.__signature__ = signature_of(kind)  # pyright: ignore[reportFunctionMemberAccess]
    call.command = kind  # pyright: ignore[reportFunctionMemberAccess]
    return call


def command_of(function: Callable[..., Any]) -> type[Command[Any]]:
    """The command behind a public function."""
    return cast("Any", function).command


def signature_of(command: type) -> inspect.Signature:
    """The signature of a command as a function."""
    kinds = {True: inspect.Parameter.POSITIONAL_OR_KEYWORD, False: inspect.Parameter.KEYWORD_ONLY}
    return inspect.Signature(
        [
            inspect.Parameter(
                option.name,
                kinds[option.positional],
                default=inspect.Parameter.empty if option.is_needed else option.default,
                annotation=option.kind,
            )
            for option in options_of(command).values()
        ]
    )


def document(command: type) -> str:
    """The docstring of a command as a function: its own, with what each option means."""
    text = inspect.cleandoc(command.__doc__ or "")
    lines = [f"    {option.name}: {option.text}" for option in options_of(command).values()]
    head, raises, tail = text.partition("\nRaises:")
    return "\n".join([head.rstrip(), "", "Args:", *lines, *(["", raises.strip() + tail] if raises else [])])


def plain_options(command: Command[Any]) -> dict[str, Any]:
    """The options of a command by name."""
    return {name: getattr(command, name) for name in options_of(type(command))}
