"""What an image file says about itself, read without decoding a pixel.

Decoders trust their input and allocate what a header asks for. So the header is read first.
"""

import dataclasses
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

LARGEST_TILE = 1 << 20  # pixels of a tile in a TIFF that may be larger than its image
BEGINNING = 1 << 17  # bytes of a file in which nearly every header ends


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
    with path.open("rb") as file:  # not mapped: a mapped file that another program cuts short kills its reader
        data = file.read(BEGINNING)
        if not data:
            raise ImageError(f"{path}: the file is empty")
        try:
            return parse_header(data, path)
        except ImageError:
            rest = file.read()
            if not rest:
                raise
        return parse_header(data + rest, path)


def parse_header(data: bytes, path: Path) -> Header:
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


def _png(data: bytes) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    grey, alpha = colour in (0, 4), colour in (4, 6)
    for kind, _, _ in png_chunks(data):
        alpha |= kind == b"tRNS"
        if kind == b"IDAT":
            return Header(width, height, 16 if depth == 16 else 8, alpha, grey)
    raise ImageError("the PNG file holds no pixels")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the payload of every chunk, as far as the file goes."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, length
        position += 12 + length


def _jpeg(data: bytes) -> Header:
    _, start = next(jpeg_frames(data))
    precision, height, width, components = struct.unpack_from(">BHHB", data, start + 2)
    if precision != 8:
        raise ImageError(f"expected a JPEG of 8 bits, got {precision}")
    return Header(width, height, grey=components == 1)


def jpeg_frames(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and start of the segments that declare the size; markers from C9 on are of arithmetic coding."""
    return (found for found in jpeg_segments(data) if 0xC0 <= found[0] <= 0xCF and found[0] not in (0xC4, 0xC8, 0xCC))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
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


def _tiff(data: bytes) -> Header:
    tags = {tag: values[0] for tag, values in tiff_tags(data).items() if values}
    bits, samples, photometric = tags.get(258, 1), tags.get(277, 1), tags.get(262, 1)
    fitting = {0: (1,), 1: (1,), 2: (3, 4), 3: (1,), 5: (4,), 6: (3,)}
    if samples not in fitting.get(photometric, ()):
        raise ImageError(
            f"TIFF with photometric interpretation {photometric} and {samples} samples is not supported; "
            "convert it to grey, RGB or RGBA"
        )
    width, height = tags.get(256, 0), tags.get(257, 0)
    tile = tags.get(322, 0) * tags.get(323, 0)
    if tile > max(LARGEST_TILE, 4 * width * height):
        raise ImageError(f"the header declares tiles of {tile:,} pixels in an image of {width}x{height}")
    return Header(width, height, max(8, bits), alpha=samples == 4 and photometric == 2)


def tiff_entries(data: bytes) -> tuple[str, range]:
    """Byte order of a TIFF, and where the tags of its first image begin."""
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    return order, range(directory + 2, directory + 2 + 12 * count, 12)


def tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """Values of the tags of a TIFF's first image that are whole numbers."""
    order, entries = tiff_entries(data)
    tags = {}
    for entry in entries:
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if kind not in (3, 4) or count > len(data):  # SHORT, LONG
            continue
        code, size = ("H", 2) if kind == 3 else ("I", 4)
        begin = entry + 8 if count * size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        tags[tag] = struct.unpack_from(f"{order}{count}{code}", data, begin)
    return tags


def _bmp(data: bytes) -> Header:
    old = struct.unpack_from("<I", data, 14) == (12,)
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    bits, packing = (24, 0) if old else struct.unpack_from("<HI", data, 28)
    if packing not in (0, 3, 6):  # plain, and plain with masks for the channels
        raise ImageError(f"BMP with compression {packing} and {bits} bits is not supported; save it as PNG")
    return Header(width, abs(height))


def _webp(data: bytes) -> Header:
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


def _pnm(data: bytes) -> Header:
    gap = rb"(?:\s|#[^\n]*\n)+"
    match = re.match(rb"P[2356]" + gap + rb"(\d{1,9})" + gap + rb"(\d{1,9})" + gap + rb"(\d{1,9})\s", data)
    if match is None:
        raise ImageError("the file is cut short within its header")
    width, height, peak = (int(number) for number in match.groups())
    if peak not in (255, 65535):
        raise ImageError(f"expected PPM or PGM with a maximum of 255 or 65535, got {peak}")
    return Header(width, height, 8 if peak == 255 else 16, grey=data[1:2] in b"25")


FORMATS: dict[bytes, Callable[[bytes], Header]] = {
    rb"\x89PNG\r\n\x1a\n....IHDR": _png,
    rb"\xff\xd8\xff": _jpeg,
    rb"II\*\x00|MM\x00\*": _tiff,
    rb"BM": _bmp,
    rb"RIFF....WEBP": _webp,
    rb"P[2356]\s": _pnm,
}
