"""Pre-training methods, one file each, named after the file; the folder is the registry (see `gesso._discovery`)."""

from typing import Any, cast

from gesso import _discovery
from gesso.backbones._base import Backbone
from gesso.functional.building import building
from gesso.pretext._base import Pretext

__all__ = ["Pretext", "create_pretext", "list_pretexts", "pretext_class"]


def list_pretexts() -> list[str]:
    """Names that `create_pretext` takes."""
    return _discovery.files("pretext")


def pretext_class(name: str) -> type[Pretext]:
    """The class of a pretext; only its file is imported.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
    """
    module = _discovery.module("pretext", name)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Pretext) and value.__module__ == module.__name__
    ]
    (only,) = found  # one file, one pretext
    return cast("type[Pretext]", only)


def create_pretext(name: str, backbone: Backbone, *, preset: str | None = None, **options: Any) -> Pretext:
    """A pretext around `backbone`, which it may change (a new last convolution, no image residual).

    Args:
        name: one of `list_pretexts()`.
        backbone: the network to pre-train.
        preset: a set of option values that the pretext names, such as "official_code" of IFP.
        options: the pretext's own options; they win over the preset.

    Raises:
        UnknownNameError: for an unknown name, preset or option, with the nearest match.
    """
    pretext = pretext_class(name)
    if preset is not None and preset not in pretext.presets:
        suggestion = _discovery.suggest(preset, pretext.presets)
        raise _discovery.UnknownNameError(f"pretext {name} has no preset {preset!r}; {suggestion}")
    _discovery.check_options(pretext.__init__, options, f"pretext {name}")
    with building(f"pretext {name}", options, f"`gesso list pretexts {name}` shows what they mean"):
        return pretext(backbone, **(pretext.presets.get(preset or "", {}) | options))
