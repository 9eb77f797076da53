"""The pixels of an image file, or an error: decoders fill up what is missing and say so on stderr, if at all."""

import contextlib
import dataclasses
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gesso.data.headers import Header, ImageError, Tags, parse_header, png_chunks, tiff_header, tiff_pages
from gesso.data.metadata import find_orientation, turned_upright
from gesso.data.rasters import decode_bmp, decode_pnm
from gesso.data.tiff import decode_tiff
from gesso.data.wholeness import check_whole, still_picture
from gesso.functional.memory import free_memory

DEPTHS = {8: np.uint8, 16: np.uint16, 32: np.float32}
BYTES_PER_PIXEL = 30  # stored, turned to RGB and made floats, one copy of each
ALWAYS_FITS = 16_000_000  # pixels for which nobody asks how much memory is free

DAMAGE = re.compile(
    r"Corrupt JPEG data.*|Inconsistent progression.*|Invalid SOS parameters.*"  # libjpeg, which fills up with grey
    r"|libpng error.*|IDAT: incorrect data check"
    r"|(?<=TIFF_Error )(?!TIFFFetchNormalTag|TIFFAdvanceDirectory).*|PackBitsDecode: Discarding.*|TIFFFetchStripThing.*"
)
"""What decoders say when pixels are not those of the file; their other complaints are about colours and dates."""

_one_at_a_time = threading.Lock()


def decode(path: Path, max_pixels: int, page: int = 0, *, planes: bool = False) -> tuple[np.ndarray, Header]:
    """The pixels of a file as `decode_bytes` has them, and the header of the page.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: as `decode_bytes`.
    """
    return decode_bytes(path.read_bytes(), path, max_pixels, page, planes=planes)


def decode_bytes(
    data: bytes, path: Path, max_pixels: int, page: int = 0, *, planes: bool = False
) -> tuple[np.ndarray, Header]:
    """Pixels as stored and upright, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, and the header.

    Of uint8, uint16 or float32.

    Args:
        data: the file.
        path: for messages.
        max_pixels: how many it may hold.
        page: of a TIFF.
        planes: whether a fourth channel is data rather than alpha.

    Raises:
        ImageError: if the file is no image, is damaged, or holds more than `max_pixels` or memory can.
    """
    if not data:
        raise ImageError(f"{path}: the file is empty")
    header, tags = parse_header(data, path), None
    if data[:2] in (b"II", b"MM"):
        tags = tiff_pages(data)[page]
        try:
            header = dataclasses.replace(tiff_header(tags), frames=header.frames)
        except ImageError as error:
            raise ImageError(f"{path}: {f'page {page + 1}: ' if page else ''}{error}") from None
    _check_size(header, path, max_pixels)
    check_whole(data, header, path, tags)
    try:
        array = _pixels(data, header, path, tags, planes=planes)
    except (struct.error, IndexError, OverflowError, ZeroDivisionError) as error:
        raise ImageError(f"{path}: the file is cut short or damaged") from error
    if array.shape[:2] != (header.height, header.width):
        seen = f"{array.shape[1]}x{array.shape[0]}"
        raise ImageError(f"{path}: the header declares {header.width}x{header.height} pixels, but there are {seen}")
    if array.dtype == np.float32:
        _check_floats(array, path)
    return turned_upright(array, find_orientation(data, tags)), header


