"""The one seam of gesso: a backbone is `features(image)` and `reconstruct(feature, image)`."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any, ClassVar, NamedTuple, Self, TypeGuard

import torch
from torch import Tensor, nn

from gesso._discovery import spell_code
from gesso.functional.building import record_options
from gesso.functional.mimetic import AttentionWeights, draw_attention, draw_depthwise
from gesso.functional.padding import pad, round_up

DEPTHWISE_STD = (0.5, 1.0)  # pixels, of the first and the last depthwise kernels that are drawn mimetically


Features = Callable[[Tensor], list[Tensor]]
FeatureHook = Callable[[Features, Tensor], list[Tensor]]


class Embeddings(NamedTuple):
    """What a network has learnt of places and of tasks.

    Attributes:
        positions: one vector for each token (N, D).
        tasks: one vector for each token of each task (T, N, D); None where it knows one task.
        names: what the tasks are called.
    """

    positions: Tensor
    tasks: Tensor | None
    names: list[str]


class Backbone(nn.Module):
    """A restoration network, split where every pre-training method needs the split.

    Pre-training keeps what lies behind `features` and relearns what lies behind `reconstruct`. A subclass writes
    those two functions for inputs whose sides are multiples of `size_multiple`; padding, cropping and the record of
    constructor options are shared here. Attribute names inside follow the official code of each network, so that
    official weights load. No subclass knows a pretext, a task or a file.

    Attributes:
        variants: published sizes by name, plus a `*_tiny` for tests and CPU: name -> constructor options.
        stem_keys: state-dict prefixes of the convolutions that the image enters.
        head_keys: state-dict prefixes behind `reconstruct`; everything else is the body that transfers.
        channels: channels of each map that `features` returns, coarse to fine.
        stages: positions in `features` of the decoder stages that DCPT classifies (dcpt spec, section 1.3).
        size_multiple: H and W that `features` accepts must be divisible by this.
        pad_mode: how the authors pad to `size_multiple` (see `gesso.functional.padding.pad`).
        tile_overlap: pixels that neighbouring tiles of an image share, so that no seam is more than 0.05 dB worse than
            the whole image (`benchmarks/restore.py --seams`).
        tile_least: least side of the tiles that are chosen where memory allows: smaller ones would be mostly overlap,
            and a network with statistics of the whole image would restore them otherwise by 0.05 dB.
        float32_sums: whether sums between layers stay in float32 where all else is restored in bf16: for networks in
            which their rounding adds up to more than 50 dB allow.
        scale: output side / input side; 1 but for super-resolution.
        image_residual: whether `reconstruct` adds the input image.
        input_option: the constructor's word for the channels of the input image; the output's is `out_channels`.
        constant_keys: state-dict prefixes of constants that depend on the channels of the image alone.
        head_by_channel: whether each output channel has last kernels of its own.
        needs_squares: whether H and W must be equal.
        find_unused_parameters: whether a step may leave parameters unused: heads of other tasks, or parts of a user's
            module.
        encoder_channels: output channels where IFP and DegAE take the whole network for an encoder.
        options: constructor options of this very network; `type(net)(**net.options)` builds its twin.
        feature_hook: computes what `features` and `stage_features` return, in another precision or compiled; it is
            given the function and the image. None: the function does.
    """

    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    input_option: ClassVar[str] = "in_channels"
    constant_keys: tuple[str, ...] = ()
    head_by_channel: bool = True
    find_unused_parameters: bool = False
    needs_squares: bool = False
    stem_keys: tuple[str, ...] = ()
    head_keys: tuple[str, ...] = ()
    stages: tuple[int, ...] = ()
    size_multiple: int = 1
    pad_mode: str = "reflect"
    tile_overlap: int = 32
    tile_least: int = 192
    float32_sums: bool = False
    scale: int = 1
    encoder_channels: int = 64
    in_channels: int
    out_channels: int
    channels: list[int]
    image_residual: bool
    options: dict[str, Any]
    feature_hook: "FeatureHook | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Has the class keep its constructor's arguments as `options`, and ask `feature_hook` for its features."""
        super().__init_subclass__(**kwargs)
        record_options(cls)
        for name in ("features", "stage_features"):
            if name in cls.__dict__:
                setattr(cls, name, with_hook(cls.__dict__[name]))

    @classmethod
    def spell_class(cls) -> str:
        """What a file calls this class: a network of gesso by its name, one of the user's `module:Class`."""
        ours = cls.__module__.startswith("gesso.")
        return cls.__name__ if ours else spell_code(cls) or cls.__name__

    def spell_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """What `options` records of the constructor's arguments: for networks that take one that no file can hold."""
        return given

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuses a layer by a name that this class needs: PyTorch would keep it where nobody finds it again."""
        if isinstance(value, nn.Module) and (name in own_names() or hasattr(nn.Module, name)):
            raise ValueError(
                f"{type(self).__name__}.{name}: gesso.Backbone has a method or attribute {name}, so a layer needs "
                f"another name; its own are {', '.join(own_names())}"
            )
        super().__setattr__(name, value)

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps of `image` (B, C, H, W), coarse to fine; the last one is what `reconstruct` takes.

        H and W must be multiples of `size_multiple`; `pad` makes them so.
        """
        raise NotImplementedError

    def stage_features(self, image: Tensor) -> list[Tensor]:
        """What `features` returns up to the last of `stages`; networks that go on behind it stop there."""
        return self.features(image)

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The restored image (B, out_channels, scale*H, scale*W) from the last feature map and the padded input."""
        raise NotImplementedError

    @property
    def head_conv(self) -> nn.Conv2d:
        """The last convolution, the one that a transfer replaces; the first of them where there are several."""
        return self.head_convs[0]

    @property
    def head_convs(self) -> list[nn.Conv2d]:
        """All last convolutions: one, but for a network with several tasks, or several pixels for one of its input."""
        return [self._convolution(key) for key in self.head_keys]

    def _convolution(self, prefix: str) -> nn.Conv2d:
        """The convolution whose names begin so in the state dict."""
        module = self.get_submodule(prefix.rstrip("."))
        if not isinstance(module, nn.Conv2d):
            raise TypeError(f"{type(self).__name__}.{prefix} is no Conv2d but a {type(module).__name__}")
        return module

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far `pad` extends an image of this size: left, right, top, bottom. Right and bottom unless overridden."""
        multiple = self.size_multiple
        return 0, round_up(width, multiple) - width, 0, round_up(height, multiple) - height

    def pad(self, image: Tensor) -> Tensor:
        """`image` (B, C, H, W) extended to sides that `features` takes, the way the network's authors extend it."""
        return pad(image, *self.padding(*image.shape[-2:]), mode=self.pad_mode)

    def crop(self, restored: Tensor, image: Tensor) -> Tensor:
        """The part of `reconstruct`'s output (B, C, scale*H, scale*W) that belongs to `image`, without its padding."""
        height, width = image.shape[-2:]
        left, _, top, _ = self.padding(height, width)
        top, left, height, width = (self.scale * side for side in (top, left, height, width))
        return restored[..., top : top + height, left : left + width]

    @contextlib.contextmanager
    def seeing(self, image: Tensor) -> Iterator[None]:
        """For networks that judge a whole image (C, H, W): keeps what they see in it while its tiles are restored."""
        yield

    @contextlib.contextmanager
    def in_tiles(self) -> Iterator[None]:
        """For tiles of an image: extends them no farther than `features` needs, whatever it does to whole images."""
        yield

    def forward(self, image: Tensor) -> Tensor:
        """The restored image (B, out_channels, scale*H, scale*W), unclamped, for `image` (B, C, H, W) of any size."""
        padded = self.pad(image)
        return self.crop(self.reconstruct(self.features(padded)[-1], padded), image)

    def replace_last(self, out_channels: int, *, image_residual: bool) -> None:
        """Puts freshly initialised last convolutions of `out_channels` in place; the body keeps its weights.

        IFP and DegAE pre-train with 64 output channels and no image residual (IFP paper, section 4.1).
        """
        for key, old in zip(self.head_keys, self.head_convs, strict=True):
            outputs = out_channels * (old.out_channels // self.out_channels)  # more than one each before a shuffle
            kernel, padding, bias = old.kernel_size[0], old.padding, old.bias is not None
            padding = padding if isinstance(padding, str) else int(padding[0])
            new = nn.Conv2d(old.in_channels, outputs, kernel, padding=padding, padding_mode=old.padding_mode, bias=bias)
            self.set_submodule(key.rstrip("."), new.to(old.weight.device, old.weight.dtype))
        self.out_channels = out_channels
        self.image_residual = check_residual(image_residual, self.in_channels, out_channels)
        self.options |= {"out_channels": out_channels, "image_residual": image_residual}

    @torch.no_grad()
    def draw_mimetic(self) -> None:
        """Draws weights in the shape that trained ones have, see `gesso.functional.mimetic`; all others stay.

        Attention layers are those of PyTorch and those with a method `attention_weights`. Depthwise kernels grow
        smoother from the first layer to the last, as the paper finds; how much is ours, for its kernels are larger.

        Raises:
            ValueError: if the network has neither.
        """
        attention = [weights for module in self.modules() if (weights := attention_weights(module))]
        depthwise = [module for module in self.modules() if is_depthwise(module)]
        if not attention and not depthwise:
            raise ValueError(f"mimetic: {type(self).__name__} has no attention and no depthwise convolution to draw")
        for layer in attention:
            draw_attention(layer)
        first, last = DEPTHWISE_STD
        for number, conv in enumerate(depthwise):
            draw_depthwise(conv.weight, first + (last - first) * number / max(len(depthwise) - 1, 1))

    def embeddings(self) -> "Embeddings | None":
        """What a network has learnt of places and of tasks; None for those that learn nothing of the kind."""
        return None

    def encoder_for(self, channels: int) -> "Backbone":
        """The network as the encoder of a model whose next layer takes `channels`, if it can be that; else itself."""
        return self

    def input_mean(self, channels: int) -> Tensor:
        """What is taken off an image with so many channels before the first convolution, in its units, (channels,)."""
        return torch.zeros(channels)

    def output_mean(self, channels: int) -> Tensor:
        """What is added to the output of the last convolution, in its units, for so many output channels."""
        return torch.zeros(channels)

    @classmethod
    def for_images(cls, options: Mapping[str, Any], channels: int) -> dict[str, Any]:
        """Constructor options of the same network for images with so many channels.

        Outputs that are an image follow; those of a pre-trained encoder, or of a network that returns another kind of
        image than it takes, stay.
        """
        parameters = inspect.signature(cls.__init__).parameters
        had = options.get(cls.input_option, parameters[cls.input_option].default)
        out = options.get("out_channels", parameters["out_channels"].default)
        return {**options, cls.input_option: channels, "out_channels": channels if out == had else out}

    def is_head(self, key: str) -> bool:
        """Whether a state-dict key lies behind `reconstruct`."""
        return key.startswith(self.head_keys)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Constructor options deduced from the tensor names and shapes of a file, or None if it is another network."""
        return None

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of an official file under our keys: drops buffers we do not store, renames where authors differ."""
        return dict(state)

    def to_official(self) -> dict[str, Tensor]:
        """The state that the authors' own class loads with `strict=True`: our keys plus the buffers they store."""
        return dict(self.state_dict())

    def official_file(self) -> dict[str, Any]:
        """What `torch.save` writes for the scripts of the network's authors: BasicSR's form, unless overridden."""
        state = self.to_official()
        return {"params": state, "params_ema": state}  # some ask for one, some for the other; stored once

    def plain_module(self) -> nn.Module | None:
        """A module that computes all of this network for exporters, where its features are taken from within one."""
        return None

    def twin(self, **changes: Any) -> Self:
        """A freshly initialised network with the same options but for `changes`."""
        return type(self)(**{**self.options, **changes})


def with_hook(function: Callable[[Any, Tensor], list[Tensor]]) -> Callable[[Any, Tensor], list[Tensor]]:
    """A method that returns features, so that the `feature_hook` of a network computes them where there is one."""

    @functools.wraps(function)
    def compute(self: Any, image: Tensor) -> list[Tensor]:
        hook = self.feature_hook
        if hook is None or getattr(type(self), function.__name__) is not compute:  # called by that of a subclass
            return function(self, image)
        return hook(MethodType(function, self), image)

    return compute


def attention_weights(module: nn.Module) -> AttentionWeights | None:
    """The weights of an attention layer; None for other modules, and where keys are of another size."""
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is None:
            return None
        query, key, value = module.in_proj_weight.chunk(3)
        return AttentionWeights(query, key, value, module.out_proj.weight, module.num_heads)
    own = getattr(
        type(module), "attention_weights", None
    )  # of the class, for a layer may have a parameter of this name
    return own(module) if own else None


def is_depthwise(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution whose square kernels see one channel each, and neighbours."""
    if not isinstance(module, nn.Conv2d):
        return False
    channels, _, height, width = module.weight.shape
    return 1 < module.groups == channels and 1 < height == width


def own_names() -> list[str]:
    """The public names that `Backbone` adds to those of every `nn.Module`."""
    return sorted(name for name in vars(Backbone) | Backbone.__annotations__ if not name.startswith("_"))


def check_residual(image_residual: bool, in_channels: int, out_channels: int) -> bool:
    """`image_residual`, or an error where the input cannot be added to the output.

    Raises:
        ValueError: if the residual is asked for and the channel counts differ.
    """
    if image_residual and in_channels != out_channels:
        raise ValueError(
            f"image_residual: the input has {in_channels} channels and the output {out_channels}, so the input cannot "
            "be added; pass image_residual=False"
        )
    return image_residual
