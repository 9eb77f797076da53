"""What an option may be called to take: its choices, and the names of networks, pretexts, tasks and the like."""

import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from gesso import _specs
from gesso._values import UNIONS
from gesso.backbones import list_backbones
from gesso.data.layouts import list_layouts
from gesso.degradations import list_degradations
from gesso.losses import list_losses
from gesso.pretext import list_pretexts
from gesso.refiner import list_refiners
from gesso.sources import list_sources
from gesso.tasks import list_tasks

NAMES: tuple[tuple[Any, Callable[[], list[str]]], ...] = (
    (_specs.BackboneSpec, list_backbones),
    (_specs.PretextSpec, list_pretexts),
    (_specs.RefinerSpec, list_refiners),
    (_specs.DegradationSpec, list_degradations),
    (_specs.SourceSpec, list_sources),
    (_specs.LayoutSpec, lambda: [*list_layouts(), "photos"]),
    (_specs.TaskSpec, lambda: [*list_tasks(), "all-in-one"]),
    (_specs.LossSpec, list_losses),
    (_specs.ScheduleSpec, lambda: sorted(get_args(_specs.ScheduleName))),
)
"""Parts that options name, and their names."""


def part_names(kind: Any) -> list[str]:
    """The names that gesso has for the part of a run that a type stands for; none for other types.

    Example:
        >>> part_names(_specs.LossSpec)
        ['charbonnier', 'charbonnier_sum', 'l1', 'mse', 'psnr', 'ssim']
    """
    if get_origin(kind) is Annotated:
        for spec, names in NAMES:
            if set(get_args(spec)[1:]) <= set(get_args(kind)[1:]):
                return names()
    return []


def choices(kind: Any) -> list[str]:
    """Every word that a type is known to take, at any depth of unions.

    Example:
        >>> choices(Literal["adam", "adamw"] | None), choices(bool), choices(int)
        (['adam', 'adamw', 'none'], ['true', 'false'], [])
    """
    if names := part_names(kind):
        return names
    parts = get_args(kind)
    if get_origin(kind) is Literal:
        return [str(part) for part in parts]
    if get_origin(kind) is Annotated:
        return choices(parts[0])
    if get_origin(kind) in UNIONS:
        found = [word for part in parts if part is not types.NoneType for word in choices(part)]
        return [*found, "none"] if found and types.NoneType in parts else found
    return ["true", "false"] if kind is bool else []
