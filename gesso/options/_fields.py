"""What a field of a command says: its kind, its default, its sentence, and what it means for a run."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from gesso._values import IfUnnamed

Kind = TypeVar("Kind")
Extra = TypeVar("Extra")

Role = Literal["method", "place", "numerics", "repetition", "extent", "record", "machine", "folder", "planning"]
"""What an option means for a run:

- method: how it is done; with another value the result is another.
- place: where something lies that is read.
- numerics: how numbers are rounded.
- repetition: which of many alike runs it is.
- extent: how much is done; a comparison that is given again may have more of it.
- record: what is written on the way.
- machine: what computes, and how safely; a run that is resumed may have another.
- folder: where the run lies, and whether one that lies there goes on.
- planning: how other options are chosen before it begins; what is on record is what was chosen.
"""

OF_THIS_CALL = ("folder", "planning")
"""The roles of options that no recipe of a run keeps."""


@dataclass(frozen=True)
class Means:
    """What an option means; stands in `Annotated`."""

    role: Role


Place = Annotated[Kind, Means("place")]
Numerics = Annotated[Kind, Means("numerics")]
Repetition = Annotated[Kind, Means("repetition")]
Extent = Annotated[Kind, Means("extent")]
Record = Annotated[Kind, Means("record")]
Machine = Annotated[Kind, Means("machine")]
Folder = Annotated[Kind, Means("folder")]
Planning = Annotated[Kind, Means("planning")]


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: of the field, the flag and the key in a recipe.
        kind: its type, with ranges.
        default: what it is if nobody says; `dataclasses.MISSING` if somebody has to.
        text: what it means, in a sentence.
        group: the title that it stands under in the help.
        role: see `Role`.
        positional: whether it may be given without its name.
        if_unnamed: what it is if nobody names it, where that depends on what there is; else None.
    """

    name: str
    kind: Any
    default: Any
    text: str
    group: str
    role: Role
    positional: bool
    if_unnamed: IfUnnamed | None = None

    @property
    def usual(self) -> Any:
        """What it is if nobody says, where that depends on what there is for a GPU and many pairs."""
        return self.default if self.if_unnamed is None else self.if_unnamed.usual

    @property
    def is_needed(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING


@functools.cache
def options_of(command: type) -> dict[str, Option]:
    """The options of a command by name: those by position first, then by group, in the order in which they stand."""
    kinds = typing.get_type_hints(command, include_extras=True)
    own = {field.name: field for field in dataclasses.fields(command)}
    found = {}
    for name in [*(name for name, field in own.items() if not field.kw_only), *_in_order(command)]:
        if name not in own or name in found:
            continue
        homes = [kind for kind in command.__mro__ if name in vars(kind).get("__annotations__", {})]
        text = next((texts[name] for kind in homes if name in (texts := _texts(kind))), "")
        first = own[name]
        default = first.default if first.default_factory is dataclasses.MISSING else first.default_factory()
        group = getattr(homes[-1], "title", "")
        unnamed = _extra(kinds[name], IfUnnamed)
        text = f"{text.removesuffix('.')}; none: {_unnamed(unnamed)}." if unnamed else text
        role: Role = means.role if (means := _extra(kinds[name], Means)) else "method"
        found[name] = Option(name, kinds[name], default, text, group, role, not first.kw_only, unnamed)
    return found


def _in_order(command: type) -> Iterator[str]:
    """The names of all fields as they stand where they were first declared: the command's own, then those of groups."""
    for number, kind in enumerate(command.__mro__):
        below = {name for other in command.__mro__[number + 1 :] for name in vars(other).get("__annotations__", {})}
        yield from (name for name in vars(kind).get("__annotations__", {}) if name not in below)


def _extra(kind: Any, wanted: type[Extra]) -> Extra | None:
    """What a type says of its option by an object of a class; None if it does not."""
    extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((extra for extra in extras if isinstance(extra, wanted)), None)


def _unnamed(choice: IfUnnamed) -> str:
    """What an option is if nobody names it, in words.

    Example:
        >>> _unnamed(IfUnnamed(300_000, 600)), _unnamed(IfUnnamed(None, 600)), _unnamed(IfUnnamed("restormer"))
        ('300,000, small 600', 'no limit, small 600', 'restormer')
    """
    usual, small = (
        "no limit" if value is None else f"{value:,}" if isinstance(value, int) else f"{value}"
        for value in (choice.usual, choice.small)
    )
    return usual if choice.small is None else f"{usual}, small {small}"


@functools.cache
def _texts(kind: type) -> dict[str, str]:
    """The sentences that stand below the fields of a class, by name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    texts = {}
    for field, below in itertools.pairwise(body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts
