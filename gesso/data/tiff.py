"""The samples of a page of a TIFF, and the colours that they stand for.

libtiff, as OpenCV calls it, unpacks LZW, Deflate and the like; it also mixes up planes that are stored one after the
other, and takes a 16-bit or float white for black. So it is shown every page as one wide grey image, in which each
sample is a pixel; what these mean is read here.
"""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gesso.data.headers import Header, ImageError, Tags, tiff_entries, tiff_header, tiff_layout
from gesso.data.rasters import unpack_bits

PACKED = (1, 5, 8, 32773, 32946)  # none, LZW, Deflate, PackBits, Deflate: what gives back samples bit by bit
PICTURED = (2, 3, 4, 6, 7, 32771)  # fax and JPEG, which only a decoder of pictures can read
Decoder = Callable[[bytes, int], np.ndarray]


def decode_tiff(data: bytes, tags: Tags, read: Decoder, path: Path, *, planes: bool = False) -> np.ndarray:
    """The pixels of a page: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, also for grey with alpha.

    Args:
        data: the file.
        tags: of the page.
        read: what OpenCV makes of a file, given its flags, in its order of channels.
        path: for messages.
        planes: four samples are data: colours that alpha has been multiplied into stay as they are.

    Raises:
        ImageError: for a compression or layout that cannot be read right.
    """
    import cv2

    header = tiff_header(tags)
    if _is_plain(tags):
        array = read(
            _pointing_at(data, tags), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        )
        return array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_BGR2RGB)
    compression = _first(tags, 259)
    if compression in PICTURED:
        return _as_picture(data, tags, read, path)
    predictor = _first(tags, 317)
    if predictor not in (1, 2, 3) or (predictor > 1 and (compression in (1, 32773) or _first(tags, 258) < 8)):
        raise ImageError(f"{path}: TIFF with predictor {predictor} and compression {compression} is not supported")
    if compression not in PACKED:
        raise ImageError(f"{path}: TIFF with compression {compression} is not supported; save it with LZW or Deflate")
    samples = _samples(data, tags, read, path)
    return _colours(samples, tags, header, path, planes=planes)


def _first(tags: Tags, tag: int) -> int:
    """The value of a tag, or what it is where it is left out."""
    defaults = {258: 1, 259: 1, 262: 1, 266: 1, 274: 1, 277: 1, 284: 1, 317: 1, 339: 1}
    return (tags.get(tag) or (defaults[tag],))[0]


def _is_plain(tags: Tags) -> bool:
    """Whether OpenCV is known to read a page right: grey or RGB of 8, 16 or 32 bits, samples side by side, upright."""
    kind = _first(tags, 258), _first(tags, 339)
    colours = {1: 1, 2: 3}.get(_first(tags, 262))
    upright = (_first(tags, 284), _first(tags, 274), _first(tags, 266)) == (1, 1, 1)
    compression, predictor = _first(tags, 259), _first(tags, 317)
    packed = compression in (5, 8, 32946) or (compression in PACKED and predictor == 1)
    packed &= not (324 in tags and compression == 1)  # it refuses small tiles that are not compressed
    return colours == _first(tags, 277) and kind in ((8, 1), (16, 1), (32, 3)) and packed and upright


def _pointing_at(data: bytes, tags: Tags) -> bytes:
    """The file with this page as its first, to be read upright and without a word about what multiplies the colours."""
    order, big = tiff_layout(data)
    code, at = ("Q", 8) if big else ("I", 4)
    (directory,) = tags[0]
    changed = bytearray(data)
    struct.pack_into(order + code, changed, at, directory)
    for tag, kind, count, start in tiff_entries(data, directory):
        if tag in (274, 338) and kind == 3 and count == 1:
            struct.pack_into(order + "H", changed, start, 1 if tag == 274 else 0)
    return bytes(changed)


