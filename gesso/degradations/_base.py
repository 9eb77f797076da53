"""A degradation is a frozen value called with `(image, generator)`."""

import dataclasses
import math
import re
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

import torch
from torch import Tensor

from gesso._discovery import spell_code
from gesso._values import declared
from gesso.functional.checks import check_choice
from gesso.functional.random import BatchGenerator, rand

Range = float | tuple[float, float]


class Bounds(NamedTuple):
    """Between what the numbers of a field lie, both ends included; stands in `Annotated`."""

    low: float
    high: float

    def check(self, name: str, value: Any) -> None:
        """Checks the value of a field.

        Raises:
            ValueError: if it is no number and no range within the bounds.
        """
        pair = value if isinstance(value, tuple) else (value, value)
        numbers = len(pair) == 2 and all(isinstance(end, int | float) for end in pair)
        if not numbers or not self.low <= pair[0] <= pair[1] <= self.high:
            within = f"[{self.low:g}, {self.high:g}]"
            raise ValueError(f"{name}: expected a number or a range (low, high) in {within}, got {value!r}")


@dataclasses.dataclass(frozen=True)
class Degradation:
    """What degrades an image: a value that prints itself, compares, hashes, and comes from YAML.

    Subclasses are frozen dataclasses that write `_apply`. A field typed `Range` is a number, or a pair (low, high) from
    which every image of the batch draws its own uniform value; what it may be is said in its type, as in
    `Annotated[Range, Bounds(0, 1)]`. No globals, no hidden state: the same generator seed gives the same pixels on one
    device type.

    Attributes:
        name: what YAML and the command line call it.
        variants: settings of it that have a name of their own: name -> fields.
        rgb_only: whether it is not defined for images of more channels than three.
        example: options to try it with, as YAML has them, for one that has to be given some.
    """

    name: ClassVar[str]
    rgb_only: ClassVar[bool] = False
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    example: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Names the class in snake case, unless it names itself: `GaussianNoise` is `gaussian_noise`."""
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()

    def __post_init__(self) -> None:
        """Checks every field whose type says what it may be."""
        for field, kind in declared(type(self)).items():
            value, name = getattr(self, field), f"{self.name}.{field}"
            if get_origin(kind) is Literal:
                check_choice(name, value, kind)
            elif get_origin(kind) is Annotated:
                for bounds in (extra for extra in get_args(kind) if isinstance(extra, Bounds)):
                    bounds.check(name, value)

    def __call__(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """The degraded image, same shape and dtype, in [0, 1].

        Args:
            image: clean image (B, C, H, W) in [0, 1], floating point: RGB, grey, or most degradations also with more
                channels. A grey image is degraded as a coloured one, of which the first channel is taken.
            generator: where every random number comes from; on the image's device. With one for each image
                (`ImageGenerators`), what happens to an image does not depend on those beside it.

        Raises:
            ValueError: if `image` is no batch of images, or has channels for which the degradation is not defined.
        """
        if image.ndim != 4 or image.shape[1] in (0, 2) or not image.is_floating_point():
            shape, dtype = tuple(image.shape), image.dtype
            raise ValueError(f"{self.name}: expected a floating-point image (B, 3, H, W), got {shape} of {dtype}")
        if image.shape[1] == 1:
            return self._apply_grey(image, generator)
        if self.rgb_only and image.shape[1] != 3:
            raise ValueError(f"{self.name}: defined for RGB and grey, these images have {image.shape[1]} channels")
        return self._apply(image, generator)

    def as_yaml(self) -> dict[str, Any]:
        """What YAML writes for it, and `parse_degradation` reads: its name and its fields, ranges as lists.

        Example:
            >>> from gesso.degradations import create_degradation
            >>> create_degradation("jpeg", quality=30).as_yaml()
            {'name': 'jpeg', 'quality': 30}
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        given = {name: value for name, value in fields.items() if value is not None}
        return {"name": self._name(), **{name: _spelled(value) for name, value in given.items()}}

    def _name(self) -> str:
        """What YAML calls it: a degradation of gesso by its name, one of the user's by `module:Class`."""
        ours = type(self).__module__.startswith("gesso.degradations.")
        return self.name if ours else spell_code(type(self)) or self.name

    def _apply(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """What `__call__` returns, for an image whose shape has been checked."""
        raise NotImplementedError

    def _apply_grey(self, image: Tensor, generator: BatchGenerator) -> Tensor:
        """Likewise for images of one channel (B, 1, H, W)."""
        return self._apply(image.expand(-1, 3, -1, -1), generator)[:, :1]


def _spelled(value: Any) -> Any:
    """The value of a field as YAML has it."""
    if isinstance(value, tuple):
        return [_spelled(item) for item in value]
    return value.as_yaml() if isinstance(value, Degradation) else value


def draw(value: Range, image: Tensor, generator: BatchGenerator, each: int = 1) -> Tensor:
    """`each` values for every image of the batch, shape (B, each, 1, 1): `value`, or uniform between its two ends."""
    shape = (image.shape[0], each, 1, 1)
    low, high = ends(value)
    if low == high:
        return torch.full(shape, float(low), device=image.device, dtype=image.dtype)
    return low + (high - low) * rand(shape, generator, image.dtype)


def draw_log(value: Range, image: Tensor, generator: BatchGenerator, each: int = 1) -> Tensor:
    """As `draw`, but uniform in the logarithm: for what is said in factors, such as times and distances."""
    low, high = ends(value)
    return draw((math.log(low), math.log(high)), image, generator, each).exp()


def draw_integer(value: Range, image: Tensor, generator: BatchGenerator) -> Tensor:
    """One whole number for every image of the batch, both ends of the range included, shape (B, 1, 1, 1)."""
    low, high = ends(value)
    return draw((low, high + 1), image, generator).floor().clamp(max=high)


def ends(value: Range) -> tuple[float, float]:
    """The two ends of a range; a number is a range of one point."""
    return value if isinstance(value, tuple) else (value, value)
