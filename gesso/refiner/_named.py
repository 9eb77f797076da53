"""Refiners by name, as classes, or as they are; the folder is the registry (see `gesso._discovery`)."""

import copy
from collections.abc import Mapping
from typing import Any

from gesso import _discovery
from gesso._specs import RefinerSpec
from gesso.backbones import spell_object
from gesso.functional.building import building
from gesso.refiner._base import Refiner

DEFAULT = "ptg_rm"


def list_refiners() -> list[str]:
    """Names that `--refiner` takes."""
    return _discovery.files("refiner")


def refiner_class(name: str) -> type[Refiner]:
    """The class of a refiner of gesso, or the one that `module:Class` names; only its file is imported.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if there is no such class, or it is no `Refiner`.
    """
    return _discovery.named_class("refiner", name, Refiner)


def spell_refiner(spec: RefinerSpec) -> str:
    """What files call a refiner: gesso's by the name of its file, one of the user's `module:Class` or what it was."""
    if isinstance(spec, str):
        return spec
    kind = spec if isinstance(spec, type) else type(spec)
    home, _, name = kind.__module__.rpartition(".")
    return name if home == __package__ else _discovery.spell_code(kind) or spell_object(kind)


def open_refiner(
    spec: RefinerSpec,
    options: Mapping[str, Any],
    sizes: Mapping[str, int] | None = None,
    *,
    on_feature: bool = False,
) -> Refiner:
    """The refiner that an option means: built by name or class, or a copy of an object, which stays as it is.

    Args:
        spec: one of `list_refiners()`, or `module:Class`; in Python also a subclass of `Refiner`, or a refiner.
        options: those of the class.
        sizes: `prior_dim`, `in_channels` and `out_channels` that it needs to have; None: as the options say.
        on_feature: whether it refines a feature map.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: for what is no refiner, options that it cannot be built with, or one of other sizes.
    """
    if isinstance(spec, Refiner):
        if options:
            raise ValueError(f"refiner_args: options are for a name; the {type(spec).__name__} given is built already")
        if others := {name: size for name, size in (sizes or {}).items() if getattr(spec, name) != size}:
            told = ", ".join(f"{name} {size}, it has {getattr(spec, name)}" for name, size in others.items())
            raise ValueError(f"refiner {type(spec).__name__}: expected {told}")
        return copy.deepcopy(spec)
    kind = refiner_class(spec) if isinstance(spec, str) else spec
    if not (isinstance(kind, type) and issubclass(kind, Refiner)):
        got = getattr(kind, "__name__", type(kind).__name__)
        raise ValueError(f"refiner: expected a subclass of gesso.Refiner, or one built, got {got}")
    _discovery.check_options(kind.__init__, options, "refiner_args")
    usual = kind.feature_options if on_feature else {}
    name = spell_refiner(kind)
    with building(f"refiner {name}", options, f"`gesso list refiners {name}` shows what they mean"):
        return kind(**{**usual, **options, **(sizes or {})})


def ablation_options(spec: RefinerSpec, ablation: str) -> dict[str, Any]:
    """The options that an ablation of a refiner stands for.

    Raises:
        ValueError: if it has none of the name.
    """
    known = (refiner_class(spec) if isinstance(spec, str) else spec).ablations
    if ablation not in known:
        raise ValueError(f"ablation: expected {' or '.join(known)}, got {ablation!r}")
    return known[ablation]
