"""The pixels of an image file, or an error: what its header declares, whether it is all there, and what is in it.

Pillow and OpenCV read PNG, JPEG and WebP here, `tiff` and `rasters` the other formats. Both trust their input: they
allocate what a header asks for, and fill up what a damaged file lacks. So the header is read and the structure checked
before a pixel is decoded.
"""

import dataclasses
import io
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from gesso.data.metadata import (
    Header,
    ImageError,
    find_orientation,
    jpeg_segments,
    png_chunks,
    webp_chunks,
)
from gesso.data.rasters import bmp_is_complete, decode_bmp, decode_pnm, read_bmp_header, read_pnm_header
from gesso.data.tiff import decode_tiff, inflates, pixels_in_tiff, read_tiff_header, tiff_is_complete, tiff_orientation
from gesso.functional.memory import free_memory

BEGINNING = 1 << 17  # bytes of a file in which nearly every header ends
BYTES_PER_PIXEL = 30  # stored, turned to RGB and made floats, one copy of each
ALWAYS_FITS = 16_000_000  # pixels for which nobody asks how much memory is free
DEFLATE_RATIO = 1032  # bytes that one byte of a zlib stream can become
JPEG_PIXELS_PER_BYTE = 512  # a block of 8 x 8 takes one bit at least
STILL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the chunks of a PNG that make its picture
DAMAGED = "the {} file is cut short or damaged"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Format:
    """How the files of a format are read.

    Attributes:
        name: what people call it.
        signature: a regular expression for the first 16 bytes.
        read_header: the header from the file, or its beginning, and the number of a page.
        decode: the pixels as stored, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
        is_complete: whether the structure is whole, without decoding a pixel.
        most_pixels: how many pixels a file of this size can hold.
        orientation: which way is up, 1 to 8, in the numbers of EXIF.
    """

    name: str
    signature: bytes
    read_header: Callable[[bytes, int], Header]
    decode: Callable[[bytes, Header], np.ndarray]
    is_complete: Callable[[bytes, Header], bool] = lambda data, header: True
    most_pixels: Callable[[bytes, Header], float] = lambda data, header: math.inf
    orientation: Callable[[bytes, Header], int] = lambda data, header: 1


def read_header(path: Path, page: int = 0) -> Header:
    """The header of an image file; no pixel is decoded.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is none of PNG, JPEG, TIFF, BMP, WebP and the PNM family, or of a kind that is not supported.
    """
    with path.open("rb") as file:  # not mapped: a mapped file that another program cuts short kills its reader
        data = file.read(BEGINNING)
        try:
            return parse_header(data, path, page)
        except ImageError:
            rest = file.read()
            if not rest:
                raise
        return parse_header(data + rest, path, page)


def parse_header(data: bytes, path: Path, page: int = 0) -> Header:
    """The header of an image file from its bytes; `path` is only for messages, see `read_header`."""
    kind = find_format(data, path)
    header = _named(path, "the file is cut short within its header", lambda: kind.read_header(data, page))
    if header.width < 1 or header.height < 1:
        raise ImageError(f"{path}: the header declares an image of {header.width}x{header.height} pixels")
    return header


def find_format(data: bytes, path: Path) -> Format:
    """The format of a file, told by how it begins.

    Raises:
        ImageError: if it is none.
    """
    if not data:
        raise ImageError(f"{path}: the file is empty")
    for kind in FORMATS:
        if re.match(kind.signature, data[:16], re.DOTALL):
            return kind
    raise ImageError(f"{path}: expected PNG, JPEG, TIFF, BMP, WebP or PNM, but the file begins with {bytes(data[:8])}")


