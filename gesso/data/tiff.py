"""The samples of a page of a TIFF, and the colours that they stand for.

tifffile reads the directories, and libtiff, in Pillow, unpacks what is packed or a picture of its own (fax, JPEG). How
samples lie in strips, tiles and planes and what they mean is read here: tifffile has no LZW and no packed bits without
a library of codecs, and Pillow takes 16 bits of three colours for 8, a 16-bit white for black, and planes of 16 bits
and more for noise.
"""

import io
import itertools
import logging
import math
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gesso._extras import check_extra
from gesso.data.metadata import Header, ImageError
from gesso.data.rasters import unpack_bits

LARGEST_TILE = 1 << 20  # pixels of a tile that may be larger than its image
DEFLATE = (8, 32946)
PACKED = (1, 5, 32773, *DEFLATE)  # none, LZW, PackBits, Deflate: what gives back samples bit by bit
RATIOS = {1: 1, 5: 3641, 32773: 64, 8: 1032, 32946: 1032}  # bytes that one byte can become
PICTURED = (2, 3, 4, 6, 7, 32771)  # fax and JPEG, which only a decoder of pictures can read
PICTURE_TAGS = (258, 259, 262, 266, 277, 284, 292, 293, 347, 529, 530, 531, 532)  # what it is told of one
DEFAULTS = {
    254: 0,
    255: 1,
    258: 1,
    259: 1,
    266: 1,
    274: 1,
    277: 1,
    278: 1 << 32,
    284: 1,
    317: 1,
    332: 1,
    339: 1,
    32997: 1,
}
NEEDED = {*DEFAULTS, 256, 257, 262, 273, 279, 320, 338, *range(322, 326)} - {332, 32997}
DAMAGED = "the TIFF file is damaged"

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else what it notices of odd tags goes to stderr


def read_pages(data: bytes) -> list[Any]:
    """The pages of a TIFF or BigTIFF as tifffile has them; thumbnails and masks of other pages are left out.

    Raises:
        ImageError: if there is no page but a thumbnail, as in the raw files of cameras, or without tifffile.
    """
    try:
        check_extra("tifffile", "tiff", "a TIFF")
    except ValueError as error:
        raise ImageError(str(error)) from None
    import tifffile

    every = list(tifffile.TiffFile(io.BytesIO(data)).pages)
    if not every or any(_unread_tags(data, page) for page in every):
        raise ImageError("the file is cut short within its header")
    pages = [page for page in every if not value_of(page, 254) & 5 and value_of(page, 255) != 2]
    if not pages:
        raise ImageError("the TIFF holds a thumbnail only (is it the raw file of a camera?); convert it")
    return pages


def _unread_tags(data: bytes, page: Any) -> set[int]:
    """Tags that decide what the samples are and are in the file, but not in the page: tifffile passes over damage."""
    order, big = page.parent.byteorder, page.parent.is_bigtiff
    (count,), begin, size = (
        struct.unpack_from(order + ("Q" if big else "H"), data, page.offset),
        page.offset + (8 if big else 2),
        20 if big else 12,
    )
    codes = {struct.unpack_from(order + "H", data, begin + size * i)[0] for i in range(count)}
    return (codes & NEEDED) - {tag.code for tag in page.tags}


def value_of(page: Any, code: int) -> int:
    """The value of a tag that is a whole number, the first of several; what it is by default if it is left out."""
    tag = page.tags.get(code)
    value = DEFAULTS.get(code, 0) if tag is None else tag.value
    return int(value[0] if isinstance(value, tuple) else value)


def read_tiff_header(data: bytes, page: int = 0) -> Header:
    """The header of a page of a TIFF.

    Raises:
        ImageError: for samples that nobody here can give a meaning.
    """
    pages = read_pages(data)
    hidden = re.search(rb"ImageJ=[^\0]{0,80}?\nimages=(\d{1,9})\n", data[: 1 << 17])
    if hidden and int(hidden[1]) > len(pages) == 1:
        raise ImageError(f"ImageJ has put {int(hidden[1])} images behind one page; save them as a sequence of images")
    try:
        return _read_header(pages[page], len(pages))
    except ImageError as error:
        raise ImageError(f"page {page + 1}: {error}" if page else str(error)) from None


