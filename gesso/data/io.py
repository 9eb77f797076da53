"""Image files, read and written without losing bits, and files that appear whole or not at all."""

import contextlib
import dataclasses
import errno
import os
import stat
import uuid
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from gesso._names import fitting
from gesso.data.decoding import decode, read_header
from gesso.data.encoding import KINDS, check_holds, encode, encode_tiff, kind_of
from gesso.data.image_ref import Block, ImageRef, Views, files_of, read_variable
from gesso.data.metadata import DEPTHS, Header, ImageError, LeftOutWarning, Metadata, read_metadata
from gesso.formats import RGB, PixelFormat, check_white_level

__all__ = [
    "ImageError",
    "LeftOutWarning",
    "Picture",
    "atomic_path",
    "read_array",
    "read_image",
    "read_picture",
    "write_image",
]
__all__ += ["read_pixels", "read_planes", "read_tensor", "write_pages", "write_picture"]

MAX_PIXELS = 400_000_000
SUFFIXES = tuple(KINDS)
NOTHING_SAID = Metadata()


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in memory, with what is needed to write it again in kind.

    Attributes:
        pixels: (3, H, W) RGB float32 in [0, 1]; grey files have three equal channels. To be written also (1, H, W),
            or four channels of data (4, H, W), the last of which takes the place of alpha in the file.
        alpha: opacity (H, W) float32 in [0, 1], or None.
        bits: bits of a channel: 8, 16, or 32 for float files.
        grey: whether the file has one colour channel.
        white_level: what white is stored as, where it is not the largest value of the bits: data of 10, 12 or 14 bits
            in files of 16.
        peak: the maximum that the header of a PGM or PPM declares, where it is none of 8 or 16 bits.
        metadata: colour profile, resolution and EXIF, which are written, too, where the format can hold them.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    white_level: int | None = None
    peak: int | None = None
    metadata: Metadata = NOTHING_SAID

    @property
    def header(self) -> Header:
        """What is asked of a file that is to hold this picture."""
        height, width = self.pixels.shape[-2:]
        alpha = self.alpha is not None or len(self.pixels) == 4
        return Header(width, height, self.bits, alpha, self.grey or len(self.pixels) == 1)


def read_image(path: str | Path, *, white_level: int | None = None) -> Tensor:
    """The image of a file, (3, H, W) RGB float32 in [0, 1]; alpha is left out. Options and errors: `read_picture`."""
    return read_picture(path, white_level=white_level).pixels


def read_picture(
    path: str | Path,
    max_pixels: int = MAX_PIXELS,
    *,
    planes: bool = False,
    page: int = 0,
    white_level: int | None = None,
) -> Picture:
    """The image of a file with its alpha, bit depth, greyness and metadata; a rotation that EXIF asks for is done.

    PNG, JPEG, TIFF, BMP, WebP and the PNM family; the content decides, not the suffix. Palettes and CMYK become RGB.

    Args:
        path: the file.
        max_pixels: how many it may hold.
        planes: the file has four channels of data and no alpha, see `read_planes`.
        page: of a TIFF, from 0; of an animation there is only the first picture.
        white_level: what white is stored as in files of 16 bits; None: 65535, or what the header says. Other integers
            are divided by their maximum; float TIFF is taken as it is.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is no image, is cut short or damaged, declares more than `max_pixels`, has values above white,
            or holds floats that are not finite or not in [0, 1].
    """
    check_white_level(white_level)
    path = Path(path)
    data = path.read_bytes()
    array, header = decode(data, path, max_pixels, page, planes=planes)
    if planes:
        check_planes(array, header, path)
    about = read_metadata(data, header)
    if about.icc is not None and (header.ink or about.icc[16:20] == b"CMYK"):
        warnings.warn("its CMYK became RGB without its colour profile, which is left out", LeftOutWarning, stacklevel=2)
        about = dataclasses.replace(about, icc=None)
    level = white_level if _bits(array) == 16 else None
    bits = header.bits if header.white else _bits(array)
    peak = header.white if data[:1] == b"P" else None
    kept = {"bits": bits, "white_level": level, "peak": peak, "metadata": about}
    image = torch.from_numpy(to_float(array, header.white, level, path))
    if image.ndim == 2:
        return Picture(image.expand(3, -1, -1).contiguous(), grey=True, **kept)
    image = image.permute(2, 0, 1).contiguous()
    if planes:
        return Picture(image, **kept)
    if len(image) == 4 and level is not None:  # which is about colours
        image[3] = torch.from_numpy(to_float(array[..., 3], header.white))
    return Picture(image[:3], image[3] if len(image) == 4 else None, grey=header.grey, **kept)


