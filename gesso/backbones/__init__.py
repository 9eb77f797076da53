"""Restoration networks, one file each; the folder is the registry (see `gesso._discovery`)."""

import copy
from typing import Any, cast

from torch import nn

from gesso import _discovery
from gesso._specs import BackboneSpec
from gesso.backbones._base import Backbone, Features
from gesso.backbones._blocks import part_of_batch
from gesso.backbones._transfer import PaperTransfer
from gesso.functional.building import building

__all__ = ["Backbone", "BackboneSpec", "backbone_classes", "create_backbone", "list_backbones", "open_backbone"]
__all__ += ["Features", "PaperTransfer", "network_class", "part_of_batch", "spell_backbone", "spell_object"]

OBJECT = "an object of"  # begins what records say of a network that was no name


def backbone_classes() -> dict[str, type[Backbone]]:
    """Every backbone class of the folder by class name."""
    return cast("dict[str, type[Backbone]]", _discovery.classes("backbones", Backbone))


def network_class(name: str) -> type[Backbone]:
    """The class that a file calls by this name, of gesso or, as `module:Class`, the user's; importing that runs it.

    Raises:
        UnknownNameError: if gesso has no such class.
        ValueError: if there is no such module, or no `Backbone` of the name in it.
    """
    known: dict[str, type[Backbone]] = {**backbone_classes(), PaperTransfer.__name__: PaperTransfer}
    if name in known:
        return known[name]
    if not _discovery.CODE.fullmatch(name):
        raise _discovery.UnknownNameError(f"unknown network {name!r}; {_discovery.suggest_part(name, known)}")
    return _discovery.load_class(name, Backbone, "backbone")


def list_backbones() -> list[str]:
    """Names that `create_backbone` takes: published sizes and a `*_tiny` of each network."""
    return sorted(name for network in backbone_classes().values() for name in network.variants)


def create_backbone(name: str, **options: Any) -> Backbone:
    """A freshly initialised network by the name of its published size, `options` on top.

    `image_channels` says for every network how many channels its images have, in and out: 1 for grey, 4 for the planes
    of a RAW file or for RGB with infrared. Its own option for that is another word in each.

    A name like `package.module:Class` builds a class of your own with these options: a subclass of `Backbone`, or any
    module, see `gesso.wrap`.

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
        return build_own(_discovery.load_class(name, nn.Module, "backbone"), options, name)
    for network in backbone_classes().values():
        if name in network.variants:
            given, options = options, network.variants[name] | options
            if "image_channels" in options:
                options = network.for_images(options, options.pop("image_channels"))
            _discovery.check_options(network.__init__, options, name)
            with building(name, given, f"`gesso list backbones {name}` shows what they mean"):
                return network(**options)
    raise _discovery.UnknownNameError(f"unknown backbone {name!r}; {_discovery.suggest_part(name, list_backbones())}")


def open_backbone(spec: BackboneSpec, options: dict[str, Any] | None = None) -> Backbone:
    """The network that a verb is given: built by name or class, or a copy of an object, which stays as it is.

    Raises:
        UnfitModuleError: if the object has no seam between features and a last convolution, see `gesso.wrap`.
        ValueError: for options beside an object; otherwise as `create_backbone`.
    """
    if isinstance(spec, str):
        if spec.startswith(OBJECT):
            raise ValueError(f"backbone: {spec}; give the object again, in Python")
        return create_backbone(spec, **(options or {}))
    if isinstance(spec, type):
        return build_own(spec, options or {}, spec.__name__)
    if options:
        raise ValueError(f"backbone_args: options are for a name; the {type(spec).__name__} given is built already")
    if not isinstance(spec, nn.Module):
        raise ValueError(f"backbone: expected a name, an nn.Module or its class, got a {type(spec).__name__}")
    from gesso.backbones.external import wrap

    module = copy.deepcopy(spec)
    return module if isinstance(module, Backbone) else wrap(module)


def build_own(kind: type[nn.Module], options: dict[str, Any], name: str) -> Backbone:
    """A network of a class of the user's: a `Backbone` as it is, any other module wrapped.

    Raises:
        ValueError: if it is no class of modules, or does not take the options.
    """
    from gesso.backbones.external import External

    if not issubclass(kind, nn.Module):
        raise ValueError(f"backbone {name}: expected a subclass of nn.Module, got the class {kind.__name__}")
    if not issubclass(kind, Backbone):
        target = _discovery.spell_code(kind)
        return External(target, options) if target else External(kind(**options))
    _discovery.check_options(kind.__init__, options, name)
    with building(name, options, "its constructor says what it takes"):
        return kind(**options)


def spell_backbone(spec: BackboneSpec) -> str:
    """What a network is called in lines for people: its name, or the class of an object."""
    if isinstance(spec, str | type):
        return spec if isinstance(spec, str) else spec.__name__
    return type(getattr(spec, "module", spec)).__name__


def spell_object(thing: Any) -> str:
    """What a record says of an object, which it cannot hold."""
    wrapped = (
        getattr(thing, "module", thing) if isinstance(thing, nn.Module) else thing
    )  # what `gesso.wrap` has wrapped
    kind = wrapped if hasattr(wrapped, "__qualname__") else type(wrapped)
    return f"{OBJECT} {kind.__module__}.{kind.__qualname__} given in Python; this record alone cannot make it again"
