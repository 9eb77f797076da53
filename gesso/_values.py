"""Values of options, held against the types that signatures declare: alike from Python, YAML and the command line."""

import collections.abc
import functools
import inspect
import math
import numbers
import os
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, cast, get_args, get_origin

IN_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", Any: "anything",
    list: "a list [..., ...]", tuple: "a list [..., ...]", dict: "options {name: value}", types.NoneType: "null",
    collections.abc.Sequence: "a list [..., ...]", collections.abc.Mapping: "options {name: value}",
}  # fmt: skip
UNIONS = (Union, types.UnionType)
LISTS = (list, tuple, collections.abc.Sequence)
MAPPINGS = (dict, collections.abc.Mapping)

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


class InPython(NamedTuple):
    """What an option takes beside the names that files and command lines give; stands in `Annotated`.

    Attributes:
        kind: class of the objects, or `module:Class` of one whose module is not to be imported for it.
        words: what they are, for errors.
    """

    kind: type | str
    words: str

    def holds(self, value: Any) -> bool:
        """Whether a value is such an object; of a class whose module nobody has imported there is none."""
        if isinstance(self.kind, type):
            return isinstance(value, self.kind)
        home, _, name = self.kind.partition(":")
        kind = getattr(sys.modules.get(home), name, None)
        return kind is not None and isinstance(value, kind)


@dataclass(frozen=True)
class IfUnnamed:
    """What an option is where nobody names it, which depends on what there is; stands in `Annotated`.

    Until that is known the value is None, whatever the type says: `gesso.commands._defaults` puts the value in first.

    Attributes:
        usual: of published recipes, for a GPU and many pairs.
        small: of a run on a CPU, or on few pairs; None: as usual.
    """

    usual: Any
    small: Any = None


UNNAMED: Any = None
"""The default of such an option."""


@dataclass(frozen=True)
class Spelled:
    """How the text of an option is spelled; stands in `Annotated`.

    Attributes:
        pattern: a regular expression of all of it.
        words: what it is, for errors.
    """

    pattern: str
    words: str


# ---------------------------------------------------------------------------------------------------------- types


