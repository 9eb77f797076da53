"""Restoration networks, one file each; the folder is the registry (see `gesso._discovery`)."""

from typing import Any, cast

from gesso import _discovery
from gesso.backbones._base import Backbone

__all__ = ["Backbone", "backbone_classes", "create_backbone", "list_backbones"]


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
            try:
                return network(**options)
            except (TypeError, IndexError, ArithmeticError, RuntimeError) as error:
                if not given:
                    raise
                advice = f"`gesso list backbones {name}` shows what they mean"
                raise ValueError(f"{name} cannot be built with the options {given} ({error}); {advice}") from error
    raise _discovery.UnknownNameError(f"unknown backbone {name!r}; {_discovery.suggest(name, list_backbones())}")
