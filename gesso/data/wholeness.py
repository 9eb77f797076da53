"""Whether an image file is all there, told from its structure alone: decoders fill up what a damaged file lacks."""

import math
import struct
import zlib
from pathlib import Path

from gesso.data.headers import Header, ImageError, Tags, bmp_layout, jpeg_frames, jpeg_segments, png_chunks, tiff_pages

STILL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the chunks of a PNG that make its picture
DEFLATE_RATIO = 1032  # bytes that one byte of a zlib stream can become
JPEG_PIXELS_PER_BYTE = 512  # a block of 8 x 8 takes one bit at least


def check_whole(data: bytes, header: Header, path: Path, tags: Tags | None = None) -> None:
    """Checks what can be told of a file, of a TIFF the page with these tags, without decoding it.

    Raises:
        ImageError: if the file is cut short, a checksum is wrong, or it is too small for the pixels it declares.
    """
    if tags is None and data[:2] in (b"II", b"MM"):
        tags = tiff_pages(data)[0]
    name, is_whole = next(check for begin, check in CHECKS.items() if data.startswith(begin))
    try:
        whole = _tiff_is_whole(data, tags) if tags is not None else is_whole(data, header)
    except (struct.error, IndexError):  # it ends where a number should stand
        whole = False
    if not whole:
        raise ImageError(f"{path}: the {name} file is cut short or damaged")
    if header.width * header.height > most_pixels(data):
        size = f"{header.width}x{header.height}"
        raise ImageError(f"{path}: {len(data)} bytes cannot hold the {size} pixels that the header declares")


def still_picture(data: bytes) -> bytes:
    """A file as the decoder is to see it.

    Animated PNG whose frames are out of order end OpenCV 5.0.0 and the process with it: they lose all but their first
    picture. WebP lose what stands behind their end.
    """
    if data.startswith(b"\x89PNG"):
        kept = (
            STILL if data[25] == 3 else [kind for kind in STILL if kind != b"tRNS"]
        )  # OpenCV knows no grey with a key
        parts = [(start - 8, start + length + 4) for kind, start, length in png_chunks(data) if kind in kept]
        return data[:8] + b"".join(data[begin:end] for begin, end in parts)
    return data[: _webp_end(data)] if data.startswith(b"RIFF") else data


def most_pixels(data: bytes) -> float:
    """Pixels that a PNG or Huffman-coded JPEG file of this size can hold at most; endless for other files."""
    if data.startswith(b"\x89PNG"):
        depth, colour = data[24:26]
        bits = max(1, depth * {2: 3, 4: 2, 6: 4}.get(colour, 1))
        return 8 / bits * DEFLATE_RATIO * sum(length for kind, _, length in png_chunks(data) if kind == b"IDAT")
    if data.startswith(b"\xff\xd8") and not any(marker >= 0xC9 for marker, _ in jpeg_frames(data)):
        return JPEG_PIXELS_PER_BYTE * len(data)
    return math.inf


def _png_is_whole(data: bytes, header: Header) -> bool:
    """Every chunk has its checksum and the last is the end."""
    kind = b""
    for kind, start, length in png_chunks(data):
        stored = data[start + length : start + length + 4]
        if zlib.crc32(data[start - 4 : start + length]).to_bytes(4, "big") != stored:
            return False
        if kind == b"IEND":
            break
    return kind == b"IEND"


def _jpeg_is_whole(data: bytes, header: Header) -> bool:
    """There are pixels of one picture, and an end."""
    markers = [marker for marker, _ in jpeg_segments(data)]
    return 0xDA in markers and markers[-1] == 0xD9 and len(list(jpeg_frames(data))) == 1


def _bmp_is_whole(data: bytes, header: Header) -> bool:
    """The pixels lie between the header and the end."""
    layout = bmp_layout(data)
    (size,) = struct.unpack_from("<I", data, 14)
    return 14 + size <= layout.begin and layout.begin + layout.stride * header.height <= len(data)


def _webp_end(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


def _webp_is_whole(data: bytes, header: Header) -> bool:
    """The chunks fill the file, up to the end that it declares."""
    position, end = 12, _webp_end(data)
    while position + 8 <= end <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if not kind.isascii():
            return False
        position += 8 + length + length % 2
    return position == end


def _tiff_is_whole(data: bytes, tags: Tags) -> bool:
    """Strips or tiles lie within the file, and where zlib made them they end with their checksum."""
    begins, lengths = tags.get(273) or tags.get(324, ()), tags.get(279) or tags.get(325, ())
    if not all(begin + length <= len(data) for begin, length in zip(begins, lengths, strict=False)):
        return False
    if tags.get(259) not in ((8,), (32946,)):
        return True
    strips = (data[begin : begin + length] for begin, length in zip(begins, lengths, strict=False))
    return all(_zlib_is_whole(strip) for strip in strips)


def _zlib_is_whole(data: bytes) -> bool:
    """A zlib stream ends, with the right checksum; nothing of it is kept."""
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:
            stream.decompress(data, 1 << 20)
            data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def _always(data: bytes, header: Header) -> bool:
    """Nothing to be told from the structure."""
    return True


CHECKS = {
    b"\x89PNG": ("PNG", _png_is_whole),
    b"\xff\xd8": ("JPEG", _jpeg_is_whole),
    b"II": ("TIFF", _always),  # by its tags, see `check_whole`
    b"MM": ("TIFF", _always),
    b"BM": ("BMP", _bmp_is_whole),
    b"RIFF": ("WebP", _webp_is_whole),
    b"P": ("PNM", _always),  # its decoder counts the values
}