def _read_header(page: Any, frames: int) -> Header:
    bits, samples, photometric, kind = (value_of(page, code) for code in (258, 277, 262, 339))
    if 262 not in page.tags:
        raise ImageError("the TIFF does not say what its samples mean (photometric interpretation)")
    fitting = {0: (1, 2), 1: (1, 2), 2: (3, 4), 3: (1,), 5: (4,), 6: (3,)}
    if samples not in fitting.get(photometric, ()):
        raise ImageError(
            f"TIFF with photometric interpretation {photometric} and {samples} samples is not supported; "
            "convert it to grey, RGB or RGBA"
        )
    if photometric == 5 and value_of(page, 332) != 1:
        raise ImageError("TIFF of other inks than CMYK is not supported; convert it to RGB")
    if (layers := value_of(page, 32997)) != 1:
        raise ImageError(f"TIFF with a volume of {layers} layers is not supported; save them as pages")
    for code in (258, 339):
        values = page.tags[code].value if code in page.tags else 1
        if isinstance(values, tuple) and len(set(values)) > 1:
            raise ImageError(f"TIFF with samples of different kinds, {values}, is not supported")
    if bits == 0 or (bits < 8 and samples > 1):
        raise ImageError(f"TIFF with {samples} samples of {bits} bits is not supported; convert it to 8 bits")
    whole = kind in (1, 4) and bits <= 16
    if not whole and (kind, bits) not in ((3, 16), (3, 32)):
        name = {2: "int", 3: "float"}.get(kind, "uint")
        raise ImageError(f"expected 8 or 16 bits or 32-bit floats, got {name}{bits}; convert the TIFF")
    width, height, tile = value_of(page, 256), value_of(page, 257), value_of(page, 322) * value_of(page, 323)
    if tile > max(LARGEST_TILE, 4 * width * height):
        raise ImageError(f"the header declares tiles of {tile:,} pixels in an image of {width}x{height}")
    stored = 32 if kind == 3 else 8 if bits <= 8 else 16
    white = 2**bits - 1 if whole and (255 % (2**bits - 1) if bits < 8 else bits not in (8, 16)) else None
    alpha, grey = samples == {0: 2, 1: 2, 2: 4}.get(photometric), photometric in (0, 1)
    return Header(width, height, stored, alpha, grey, white, frames, ink=photometric == 5, page=page)


def tiff_is_complete(data: bytes, header: Header) -> bool:
    """Whether strips or tiles lie within the file, and where zlib made them end with their checksum."""
    segments = _segments(data, header.page)
    return value_of(header.page, 259) not in DEFLATE or all(map(inflates, segments))


def pixels_in_tiff(data: bytes, header: Header) -> float:
    """How many pixels strips and tiles of these sizes can hold at most; unlimited for fax and JPEG."""
    page, ratio = header.page, RATIOS.get(value_of(header.page, 259), math.inf)
    return ratio * 8 * sum(page.databytecounts or [len(data)]) / (value_of(page, 258) * value_of(page, 277))


def tiff_orientation(data: bytes, header: Header) -> int:
    """The orientation that a page asks for, 1 to 8 if it is one; 1 where it does not."""
    try:
        value = header.page.tags[274].value if 274 in header.page.tags else 1
    except Exception:  # tifffile raises whatever a damaged tag leads it to; viewers pass over it
        return 1
    return value if isinstance(value, int) else 1


