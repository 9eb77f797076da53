"""List what there is of a kind, such as backbones, pretexts or tasks; with a name, its options and defaults."""

from dataclasses import field
from typing import ClassVar, Literal

from gesso.options import Command, as_function, options


@options
class List(Command[None]):
    """Prints what there is, of a kind or of all, or the options of one of them.

    Raises:
        ValueError: for a name that does not exist.
    """

    title: ClassVar[str] = "what"
    example: ClassVar[str] = "gesso list pretexts ifp"

    kind: (
        Literal["backbones", "pretexts", "refiners", "degradations", "sources", "layouts", "tasks", "recipes", "primed"]
        | None
    ) = field(default=None, kw_only=False)
    """"backbones", "pretexts", "refiners", "degradations", "sources", "layouts", "tasks", "recipes" or "primed"; none:
    the names of all kinds."""

    name: str | None = field(default=None, kw_only=False)
    """one of that kind, to see its options with their defaults and units; a recipe with or without its verb."""


list = as_function(List)
