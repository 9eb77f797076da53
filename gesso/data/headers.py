"""What an image file says about itself, read without decoding a pixel.

Decoders trust their input: they allocate what a header asks for and fill up what a cut file lacks. So the header is
read first, and a file that is cut short is told from a whole one.
"""

import dataclasses
import mmap
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

Data = bytes | mmap.mmap


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names the file and what is wrong with it."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Declared properties of an image file.

    Attributes:
        width: columns as stored, before any rotation that EXIF asks for.
        height: rows as stored.
        bits: bits of a decoded channel: 8, 16, or 32 for floats.
        alpha: whether there is transparency.
        grey: whether the file is known to have one colour channel (decoders turn grey with alpha into RGBA).
    """

    width: int
    height: int
    bits: int = 8
    alpha: bool = False
    grey: bool = False


def read_header(path: Path) -> Header:
    """The header of an image file.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is none of PNG, JPEG, TIFF, BMP, WebP, PPM and PGM, or of a kind that is not supported.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise ImageError(f"{path}: the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return parse_header(data, path)


def parse_header(data: Data, path: Path) -> Header:
    """The header of an image file from its bytes; `path` is only for messages, see `read_header`."""
    for signature, parse in FORMATS.items():
        if re.match(signature, data[:16], re.DOTALL):
            try:
                header = parse(data)
            except (struct.error, IndexError, StopIteration) as error:
                raise ImageError(f"{path}: the file is cut short within its header") from error
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from None
            if header.width < 1 or header.height < 1:
                raise ImageError(f"{path}: the header declares an image of {header.width}x{header.height} pixels")
            return header
    begin = bytes(data[:8])
    raise ImageError(f"{path}: expected PNG, JPEG, TIFF, BMP, WebP, PPM or PGM, but the file begins with {begin!r}")


def check_whole(data: Data, path: Path) -> None:
    """Checks that a PNG or JPEG file is all there; other formats are left to their decoders.

    Raises:
        ImageError: if the file is cut short or a checksum is wrong.
    """
    if data[:4] == b"\x89PNG" and not _png_is_whole(data):
        raise ImageError(f"{path}: the PNG file is cut short or damaged")
    if data[:2] == b"\xff\xd8" and not _jpeg_is_whole(data):
        raise ImageError(f"{path}: the JPEG file is cut short or damaged")


def _png(data: Data) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    grey, alpha = colour in (0, 4), colour in (4, 6)
    for kind, _, _ in _png_chunks(data):
        alpha |= kind == b"tRNS"
        if kind == b"IDAT":
            break
    return Header(width, height, 16 if depth == 16 else 8, alpha, grey)


def _png_chunks(data: Data) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the payload of every chunk, as far as the file goes."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, length
        position += 12 + length


def _png_is_whole(data: Data) -> bool:
    kind = b""
    for kind, start, length in _png_chunks(data):
        stored = data[start + length : start + length + 4]
        if zlib.crc32(data[start - 4 : start + length]).to_bytes(4, "big") != stored:
            return False
        if kind == b"IEND":
            break
    return kind == b"IEND"


def _jpeg(data: Data) -> Header:
    frame = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
    start = next(start for marker, start in _jpeg_segments(data) if marker in frame)
    precision, height, width, components = struct.unpack_from(">BHHB", data, start + 2)
    if precision != 8:
        raise ImageError(f"expected a JPEG of 8 bits, got {precision}")
    return Header(width, height, grey=components == 1)


def _jpeg_segments(data: Data) -> Iterator[tuple[int, int]]:
    """Marker and start of every segment, entropy-coded data skipped, up to the end-of-image marker or the last byte."""
    # Between segments: any byte but 0 (a stuffed FF), FF (padding) and D0-D7 (restart) makes a marker.
    pattern = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
    position = 2
    while match := pattern.search(data, position):
        marker, start = match[1][0], match.end()
        yield marker, start
        if marker == 0xD9 or start + 2 > len(data):
            return
        position = start + int.from_bytes(data[start : start + 2], "big")


def _jpeg_is_whole(data: Data) -> bool:
    markers = [marker for marker, _ in _jpeg_segments(data)]
    return 0xDA in markers and markers[-1] == 0xD9


def _tiff(data: Data) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    tags = dict(_tiff_tag(data, order, directory + 2 + 12 * number) for number in range(entries))
    bits, samples, photometric = tags.get(258, 1), tags.get(277, 1), tags.get(262, 1)
    if photometric not in (0, 1, 2, 3, 5, 6) or samples == 2 or samples > 4:
        raise ImageError(
            f"TIFF with photometric interpretation {photometric} and {samples} samples is not supported; "
            "convert it to grey, RGB or RGBA"
        )
    return Header(tags.get(256, 0), tags.get(257, 0), max(8, bits), alpha=samples == 4 and photometric == 2)


def _tiff_tag(data: Data, order: str, position: int) -> tuple[int, int]:
    """Number and first value of a TIFF tag; 0 where it is no integer."""
    tag, kind, count = struct.unpack_from(order + "HHI", data, position)
    if kind not in (3, 4):  # SHORT, LONG
        return tag, 0
    code, size = ("H", 2) if kind == 3 else ("I", 4)
    if count * size > 4:
        (position,) = struct.unpack_from(order + "I", data, position + 8)
        position -= 8
    return tag, struct.unpack_from(order + code, data, position + 8)[0]


def _bmp(data: Data) -> Header:
    old = struct.unpack_from("<I", data, 14) == (12,)
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    return Header(width, abs(height))


def _webp(data: Data) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        alpha = bool(data[20] & 0x10)
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        return Header(width, height, alpha=alpha)
    if kind == b"VP8L":
        (fields,) = struct.unpack_from("<I", data, 21)
        return Header(1 + (fields & 0x3FFF), 1 + (fields >> 14 & 0x3FFF), alpha=bool(fields >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(width & 0x3FFF, height & 0x3FFF)


def _pnm(data: Data) -> Header:
    gap = rb"(?:\s|#[^\n]*\n)+"
    match = re.match(rb"P[2356]" + gap + rb"(\d+)" + gap + rb"(\d+)" + gap + rb"(\d+)\s", data)
    if match is None:
        raise ImageError("the file is cut short within its header")
    width, height, peak = (int(number) for number in match.groups())
    if peak not in (255, 65535):
        raise ImageError(f"expected PPM or PGM with a maximum of 255 or 65535, got {peak}")
    return Header(width, height, 8 if peak == 255 else 16)


FORMATS: dict[bytes, Callable[[Data], Header]] = {
    rb"\x89PNG\r\n\x1a\n....IHDR": _png,
    rb"\xff\xd8\xff": _jpeg,
    rb"II\*\x00|MM\x00\*": _tiff,
    rb"BM": _bmp,
    rb"RIFF....WEBP": _webp,
    rb"P[2356]\s": _pnm,
}
