"""Sketches of images: what equal pixels have in common, read in a small part of the time that decoding takes.

Of a PNG the first rows, of a JPEG the picture at an eighth of its size. Other formats have none.
"""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from gesso.data.decoding import parse_header, turn_upright
from gesso.data.image_ref import ImageRef
from gesso.data.metadata import Header, find_orientation, png_chunks

ROWS = 16  # of a PNG
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by the colour type of a PNG; a palette says nothing before it is looked up


class Sketch(NamedTuple):
    """A sketch; images of one size whose sketches are of one kind and differ are no copies.

    Attributes:
        kind: what it is made of.
        digest: a checksum of that.
    """

    kind: str
    digest: str


def read_sketch(ref: ImageRef) -> Sketch | None:
    """The sketch of an image; None where its format has none.

    Raises:
        OSError, ValueError: if the file cannot be read.
    """
    if not isinstance(ref, Path):
        return None
    data = ref.read_bytes()
    header = parse_header(data, ref)
    if data.startswith(b"\x89PNG"):
        return _of_png(data, header)
    return _of_jpeg(data, header) if data.startswith(b"\xff\xd8") and not header.ink else None


def _of_png(data: bytes, header: Header) -> Sketch | None:
    """By its first rows, as a PNG of their own; None where these are no rows of the picture, or pixels mean more."""
    depth, colour, *_, interlaced = struct.unpack_from(">BBBBB", data, 24)
    chunks = list(png_chunks(data))
    if colour not in CHANNELS or interlaced or any(kind in (b"tRNS", b"acTL") for kind, _, _ in chunks):
        return None
    if find_orientation(data, header) != 1:
        return None
    rows = min(ROWS, header.height)
    wanted = rows * (1 + -(-header.width * CHANNELS[colour] * depth // 8))
    inflate, content = zlib.decompressobj(), b""
    for kind, start, length in chunks:
        if kind == b"IDAT" and len(content) < wanted:
            try:
                content += inflate.decompress(data[start : start + length], wanted - len(content))
            except zlib.error:
                return None
    if len(content) < wanted:
        return None
    head = data[16:20] + struct.pack(">I", rows) + data[24:29]
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(content, 0)), (b"IEND", b"")]
    alone = data[:8] + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    )
    pixels = cv2.imdecode(np.frombuffer(alone, np.uint8), cv2.IMREAD_UNCHANGED)
    return None if pixels is None else Sketch(f"PNG {depth} {colour}", _digest(pixels))


def _of_jpeg(data: bytes, header: Header) -> Sketch:
    """By its light at an eighth of its size, which takes but the mean of each block, upright."""
    from PIL import JpegImagePlugin

    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    image.draft("L", (-(-header.width // 8), -(-header.height // 8)))
    pixels = turn_upright(np.asarray(image.convert("L")), find_orientation(data, header))
    return Sketch(f"JPEG {header.grey}", _digest(pixels))


def _digest(pixels: np.ndarray) -> str:
    return hashlib.blake2b(pixels.tobytes(), digest_size=16, key=repr(pixels.shape).encode()).hexdigest()
