"""What an image file says of its pixels: size, depth, which way is up, what colours mean, how large it is on paper."""

import io
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DEPTHS = {8: np.uint8, 16: np.uint16, 32: np.float32}
ORIENTATION = 274
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 316, 33432)  # what EXIF says in a TIFF's own directory
OF_PIXELS = {*range(254, 267), *range(273, 282), *range(284, 293), 301, *range(317, 348), 700, 34377, 34675}
OF_PIXELS |= {*range(512, 533), EXIF_IFD, GPS_IFD, 0xA005}  # thumbnails, and directories, which are copied whole
SIZES = (40962, 40963)  # of the picture, by EXIF
COLOUR_CHUNKS = (b"cICP", b"gAMA", b"cHRM", b"sRGB", b"mDCV", b"cLLI")  # of PNG, before all pixels


class ImageError(ValueError):
    """A file that cannot be read as an image; the message names the file and what is wrong with it."""


class LeftOutWarning(UserWarning):
    """Something that a file says or holds is not carried over."""


@dataclass(frozen=True)
class Header:
    """Declared properties of an image file.

    Attributes:
        width: columns as stored, before any rotation that EXIF asks for.
        height: rows as stored.
        bits: bits of a decoded channel: 8, 16, or 32 for floats.
        alpha: whether there is transparency.
        grey: whether the file is known to have one colour channel (decoders turn grey with alpha into RGBA).
        white: the stored value of white where it is not the largest of `bits`, as in a PGM with a maximum of 1023.
        frames: pages of a TIFF, thumbnails left out; frames of an animation.
        ink: whether the colours are CMYK.
        planes: whether the reader takes a fourth channel for data rather than alpha.
        page: the page of a TIFF, as tifffile has it.
    """

    width: int
    height: int
    bits: int = 8
    alpha: bool = False
    grey: bool = False
    white: int | None = None
    frames: int = 1
    ink: bool = False
    planes: bool = False
    page: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Metadata:
    """What is carried from a file to its restoration.

    Attributes:
        icc: colour profile.
        dpi: pixels in an inch, across and down.
        exif: EXIF block as JPEG holds it, without orientation, sizes and thumbnail.
        chunks: what a PNG says of its colours, by the kind of the chunk.
    """

    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = ()


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of every chunk of a PNG, as far as the file goes."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position + 8, length
        position += 12 + length


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of every chunk of a WebP, as far as the file goes."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, length
        position += 8 + length + length % 2


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


def find_orientation(data: bytes, header: Header) -> int:
    """The orientation that a PNG, JPEG or WebP asks for, 1 to 8, by EXIF or else XMP, as Pillow reads them; else 1."""
    if not _may_be_turned(data):
        return 1
    try:
        value = _opened(data).getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises whatever damaged EXIF leads it to; viewers pass over it
        return 1
    return int(value) if isinstance(value, int) else 1


def _may_be_turned(data: bytes) -> bool:
    """Whether it is worth a look: files without EXIF and XMP must cost nothing."""
    if data.startswith(b"\x89PNG"):
        return any(_may_say(kind, data[start : start + 20]) for kind, start, _ in png_chunks(data))
    if data.startswith(b"RIFF"):
        return any(kind in (b"EXIF", b"XMP ") for kind, _, _ in webp_chunks(data))
    if data.startswith(b"\xff\xd8"):
        for marker, _ in jpeg_segments(data):
            if marker == 0xDA:
                return False
            if marker == 0xE1:
                return True
    return False


def _may_say(kind: bytes, begin: bytes) -> bool:
    """Whether a chunk of a PNG, which begins so, may be EXIF or XMP, also in a text, as older programs write it."""
    text = kind in (b"tEXt", b"zTXt", b"iTXt") and begin.startswith((b"Raw profile type", b"XML:com.adobe.xmp"))
    return kind == b"eXIf" or text