def _segments(data: bytes, page: Any) -> list[bytes]:
    """Strips or tiles as stored.

    Raises:
        ImageError: if the file ends before they do.
    """
    begins, lengths = page.dataoffsets, page.databytecounts
    if len(begins) == 1 and not any(lengths):
        lengths = (len(data) - begins[0],)
    if len(begins) != len(lengths):
        raise ImageError(f"{DAMAGED}: {len(begins)} strips or tiles, {len(lengths)} lengths")
    if any(begin + length > len(data) for begin, length in zip(begins, lengths, strict=True)):
        raise ImageError("the TIFF file is cut short or damaged")
    return [data[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]


def inflates(data: bytes) -> bool:
    """Whether a zlib stream ends, with the right checksum; nothing of it is kept."""
    stream = zlib.decompressobj()
    try:
        while data and not stream.eof:
            stream.decompress(data, 1 << 20)
            data = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def decode_tiff(data: bytes, header: Header) -> np.ndarray:
    """The pixels of a page: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, also for grey with alpha.

    Raises:
        ImageError: for a compression or layout that cannot be read right.
    """
    page = header.page
    compression, predictor, bits = (value_of(page, code) for code in (259, 317, 258))
    if compression in PICTURED:
        return _picture(data, page)
    if predictor not in (1, 2, 3) or (predictor > 1 and (compression in (1, 32773) or bits < 8)):
        raise ImageError(f"TIFF with predictor {predictor} and compression {compression} is not supported")
    if compression not in PACKED:
        raise ImageError(f"TIFF with compression {compression} is not supported; save it with LZW or Deflate")
    return _colours(_samples(data, page), header)


# -------------------------------------------------------------------------------------------------------- samples


def _samples(data: bytes, page: Any) -> np.ndarray:
    """All samples of a page as stored, (H, W, samples), of uint8, uint16, float16 or float32."""
    width, height, count, bits = (value_of(page, code) for code in (256, 257, 277, 258))
    if value_of(page, 262) == 6:
        raise ImageError("TIFF of YCbCr samples is supported as JPEG only; convert it to RGB")
    tiled, apart = 322 in page.tags, value_of(page, 284) == 2 and count > 1
    across, down = (value_of(page, 322), value_of(page, 323)) if tiled else (width, value_of(page, 278))
    planes, count, down = count if apart else 1, 1 if apart else count, down if tiled else min(down, height)
    if tiled and across < width and across * count * bits % 8:
        raise ImageError(f"TIFF with tiles of {across} columns of {bits} bits is not supported")
    columns, rows = math.ceil(width / across), math.ceil(height / down)
    segments = _segments(data, page)
    if len(segments) != planes * columns * rows:
        raise ImageError(f"{DAMAGED}: {len(segments)} strips or tiles, expected {planes * columns * rows}")
    heights = [down if tiled else min(down, height - row * down) for row in range(rows) for _ in range(columns)]
    stride = math.ceil(across * count * bits / 8)
    unpacked = _unpack(segments, [size * stride for size in heights * planes], page)
    array: np.ndarray | None = None
    for i, segment in enumerate(unpacked):
        part = _numbers(np.frombuffer(segment, np.uint8).reshape(-1, stride), across, count, page)
        if array is None:
            array = np.empty((planes, rows * down, columns * across, count), part.dtype)
        plane, place = divmod(i, columns * rows)
        top, left = (place // columns) * down, (place % columns) * across
        array[plane, top : top + len(part), left : left + across] = part
    assert array is not None
    array = array[:, :height, :width]
    return array[0] if planes == 1 else np.ascontiguousarray(array[..., 0].transpose(1, 2, 0))


def _unpack(segments: Sequence[bytes], sizes: Sequence[int], page: Any) -> Iterable[bytes]:
    """Strips or tiles without their compression, as many bytes as expected of each."""
    compression = value_of(page, 259)
    if value_of(page, 266) == 2:  # the low bit comes first
        segments = [
            np.packbits(np.unpackbits(np.frombuffer(s, np.uint8), bitorder="little")).tobytes() for s in segments
        ]
    if compression in (5, 32773):
        return _by_libtiff(segments, sizes, compression)
    if compression in DEFLATE:
        segments = [
            zlib.decompressobj().decompress(segment, size) for segment, size in zip(segments, sizes, strict=True)
        ]
    if any(len(segment) < size for segment, size in zip(segments, sizes, strict=True)):
        raise ImageError("the TIFF file is cut short or damaged")
    return [segment[:size] for segment, size in zip(segments, sizes, strict=True)]


def _by_libtiff(segments: Sequence[bytes], sizes: Sequence[int], compression: int) -> list[bytes]:
    """Segments that libtiff unpacks: it is shown those of one size as the rows of a grey picture of bytes."""
    unpacked = [b""] * len(segments)
    for size in set(sizes):
        places = [i for i, other in enumerate(sizes) if other == size]
        tags = {258: 8, 259: compression, 262: 1, 277: 1}
        rows = _open(tags, [segments[i] for i in places], size, len(places), 1).tobytes()
        for row, i in enumerate(places):
            unpacked[i] = rows[row * size : (row + 1) * size]
    return unpacked


def _picture(data: bytes, page: Any) -> np.ndarray:
    """A page of 8 bits that is compressed as a picture, in grey or RGB, as libtiff sees it."""
    samples, photometric, bits, planar = (value_of(page, code) for code in (277, 262, 258, 284))
    if not ((samples, photometric) in ((1, 0), (1, 1), (3, 2), (3, 6)) and bits in (1, 8) and planar == 1):
        raise ImageError(
            f"TIFF with compression {value_of(page, 259)}, photometric interpretation {photometric} and "
            f"{samples} samples is not supported; save it with LZW or Deflate"
        )
    tags = {code: page.tags[code].value for code in PICTURE_TAGS if code in page.tags}
    width, height, tile = value_of(page, 256), value_of(page, 257), (value_of(page, 322), value_of(page, 323))
    rows = value_of(page, 278)
    image = _open(tags, _segments(data, page), width, height, tile if 322 in page.tags else min(rows, height))
    return np.array(image.convert("L" if samples == 1 else "RGB"))


def _open(tags: dict[int, Any], segments: Sequence[bytes], width: int, height: int, cut: int | tuple[int, int]) -> Any:
    """A TIFF of these strips of `cut` rows, or tiles, in Pillow; the directory comes last."""
    from PIL import TiffImagePlugin

    ends = [*itertools.accumulate(map(len, segments), initial=8)]
    places, size = ((324, 325), {322: cut[0], 323: cut[1]}) if isinstance(cut, tuple) else ((273, 279), {278: cut})
    tags = {256: width, 257: height} | tags | size
    tags |= {places[0]: tuple(ends[:-1]), places[1]: tuple(map(len, segments))}
    directory, values, extra = b"", b"", ends[-1] + 2 + 12 * len(tags) + 4
    for code, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple | bytes) else (value,)
        packed = numbers if isinstance(numbers, bytes) else struct.pack(f"<{len(numbers)}I", *numbers)
        if len(packed) > 4:
            packed, values = struct.pack("<I", extra + len(values)), values + packed
        directory += struct.pack("<HHI", code, 7 if isinstance(value, bytes) else 4, len(numbers)) + packed.ljust(
            4, b"\0"
        )
    head = struct.pack("<2sHI", b"II", 42, ends[-1])
    directory = struct.pack("<H", len(tags)) + directory + bytes(4)
    return TiffImagePlugin.TiffImageFile(io.BytesIO(b"".join([head, *segments, directory, values])))


def _numbers(rows: np.ndarray, across: int, count: int, page: Any) -> np.ndarray:
    """The samples of a strip or tile (rows, bytes) as (rows, columns, samples), its predictor undone."""
    bits, predictor, kind = (value_of(page, code) for code in (258, 317, 339))
    if predictor == 3:  # Adobe, TIFF Technical Note 3: differences of planes of bytes
        size = bits // 8
        planes = np.cumsum(rows.reshape(len(rows), -1, count), axis=1, dtype=np.uint8).reshape(len(rows), size, -1)
        floats = np.ascontiguousarray(planes.transpose(0, 2, 1)).view(f">f{size}")[..., 0]
        return floats.astype(f"f{size}").reshape(len(rows), across, count)
    if bits not in (8, 16, 32):
        return unpack_bits(rows, bits)[:, : across * count].reshape(len(rows), across, count)
    whole = np.dtype(f"{page.parent.byteorder}u{bits // 8}")
    numbers = rows.view(whole).astype(whole.newbyteorder("=")).reshape(len(rows), across, count)
    if predictor == 2:  # TIFF 6.0, section 14
        numbers = np.cumsum(numbers, axis=1, dtype=numbers.dtype)
    return numbers.view(f"f{bits // 8}") if kind == 3 else numbers


# -------------------------------------------------------------------------------------------------------- colours


def _colours(samples: np.ndarray, header: Header) -> np.ndarray:
    """The pixels that samples (H, W, samples) stand for, of at least 8 bits."""
    page = header.page
    bits, photometric = value_of(page, 258), value_of(page, 262)
    if photometric == 3:
        return _from_palette(samples[..., 0], page)
    if samples.dtype == np.float16:
        samples = samples.astype(np.float32)
    peak = 1 if samples.dtype == np.float32 else 2**bits - 1
    colours, alpha = samples, None
    if header.alpha:
        colours, alpha = samples[..., :-1], samples[..., -1:]
    if photometric == 0:
        colours = peak - colours
    if photometric == 5:
        light = peak - samples.astype(np.float64)
        colours = np.rint(light[..., :3] * light[..., 3:] / peak).astype(samples.dtype)
    if alpha is not None:
        if value_of(page, 338) == 1 and not header.planes:  # the colours have been multiplied by it
            with np.errstate(divide="ignore", invalid="ignore"):
                apart = np.where(alpha > 0, colours.astype(np.float64) * peak / alpha, 0).clip(0, peak)
            colours = (apart if peak == 1 else np.rint(apart)).astype(samples.dtype)
        colours = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
        colours = np.concatenate([colours, alpha], axis=2)
    if bits < 8 and 255 % peak == 0:
        colours = colours * np.uint8(255 // peak)
    colours = np.ascontiguousarray(colours)
    return colours[..., 0] if colours.shape[2] == 1 else colours


def _from_palette(numbers: np.ndarray, page: Any) -> np.ndarray:
    """The colours of a palette, whose 16 bits are the 8 of a picture twice, or followed by nothing."""
    palette = np.array(page.tags[320].value if 320 in page.tags else (), np.uint16)
    if palette.size != 3 * 2 ** value_of(page, 258):
        raise ImageError(f"{DAMAGED}: its palette has {palette.size} values")
    return (palette.reshape(3, -1).T >> 8).astype(np.uint8)[numbers]
