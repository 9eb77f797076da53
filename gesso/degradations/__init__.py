"""What degrades images, one family a file; the folder is the registry (see `gesso._discovery`)."""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from gesso import _discovery
from gesso._specs import DegradationSpec
from gesso._values import check_values, declared
from gesso.degradations._base import Bounds, Degradation, Range, draw
from gesso.degradations._function import FromFunction
from gesso.functional.building import building

__all__ = [
    "Bounds",
    "Degradation",
    "DegradationSpec",
    "FromFunction",
    "Range",
    "create_degradation",
    "degradation_classes",
    "draw",
    "list_degradations",
    "parse_degradation",
]

PARTS = tuple[Degradation, ...]  # type of a field of degradations, which YAML writes as a list


def degradation_classes() -> dict[str, type[Degradation]]:
    """Degradation classes by every name that means them: their own, and those of their variants."""
    classes = cast("dict[str, type[Degradation]]", _discovery.classes("degradations", Degradation))
    return {name: kind for kind in classes.values() for name in (kind.name, *kind.variants)}


def list_degradations() -> list[str]:
    """Names that `create_degradation` takes: every degradation and its variants, such as `rain` and `rain_heavy`."""
    return sorted(degradation_classes())


def create_degradation(name: str, **options: Any) -> Degradation:
    """A degradation by name, its defaults or those of the variant, `options` on top.

    A range may be a list, and what `compose`, `mix` and `random_order` are made of whatever `parse_degradation` takes:
    what YAML can write. `module:Class` names one of the user's, `module:function` a function, see `FromFunction`.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: for a value out of range.

    Example:
        >>> create_degradation("gaussian_noise", sigma=[0, 50])
        GaussianNoise(sigma=(0, 50), clip=True, numpy_seed=None)
    """
    kind = _find(name)
    if not isinstance(kind, type):
        _discovery.check_names(options, [], name)
        return FromFunction(kind)
    _discovery.check_names(options, [field.name for field in dataclasses.fields(kind)], name)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    for field, declared_kind in declared(kind).items():
        if declared_kind == PARTS and isinstance(values.get(field), tuple):
            values[field] = tuple(parse_degradation(part) for part in values[field])
    check_values(declared(kind), values, f"{name}.")
    with building(name, options, f"`gesso list degradations {name}` shows what they mean"):
        return kind(**kind.variants.get(name, {}) | values)


def _find(name: str) -> type[Degradation] | Callable[..., Any]:
    """The class of a degradation, or a function of the user's."""
    kinds = degradation_classes()
    if name in kinds:
        return kinds[name]
    if not _discovery.CODE.fullmatch(name):
        raise _discovery.UnknownNameError(f"unknown degradation {name!r}; {_discovery.suggest_part(name, kinds)}")
    found = _discovery.load_object(name, "degradation", kinds)
    if not callable(found) or (isinstance(found, type) and not issubclass(found, Degradation)):
        seen = f"the class {found.__name__}" if isinstance(found, type) else f"a {type(found).__name__}"
        expected = "a subclass of gesso.Degradation or a function (image, generator) -> image"
        raise ValueError(f"degradation {name}: expected {expected}, got {seen}")
    return found


def parse_degradation(value: Any) -> Degradation:
    """The degradation that an option means: a name, a name with options, or a list of them applied in order.

    In Python also the degradation itself, its class, or a function (image, generator) -> image, see `FromFunction`.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: if the value is nothing of the kind, or out of range.

    Example:
        >>> parse_degradation([{"name": "gaussian_blur", "sigma": 2}, "jpeg"])
        Compose(steps=(GaussianBlur(sigma=2, ratio=1.0, angle=(0, 180)), Jpeg(quality=(10, 95))))
    """
    if isinstance(value, Degradation):
        return value
    if isinstance(value, type) and issubclass(value, Degradation):
        return value()
    if isinstance(value, str):
        return create_degradation(value)
    if isinstance(value, list | tuple):
        return create_degradation("compose", steps=list(value))
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return create_degradation(**value)
    if callable(value) and not isinstance(value, type):
        return FromFunction(cast("Callable[..., Any]", value))
    expected = "a name, a name with options ({name: rain, density: 0.3}) or a list of them"
    raise ValueError(f"degradation: expected {expected}, got {value!r}")
