"""Any `nn.Module` as a backbone: how it works inside is found out by running it, and checked with numbers."""

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso._discovery import load_class, suggest
from gesso.backbones._base import Backbone
from gesso.functional.padding import round_up

CHANNELS = (3, 1, 4, 6)  # what images may have, in the order in which it is tried
MULTIPLES = (1, 2, 4, 6, 7, 8, 12, 14, 16, 24, 28, 32, 48, 56, 64, 96, 112, 128)
AGAIN = (8, 16, 64)
LEAST_SIDE = 64  # of the images that are tried, in pixels
TOLERANCE = 1e-4  # of the largest output value
SAYS = "expected a module that returns an image"

SKIPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "none": lambda image, scale: torch.zeros((), dtype=image.dtype, device=image.device),
    "image": lambda image, scale: image,
    "nearest": lambda image, scale: F.interpolate(image, scale_factor=scale, mode="nearest"),
    "bilinear": lambda image, scale: F.interpolate(image, scale_factor=scale, mode="bilinear"),
    "bicubic": lambda image, scale: F.interpolate(image, scale_factor=scale, mode="bicubic"),
}
"""What a network may add to the output of its last convolution: nothing, or its input, enlarged if need be."""

TAILS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda image: image,
    "clamp": lambda image: image.clamp(0, 1),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
"""What may come behind that."""

LINEAR = ("none", "clamp")  # tails through which a factor and a mean can be seen
PLAIN: tuple[float | tuple[float, ...], tuple[float, ...]] = (1.0, ())


class UnfitModuleError(ValueError):
    """A module that cannot be split into features and a last convolution; the message says what was tried."""


class Seam(NamedTuple):
    """How a module gets from its last convolution to its output.

    `tail(gain * pixel_shuffle(convolution) + offset + skip)`; `offset` is one number for each channel of the image,
    and so is `gain` where channels have gains of their own, as those that ImageNet's statistics normalise.
    """

    first: str | None
    last: str
    in_channels: int
    out_channels: int
    scale: int
    size_multiple: int
    square: bool
    writes: bool  # into the image that it is given, which then has to be a copy
    shuffle: int
    gain: float | tuple[float, ...]
    offset: tuple[float, ...]
    skip: str
    tail: str


