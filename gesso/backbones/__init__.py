"""Restoration networks, one file each; the folder is the registry (see `gesso._discovery`)."""

import copy
from typing import Any, cast

from torch import nn

from gesso import _discovery
from gesso._specs import BackboneSpec
from gesso.backbones._base import Backbone
from gesso.functional.building import building

__all__ = ["Backbone", "BackboneSpec", "backbone_classes", "create_backbone", "list_backbones", "open_backbone"]
__all__ += ["spell_backbone", "spell_object"]

OBJECT = "an object of"  # begins what records say of a network that was no name


def backbone_classes() -> dict[str, type[Backbone]]:
    """Every backbone class of the folder by class name."""
    return cast("dict[str, type[Backbone]]", _discovery.classes("backbones", Backbone))


def list_backbones() -> list[str]:
    """Names that `create_backbone` takes: published sizes and a `*_tiny` of each network."""
    return sorted(name for network in backbone_classes().values() for name in network.variants)


def create_backbone(name: str, **options: Any) -> Backbone:
    """A freshly initialised network by the name of its published size, `options` on top.

    `image_channels` says for every network how many channels its images have, in and out: 1 for grey, 4 for the planes
    of a RAW file or for RGB with infrared. Its own option for that is another word in each.

    A name like `package.module:Class` builds a module of your own with these options, see `gesso.wrap`.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.
        ValueError: for options of a kind or size that the network cannot have.

    Example:
        >>> net = create_backbone("restormer_tiny", dim=16)
        >>> net.options["dim"]
        16
        >>> create_backbone("nafnet_tiny", image_channels=4).options["img_channel"]
        4
    """
    if ":" in name:
        return backbone_classes()["External"](target=name, arguments=options)
    for network in backbone_classes().values():
        if name in network.variants:
            given, options = options, network.variants[name] | options
            if "image_channels" in options:
                options = network.for_images(options, options.pop("image_channels"))
            _discovery.check_options(network.__init__, options, name)
            with building(name, given, f"`gesso list backbones {name}` shows what they mean"):
                return network(**options)
    raise _discovery.UnknownNameError(f"unknown backbone {name!r}; {_discovery.suggest(name, list_backbones())}")


def open_backbone(spec: BackboneSpec, options: dict[str, Any] | None = None) -> Backbone:
    """The network that a verb is given: built by its name, or a copy of an object, which stays as it is.

    Raises:
        UnfitModuleError: if the object has no seam between features and a last convolution, see `gesso.wrap`.
        ValueError: for options beside an object; otherwise as `create_backbone`.
    """
    if isinstance(spec, str):
        if spec.startswith(OBJECT):
            raise ValueError(f"backbone: {spec}; give the object again, in Python")
        return create_backbone(spec, **(options or {}))
    if options:
        raise ValueError(f"backbone_args: options are for a name; the {type(spec).__name__} given is built already")
    from gesso.backbones.external import wrap

    module = copy.deepcopy(spec)
    return module if isinstance(module, Backbone) else wrap(module)


def spell_backbone(spec: BackboneSpec) -> str:
    """What a network is called in lines for people: its name, or the class of an object."""
    return spec if isinstance(spec, str) else type(getattr(spec, "module", spec)).__name__


def spell_object(thing: Any) -> str:
    """What a record says of an object, which it cannot hold."""
    wrapped = (
        getattr(thing, "module", thing) if isinstance(thing, nn.Module) else thing
    )  # what `gesso.wrap` has wrapped
    kind = wrapped if hasattr(wrapped, "__qualname__") else type(wrapped)
    return f"{OBJECT} {kind.__module__}.{kind.__qualname__} given in Python; this record alone cannot make it again"
