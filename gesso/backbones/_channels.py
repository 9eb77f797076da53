"""A network for images with other channels: how its first and last convolution follow from those that were trained.

One rule: the image is shown to the network as the image that it knows, and what it returns is read as one of the new
kind. Both are linear in the channels, so they go into the weights, and the adapted network computes them exactly.

| from | to | the network sees | what it returns becomes |
|---|---|---|---|
| RGB | grey | three equal channels: kernels are summed | the mean of the three |
| grey | any | the mean of the channels | the same for every channel |
| RGB | RGB and more | the RGB part: new kernels are zero | RGB; what is new, see below |

A new output channel begins as that of the input where the image is added (its kernel is zero), else as the mean of the
others. So a network begins as good as it was, and its zero kernels learn at once, for their gradient is not zero.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gesso.backbones._base import Backbone


class Adapted(NamedTuple):
    """The tensors of a state that were made to fit images with other channels, and how many these have."""

    names: list[str]
    from_channels: int
    to_channels: int

    def __str__(self) -> str:
        """The end of a sentence, or nothing where nothing was adapted."""
        if not self.names:
            return ""
        names = ", ".join(self.names)
        channels = f"from {self.from_channels} to {self.to_channels} image channels"
        return f"; adapted {len(self.names)} {channels} ({self.rule}): {names}"

    @property
    def rule(self) -> str:
        """What was done, in words."""
        if self.to_channels == 1:
            return "kernels of the input summed, those of the output averaged"
        if self.from_channels == 1:
            return "kernels of the input shared out, those of the output repeated"
        if self.to_channels > self.from_channels:
            more = "more begin at zero, or an output without residual as a mean"
            return f"the first {self.from_channels} keep their kernels; {more}"
        return f"the first {self.to_channels} keep their kernels, the others are left out"


def adapt(net: Backbone, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Adapted]:
    """`state` of a network like `net`, but for images with other channels, as one of `net`; and what that took.

    A state that is another network's, or needs nothing, comes back as it is.
    """
    adapted, names = dict(state), list[str]()
    first, had, has = [f"{key}weight" for key in net.stem_keys], 0, net.in_channels
    if first and all(key in state and state[key].ndim == 4 for key in first):
        had = state[first[0]].shape[1]
    if had in (0, has):
        return adapted, Adapted([], had, has)
    own = net.state_dict()
    for key in net.stem_keys:
        adapted |= _first(state, key, input_matrix(had, has), net.input_mean(had), net.input_mean(has))
    for key in net.head_keys if net.head_by_channel else ():
        weight = state.get(f"{key}weight")
        if weight is None or net.out_channels != has or weight.shape[0] * has != own[f"{key}weight"].shape[0] * had:
            continue  # its outputs are no image, or one of another kind
        matrix = output_matrix(had, has, image_residual=net.image_residual)
        adapted |= _last(state, key, matrix, net.output_mean(had), net.output_mean(has))
    adapted |= {key: value for key, value in own.items() if net.constant_keys and key.startswith(net.constant_keys)}
    names = [key for key in state if adapted[key] is not state[key] and not key.startswith(net.constant_keys or "\n")]
    return adapted, Adapted(names, had, has)


def for_channels(net: Backbone, channels: int) -> Backbone:
    """A network for images with so many channels that computes what `net` does: itself if it takes them already."""
    if net.in_channels == channels:
        return net
    other = type(net)(**net.for_images(net.options, channels))
    state, _ = adapt(other, net.state_dict())
    other.load_state_dict(state)
    return other


def input_matrix(had: int, has: int) -> Tensor:
    """The matrix (had, has) that makes of an image's `has` channels the `had` that a network knows."""
    if has == 1:
        return torch.ones(had, 1, dtype=torch.float64)
    return torch.full((1, has), 1 / has, dtype=torch.float64) if had == 1 else torch.eye(had, has, dtype=torch.float64)


def output_matrix(had: int, has: int, *, image_residual: bool) -> Tensor:
    """The matrix (has, had) that makes of a network's `had` channels the `has` of a restored image."""
    if has == 1:
        return torch.full((1, had), 1 / had, dtype=torch.float64)
    if had == 1:
        return torch.ones(has, 1, dtype=torch.float64)
    matrix = torch.eye(has, had, dtype=torch.float64)
    if has > had and not image_residual:
        matrix[had:] = 1 / had
    return matrix


def _first(state: Mapping[str, Tensor], key: str, matrix: Tensor, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Weight and bias of a first convolution; `before` and `after` is what is taken off the image, then and now."""
    weight = state[f"{key}weight"]
    wide = weight.double()
    adapted = {f"{key}weight": torch.einsum("oihw,ij->ojhw", wide, matrix.to(wide)).to(weight.dtype).contiguous()}
    shift = matrix @ after.double() - before.double()
    if shift.any():  # exact but for the last pixel at the image's border, where zeros surround it
        bias = state[f"{key}bias"]
        adapted[f"{key}bias"] = (bias.double() + wide.sum((2, 3)) @ shift.to(wide)).to(bias.dtype)
    return adapted


def _last(state: Mapping[str, Tensor], key: str, matrix: Tensor, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """Weight and bias of a last convolution; `before` and `after` is what is added behind it, then and now."""
    adapted = {}
    for name, shift in ((f"{key}weight", False), (f"{key}bias", True)):
        if name not in state:
            continue
        wide = state[name].double().unflatten(0, (matrix.shape[1], -1))  # channel, then place in a pixel shuffle
        if shift:
            wide = wide + before.to(wide).view(-1, 1)
        wide = torch.einsum("io,o...->i...", matrix.to(wide), wide)
        if shift:
            wide = wide - after.to(wide).view(-1, 1)
        adapted[name] = wide.flatten(0, 1).to(state[name].dtype).contiguous()
    return adapted
