"""Where images come from, one source a file; the folder is the registry (see `gesso._discovery`)."""

import functools
import os
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from gesso import _discovery
from gesso._specs import SourceSpec
from gesso.sources._base import Source, batch_of, count_of, draw_image, fixed, needed_options, with_channels

__all__ = ["Source", "SourceSpec", "all_sources", "batch_of", "count_of", "draw_image", "fixed", "is_source"]
__all__ += ["list_sources", "open_source", "spell_source", "with_channels"]

SIDE = 16  # of the image that a source of the user's is tried with


def all_sources() -> dict[str, Source]:
    """Every source of the folder by name, also those that need more than (seed, index, size): photos have a folder."""
    return {name: cast("Source", _discovery.component("sources", name)) for name in _discovery.files("sources")}


@functools.cache
def list_sources() -> list[str]:
    """Names that `--images` takes beside folders of photos, and `--data` where the images lie in [0, 1]."""
    return [name for name, source in all_sources().items() if not needed_options(source)]


def is_source(spec: Any) -> bool:
    """Whether an option means images of a source, not files: a name, `module:function`, or a function."""
    if isinstance(spec, str | os.PathLike):
        name = os.fspath(spec)
        return name in list_sources() or (bool(_discovery.CODE.fullmatch(name)) and not Path(name).exists())
    return callable(spec)


def open_source(spec: SourceSpec, *, unit_range: bool = False) -> Source:
    """The source that a name of `list_sources()`, `module:function` or a function means; one of the user's is tried.

    Args:
        spec: the name, a folder of photos, or the source itself.
        unit_range: whether its images stand in for photos, and so have to lie in [0, 1].

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if a function of the user's returns no images, other ones each time, or others than in [0, 1].

    Example:
        >>> open_source("leaves")(seed=0, index=3, size=32).shape
        torch.Size([3, 32, 32])
    """
    name = spell_source(spec)
    if isinstance(spec, str | Path) and str(spec) in list_sources():
        source = cast("Source", _discovery.component("sources", str(spec)))
    elif isinstance(spec, str | Path) and Path(spec).is_dir():
        source = cast("Source", functools.partial(_discovery.component("sources", "photos"), folder=str(spec)))
        source(0, 0, SIDE)  # its photos are looked for now
    elif (name in all_sources()) and (needed := needed_options(all_sources()[name])):
        raise ValueError(f"source {name}: needs {', '.join(needed)}; give a folder of {name} itself")
    elif isinstance(spec, str | Path):
        source = cast("Source", _discovery.load_object(str(spec), "source", list_sources()))
        source = source() if isinstance(source, type) else source
        _try(source, name)
    else:
        source = spec
        _try(source, name)
    if unit_range and not _is_unit_range(source(0, 0, SIDE)):
        others = {other: all_sources()[other] for other in list_sources()}
        fit = ", ".join(other for other, images in others.items() if _is_unit_range(images(0, 0, SIDE)))
        raise ValueError(f"{name} has no values in [0, 1]; take {fit} or a folder of photos")
    return source


def spell_source(spec: SourceSpec) -> str:
    """What a source is called in lines for people."""
    return str(spec) if isinstance(spec, str | Path) else getattr(spec, "__name__", type(spec).__name__)


def _try(source: Any, name: str) -> None:
    """Checks that a source of the user's returns an image, and the same one twice."""
    wanted = f"expected a function (seed, index, size) -> image (3, size, size), the source {name}"
    if not callable(source):
        raise ValueError(f"{wanted} is a {type(source).__name__}")
    try:
        first, again = source(0, 1, SIDE), source(0, 1, SIDE)
    except TypeError as error:
        raise ValueError(f"{wanted} says {error}") from error
    if not isinstance(first, Tensor):
        raise ValueError(f"{wanted} returned a {type(first).__name__}")
    if (
        first.ndim != 3
        or len(first) not in (1, 3, 4)
        or first.shape[1:] != (SIDE, SIDE)
        or first.dtype != torch.float32
    ):
        raise ValueError(f"{wanted} of float32 returned {tuple(first.shape)} of {first.dtype} for size {SIDE}")
    if not (isinstance(again, Tensor) and torch.equal(first, again)):
        raise ValueError(f"{wanted} returned another image for the same (seed, index, size); draw from a generator")


def _is_unit_range(image: Tensor) -> bool:
    """Whether all values lie in [0, 1]."""
    return bool((image >= 0).all() and (image <= 1).all())