class External(Backbone):
    """A module of the user's own. Its one feature map is what enters its last convolution.

    Where that is, whether the image is added, the scale and the sides that the module takes are found by running it on
    random images. Its parameters have the names that they have in the module, in files and in memory; they are shared,
    not copied.

    Args:
        target: the module's class, as `package.module:Class`; or the module itself.
        arguments: what to build the class with.
        last: name of its last convolution; none: the last one to run that explains the output.
        out_channels: channels of a new last convolution; none: it keeps its own.
        image_residual: whether the image is added to the output; none: as the module does.

    Raises:
        UnfitModuleError: if the module has no such seam.
        ValueError: if there is no such class, or it cannot be built with these arguments.
    """

    pad_mode = "reflect"
    find_unused_parameters = True

    def __init__(
        self,
        target: str | nn.Module,
        arguments: Mapping[str, Any] | None = None,
        last: str | None = None,
        out_channels: int | None = None,
        image_residual: bool | None = None,
    ) -> None:
        super().__init__()
        module = target if isinstance(target, nn.Module) else build(target, arguments or {})
        self.seam = seam = find_seam(module, last)
        self.head_keys, self.channels = (f"{seam.last}.",), [convolution_of(module, seam.last).in_channels]
        self.stem_keys = (f"{seam.first}.",) if seam.first else ()
        self.in_channels, self.out_channels = seam.in_channels, seam.out_channels
        self.needs_squares = seam.square
        self.scale, self.size_multiple, self.image_residual = seam.scale, seam.size_multiple, seam.skip != "none"
        self.module, self.training, self.options = module, module.training, {}
        self.register_state_dict_post_hook(drop_prefix)
        self.register_load_state_dict_pre_hook(add_prefix)
        if out_channels is not None:
            self.replace_last(out_channels, image_residual=bool(image_residual))
        elif image_residual is not None:
            self.image_residual = image_residual

    def spell_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The class of a module that was given itself."""
        kind = type(given["target"])
        return given if kind is str else given | {"target": f"{kind.__module__}:{kind.__qualname__}"}

    def __getattr__(self, name: str) -> Any:
        """The module's parts by their own names: `functional_call` looks parameters up so."""
        if name != "module" and name in (parts := dict(self.module.named_children())):
            return parts[name]
        return super().__getattr__(name)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Generator[tuple[str, nn.Module], None, None]:
        """All parts, by the names that they have in the module: those of the parameters follow from them."""
        memo = set() if memo is None else memo
        if self not in memo:
            memo |= {self} if remove_duplicate else set()
            yield prefix, self
            yield from self.module.named_modules(memo, prefix, remove_duplicate)

    @classmethod
    def for_images(cls, options: Mapping[str, Any], channels: int) -> dict[str, Any]:
        """An error: how a class of the user's own is told of channels is its own affair."""
        raise ValueError(
            f"image_channels: {options['target']} has a word of its own for its {channels} channels; give that"
        )

    @property
    def report(self) -> str:
        """What was found, in one line."""
        seam = self.seam
        adds = {"none": "nothing", "image": "the image"}.get(seam.skip, f"the image, enlarged ({seam.skip})")
        if any(seam.offset):
            adds = " and ".join([f"a mean of {', '.join(f'{number:.3g}' for number in seam.offset)}", adds])
            adds = adds.removesuffix(" and nothing")
        if seam.gain != 1:
            gains = seam.gain if isinstance(seam.gain, tuple) else (seam.gain,)
            adds = f"{adds}, to {', '.join(f'{gain:.3g}' for gain in gains)} times its output"
        tail = "" if seam.tail == "none" else f", then {seam.tail}"
        return (
            f"{type(self.module).__name__}: last convolution {seam.last}, {self.channels[0]} channels before it; adds "
            f"{adds}{tail}; {seam.in_channels} -> {seam.out_channels} channels, scale {seam.scale}, sides multiples of "
            f"{seam.size_multiple}{' and equal' if seam.square else ''}"
        )

    def get_submodule(self, target: str) -> nn.Module:
        """The module's part of this name, also where a backbone has something else under the name."""
        return self.module.get_submodule(target)

    def set_submodule(self, target: str, module: nn.Module, strict: bool = False) -> None:
        """Replaces the module's part of this name."""
        self.module.set_submodule(target, module)

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """How far `pad` extends an image, to a square for a module that takes no other."""
        if not self.seam.square:
            return super().padding(height, width)
        side = round_up(max(height, width), self.size_multiple)
        return 0, side - width, 0, side - height

    def features(self, image: Tensor) -> list[Tensor]:
        """What enters the last convolution, alone; the module runs no further than that."""
        return [before(self.module, self.head_conv, image.clone() if self.seam.writes else image)]

    def reconstruct(self, feature: Tensor, image: Tensor) -> Tensor:
        """The last convolution and what the module does after it, but no clamp in training: it stops gradients."""
        restored = inner(F.pixel_shuffle(self.head_conv(feature), self.seam.shuffle), image, self.scale)
        image_like = self.out_channels == self.seam.out_channels
        if image_like and self.seam.gain != 1:
            restored = by_channel(self.seam.gain, restored) * restored
        if image_like and any(self.seam.offset):
            restored = restored + restored.new_tensor(self.seam.offset).view(-1, 1, 1)
        if self.image_residual:
            restored = restored + SKIPS[self.seam.skip](image, self.scale)
        if not image_like or (self.training and self.seam.tail == "clamp"):
            return restored
        return TAILS[self.seam.tail](restored)

    def official_file(self) -> dict[str, Any]:
        """The plain state dict that the module's own code loads."""
        return self.to_official()

    def plain_module(self) -> nn.Module | None:
        """The module itself, if it still ends as it was written; a copy of the image for one that writes into it."""
        if self.out_channels != self.seam.out_channels or self.image_residual != (self.seam.skip != "none"):
            return None
        return _OnACopy(self.module) if self.seam.writes else self.module

    def replace_last(self, out_channels: int, *, image_residual: bool) -> None:
        """Puts a freshly initialised last convolution of `out_channels` in place; see `Backbone.replace_last`."""
        if image_residual and self.seam.skip == "none":
            raise ValueError(f"image_residual: {type(self.module).__name__} adds no image to its output")
        super().replace_last(out_channels, image_residual=image_residual)


