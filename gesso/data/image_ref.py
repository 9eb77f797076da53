"""Where an image is stored: in a file, in a block of a MATLAB file, or in two files of a dual-pixel camera.

A file with four channels is an image with alpha, or `Planes`: four channels of data. Whoever opens it has to say.

SIDD publishes its test images as MATLAB files: a variable called like the file, (40, 32, 256, 256, 3), holds 32 blocks
of each of 40 photos. DPDD publishes what the left and the right halves of the camera's pixels saw as two files.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gesso.data.decoding import read_header
from gesso.data.io import read_array, read_planes, to_float
from gesso.data.metadata import DEPTHS, ImageError


@dataclass(frozen=True)
class Block:
    """One image out of a MATLAB file.

    Attributes:
        file: the file; its variable of the same name holds the images.
        index: where in that variable, as (photo, block).
    """

    file: Path
    index: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.file} {list(self.index)}"


@dataclass(frozen=True)
class Views:
    """What the left and the right halves of a dual-pixel camera's pixels saw: one image of six channels."""

    left: Path
    right: Path

    def __str__(self) -> str:
        return f"{self.left} with {self.right.name}"


@dataclass(frozen=True)
class Planes:
    """A file with four channels of data, such as RGB and infrared, or the four planes of a Bayer pattern."""

    file: Path

    @property
    def stem(self) -> str:
        """The file's name without suffix."""
        return self.file.stem

    @property
    def parent(self) -> Path:
        """The file's folder."""
        return self.file.parent

    def __str__(self) -> str:
        return str(self.file)


@dataclass(frozen=True)
class WithWhite:
    """An image whose white, in files of 16 bits, is stored as `level`: data of 10, 12 or 14 bits."""

    origin: Path | Block | Views | Planes
    level: int

    @property
    def stem(self) -> str:
        """The file's name without suffix."""
        return files_of(self)[0].stem

    @property
    def parent(self) -> Path:
        """The file's folder."""
        return files_of(self)[0].parent

    def __str__(self) -> str:
        return str(self.origin)


Origin = Path | Block | Views | Planes | WithWhite


def check_channels(what: str | Path, channels: int) -> None:
    """Checks that files are read with as many channels as a network takes: 1 (grey), 3 (RGB) or 4, see `Planes`.

    Raises:
        ValueError: if not; `what` says of which network, or of which files.
    """
    if channels not in (1, 3, 4):
        raise ValueError(f"{what}: images are read with 1, 3 or 4 channels, the network takes {channels}")


def files_of(origin: Origin) -> tuple[Path, ...]:
    """The files that an image is read from."""
    if isinstance(origin, WithWhite):
        return files_of(origin.origin)
    if isinstance(origin, Views):
        return origin.left, origin.right
    return (origin,) if isinstance(origin, Path) else (origin.file,)


def read_pixels(origin: Origin) -> np.ndarray:
    """The pixels as they are stored: (H, W, 3) RGB, or (H, W, 6) of two views, or (H, W, 4); uint8, uint16 or float32.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if it cannot be read, or two views differ in size.
    """
    if isinstance(origin, WithWhite):
        return with_white(read_pixels(origin.origin), origin)
    if isinstance(origin, Block):
        return variable(origin.file)[origin.index]
    if isinstance(origin, Path):
        return read_array(origin)
    if isinstance(origin, Planes):
        return read_planes(origin.file)
    views = [read_array(view) for view in files_of(origin)]
    if views[0].shape != views[1].shape:
        sizes = " and ".join(f"{view.shape[1]}x{view.shape[0]}" for view in views)
        raise ImageError(f"{origin}: the two views are {sizes}; expected one size")
    return np.concatenate(views, axis=2)