def _opened(data: bytes) -> Any:
    """A PNG, JPEG or WebP file in Pillow; its size has been checked, so Pillow's own limit must not matter."""
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    kinds = {b"\x89P": PngImagePlugin.PngImageFile, b"\xff\xd8": JpegImagePlugin.JpegImageFile}
    return kinds.get(data[:2], WebPImagePlugin.WebPImageFile)(io.BytesIO(data))


def read_metadata(data: bytes, header: Header) -> Metadata:
    """The metadata of a file; of a TIFF those of the header's page. What cannot be read is left out."""
    try:
        if header.page is not None:
            return _of_tiff(data, header.page)
        return _of_picture(data) if data[:2] in (b"\x89P", b"\xff\xd8", b"RI") else Metadata()
    except Exception:  # as in find_orientation
        return Metadata()


def _of_picture(data: bytes) -> Metadata:
    """The metadata of a PNG, JPEG or WebP."""
    image = _opened(data)
    icc, dpi = image.info.get("icc_profile"), image.info.get("dpi")
    png = data.startswith(b"\x89PNG")
    found = [(kind, data[start : start + size]) for kind, start, size in png_chunks(data)] if png else []
    has_exif = not png or any(_may_say(kind, content[:20]) for kind, content in found)
    exif = _cleaned(image.getexif()) if has_exif else None
    if has_exif and dpi is None and image.getexif().get(296, 2) == 2:
        dpi = tuple(image.getexif().get(tag, 0) for tag in (282, 283))
    chunks = tuple((kind, content) for kind, content in found if kind in COLOUR_CHUNKS)
    dpi = (float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None
    return Metadata(icc or None, dpi, exif, chunks)


def _of_tiff(data: bytes, page: Any) -> Metadata:
    """The metadata of a page of a TIFF."""
    icc = page.tags[34675].value if 34675 in page.tags else None
    dpi, unit = None, int(page.tags[296].value) if 296 in page.tags else 2
    if 282 in page.tags and 283 in page.tags and unit in (2, 3):
        ratios = [page.tags[tag].value for tag in (282, 283)]
        if all(above and below for above, below in ratios):
            inches = 2.54 if unit == 3 else 1
            dpi = (ratios[0][0] / ratios[0][1] * inches, ratios[1][0] / ratios[1][1] * inches)
    exif = None
    if not page.parent.is_bigtiff and any(tag in page.tags for tag in (*DESCRIPTIVE, EXIF_IFD, GPS_IFD)):
        from PIL import Image

        try:
            read = Image.Exif()
            read.load(data[:4] + struct.pack(page.parent.byteorder + "I", page.offset) + data[8:])
            exif = _cleaned(read)
        except Exception:  # the other two can be right all the same
            exif = None
    return Metadata(bytes(icc) if icc else None, dpi, exif)


def _cleaned(exif: Any) -> bytes | None:
    """An EXIF block of Pillow's without what the restoration would belie: orientation, sizes, thumbnail, layout."""
    from PIL import Image

    kept = Image.Exif()
    for tag, value in exif.items():
        if tag not in OF_PIXELS and tag != ORIENTATION:
            kept[tag] = value
    for part in (EXIF_IFD, GPS_IFD):
        if inside := exif.get_ifd(part):
            kept.get_ifd(part).update({tag: value for tag, value in inside.items() if tag not in SIZES})
    if not len(kept) and not any(kept.get_ifd(part) for part in (EXIF_IFD, GPS_IFD)):
        return None
    return kept.tobytes()


def is_standard(chunks: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a PNG says of its colours no more than that they are those of sRGB, or nothing."""
    gamma, primaries = (
        struct.pack(">I", 45455),
        struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    )
    usual = {b"gAMA": gamma, b"cHRM": primaries, b"cICP": b"\x01\x0d\x00\x01"}
    return all(kind == b"sRGB" or usual.get(kind) == content for kind, content in chunks)


def profile_name(icc: bytes) -> str:
    """What a colour profile calls itself."""
    from PIL import ImageCms

    try:
        return re.sub(r"\s+", " ", ImageCms.getProfileDescription(io.BytesIO(icc))).strip() or "unnamed"  # pyright: ignore
    except Exception:
        return "unnamed"