class _OnACopy(nn.Module):
    """A module that is given a copy of the image, into which it writes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Tensor:
        return self.module(image.clone())


def wrap(module: nn.Module, last: str | None = None) -> External:
    """Any restoration network as a backbone: every pretext, `finetune` and `Restorer` then work on it.

    Args:
        module: images (B, C, H, W) -> images (B, 3 or C, scale*H, scale*W); its parameters are shared, not copied.
        last: name of its last convolution; none: the last one to run that explains the output.

    Returns:
        The backbone; its `report` says what was found.

    Raises:
        UnfitModuleError: if the output is not `tail(last(...) + image)`; the message says what was tried.

    Example:
        >>> net = wrap(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)))
        >>> net.seam.last, net.image_residual, net.scale, net.size_multiple
        ('2', False, 1, 1)
    """
    return External(module, last=last)


def drop_prefix(net: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    """Gives the entries of an `External`'s state dict the names that they have in its module."""
    inside = f"{prefix}module."
    for key in [key for key in state if key.startswith(inside)]:
        state[prefix + key.removeprefix(inside)] = state.pop(key)


def add_prefix(net: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Gives the entries of such a state dict the names under which PyTorch looks for them in an `External`."""
    for key in [key for key in state if key.startswith(prefix)]:
        state[f"{prefix}module.{key.removeprefix(prefix)}"] = state.pop(key)


def build(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """An instance of the class that `package.module:Class` names; modules of the working folder are found, too.

    Raises:
        ValueError: if there is no such module or class, it is no `nn.Module`, or it does not take the arguments.
    """
    kind = load_class(target, nn.Module, "backbone")
    try:
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(f"{target}: cannot be built with {dict(arguments)} ({error})") from None


# ------------------------------------------------------------------------------------------------- finding the seam


class _ReachedError(BaseException):
    """Stops a module at its last convolution; not an `Exception`, lest the module handles it."""

    def __init__(self, feature: Tensor) -> None:
        super().__init__()
        self.feature = feature


def before(module: nn.Module, last: nn.Module, image: Tensor) -> Tensor:
    """What `last` is given when `module` runs on `image`."""

    def stop(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _ReachedError(inputs[0])

    handle = last.register_forward_pre_hook(stop)
    try:
        module(image)
    except _ReachedError as reached:
        return reached.feature
    finally:
        handle.remove()
    raise UnfitModuleError(f"{type(module).__name__}: its last convolution was not run")


def find_seam(module: nn.Module, last: str | None = None) -> Seam:
    """The seam of a module, found by running a copy of it on random images of growing demands on their sides.

    Raises:
        UnfitModuleError: if it has none; the message says what was tried.
    """
    name = type(module).__name__
    if not any(True for _ in module.parameters()):
        raise UnfitModuleError(f"{name}: has no parameters, so there is nothing to train")
    if last is not None and not isinstance(dict(module.named_modules()).get(last), nn.Conv2d):
        convolutions = [key for key, part in module.named_modules() if isinstance(part, nn.Conv2d)]
        raise UnfitModuleError(f"{name}: last: {last!r} is no Conv2d of it; {suggest(last, convolutions)}")
    module = copy.deepcopy(module).eval()
    reasons: list[str] = []
    with torch.no_grad():
        for square, channels in itertools.product((False, True), CHANNELS):
            if any(reason.startswith(SAYS) for reason in reasons):
                break  # it runs on images, only not as it should
            for multiple in MULTIPLES:
                if multiple not in AGAIN and any(reason.startswith(SAYS) for reason in reasons):
                    continue  # it runs on these images; other sides help where it pads them within
                try:
                    return try_seam(module, last, channels, multiple, square)
                except UnfitModuleError as error:
                    reasons.append(str(error))
                except Exception as error:  # whatever a module says to an image that it does not take
                    reasons.append(f"{type(error).__name__}: {error}")
    said = [reason for reason in reasons if reason.startswith(SAYS)]
    raise UnfitModuleError(f"{name}: {said[-1] if said else f'runs on no image that was tried; {reasons[0]}'}")


def try_seam(module: nn.Module, last: str | None, channels: int, multiple: int, square: bool) -> Seam:
    """The seam of a module, if it takes images with these channels and sides, which differ unless `square`.

    Raises:
        UnfitModuleError: if it has none.
        Exception: whatever the module raises.
    """
    generator = torch.Generator().manual_seed(0)
    like = next(module.parameters())
    side = multiple * (-(-LEAST_SIDE // multiple) // 2 * 2 + 1)  # an odd number of times, to be divisible by no more
    image = torch.rand(2, channels, side, side + 2 * multiple * (not square), generator=generator).to(like)
    given = image.clone()
    first, order, output = run(module, given)
    writes = not torch.equal(given, image)
    scale = check_output(module, image, output)
    candidates = [last] if last is not None else list(dict.fromkeys(reversed(order)))
    # One of three channels may shift the mean or mix the colours of an image that is there already.
    candidates.sort(key=lambda name: convolution_of(module, name).in_channels <= output.shape[1])
    tried: dict[str, float] = {}
    for name in candidates:
        convolution = convolution_of(module, name)
        shuffle = math.isqrt(convolution.out_channels // output.shape[1])
        if convolution.out_channels != output.shape[1] * shuffle**2:
            continue
        with disturbed(convolution, before(module, convolution, image.clone()), generator):
            output = module(image.clone())
            shuffled = F.pixel_shuffle(convolution(before(module, convolution, image.clone())), shuffle)
        shuffled = inner(shuffled, output)
        if shuffled.shape != output.shape:
            continue
        for skip in ("none", "image") if scale == 1 else ("none", "nearest", "bilinear", "bicubic"):
            if skip != "none" and channels != output.shape[1]:
                continue
            added = SKIPS[skip](image, scale)
            for tail, each in itertools.product(TAILS, (False, True)):
                if each and tail not in LINEAR:
                    continue
                gain, offset = fit(shuffled, output, added, each=each) if tail in LINEAR else PLAIN
                shift = output.new_tensor(offset or (0.0,)).view(-1, 1, 1)
                explained = TAILS[tail](by_channel(gain, shuffled) * shuffled + shift + added)
                off = ((explained - output).abs().max() / output.abs().max()).item()
                if off < TOLERANCE:
                    size = channels, output.shape[1], scale, multiple, square, writes, shuffle
                    return Seam(first, name, *size, gain, offset, skip, tail)
                tried[name] = min(off, tried.get(name, math.inf))
    nearest = ", ".join(f"{name} (off by {off:.0%})" for name, off in tried.items()) or "none has its channels and size"
    raise UnfitModuleError(
        f"{SAYS} that is a convolution's output, plus its input or nothing, then a clamp, sigmoid, tanh or nothing "
        f"(a factor and a mean are allowed); "
        f"tried {nearest}. Change what it returns, or name its last convolution (last)"
    )


def convolution_of(module: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of this name."""
    return cast("nn.Conv2d", module.get_submodule(name))


def inner(enlarged: Tensor, image: Tensor, scale: int = 1) -> Tensor:
    """The part of a map that belongs to an image, where a module has padded it at its right and bottom."""
    height, width = (scale * side for side in image.shape[-2:])
    return enlarged[..., :height, :width]


def by_channel(gain: float | tuple[float, ...], image: Tensor) -> float | Tensor:
    """A gain as a factor of an image (B, C, H, W)."""
    return image.new_tensor(gain).view(-1, 1, 1) if isinstance(gain, tuple) else gain


def fit(
    convolved: Tensor, output: Tensor, added: Tensor, *, each: bool = False
) -> tuple[float | tuple[float, ...], tuple[float, ...]]:
    """Factor, and offset of each channel, by which a convolution explains what `added` leaves of an output.

    Networks undo at their end what they do to the range and the mean of an image at their beginning. Pixels that no
    clamp can have touched decide alone, if they are enough. 1 and no offsets where that will do. With `each`, every
    channel has a factor of its own.
    """
    rest, inside, size = output - added, (output > 0) & (output < 1), output.abs().amax()
    inside = inside if inside.float().mean() > 0.1 else torch.ones_like(inside)
    count = inside.sum((0, 2, 3), keepdim=True).clamp_min(1)
    x, y = ((image.double() * inside).sum((0, 2, 3), keepdim=True) / count for image in (convolved, rest))
    spread = (convolved.double() - x) * inside
    axes = (0, 2, 3) if each else (0, 1, 2, 3)
    gains = (spread * (rest.double() - y)).sum(axes) / spread.square().sum(axes).clamp_min(1e-12)
    if (gains.abs().amax() * spread.abs().amax()) < 10 * TOLERANCE * size:
        return PLAIN  # the convolution explains nothing
    gain: float | tuple[float, ...] = tuple(gains.tolist()) if each else gains.item()
    gain = 1.0 if isinstance(gain, float) and abs(gain - 1) < TOLERANCE else gain
    offset = (y - by_channel(gain, x) * x).flatten().tolist()
    return gain, tuple(offset) if max(abs(number) for number in offset) > TOLERANCE * size else ()


def run(module: nn.Module, image: Tensor) -> tuple[str | None, list[str], Any]:
    """The convolution that the image enters, all of them in the order in which they run, and what the module returns.

    Convolutions that alone are never trained do not count: some networks take off and add the mean of an image by one.
    """
    frozen = not any(parameter.requires_grad for parameter in module.parameters())
    order: list[str] = []
    first: list[str] = []

    def note(name: str, inputs: tuple[Tensor, ...]) -> None:
        order.append(name)
        if len(order) == 1 and inputs[0].shape[1] == image.shape[1]:
            first.append(name)

    with contextlib.ExitStack() as hooks:
        for name, part in module.named_modules():
            if isinstance(part, nn.Conv2d) and name and (frozen or part.weight.requires_grad):
                hook = part.register_forward_hook(lambda _, inputs, __, name=name: note(name, inputs))
                hooks.callback(hook.remove)
        output = module(image)
    return first[0] if first else None, order, output


def check_output(module: nn.Module, image: Tensor, output: Any) -> int:
    """The scale of a module's output.

    Raises:
        UnfitModuleError: if it is no image, or not the same twice.
    """
    if not isinstance(output, Tensor):
        raise UnfitModuleError(
            f"{SAYS}, but a {type(output).__name__}; wrap it in a module that returns the final image"
        )
    seen = f"{tuple(output.shape)} for images {tuple(image.shape)}"
    if output.ndim != 4 or len(output) != len(image):
        raise UnfitModuleError(f"{SAYS}, but {seen}")
    (height, rest), (width, more) = (divmod(o, i) for o, i in zip(output.shape[2:], image.shape[2:], strict=True))
    if rest or more or height != width or height < 1:
        raise UnfitModuleError(f"{SAYS} of the size of its input or a multiple of it, but {seen}")
    if not torch.equal(module(image.clone()), output):
        raise UnfitModuleError(f"{SAYS}, but another one each time, also in evaluation mode")
    return height


@contextlib.contextmanager
def disturbed(convolution: nn.Module, feature: Tensor, generator: torch.Generator) -> Iterator[None]:
    """Weights of a convolution made random for a while: one that is still zero would explain everything."""
    kept = [parameter.clone() for parameter in convolution.parameters()]
    for parameter in convolution.parameters():
        inputs = feature.square().mean().sqrt().clamp_min(1e-6) * parameter[0].numel() ** 0.5
        size = 0.5 / inputs if parameter.ndim > 1 else 0.1  # neither lost beside an image nor all beyond a clamp
        parameter += size * torch.randn(parameter.shape, generator=generator).to(parameter)
    try:
        yield
    finally:
        for parameter, before_it in zip(convolution.parameters(), kept, strict=True):
            parameter.copy_(before_it)
