"""How the pixels that a network takes are read from files, stored, shown and measured: one value says all of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from gesso.functional.color import to_grey

FormatName = Literal["rgb", "grey", "planes", "dual_pixel"]
CHANNELS: dict[FormatName, int] = {"rgb": 3, "grey": 1, "planes": 4, "dual_pixel": 6}


def check_channels(what: str | Path, channels: int) -> None:
    """Checks that files are read with as many channels as a network takes: 1 (grey), 3 (RGB) or 4 (`planes`).

    Raises:
        ValueError: if not; `what` says of which network, or of which files.
    """
    if channels not in (1, 3, 4):
        raise ValueError(f"{what}: images are read with 1, 3 or 4 channels, the network takes {channels}")


def check_white_level(white_level: int | None) -> None:
    """Checks a white level for files of 16 bits.

    Raises:
        ValueError: if it is none.
    """
    if white_level is not None and not 255 <= white_level <= 65535:
        raise ValueError(f"white_level: expected the stored value of white, 255 to 65535, got {white_level}")


@dataclass(frozen=True)
class PixelFormat:
    """The pixels of an image as a network takes them.

    | name | channels | read from files as | shown as | measured on |
    |---|---|---|---|---|
    | `rgb` | 3 | three colours, alpha left out | itself | the three |
    | `grey` | 1 | three colours, then luma of BT.601 | grey | the one |
    | `planes` | 4 | four channels of data, such as RGB and infrared: what others take for alpha is data | its first three | the four |
    | `dual_pixel` | 6 | two files, what the halves of a camera's pixels saw | the mean of both | RGB, the ground truth |

    Attributes:
        name: which of them.
        white_level: what white is stored as in files of 16 bits, 4095 for a camera of 12 bits; None: 65535, or what the
            files say themselves.

    Raises:
        ValueError: if the white level is not in [255, 65535].

    Example:
        >>> PixelFormat.of_channels(4)
        PixelFormat(name='planes', white_level=None)
    """  # noqa: E501

    name: FormatName = "rgb"
    white_level: int | None = None

    def __post_init__(self) -> None:
        check_white_level(self.white_level)

    @classmethod
    def of_channels(cls, channels: int, white_level: int | None = None) -> "PixelFormat":
        """The format of networks that take so many channels: 1, 3 or 4.

        Raises:
            ValueError: for other numbers.
        """
        check_channels("format", channels)
        names: dict[int, FormatName] = {1: "grey", 3: "rgb", 4: "planes"}
        return cls(names[channels], white_level)

    @property
    def channels(self) -> int:
        """Channels that the network takes."""
        return CHANNELS[self.name]

    @property
    def has_planes(self) -> bool:
        """Whether the fourth channel of a file is data rather than alpha."""
        return self.name == "planes"

    @property
    def has_two_views(self) -> bool:
        """Whether an image is read from two files."""
        return self.name == "dual_pixel"

    @property
    def measured(self) -> Literal["rgb", "grey", "planes"]:
        """The channels of `gesso.metrics.Protocol` that are all there are of a ground truth."""
        return "rgb" if self.name == "dual_pixel" else self.name

    def from_stored(self, image: Tensor) -> Tensor:
        """The image (C, H, W) that the network takes, of one that is read from files."""
        return to_grey(image) if self.name == "grey" else image

    def __str__(self) -> str:
        return self.name


RGB = PixelFormat()
