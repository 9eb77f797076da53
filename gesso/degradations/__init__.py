"""What spoils images, one family a file; the folder is the registry (see `gesso._discovery`)."""

import dataclasses
from typing import Any, cast

from gesso import _discovery
from gesso._options import check_values, declared
from gesso._specs import DegradationSpec
from gesso.degradations._base import Degradation
from gesso.functional.building import building

__all__ = [
    "Degradation",
    "DegradationSpec",
    "create_degradation",
    "degradation_classes",
    "list_degradations",
    "parse_degradation",
]

PARTS = {"compose": "steps", "mix": "choices", "random_order": "choices"}


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
    what YAML can write.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: for a value out of range.

    Example:
        >>> create_degradation("gaussian_noise", sigma=[0, 50])
        GaussianNoise(sigma=(0, 50), clip=True, numpy_seed=None)
    """
    kinds = degradation_classes()
    if name not in kinds:
        raise _discovery.UnknownNameError(f"unknown degradation {name!r}; {_discovery.suggest(name, kinds)}")
    _discovery.check_names(options, [field.name for field in dataclasses.fields(kinds[name])], name)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    if isinstance(values.get(parts := PARTS.get(name, "")), tuple):
        values[parts] = tuple(parse_degradation(part) for part in values[parts])
    check_values(declared(kinds[name]), values, f"{name}.")
    with building(name, options, f"`gesso list degradations {name}` shows what they mean"):
        return kinds[name](**kinds[name].variants.get(name, {}) | values)


def parse_degradation(value: Any) -> Degradation:
    """The degradation that a YAML value means: a name, a name with options, or a list of them applied in order.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: if the value is nothing of the kind, or out of range.

    Example:
        >>> parse_degradation([{"name": "gaussian_blur", "sigma": 2}, "jpeg"])
        Compose(steps=(GaussianBlur(sigma=2, ratio=1.0, angle=(0, 180)), Jpeg(quality=(10, 95))))
    """
    if isinstance(value, Degradation):
        return value
    if isinstance(value, str):
        return create_degradation(value)
    if isinstance(value, list | tuple):
        return create_degradation("compose", steps=list(value))
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return create_degradation(**value)
    expected = "a name, a name with options ({name: rain, density: 0.3}) or a list of them"
    raise ValueError(f"degradation: expected {expected}, got {value!r}")
