"""Image files, read and written without losing bits, and files that appear whole or not at all."""

import contextlib
import dataclasses
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gesso.data.decoding import DEPTHS, decode
from gesso.data.headers import ImageError, tiff_tags

__all__ = ["ImageError", "Picture", "atomic_path", "read_array", "read_image", "read_picture", "write_image"]
__all__ += ["read_planes", "write_picture"]

MAX_PIXELS = 400_000_000
MASK = os.umask(0o077)  # what new files deny to others; it can only be read by setting it
os.umask(MASK)
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")
WRITABLE_BITS = {".png": (8, 16), ".tif": (8, 16, 32), ".tiff": (8, 16, 32), ".ppm": (8, 16), ".pgm": (8, 16)}
WITH_ALPHA = (".png", ".tif", ".tiff", ".webp")
WITH_PLANES = (".png", ".tif", ".tiff")  # WebP drops colours where the fourth channel is 0


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image file in memory, with what is needed to write it again in kind.

    Attributes:
        pixels: (3, H, W) RGB float32 in [0, 1]; grey files have three equal channels. To be written also (1, H, W),
            or four channels of data (4, H, W), the last of which takes the place of alpha in the file.
        alpha: opacity (H, W) float32 in [0, 1], or None.
        bits: bits of a channel: 8, 16, or 32 for float files.
        grey: whether the file has one colour channel.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False


def read_image(path: str | Path) -> Tensor:
    """The image of a file, (3, H, W) RGB float32 in [0, 1]; alpha is left out. Errors as `read_picture`."""
    return read_picture(path).pixels


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS, *, planes: bool = False) -> Picture:
    """The image of a file with its alpha, bit depth and greyness; a rotation that EXIF asks for is done.

    PNG, JPEG, TIFF, BMP, WebP, PPM and PGM; the content decides, not the suffix. Palettes and CMYK become RGB. Integer
    values are divided by their maximum; float TIFF is taken as it is. With `planes` the file has four channels of data
    and no alpha, see `read_planes`.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is no image, is cut short or damaged, declares more than `max_pixels`, or holds floats that
            are not finite or not in [0, 1].
    """
    if planes:
        array = read_planes(path, max_pixels)
        return Picture(torch.from_numpy(to_float(array)).permute(2, 0, 1).contiguous(), bits=_bits(array))
    array, header = decode(Path(path), max_pixels)
    image = torch.from_numpy(to_float(array))
    grey = header.grey or image.ndim == 2
    if image.ndim == 2:
        return Picture(image.expand(3, -1, -1).contiguous(), None, _bits(array), grey)
    image = image.permute(2, 0, 1).contiguous()
    return Picture(image[:3], image[3] if len(image) == 4 else None, _bits(array), grey)


