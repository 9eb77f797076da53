"""The pixels of an image file, or an error: decoders fill up what is missing and say so on stderr, if at all."""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gesso.data.headers import Header, ImageError, parse_header
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


def decode(path: Path, max_pixels: int) -> tuple[np.ndarray, Header]:
    """Pixels as stored, (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, of uint8, uint16 or float32, and the header.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if the file is no image, is damaged, or holds more than `max_pixels` or memory can.
    """
    data = path.read_bytes()
    if not data:
        raise ImageError(f"{path}: the file is empty")
    header = parse_header(data, path)
    _check_size(header, path, max_pixels)
    check_whole(data, header, path)
    array = _decoded(still_picture(data), header, path)
    if sorted(array.shape[:2]) != sorted((header.height, header.width)):
        seen = f"{array.shape[1]}x{array.shape[0]}"
        raise ImageError(f"{path}: the header declares {header.width}x{header.height} pixels, but there are {seen}")
    if array.dtype == np.float32:
        _check_floats(array, path)
    return array, header


def _check_size(header: Header, path: Path, max_pixels: int) -> None:
    pixels = header.width * header.height
    declared = f"{path}: the header declares {header.width}x{header.height} pixels"
    if pixels > max_pixels:
        raise ImageError(f"{declared}, more than {max_pixels:,}; if that is true, raise max_pixels or cut the image up")
    if pixels > ALWAYS_FITS and pixels * BYTES_PER_PIXEL > free_memory():
        needed, free = pixels * BYTES_PER_PIXEL / 2**30, free_memory() / 2**30
        raise ImageError(f"{declared}, which takes {needed:.1f} GiB, and {free:.1f} GiB are free; cut the image up")


def _decoded(data: bytes, header: Header, path: Path) -> np.ndarray:
    """What OpenCV makes of the bytes, in RGB order.

    Raises:
        ImageError: if it cannot, or says that it did so with holes.
    """
    import cv2

    # IMREAD_UNCHANGED is the only way to alpha, but it ignores the EXIF orientation.
    flags = cv2.IMREAD_UNCHANGED if header.alpha else cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
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
    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
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
