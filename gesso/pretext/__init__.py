"""Pre-training methods, one file each, named after the file; the folder is the registry (see `gesso._discovery`)."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gesso import _discovery
from gesso._specs import FeatureLossSpec, PretextSpec
from gesso.backbones._base import Backbone
from gesso.functional.building import building
from gesso.losses import FeatureLoss
from gesso.pretext._base import Pretext
from gesso.pretext._critics import load_frozen

__all__ = ["Pretext", "PretextSpec", "create_pretext", "list_pretexts", "open_feature_loss", "pretext_class"]
__all__ += ["load_frozen", "spell_pretext", "title_of"]


def list_pretexts() -> list[str]:
    """Names that `create_pretext` takes."""
    return _discovery.files("pretext")


def pretext_class(name: str) -> type[Pretext]:
    """The class of a pretext of gesso, or the one that `module:Class` names; only its file is imported.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if there is no such class, or it is no `Pretext`.
    """
    return _discovery.named_class("pretext", name, Pretext)


def spell_pretext(spec: PretextSpec) -> str:
    """What a pretext is called in lines for people."""
    return spec if isinstance(spec, str) else getattr(spec, "__name__", type(spec).__name__)


def title_of(name: str) -> str | None:
    """What tables and figures call a pretext of gesso; None for another name."""
    return pretext_class(name).title if name in list_pretexts() else None


def create_pretext(spec: PretextSpec, backbone: Backbone, *, preset: str | None = None, **options: Any) -> Pretext:
    """A pretext around `backbone`, which it may change (a new last convolution, no image residual).

    Args:
        spec: one of `list_pretexts()`, or `module:Class`; in Python also a subclass of `Pretext`, or a function that
            makes one from a backbone and options.
        backbone: the network to pre-train.
        preset: a set of option values that the pretext names, such as "official_code" of IFP.
        options: the pretext's own options; they win over the preset.

    Raises:
        UnknownNameError: for an unknown name, preset or option, with the nearest match.
    """
    name = spell_pretext(spec)
    make: Callable[..., Any] = pretext_class(spec) if isinstance(spec, str) else spec
    presets: Mapping[str, Mapping[str, Any]] = getattr(make, "presets", {})
    if preset is not None and preset not in presets:
        suggestion = _discovery.suggest(preset, presets)
        raise _discovery.UnknownNameError(f"pretext {name} has no preset {preset!r}; {suggestion}")
    if isinstance(make, Pretext) or not callable(make):
        raise ValueError(f"pretext: expected the class of a pretext, which is built around the backbone, got {name}")
    _discovery.check_options(make.__init__ if isinstance(make, type) else make, options, f"pretext {name}")
    with building(f"pretext {name}", options, f"`gesso list pretexts {name}` shows what they mean"):
        pretext = make(backbone, **{**presets.get(preset or "", {}), **options})
    if not isinstance(pretext, Pretext):
        raise ValueError(f"pretext {name}: expected a subclass of gesso.Pretext, it makes a {type(pretext).__name__}")
    return pretext


def open_feature_loss(
    spec: FeatureLossSpec, backbone: Backbone, *, target: int | None = None, task: str = ""
) -> FeatureLoss:
    """The loss on feature maps that an option means: a file that a pretext left, or one of the user's.

    Args:
        spec: the file; `module:Class`, or `{name: module:Class, option: ...}`; or the loss itself.
        backbone: the network whose features it sees.
        target: what a file's loss aims at, see `Pretext.open_feature_loss`.
        task: name of the task that the network is trained on.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is none, or does not fit the network.
    """
    name, options = spec, {}
    if isinstance(spec, Mapping):
        name, options = spec.get("name", ""), {key: value for key, value in spec.items() if key != "name"}
    if isinstance(name, str | os.PathLike) and not _discovery.CODE.fullmatch(str(name)) and not options:
        if (advice := _discovery.advise_colon(str(name))) and not Path(name).exists():
            raise FileNotFoundError(f"critic: there is no file {name}{advice}")
        kinds = [pretext_class(pretext) for pretext in list_pretexts()]
        found = [kind.open_feature_loss(Path(name), backbone, target, task) for kind in kinds]
        return next(loss for loss in found if loss is not None)
    if target is not None:
        raise ValueError(f"critic_target: it is for the file of a classifier, got {target} with {name}")
    if isinstance(name, str):
        kind = _discovery.load_class(name, FeatureLoss, "critic")
        _discovery.check_options(kind.__init__, options, f"critic {name}")
        return kind(**options)
    if not isinstance(spec, FeatureLoss):
        raise ValueError(f"critic: expected a file, module:Class or a gesso.FeatureLoss, got a {type(spec).__name__}")
    return spec