def check_complete(data: bytes, path: Path) -> tuple[int, int]:
    """Checks what can be told of a file without decoding it; returns height and width of its image, upright.

    Raises:
        ImageError: if the file is cut short, a checksum is wrong, or it is too small for the pixels it declares.
    """
    kind, header = find_format(data, path), parse_header(data, path)
    _check_complete(kind, data, header, path)
    if kind.decode is decode_pnm:  # it has no structure, and decoding costs no more than reading
        _named(path, DAMAGED.format(kind.name), lambda: decode_pnm(data, header))
    turned = kind.orientation(data, header) >= 5
    return (header.width, header.height) if turned else (header.height, header.width)


def decode(
    data: bytes, path: Path, max_pixels: int, page: int = 0, *, planes: bool = False
) -> tuple[np.ndarray, Header]:
    """Pixels as stored and upright, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, and the header.

    Of uint8, uint16 or float32. Several threads may decode at the same time.

    Args:
        data: the file.
        path: for messages.
        max_pixels: how many it may hold.
        page: of a TIFF.
        planes: whether a fourth channel is data rather than alpha.

    Raises:
        ImageError: if the file is no image, is damaged, or holds more than `max_pixels` or memory can.
    """
    kind, header = find_format(data, path), parse_header(data, path, page)
    header = dataclasses.replace(header, planes=planes)
    _check_size(header, path, max_pixels)
    _check_complete(kind, data, header, path)
    array = _named(path, DAMAGED.format(kind.name), lambda: kind.decode(data, header))
    if array.shape[:2] != (header.height, header.width):
        seen = f"{array.shape[1]}x{array.shape[0]}"
        raise ImageError(f"{path}: the header declares {header.width}x{header.height} pixels, but there are {seen}")
    if array.dtype == np.float32:
        _check_floats(array, path)
    return turn_upright(array, kind.orientation(data, header)), header


def turn_upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, ...) as EXIF's orientation, 1 to 8, wants them shown; what is no orientation changes nothing."""
    if not 2 <= orientation <= 8:
        return array
    array = array.swapaxes(0, 1) if orientation >= 5 else array
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[orientation]
    return np.ascontiguousarray(array[::down, ::right])


def _named(path: Path, otherwise: str, read: Callable[[], T]) -> T:
    """What `read` returns; its errors name the file. Decoders raise whatever damaged bytes lead them to."""
    try:
        return read()
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ImageError(f"{path}: {otherwise}") from error


def _check_complete(kind: Format, data: bytes, header: Header, path: Path) -> None:
    if not _named(path, DAMAGED.format(kind.name), lambda: kind.is_complete(data, header)):
        raise ImageError(f"{path}: {DAMAGED.format(kind.name)}")
    if header.width * header.height > kind.most_pixels(data, header):
        size = f"{header.width}x{header.height}"
        raise ImageError(f"{path}: {len(data)} bytes cannot hold the {size} pixels that the header declares")


def _check_size(header: Header, path: Path, max_pixels: int) -> None:
    pixels = header.width * header.height
    declared = f"{path}: the header declares {header.width}x{header.height} pixels"
    if pixels > max_pixels:
        raise ImageError(f"{declared}, more than {max_pixels:,}; if that is true, raise max_pixels or cut the image up")
    if pixels > ALWAYS_FITS and pixels * BYTES_PER_PIXEL > free_memory():
        needed, free = pixels * BYTES_PER_PIXEL / 2**30, free_memory() / 2**30
        raise ImageError(f"{declared}, which takes {needed:.1f} GiB, and {free:.1f} GiB are free; cut the image up")


def _check_floats(array: np.ndarray, path: Path) -> None:
    if not np.isfinite(array).all():
        raise ImageError(f"{path}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(f"{path}: expected floats in [0, 1], got {low:g} to {high:g}; divide by the white level")


# ------------------------------------------------------------------------------------------------------------ PNG


def _read_png_header(data: bytes, page: int = 0) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    alpha, frames = colour in (4, 6), 1
    for kind, start, _ in png_chunks(data):  # Pillow gives up over a long text, and does so before the pixels
        alpha |= kind == b"tRNS"
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, start)
        if kind == b"IDAT":
            return Header(width, height, 16 if depth == 16 else 8, alpha, grey=colour in (0, 4), frames=max(1, frames))
    raise ImageError("the PNG file holds no pixels")