def expected(kind: Any) -> str:
    """A type in words.

    Example:
        >>> expected(int | None), expected(str | Path), expected(Literal["constant", "cosine"])
        ('a whole number or null', 'a path', 'constant or cosine')
    """
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        words = [extra.words for extra in parts[1:] if isinstance(extra, Spelled)]
        return words[0] if words else expected(parts[0])
    if get_origin(kind) is Literal:
        return " or ".join(map(str, parts))
    if get_origin(kind) in UNIONS:
        return " or ".join(dict.fromkeys(expected(part) for part in parts if part is not str or Path not in parts))
    kind = get_origin(kind) or kind
    return IN_WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def takes(kind: Any, value: Any) -> bool:
    """Whether a type takes a value as it stands: no text for a number, no `true` for 1, no number that is not finite.

    Example:
        >>> takes(int, 3), takes(int, "3"), takes(int, True), takes(float, 3), takes(float, float("nan"))
        (True, False, False, True, False)
        >>> takes(list[int] | None, (1, 2)), takes(tuple[float, float], [0.9]), takes(Literal[1, 3], True)
        (True, False, False)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        if value is None and any(isinstance(extra, IfUnnamed) for extra in parts[1:]):
            return True
        if any(extra.holds(value) for extra in parts[1:] if isinstance(extra, InPython)):
            return True
        spelled = [extra.pattern for extra in parts[1:] if isinstance(extra, Spelled)]
        return takes(parts[0], value) and all(re.fullmatch(pattern, str(value)) for pattern in spelled)
    if origin in UNIONS:
        return any(takes(part, value) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    kind = origin or kind
    if kind in LISTS:
        return _takes_list(kind, parts, value)
    if kind in MAPPINGS:
        inner = parts or (Any, Any)
        return isinstance(value, Mapping) and all(
            takes(inner[0], key) and takes(inner[1], item) for key, item in value.items()
        )
    if kind is Any or isinstance(kind, str | typing.TypeVar):
        return is_finite(value)
    if kind is None or kind is types.NoneType:
        return value is None
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool) and is_finite(value)
    if kind is Path:
        return isinstance(value, str | os.PathLike)
    return isinstance(value, kind) if isinstance(kind, type) else callable(value)


def _takes_list(kind: Any, parts: tuple[Any, ...], value: Any) -> bool:
    """Whether a list type takes a value; lists and tuples stand for each other, as YAML has but one of them."""
    if not isinstance(value, collections.abc.Sequence) or isinstance(value, str | bytes):
        return False
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(takes, parts, value))
    return all(takes(parts[0] if parts else Any, item) for item in value)


def is_finite(value: Any) -> bool:
    """Whether a value holds no NaN and no infinity, at any depth of lists and mappings."""
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def shown(value: Any) -> str:
    """A value in one short line of an error, however much it holds."""
    try:
        return " ".join(_brief.repr(value).split())
    except ValueError:  # Python spells no whole number of thousands of digits
        return "a number of thousands of digits"


# --------------------------------------------------------------------------------------------------------- ranges

MOST = 2**31 - 1


@dataclass(frozen=True)
class Between:
    """What the numbers of an option may be; stands in `Annotated`.

    Attributes:
        words: what they may be, for errors.
        low: the least of them.
        high: the largest that has a meaning.
        excluding: which of the two ends are none of them.
        limit: the largest that is taken at all, and the least without its sign.
    """

    words: str
    low: float = -math.inf
    high: float = math.inf
    excluding: Literal["", "low", "high", "both"] = ""
    limit: float = MOST

    def fault(self, number: float) -> str:
        """What is expected instead of a number; nothing if it is in range."""
        if number > self.limit:
            return f"{self.limit:,} at most"
        above = number > self.low or (number == self.low and self.excluding not in ("low", "both"))
        below = number < self.high or (number == self.high and self.excluding not in ("high", "both"))
        if not (above and below):
            return self.words
        return f"{-self.limit:,} at least" if number < -self.limit else ""


ANY_NUMBER = Between("a number")


def check_range(kind: Any, name: str, value: Any, what: str = "") -> None:
    """Checks the numbers of an option, one or a list, which are of its type, against the ranges in the type.

    Raises:
        ValueError: if one is out of range, beginning with `what`.
    """
    if isinstance(value, Mapping):
        return  # options of something that checks its own
    ranges = ranges_in(kind) or (ANY_NUMBER,)
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, numbers.Real) and not isinstance(number, bool):
            faults = [one.fault(cast("float", number)) for one in ranges]
            if all(faults):
                raise ValueError(f"{_called(name, what)}: expected {faults[0]}, got {shown(value)}")


def ranges_in(kind: Any) -> tuple[Between, ...]:
    """The ranges that stand in a type, at any depth."""
    own = tuple(extra for extra in get_args(kind)[1:] if isinstance(extra, Between))
    inner = [part for part in get_args(kind) if get_origin(part) or isinstance(part, types.UnionType)]
    return own or tuple(one for part in inner for one in ranges_in(part))


# ------------------------------------------------------------------------------------------------- kinds of number

_POSITIVE = "a positive number"
PositiveInt = Annotated[int, Between(_POSITIVE, 1)]
AtLeastTwo = Annotated[int, Between("2 or more", 2)]
NonNegativeInt = Annotated[int, Between("0 or more", 0)]
PositiveFloat = Annotated[float, Between(_POSITIVE, 0, excluding="low")]
NonNegativeFloat = Annotated[float, Between("0 or more", 0)]
BelowOne = Annotated[float, Between("0 or more and less than 1", 0, 1, excluding="high")]
Share = Annotated[float, Between("a share, more than 0 and at most 1", 0, 1, excluding="low")]
Within = Annotated[float, Between("a number between 0 and 1, both excluded", 0, 1, excluding="both")]
Seed = Annotated[int, Between("a number", limit=2**63 - 1)]
Pixels = Annotated[int, Between(_POSITIVE, 1, limit=2**16)]
"""The side of a crop."""
TileSide = Annotated[int, Between(_POSITIVE, 1, limit=2**20)]
Overlap = Annotated[int, Between("0 or more", 0, limit=2**20)]
Enlargement = Annotated[int, Between(_POSITIVE, 1, limit=64)]
Workers = Annotated[int, Between("0 or more", 0, limit=2**10)]
Devices = Annotated[int, Between(_POSITIVE, 1, limit=2**16)]
LearningRate = Annotated[float, Between(_POSITIVE, 0, excluding="low", limit=1e3)]
LeastRate = Annotated[float, Between("0 or more", 0, limit=1e3)]
Norm = Annotated[float, Between(_POSITIVE, 0, excluding="low", limit=3e38)]

# ---------------------------------------------------------------------------------------------------------- times

UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TIME = "".join(rf"(?:([0-9]{{1,6}}(?:\.[0-9]{{1,3}})?) *{unit} *)?" for unit in UNITS)
Duration = Annotated[str, Spelled(rf"(?=.*[1-9])(?:{_TIME})", "a time such as 45m, 1h30m or 90s")]


def seconds_in(duration: str) -> float:
    """The seconds of a time as options spell it.

    Example:
        >>> seconds_in("45m"), seconds_in("1h30m"), seconds_in("90s"), seconds_in("1.5 h")
        (2700.0, 5400.0, 90.0, 5400.0)

    Raises:
        ValueError: if it is spelled otherwise.
    """
    if not takes(Duration, duration):
        raise ValueError(f"expected {expected(Duration)}, got {shown(duration)}")
    numbers = cast("re.Match[str]", re.fullmatch(_TIME, duration)).groups(default="0")
    return sum(seconds * float(number) for seconds, number in zip(UNITS.values(), numbers, strict=True))


# ----------------------------------------------------------------------------------------------------- signatures


@functools.cache
def declared(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of the options of a function or class by name; `Any` where it does not say."""
    parameters = list(inspect.signature(function).parameters.values())
    kinds = typing.get_type_hints(function if inspect.isroutine(function) else _fields(function), include_extras=True)
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {p.name: kinds.get(p.name, Any) for p in parameters if p.kind not in skipped and p.name != "self"}