def read_array(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a file as they are stored: (H, W, 3) RGB uint8, uint16 or float32. Errors as `read_picture`."""
    array, _ = decode(Path(path), max_pixels)
    if array.ndim == 2:
        return np.repeat(array[..., None], 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def read_planes(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a file with four channels of data, (H, W, 4) as stored: what others take for alpha is data, too.

    PNG and TIFF of RGB and infrared, or of the four planes of a Bayer pattern.

    Raises:
        FileNotFoundError, ImageError: as `read_picture`, and if the file has not four channels, or is a TIFF of 8 bits
            that calls the fourth straight alpha: OpenCV multiplies the colours by it.
    """
    array, header = decode(Path(path), max_pixels)
    if array.ndim != 3 or array.shape[2] != 4 or header.grey:
        seen = "one and alpha" if header.grey and header.alpha else 1 if array.ndim == 2 else array.shape[2]
        raise ImageError(
            f"{path}: expected four channels of data, in a PNG or TIFF that holds the fourth in the place of alpha; "
            f"this has {seen}"
        )
    if array.dtype == np.uint8 and _has_straight_alpha(Path(path).read_bytes()):
        raise ImageError(f"{path}: its fourth channel is declared as straight alpha; save it unspecified, or as PNG")
    return array


def _has_straight_alpha(data: bytes) -> bool:
    """Whether this is a TIFF that calls its fourth sample alpha by which colours are not multiplied."""
    return data[:2] in (b"II", b"MM") and 2 in tiff_tags(data).get(338, ())


def to_float(array: np.ndarray) -> np.ndarray:
    """Stored pixels of any depth as float32 in [0, 1], a copy."""
    peak = 1 if array.dtype == np.float32 else np.iinfo(array.dtype).max
    return np.divide(array, np.float32(peak), dtype=np.float32)


def write_image(path: str | Path, image: Tensor, *, bits: int = 8, overwrite: bool = False) -> None:
    """Writes `image` (C, H, W) in [0, 1], C = 3 for RGB, 1 or 4, as the suffix names it; see `write_picture`."""
    write_picture(path, Picture(image, bits=bits), overwrite=overwrite)


def write_picture(path: str | Path, picture: Picture, *, overwrite: bool = False) -> None:
    """Writes a picture in the format that the suffix names, with its alpha, bit depth and greyness.

    Values are clamped to [0, 1] and rounded. JPEG is written at quality 95 without chroma subsampling; WebP
    lossless, but for colours that are wholly transparent.

    Raises:
        FileExistsError: if the file exists and `overwrite` is False.
        ValueError: if the format cannot hold the bits or the alpha, or if the pixels are no finite (C, H, W).
        OSError: if the file cannot be written; nothing is then left under its name.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite replaces it")
    data = _encode(path, picture)
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
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):  # not ours to change
            temporary.chmod(0o666 & ~MASK)  # safetensors denies its files to everybody else
        temporary.replace(path)
    except (OSError, *failures) as error:
        number, reason = (error.errno, error.strerror) if isinstance(error, OSError) else (None, None)
        raise OSError(number or errno.EIO, f"could not write {path}: {reason or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _bits(array: np.ndarray) -> int:
    return 8 * array.dtype.itemsize


def _encode(path: Path, picture: Picture) -> bytes:
    import cv2

    suffix, bits = path.suffix.lower(), picture.bits
    array = _to_stored(picture, path)
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    if bits not in WRITABLE_BITS.get(suffix, (8,)):
        raise ValueError(f"{path}: {suffix} cannot hold {bits} bits; write .png (8, 16) or .tif (8, 16, 32)")
    if len(picture.pixels) == 4 and suffix not in WITH_PLANES:
        raise ValueError(f"{path}: {suffix} cannot hold four channels; write one of {', '.join(WITH_PLANES)}")
    if picture.alpha is not None and suffix not in WITH_ALPHA:
        raise ValueError(f"{path}: {suffix} cannot hold alpha; write one of {', '.join(WITH_ALPHA)}")
    if suffix == ".ppm" and array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if suffix == ".pgm" and array.ndim == 3:
        raise ValueError(f"{path}: .pgm cannot hold colour; write .ppm or .png")
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    options = {".jpg": options, ".jpeg": options, ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101]}.get(suffix, [])
    done, data = cv2.imencode(suffix, array, options)
    if not done:
        raise ValueError(f"{path}: OpenCV could not encode the image as {suffix}")
    return data.tobytes()


def _to_stored(picture: Picture, path: Path) -> np.ndarray:
    """Pixels as a file stores them: (H, W), (H, W, 3) RGB, or (H, W, 4) RGBA also for grey with alpha."""
    image = picture.pixels.detach().cpu().float()
    few = (3, 1) if picture.alpha is not None or picture.grey else (3, 1, 4)
    if image.ndim != 3 or len(image) not in few or not image.numel():
        raise ValueError(f"{path}: expected an image (3, height, width) to write, got {tuple(image.shape)}")
    if not torch.isfinite(image).all():
        raise ValueError(f"{path}: the image to write has NaN or infinite values")
    if picture.grey:
        image = image.mean(0, keepdim=True, dtype=torch.float64).float()  # exact where the three are equal
    if picture.alpha is not None:
        image = torch.cat([image.expand(3, -1, -1), picture.alpha.cpu().float().unsqueeze(0)])
    image = image.clamp(0, 1)
    if picture.bits != 32:
        image = image.mul_(2**picture.bits - 1).round_()
    return image.permute(1, 2, 0).squeeze(2).numpy().astype(DEPTHS[picture.bits])