def _png_is_complete(data: bytes, header: Header) -> bool:
    """Every chunk has its checksum and the last is the end."""
    kind = b""
    for kind, start, length in png_chunks(data):
        stored = data[start + length : start + length + 4]
        if zlib.crc32(data[start - 4 : start + length]).to_bytes(4, "big") != stored:
            return False
        if kind == b"IEND":
            break
    return kind == b"IEND"


def _pixels_in_png(data: bytes, header: Header) -> float:
    depth, colour = data[24:26]
    bits = max(1, depth * {2: 3, 4: 2, 6: 4}.get(colour, 1))
    return 8 / bits * DEFLATE_RATIO * sum(length for kind, _, length in png_chunks(data) if kind == b"IDAT")


def _decode_png(data: bytes, header: Header) -> np.ndarray:
    key = None if data[25] == 3 else _transparent_colour(data)
    if header.bits == 16:
        array = _decode_deep_png(data, alpha=header.alpha and key is None)
    else:
        from PIL import PngImagePlugin

        image = PngImagePlugin.PngImageFile(io.BytesIO(strip_animation(data)))
        mode = "L" if header.grey else "RGB"
        array = np.array(image.convert("RGBA" if header.alpha and key is None else mode))
    if key is None:
        return array
    array = array[..., None] if array.ndim == 2 else array
    alpha = np.where((array == key).all(axis=2, keepdims=True), 0, np.iinfo(array.dtype).max).astype(array.dtype)
    return np.concatenate([np.broadcast_to(array, (*array.shape[:2], 3)), alpha], axis=2)


def _decode_deep_png(data: bytes, *, alpha: bool) -> np.ndarray:
    """Pixels of 16 bits, of which Pillow keeps 8."""
    if not inflates(b"".join(data[at : at + length] for kind, at, length in png_chunks(data) if kind == b"IDAT")):
        raise ImageError(DAMAGED.format("PNG"))
    return _by_opencv(strip_animation(data), alpha=alpha)


