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

    A name like `package.module:Class` builds a module of your own with these options, see `gesso.wrap`.

    Raises:
        UnknownNameError: for an unknown name or option, with the nearest match.

    Example:
        >>> net = create_backbone("restormer_tiny", dim=16)
        >>> net.options["dim"]
        16
    """
    if ":" in name:
        return backbone_classes()["External"](target=name, arguments=options)
    for network in backbone_classes().values():
        if name in network.variants:
            _discovery.check_options(network.__init__, options, name)
            return network(**(network.variants[name] | options))
    raise _discovery.UnknownNameError(f"unknown backbone {name!r}; {_discovery.suggest(name, list_backbones())}")