def _fields(kind: Any) -> Any:
    """Where the annotations of a class's options stand: at its fields, or at its constructor."""
    return kind if is_dataclass(kind) else kind.__init__


def check_values(kinds: Mapping[str, Any], options: Mapping[str, Any], what: str = "") -> None:
    """Checks values of options, whose names have been checked, against their types.

    Args:
        kinds: types by name.
        options: values by name.
        what: what has these options, for the error; with a dot at its end for a value that prints itself so.

    Raises:
        ValueError: for the first value that its type does not take.
    """
    for name, value in options.items():
        kind = kinds.get(name, Any)
        if not takes(kind, value):
            wanted, before = expected(kind), _called(name, what)
            while not is_finite(value):  # down to the option of options that holds the number
                wanted, inner = "finite numbers", value.items() if isinstance(value, Mapping) else ()
                deeper = [(key, item) for key, item in inner if not is_finite(item)]
                if not deeper:
                    break
                before, value = f"{before}: {deeper[0][0]}", deeper[0][1]
            raise ValueError(f"{before}: expected {wanted}, got {shown(value)}")


def _called(name: str, what: str) -> str:
    """What errors call an option of something."""
    return what + name if what.endswith(".") else f"{what}: {name}" if what else name


def names_in(value: Any) -> Iterable[str]:
    """Every text in a value, at any depth of lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from names_in(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from names_in(item)


def allowed_names(function: Callable[..., Any]) -> Collection[str] | None:
    """The options that a function or class has; None if it takes any."""
    parameters = inspect.signature(function).parameters.values()
    return (
        None if any(p.kind is p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters if p.name != "self"]
    )