def with_white(pixels: np.ndarray, origin: WithWhite) -> np.ndarray:
    """Stored pixels of 16 bits as floats of which white is 1; others as they are.

    Raises:
        ImageError: if a value is above white.
    """
    if pixels.dtype != np.uint16:
        return pixels
    if (most := int(pixels.max())) > origin.level:
        raise ImageError(f"{origin}: expected values up to the white_level {origin.level}, got {most}")
    return np.divide(pixels, np.float32(origin.level), dtype=np.float32)


def in_matlab(origin: Origin) -> bool:
    """Whether an image is a block of a MATLAB file, which is read as a whole and stays in memory."""
    return isinstance(origin.origin if isinstance(origin, WithWhite) else origin, Block)


def read_image(origin: Origin) -> Tensor:
    """The image (C, H, W) float32 in [0, 1], C = 6 for two views; errors as `read_pixels`."""
    return to_tensor(read_pixels(origin))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Stored pixels (H, W, C) as an image (C, H, W) in [0, 1]."""
    return torch.from_numpy(to_float(pixels)).permute(2, 0, 1).contiguous()


def declared(origin: Path | Views | Planes | WithWhite) -> tuple[int, int, type]:
    """Pixels, channels and type that the header of an image declares; its pixels are not decoded."""
    if isinstance(origin, WithWhite):
        assert not isinstance(origin.origin, Block)
        pixels, channels, kind = declared(origin.origin)
        return pixels, channels, np.float32 if kind is np.uint16 else kind
    header = read_header(files_of(origin)[0])
    channels = 4 if isinstance(origin, Planes) else 3 * len(files_of(origin))
    return header.width * header.height, channels, np.float32 if header.white else DEPTHS[header.bits]


def is_turned(origin: Origin, height: int, width: int) -> bool:
    """Whether EXIF has turned an image, read as `height` x `width`, by a quarter: its header declares other sides."""
    size = declared_size(origin)
    return size is not None and (size[0] < size[1]) != (height < width)


def declared_size(origin: Origin) -> tuple[int, int] | None:
    """Height and width that the header of an image declares, before any rotation; None where none can be read."""
    if isinstance(origin, Block):
        return None
    try:
        header = read_header(files_of(origin)[0])
    except (ImageError, OSError):
        return None  # whoever reads the pixels says what is wrong
    return header.height, header.width


# ------------------------------------------------------------------------------------------------------- MATLAB


def blocks(file: Path) -> list[Block]:
    """The images of a MATLAB file, in order; only its headers are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is no MATLAB file of version 5 to 7.2, or has no variable of images with the file's name.
    """
    import scipy.io

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(file))}
    except NotImplementedError:
        raise ImageError(f"{file}: a MATLAB file of version 7.3 (HDF5); expected 5 to 7.2: save(..., '-v7')") from None
    except Exception as error:  # SciPy raises whatever the bytes lead it to
        raise ImageError(f"{file}: expected a MATLAB file, it cannot be read as one ({error})") from None
    expected = f"{file}: expected a variable {file.stem}, uint8 (photos, blocks, height, width, 3)"
    if file.stem not in found:
        seen = ", ".join(f"{name} {shape}" for name, (shape, _) in found.items()) or "none"
        raise ImageError(f"{expected}; found {seen}; name the file like its variable")
    shape, kind = found[file.stem]
    if len(shape) not in (4, 5) or shape[-1] != 3 or kind not in ("uint8", "uint16"):
        raise ImageError(f"{expected} or (images, height, width, 3); found {kind} {shape}")
    return [Block(file, tuple(map(int, index))) for index in np.ndindex(*shape[:-3])]


@functools.lru_cache(maxsize=2)  # the two sides of a set; SIDD's take 250 MB each
def variable(file: Path) -> np.ndarray:
    """All images of a MATLAB file, as `blocks` counts them."""
    import scipy.io

    try:
        return scipy.io.loadmat(str(file), variable_names=[file.stem])[file.stem]
    except Exception as error:
        raise ImageError(f"{file}: the MATLAB file is cut short or damaged ({error})") from None