def _transparent_colour(data: bytes) -> np.ndarray | None:
    """The one colour of a grey or RGB PNG that is transparent, as decoded; None where there is none.

    OpenCV knows it for three colours of 8 bits only, and Pillow takes another where there are 4 bits.
    """
    depth, count = data[24], 1 if data[25] == 0 else 3
    for kind, start, length in png_chunks(data):
        if kind == b"tRNS":
            if length != 2 * count:
                raise ImageError(f"the PNG file is damaged: its transparent colour takes {length} bytes")
            key = np.frombuffer(data, ">u2", count, start) & (2**depth - 1)
            return key.astype(np.uint16) * (255 // (2**depth - 1) if depth < 8 else 1)
    return None


def strip_animation(data: bytes) -> bytes:
    """A PNG with its first picture alone.

    Frames that are out of order end OpenCV 5.0.0 and the process with it, and long texts end Pillow's reading.
    """
    kept = STILL if data[25] == 3 else [kind for kind in STILL if kind != b"tRNS"]
    parts = [(start - 8, start + length + 4) for kind, start, length in png_chunks(data) if kind in kept]
    return data[:8] + b"".join(data[begin:end] for begin, end in parts)


# ---------------------------------------------------------------------------------------------------------- JPEG


def _read_jpeg_header(data: bytes, page: int = 0) -> Header:
    from PIL import JpegImagePlugin

    image = JpegImagePlugin.jpeg_factory(io.BytesIO(data))
    pictures = getattr(image, "mpinfo", {}).get(0xB002, ())  # of a multi-picture file (MPO)
    frames = sum("Thumbnail" not in picture["Attribute"]["MPType"] for picture in pictures)
    return Header(*image.size, grey=image.layers == 1, ink=image.layers == 4, frames=max(1, frames))


def _jpeg_is_complete(data: bytes, header: Header) -> bool:
    """There are pixels of one picture, and an end."""
    markers = [marker for marker, _ in jpeg_segments(data)]
    return 0xDA in markers and markers[-1] == 0xD9 and sum(map(_declares_size, markers)) == 1


def _declares_size(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def _pixels_in_jpeg(data: bytes, header: Header) -> float:
    """By Huffman coding; arithmetic coding, whose markers are from C9 on, knows no bound."""
    arithmetic = any(marker >= 0xC9 for marker, _ in jpeg_segments(data) if _declares_size(marker))
    return math.inf if arithmetic else JPEG_PIXELS_PER_BYTE * len(data)


def _decode_jpeg(data: bytes, header: Header) -> np.ndarray:
    """The pixels, by Pillow: OpenCV returns a file that is cut short as if it were whole."""
    from PIL import JpegImagePlugin

    return np.array(JpegImagePlugin.JpegImageFile(io.BytesIO(data)).convert("L" if header.grey else "RGB"))


# ---------------------------------------------------------------------------------------------------------- WebP


def _read_webp_header(data: bytes, page: int = 0) -> Header:
    """By its chunks, because Pillow takes memory for all of the picture when it opens a file."""
    if data[12:16] == b"VP8L":
        (fields,) = struct.unpack_from("<I", data, 21)
        return Header(1 + (fields & 0x3FFF), 1 + (fields >> 14 & 0x3FFF), alpha=bool(fields >> 28 & 1))
    if data[12:16] != b"VP8X":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(width & 0x3FFF, height & 0x3FFF)
    width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
    frames = 1
    if data[20] & 0x02:
        if _webp_end(data) > len(data):
            raise IndexError("frames cannot be counted before all of them are there")
        frames = max(1, sum(kind == b"ANMF" for kind, _, _ in webp_chunks(data)))
    return Header(width, height, alpha=bool(data[20] & 0x10), frames=frames)


def _webp_is_complete(data: bytes, header: Header) -> bool:
    """The chunks fill the file, up to the end that it declares."""
    end, position = _webp_end(data), 12
    for kind, start, length in webp_chunks(data[:end]):
        position = start + length + length % 2
        if not kind.isascii():
            return False
    return position == end <= len(data)


def _webp_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


def _decode_webp(data: bytes, header: Header) -> np.ndarray:
    if header.frames == 1:
        return _by_opencv(data[: _webp_end(data)], alpha=header.alpha)
    from PIL import Image  # before 4.11, OpenCV refuses animations

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGBA" if header.alpha else "RGB"))


def _by_opencv(data: bytes, *, alpha: bool = False) -> np.ndarray:
    """The pixels of a file, RGB or RGBA, in half of the time that Pillow takes, which needs another copy."""
    import cv2

    flags = cv2.IMREAD_UNCHANGED if alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    array = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        raise ImageError("the image cannot be decoded; the file is cut short, damaged or of an unknown kind")
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return array


FORMATS = (
    Format(
        "PNG", rb"\x89PNG\r\n\x1a\n....IHDR", _read_png_header, _decode_png, _png_is_complete, _pixels_in_png,
        find_orientation,
    ),
    Format(
        "JPEG", rb"\xff\xd8\xff", _read_jpeg_header, _decode_jpeg, _jpeg_is_complete, _pixels_in_jpeg,
        find_orientation,
    ),
    Format(
        "TIFF", rb"II[*+]\x00|MM\x00[*+]", read_tiff_header, decode_tiff, tiff_is_complete, pixels_in_tiff,
        tiff_orientation,
    ),
    Format("BMP", rb"BM", read_bmp_header, decode_bmp, bmp_is_complete),
    Format("WebP", rb"RIFF....WEBP", _read_webp_header, _decode_webp, _webp_is_complete, orientation=find_orientation),
    Format("PNM", rb"P[1-7fF]\s", read_pnm_header, decode_pnm),
)  # fmt: skip