def read_array(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a file as they are stored: (H, W, 3) RGB uint8, uint16 or float32. Errors as `read_picture`.

    Integers whose white is not the largest of their bits become floats in [0, 1].
    """
    array, header = decode(Path(path).read_bytes(), Path(path), max_pixels)
    array = array if header.white is None else to_float(array, header.white)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def read_planes(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a file with four channels of data, (H, W, 4) as stored: what others take for alpha is data, too.

    PNG and TIFF of RGB and infrared, or of the four planes of a Bayer pattern.

    Raises:
        FileNotFoundError, ImageError: as `read_picture`, and if the file has not four channels.
    """
    array, header = decode(Path(path).read_bytes(), Path(path), max_pixels, planes=True)
    check_planes(array, header, Path(path))
    return array if header.white is None else to_float(array, header.white)


def check_planes(array: np.ndarray, header: Header, path: Path) -> None:
    """Checks that a decoded file has four channels.

    Raises:
        ImageError: if not.
    """
    if array.ndim != 3 or array.shape[2] != 4 or header.grey:
        seen = "one and alpha" if header.grey and header.alpha else 1 if array.ndim == 2 else array.shape[2]
        raise ImageError(
            f"{path}: expected four channels of data, in a PNG or TIFF that holds the fourth in the place of alpha; "
            f"this has {seen}"
        )


def read_pixels(ref: ImageRef, format: PixelFormat = RGB) -> np.ndarray:
    """The pixels as they are stored: (H, W, 3) RGB, or (H, W, 6) of two views, or (H, W, 4) planes.

    uint8, uint16 or float32. Colours stay where the format is grey: they are what is cached, see
    `PixelFormat.from_stored`.

    Raises:
        FileNotFoundError: if a file is missing.
        ImageError: if it cannot be read, a value is above white, or two views differ in size.
    """
    if isinstance(ref, Block):
        pixels = read_variable(ref.file)[ref.index]
    elif isinstance(ref, Views):
        views = [read_array(view) for view in files_of(ref)]
        if views[0].shape != views[1].shape:
            sizes = " and ".join(f"{view.shape[1]}x{view.shape[0]}" for view in views)
            raise ImageError(f"{ref}: the two views are {sizes}; expected one size")
        pixels = np.concatenate(views, axis=2)
    else:
        pixels = read_planes(ref) if format.has_planes else read_array(ref)
    return scale_to_white(pixels, format, ref)


def scale_to_white(pixels: np.ndarray, format: PixelFormat, ref: ImageRef) -> np.ndarray:
    """Stored pixels of 16 bits as floats of which white is 1 if the format has a white level; others as they are.

    Raises:
        ImageError: if a value is above white.
    """
    if pixels.dtype != np.uint16 or format.white_level is None:
        return pixels
    if (most := int(pixels.max())) > format.white_level:
        raise ImageError(f"{ref}: expected values up to the white_level {format.white_level}, got {most}")
    return np.divide(pixels, np.float32(format.white_level), dtype=np.float32)


def read_tensor(ref: ImageRef, format: PixelFormat = RGB) -> Tensor:
    """The image (C, H, W) float32 in [0, 1] as a network of this format takes it; errors as `read_pixels`."""
    return format.from_stored(to_tensor(read_pixels(ref, format)))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """Stored pixels (H, W, C) as an image (C, H, W) in [0, 1]."""
    return torch.from_numpy(to_float(pixels)).permute(2, 0, 1).contiguous()


def read_layout(ref: Path | Views, format: PixelFormat = RGB) -> tuple[int, int, type]:
    """Pixels, channels and type that `read_pixels` will give, by the header of an image; no pixel is decoded."""
    header = read_header(files_of(ref)[0])
    channels = 4 if format.has_planes else 3 * len(files_of(ref))
    kind = np.float32 if header.white else DEPTHS[header.bits]
    kind = np.float32 if kind is np.uint16 and format.white_level is not None else kind
    return header.width * header.height, channels, kind


def read_size(ref: ImageRef) -> tuple[int, int] | None:
    """Height and width that the header of an image declares, before any rotation; None where none can be read."""
    if isinstance(ref, Block):
        return None
    try:
        header = read_header(files_of(ref)[0])
    except (ImageError, OSError):
        return None  # whoever reads the pixels says what is wrong
    return header.height, header.width


def is_turned(ref: ImageRef, height: int, width: int) -> bool:
    """Whether EXIF has turned an image, read as `height` x `width`, by a quarter: its header declares other sides."""
    size = read_size(ref)
    return size is not None and (size[0] < size[1]) != (height < width)


def to_float(
    array: np.ndarray, white: int | None = None, white_level: int | None = None, path: str | Path = "image"
) -> np.ndarray:
    """Stored pixels of any depth as float32 in [0, 1], a copy.

    Args:
        array: the pixels.
        white: the value of white that the file declares; None: the largest of the bits.
        white_level: the value of white that the user declares for 16 bits, see `read_picture`.
        path: for messages.

    Raises:
        ImageError: if a value is above `white_level`.
    """
    if array.dtype == np.float32:
        return np.array(array)
    peak = white or np.iinfo(array.dtype).max
    if white_level is not None and array.dtype == np.uint16:
        peak, most = white_level, int(array[..., :3].max() if array.ndim == 3 else array.max())
        if most > white_level:
            raise ImageError(f"{path}: expected values up to the white_level {white_level}, got {most}")
    return np.divide(array, np.float32(peak), dtype=np.float32)


def write_image(path: str | Path, image: Tensor, *, bits: int = 8, overwrite: bool = False) -> None:
    """Writes `image` (C, H, W) in [0, 1], C = 3 for RGB, 1 or 4, as the suffix names it; see `write_picture`."""
    write_picture(path, Picture(image, bits=bits), overwrite=overwrite)


def write_picture(path: str | Path, picture: Picture, *, overwrite: bool = False) -> None:
    """Writes a picture in the format that the suffix names, with its alpha, bit depth, greyness and metadata.

    Values are clamped to [0, 1] and rounded. JPEG is written at quality 95 without chroma subsampling, WebP lossless.

    Raises:
        FileExistsError: if the file exists and `overwrite` is False.
        ValueError: if the format cannot hold the bits or the alpha, or if the pixels are no finite (C, H, W).
        OSError: if the file cannot be written; nothing is then left under its name.

    Warns:
        LeftOutWarning: if the format cannot hold metadata.
    """
    write_pages(path, [picture], overwrite=overwrite)


def write_pages(path: str | Path, pictures: Iterable[Picture], *, overwrite: bool = False) -> None:
    """Writes pictures as the pages of a TIFF, one after the other as they come; elsewhere there must be one.

    Raises and warns as `write_picture`.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite replaces it")
    if kind_of(path) == "tiff":
        pages = ((_to_stored(picture, path), picture.header, picture.metadata) for picture in pictures)
        with atomic_path(path) as temporary:
            encode_tiff(temporary, pages)
        return
    (picture,) = pictures
    array = _to_stored(picture, path)
    data = encode(path, array, picture.header, picture.metadata, picture.peak)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def as_paths(*names: str | Path | None) -> list[Path | None]:
    """File names as paths; None stays None."""
    return [None if name is None else Path(name) for name in names]


@contextlib.contextmanager
def atomic_path(path: str | Path, *failures: type[Exception]) -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix, that takes its name once the block has ended without error.

    The folder is created where it is missing. Whatever happens, `path` holds the old content, the whole new one, or
    nothing.

    Args:
        path: the file.
        failures: what the writer in the block raises, besides OSError, where the disk is full.

    Raises:
        OSError: if the folder or the file cannot be written (no permission, disk full); it names `path`.
    """
    path = Path(path)
    temporary = path.with_name(fitting(f".{path.stem}", f".{uuid.uuid4().hex[:8]}.tmp{path.suffix}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)  # what new files allow here
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # not ours to change
            temporary.chmod(mode)  # safetensors denies its files to everybody else
        temporary.replace(path)
    except (OSError, *failures) as error:
        number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
        raise OSError(number or errno.EIO, f"could not write {path}: {reason or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_text(path: str | Path) -> Iterator[TextIO]:
    """A text file in UTF-8 that appears as `atomic_path` has it; line ends are written as they are.

    What UTF-8 cannot hold, of file names that are none, stands there escaped: no name costs what was measured.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield file


def _bits(array: np.ndarray) -> int:
    return 8 * array.dtype.itemsize


def _to_stored(picture: Picture, path: Path) -> np.ndarray:
    """Pixels as a file stores them: (H, W), or (H, W, 2) grey with alpha, (H, W, 3) RGB, (H, W, 4) RGBA.

    Raises:
        ValueError: if there are none, or the format cannot hold them.
    """
    image = picture.pixels.detach().cpu().float()
    few = (3, 1) if picture.alpha is not None or picture.grey else (3, 1, 4)
    if image.ndim != 3 or len(image) not in few or not image.numel():
        raise ValueError(f"{path}: expected an image (3, height, width) to write, got {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        raise ValueError(f"{path}: the image to write has NaN or infinite values")
    check_holds(path, picture.header, planes=len(picture.pixels) == 4)
    if picture.grey:
        image = image.mean(0, keepdim=True, dtype=torch.float64).float()  # exact where the three are equal
    image, full = image.clamp(0, 1), 1 if picture.bits == 32 else 2**picture.bits - 1
    white = (picture.white_level or (picture.peak if kind_of(path) == "pnm" else None) or full) if full > 1 else 1
    image = image * white
    if picture.alpha is not None:
        opaque = picture.peak if kind_of(path) == "pnm" and picture.peak else full
        image = torch.cat([image, picture.alpha.cpu().float().clamp(0, 1).unsqueeze(0) * opaque])
    image = image if full == 1 else image.round_()
    return image.permute(1, 2, 0).squeeze(2).numpy().astype(DEPTHS[picture.bits])
