"""Options that say which network, and what it starts from."""

from typing import Annotated, Any, ClassVar

from gesso._specs import BackboneSpec
from gesso._values import UNNAMED, IfUnnamed
from gesso.options._command import options


@options
class Network:
    """A network by name, or as an object."""

    title: ClassVar[str] = "network"

    backbone: Annotated[BackboneSpec, IfUnnamed("restormer", small="nafnet_tiny")] = UNNAMED
    """name of the network; `gesso list backbones` shows all. In Python also a module, which is copied and begins with
    its own weights. A run is small where neither network nor steps are named, and there is no GPU, or there are fewer
    than 200 pairs; recipes name both."""

    backbone_args: dict[str, Any] | None = None
    """options of the network, such as `--backbone_args.dim 32`. With `--backbone_args.image_channels 1` the images of
    any task are grey, with 4 they are PNG or TIFF files with a fourth channel of data."""


@options
class NetworkFile:
    """What a file of weights does not say of itself."""

    title: ClassVar[str] = "network"

    weights: str | None = None
    """which set of weights, where the file holds several: a key or prefix ("params", "params_ema", "generator")."""

    backbone_args: dict[str, Any] | None = None
    """options that the file does not tell, such as `--backbone_args.img_size 256` for Uformer."""