def _pixels(data: bytes, header: Header, path: Path, tags: Tags | None, *, planes: bool) -> np.ndarray:
    """The pixels as they lie in the file, by whoever reads its format right."""
    import cv2

    def read(data: bytes, flags: int) -> np.ndarray:
        return _decoded(data, flags, path)

    if tags is not None:
        return decode_tiff(data, tags, read, path, planes=planes)
    if data[:1] in (b"B", b"P"):
        try:
            return (decode_bmp if data.startswith(b"BM") else decode_pnm)(data)
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
    key = _transparent_colour(data, path)
    flags = cv2.IMREAD_UNCHANGED if header.alpha and key is None else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    array = read(still_picture(data), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
    return array if key is None else _with_transparent(array, key)


def _transparent_colour(data: bytes, path: Path) -> np.ndarray | None:
    """The one colour of a grey or RGB PNG that is transparent, as decoded; None where there is none."""
    if not data.startswith(b"\x89PNG") or data[25] not in (0, 2):
        return None
    for kind, start, length in png_chunks(data):
        if kind == b"tRNS":
            depth = data[24]
            if length != (2 if data[25] == 0 else 6):
                raise ImageError(f"{path}: the PNG file is damaged: its transparent colour takes {length} bytes")
            key = np.frombuffer(data, ">u2", length // 2, start) & (2**depth - 1)
            return key.astype(np.uint16) * (255 // (2**depth - 1) if depth < 8 else 1)
        if kind == b"IDAT":
            break
    return None


def _with_transparent(array: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Pixels (H, W) or (H, W, 3) with alpha as a fourth channel: 0 where the colour is `key`."""
    array = array[..., None] if array.ndim == 2 else array
    alpha = np.where((array == key).all(axis=2, keepdims=True), 0, np.iinfo(array.dtype).max).astype(array.dtype)
    return np.concatenate([np.broadcast_to(array, (*array.shape[:2], 3)), alpha], axis=2)


def _check_size(header: Header, path: Path, max_pixels: int) -> None:
    pixels = header.width * header.height
    declared = f"{path}: the header declares {header.width}x{header.height} pixels"
    if pixels > max_pixels:
        raise ImageError(f"{declared}, more than {max_pixels:,}; if that is true, raise max_pixels or cut the image up")
    if pixels > ALWAYS_FITS and pixels * BYTES_PER_PIXEL > free_memory():
        needed, free = pixels * BYTES_PER_PIXEL / 2**30, free_memory() / 2**30
        raise ImageError(f"{declared}, which takes {needed:.1f} GiB, and {free:.1f} GiB are free; cut the image up")


def _decoded(data: bytes, flags: int, path: Path) -> np.ndarray:
    """What OpenCV makes of the bytes, in its own order of channels.

    Raises:
        ImageError: if it cannot, or says that it did so with holes.
    """
    import cv2

    log = cv2.utils.logging
    with complaints() as said:
        before = log.setLogLevel(log.LOG_LEVEL_WARNING)  # whatever the environment says
        try:
            array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            array = None
        finally:
            log.setLogLevel(before)
    damage = DAMAGE.search("\n".join(said))
    if array is None or damage:
        reason = f" ({damage[0]})" if damage else ""
        raise ImageError(
            f"{path}: the image cannot be decoded; the file is cut short, damaged or of an unknown kind{reason}"
        )
    if array.dtype not in DEPTHS.values():
        raise ImageError(f"{path}: expected 8 or 16 bits or 32-bit floats, got {array.dtype}")
    return array


@contextlib.contextmanager
def complaints() -> Iterator[list[str]]:
    """A list that holds, once the block is over, the lines that have been written to stderr meanwhile, and not shown.

    OpenCV returns what libjpeg has filled up as if it were whole; that a line is written is all there is to see.
    """
    said: list[str] = []
    with _one_at_a_time:
        sys.stderr.flush()
        try:
            stderr = os.dup(2)
        except OSError:  # there is none
            yield said
            return
        heard = os.memfd_create("stderr")
        try:
            os.dup2(heard, 2)
            try:
                yield said
            finally:
                os.dup2(stderr, 2)
            said += os.pread(heard, 1 << 16, 0).decode(errors="replace").splitlines()
        finally:
            os.close(heard)
            os.close(stderr)


def _check_floats(array: np.ndarray, path: Path) -> None:
    if not np.isfinite(array).all():
        raise ImageError(f"{path}: {int((~np.isfinite(array)).sum())} values are NaN or infinite")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(f"{path}: expected floats in [0, 1], got {low:g} to {high:g}; divide by the white level")