def _as_picture(data: bytes, tags: Tags, read: Decoder, path: Path) -> np.ndarray:
    """A page of 8 bits that is compressed as a picture, in RGB, as libtiff sees it."""
    import cv2

    samples, photometric, bits = (_first(tags, tag) for tag in (277, 262, 258))
    fitting = (samples, photometric) in ((1, 0), (1, 1), (3, 2), (3, 6)) and bits in (1, 8) and _first(tags, 284) == 1
    if not fitting:
        raise ImageError(
            f"{path}: TIFF with compression {_first(tags, 259)}, photometric interpretation {photometric} and "
            f"{samples} samples is not supported; save it with LZW or Deflate"
        )
    grey = samples == 1
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    array = read(_pointing_at(data, tags), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    return array if grey else cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


# -------------------------------------------------------------------------------------------------------- samples


def _samples(data: bytes, tags: Tags, read: Decoder, path: Path) -> np.ndarray:
    """All samples of a page as stored, (H, W, samples), of uint8, uint16 or float32."""
    if _first(tags, 262) == 6:
        raise ImageError(f"{path}: TIFF of YCbCr samples is supported as JPEG only; convert it to RGB")
    apart, count = _first(tags, 284) == 2 and _first(tags, 277) > 1, _first(tags, 277)
    begins, lengths = tags.get(273) or tags.get(324, ()), tags.get(279) or tags.get(325, ())
    if not lengths and len(begins) == 1:
        lengths = (len(data) - begins[0],)
    width, height = tags[256][0], tags[257][0]
    if 324 in tags:
        across, down = tags[322][0], tags[323][0]
        pieces = -(-width // across) * -(-height // down)
    else:
        pieces = -(-height // min(height, (tags.get(278) or (height,))[0]))
    if not len(begins) == len(lengths) == pieces * (count if apart else 1):
        raise ImageError(f"{path}: the TIFF file is damaged: {len(begins)} strips or tiles, {len(lengths)} lengths")
    if not apart:
        return _plane(data, tags, begins, lengths, count, read, path)
    parts = [slice(i * pieces, (i + 1) * pieces) for i in range(count)]
    return np.dstack([_plane(data, tags, begins[part], lengths[part], 1, read, path) for part in parts])


def _plane(
    data: bytes, tags: Tags, begins: tuple[int, ...], lengths: tuple[int, ...], count: int, read: Decoder, path: Path
) -> np.ndarray:
    """The samples of some strips or tiles, `count` side by side for each pixel: (H, W, count)."""
    import cv2

    width, height = tags[256][0], tags[257][0]
    across = tags[322][0] if 324 in tags else width
    bits, predictor, kind = _first(tags, 258), _first(tags, 317), _first(tags, 339)
    whole = bits in (8, 16, 32) and predictor != 3
    row = across * count * bits
    if across < width and row % 8:
        raise ImageError(f"{path}: TIFF with tiles of {across} columns of {bits} bits is not supported")
    step = across * count if whole else -(-row // 8)
    wide = -(-width // across) * step  # all of the last tile, for its bytes may be in another order
    if _first(tags, 259) == 1 and _first(tags, 266) == 1:
        array = _unpacked(data, tags, begins, lengths, wide, step, bits if whole else 8)
    else:
        small = _grey_page(data, tags, begins, lengths, wide, step, bits if whole else 8)
        array = read(small, cv2.IMREAD_UNCHANGED)
    if array.shape != (height, wide):
        raise ImageError(f"{path}: expected {wide} x {height} samples, there are {array.shape}")
    if predictor == 2:  # TIFF 6.0, section 14
        array = array.view(np.uint32) if bits == 32 else array
        for left in range(0, wide, step):
            row = array[:, left : left + step].reshape(height, -1, count)
            array[:, left : left + step] = np.cumsum(row, axis=1, dtype=array.dtype).reshape(height, -1)
    if predictor == 3:
        parts = [_unpredicted(array[:, left : left + step], count, bits) for left in range(0, wide, step)]
        array = np.concatenate(parts, axis=1)
    elif kind == 3:
        array = array.view(np.float16 if bits == 16 else np.float32)
    elif not whole:
        array = unpack_bits(array, bits)
    return array[:, : width * count].reshape(height, width, count)


def _unpacked(
    data: bytes, tags: Tags, begins: tuple[int, ...], lengths: tuple[int, ...], width: int, across: int, bits: int
) -> np.ndarray:
    """Strips or tiles that are not compressed, as (H, width) uint8, uint16 or float32."""
    order, _ = tiff_layout(data)
    kind = np.dtype(f"{order}{ {8: 'u1', 16: 'u2', 32: 'f4'}[bits] }")
    height = tags[257][0]
    down = tags[323][0] if 324 in tags else min(height, (tags.get(278) or (height,))[0])
    array = np.empty((height, width), kind.newbyteorder("="))
    places = [(top, left) for top in range(0, height, down) for left in range(0, width, across)]
    for (top, left), begin, length in zip(places, begins, lengths, strict=True):
        rows = down if 324 in tags else min(down, height - top)
        if length < rows * across * kind.itemsize:
            raise IndexError("a strip or tile is too short")
        part = np.frombuffer(data, kind, rows * across, begin).reshape(rows, across)
        array[top : top + rows, left : left + across] = part[: height - top, : width - left]
    return array


def _unpredicted(rows: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Floats of rows of bytes as predictor 3 stores them (Adobe, TIFF Technical Note 3): differences of byte planes."""
    height, size = len(rows), bits // 8
    rows = np.cumsum(rows.reshape(height, -1, count), axis=1, dtype=np.uint8).reshape(height, size, -1)
    return np.ascontiguousarray(rows.transpose(0, 2, 1)).view(f">f{size}")[..., 0].astype(f"f{size}")


def _grey_page(
    data: bytes, tags: Tags, begins: tuple[int, ...], lengths: tuple[int, ...], width: int, across: int, bits: int
) -> bytes:
    """The file with another first page behind its end: some strips or tiles as a grey image of so many columns."""
    order, big = tiff_layout(data)
    word = "Q" if big else "I"
    entries: list[tuple[int, int, tuple[int, ...]]] = [
        (256, 4, (width,)), (257, 4, tags[257][:1]), (258, 3, (bits,)), (259, 3, (_first(tags, 259),)), (262, 3, (1,)),
        (266, 3, (_first(tags, 266),)), (277, 3, (1,)), (284, 3, (1,)),
    ]  # fmt: skip
    if 324 in tags:
        entries += [(322, 4, (across,)), (323, 4, tags[323][:1]), (324, 16, begins), (325, 16, lengths)]
    else:
        entries += [(273, 16, begins), (278, 4, (tags.get(278) or tags[257])[:1]), (279, 16, lengths)]
    if bits == 32:
        entries.append((339, 3, (3,)))
    start = len(data) + len(data) % 2
    extra = start + (8 + 20 * len(entries) + 8 if big else 2 + 12 * len(entries) + 4)
    directory, values = struct.pack(order + ("Q" if big else "H"), len(entries)), b""
    for tag, kind, numbers in sorted(entries):
        kind = kind if big or kind != 16 else 4
        packed = struct.pack(f"{order}{len(numbers)}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }", *numbers)
        if len(packed) > struct.calcsize(word):
            packed, values = struct.pack(order + word, extra + len(values)), values + packed
        directory += struct.pack(order + "HH" + word, tag, kind, len(numbers)) + packed.ljust(
            struct.calcsize(word), b"\0"
        )
    directory += bytes(struct.calcsize(word))
    head = data[:8] + struct.pack(order + "Q", start) if big else data[:4] + struct.pack(order + "I", start)
    return head + data[len(head) :].ljust(start - len(head), b"\0") + directory + values


# -------------------------------------------------------------------------------------------------------- colours


def _colours(samples: np.ndarray, tags: Tags, header: Header, path: Path, *, planes: bool) -> np.ndarray:
    """The pixels that samples (H, W, samples) stand for, of at least 8 bits."""
    bits, photometric = _first(tags, 258), _first(tags, 262)
    if photometric == 3:
        return _from_palette(samples[..., 0], tags, path)
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
        if tags.get(338) == (1,) and not planes:
            with np.errstate(divide="ignore", invalid="ignore"):
                apart = np.where(alpha > 0, colours.astype(np.float64) * peak / alpha, 0).clip(0, peak)
            colours = (apart if peak == 1 else np.rint(apart)).astype(samples.dtype)
        colours = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
        colours = np.concatenate([colours, alpha], axis=2)
    if bits < 8 and 255 % peak == 0:
        colours = colours * np.uint8(255 // peak)
    colours = np.ascontiguousarray(colours)
    return colours[..., 0] if colours.shape[2] == 1 else colours


def _from_palette(numbers: np.ndarray, tags: Tags, path: Path) -> np.ndarray:
    """The colours of a palette, whose 16 bits are the 8 of a picture twice, or followed by nothing."""
    palette = np.array(tags.get(320, ()), np.uint16)
    if len(palette) != 3 * 2 ** _first(tags, 258):
        raise ImageError(f"{path}: the TIFF file is damaged: its palette has {len(palette)} values")
    return (palette.reshape(3, -1).T >> 8).astype(np.uint8)[numbers]
