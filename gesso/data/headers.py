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
MOST_PAGES = 100_000  # of a TIFF
HEADER_OF_PNM = 1 << 12  # bytes, comments included
TIFF_WHOLE = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # kinds of whole numbers, as `struct` writes them
TIFF_NEEDED = {*range(254, 260), 262, 266, 273, 274, 277, 278, 279, 284, 317, *range(320, 326), 338, 339}
TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


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
        white: the stored value of white where it is not the largest of `bits`, as in a PGM with a maximum of 1023.
        frames: pages of a TIFF, thumbnails left out; frames of an animation.
        ink: whether the colours are CMYK.
    """

    width: int
    height: int
    bits: int = 8
    alpha: bool = False
    grey: bool = False
    white: int | None = None
    frames: int = 1
    ink: bool = False


def read_header(path: Path) -> Header:
    """The header of an image file.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is none of PNG, JPEG, TIFF, BMP, WebP and the PNM family, or of a kind that is not supported.
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
            except (struct.error, IndexError, OverflowError, StopIteration) as error:
                raise ImageError(f"{path}: the file is cut short within its header") from error
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from None
            if header.width < 1 or header.height < 1:
                raise ImageError(f"{path}: the header declares an image of {header.width}x{header.height} pixels")
            return header
    begin = bytes(data[:8])
    raise ImageError(f"{path}: expected PNG, JPEG, TIFF, BMP, WebP or PNM, but the file begins with {begin!r}")


def _png(data: bytes) -> Header:
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    grey, alpha, frames = colour in (0, 4), colour in (4, 6), 1
    for kind, start, _ in png_chunks(data):
        alpha |= kind == b"tRNS"
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, start)
        if kind == b"IDAT":
            return Header(width, height, 16 if depth == 16 else 8, alpha, grey, frames=max(1, frames))
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
    frames = max(1, jpeg_pictures(data))
    return Header(width, height, grey=components == 1, frames=frames, ink=components == 4)


def jpeg_pictures(data: bytes) -> int:
    """Pictures that a multi-picture JPEG (MPO) says it holds, previews left out; 0 for an ordinary file."""
    for marker, start in jpeg_segments(data):
        if marker == 0xDA:
            break
        if marker == 0xE2 and data[start + 2 : start + 6] == b"MPF\0":
            index = data[start + 6 : start + int.from_bytes(data[start : start + 2], "big")]
            order, _ = tiff_layout(index)
            (directory,) = struct.unpack_from(order + "I", index, 4)
            listed = [(count, at) for tag, _, count, at in tiff_entries(index, directory) if tag == 0xB002]
            uses = [
                struct.unpack_from(order + "I", index, at + i)[0] for size, at in listed for i in range(0, size, 16)
            ]
            return sum(use & 0xFF0000 != 0x010000 for use in uses)
    return 0


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
    pages = tiff_pages(data)
    hidden = re.search(rb"ImageJ=[^\0]{0,80}?\nimages=(\d{1,9})\n", data[:BEGINNING])
    if hidden and int(hidden[1]) > len(pages) == 1:
        raise ImageError(f"ImageJ has put {int(hidden[1])} images behind one page; save them as a sequence of images")
    return dataclasses.replace(tiff_header(pages[0]), frames=len(pages))


Tags = dict[int, tuple[int, ...]]


def tiff_header(tags: Tags) -> Header:
    """What the tags of one page of a TIFF declare.

    Raises:
        ImageError: for samples that nobody here can give a meaning.
    """
    first = {tag: values[0] for tag, values in tags.items() if values}
    bits, samples, photometric = first.get(258, 1), first.get(277, 1), first.get(262, 1)
    fitting = {0: (1, 2), 1: (1, 2), 2: (3, 4), 3: (1,), 5: (4,), 6: (3,)}
    if samples not in fitting.get(photometric, ()):
        raise ImageError(
            f"TIFF with photometric interpretation {photometric} and {samples} samples is not supported; "
            "convert it to grey, RGB or RGBA"
        )
    if photometric == 5 and first.get(332, 1) != 1:
        raise ImageError("TIFF of other inks than CMYK is not supported; convert it to RGB")
    if first.get(32997, 1) != 1:
        raise ImageError(f"TIFF with a volume of {first[32997]} layers is not supported; save them as pages")
    kind = first.get(339, 1)
    name = {2: "int", 3: "float"}.get(kind, "uint")
    whole = kind in (1, 4) and bits <= 16
    if len(set(tags.get(258, ()))) > 1 or len(set(tags.get(339, ()))) > 1:
        raise ImageError(f"TIFF with samples of different kinds, {tags.get(258)} bits, is not supported")
    if bits == 0 or (bits < 8 and samples > 1):
        raise ImageError(f"TIFF with {samples} samples of {bits} bits is not supported; convert it to 8 bits")
    if not whole and (kind, bits) not in ((3, 16), (3, 32)):
        raise ImageError(f"expected 8 or 16 bits or 32-bit floats, got {name}{bits}; convert the TIFF")
    width, height = first.get(256, 0), first.get(257, 0)
    tile = first.get(322, 0) * first.get(323, 0)
    if tile > max(LARGEST_TILE, 4 * width * height):
        raise ImageError(f"the header declares tiles of {tile:,} pixels in an image of {width}x{height}")
    stored = 32 if kind == 3 else 8 if bits <= 8 else 16
    white = 2**bits - 1 if whole and (255 % (2**bits - 1) if bits < 8 else bits not in (8, 16)) else None
    alpha, grey = samples == {0: 2, 1: 2, 2: 4}.get(photometric), photometric in (0, 1)
    return Header(width, height, stored, alpha, grey, white, ink=photometric == 5)


def tiff_pages(data: bytes) -> list[Tags]:
    """The whole-number tags of every page of a TIFF or BigTIFF; thumbnails and masks of other pages are left out.

    Raises:
        ImageError: if there is no page but a thumbnail, as in the raw files of cameras.
    """
    pages = list(_tiff_directories(data))
    whole = [tags for tags in pages if not tags.get(254, (0,))[0] & 5 and tags.get(255) != (2,)]
    if not whole:
        raise ImageError("the TIFF holds a thumbnail only (is it the raw file of a camera?); convert it")
    return whole


def tiff_layout(data: bytes) -> tuple[str, bool]:
    """Byte order of a TIFF as `struct` writes it, and whether it is a BigTIFF."""
    order = "<" if data[:2] == b"II" else ">"
    return order, struct.unpack_from(order + "H", data, 2) == (43,)


def tiff_entries(data: bytes, directory: int) -> Iterator[tuple[int, int, int, int]]:
    """Tag, kind, count and the start of the values, of every entry of a directory."""
    order, big = tiff_layout(data)
    count_of, entry_of, offset_of = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    (count,) = struct.unpack_from(order + count_of, data, directory)
    begin, size, inline = directory + (8 if big else 2), 20 if big else 12, 8 if big else 4
    if begin + count * size > len(data):
        raise IndexError("the file ends within a directory")
    for entry in range(begin, begin + count * size, size):
        tag, kind, values = struct.unpack_from(order + entry_of, data, entry)
        start = entry + size - inline
        if values * TIFF_SIZES.get(kind, 1) > inline:
            (start,) = struct.unpack_from(order + offset_of, data, start)
        yield tag, kind, values, start


def tiff_tags(data: bytes, directory: int) -> Tags:
    """The tags of a directory that are whole numbers."""
    order, _ = tiff_layout(data)
    tags = {}
    for tag, kind, count, start in tiff_entries(data, directory):
        if tag in TIFF_NEEDED and count > len(data):
            raise IndexError(f"tag {tag} has more values than the file has bytes")
        if kind in TIFF_WHOLE and count <= len(data):
            tags[tag] = struct.unpack_from(f"{order}{count}{TIFF_WHOLE[kind]}", data, start)
    return tags


def _tiff_directories(data: bytes) -> Iterator[Tags]:
    """The tags of every directory in the chain, and where it begins as tag 0."""
    order, big = tiff_layout(data)
    code, size = ("Q", 20) if big else ("I", 12)
    (directory,) = struct.unpack_from(order + code, data, 8 if big else 4)
    seen: set[int] = set()
    while directory and directory not in seen and len(seen) < MOST_PAGES:
        seen.add(directory)
        yield {0: (directory,)} | tiff_tags(data, directory)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, directory)
        (directory,) = struct.unpack_from(order + code, data, directory + (8 if big else 2) + size * count)


def _bmp(data: bytes) -> Header:
    layout = bmp_layout(data)
    return Header(layout.width, abs(layout.height), alpha=layout.masks[3] != 0, grey=layout.grey)


@dataclasses.dataclass(frozen=True)
class BmpLayout:
    """How a BMP file stores its pixels.

    Attributes:
        width: columns.
        height: rows; negative where the first row is the uppermost.
        bits: of a pixel.
        begin: where the pixels begin.
        palette: colours (N, 4) as blue, green, red, 0; empty where there is none.
        masks: bits of a pixel that are red, green, blue and alpha; 0: none.
    """

    width: int
    height: int
    bits: int
    begin: int
    palette: bytes = b""
    masks: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def stride(self) -> int:
        """Bytes of a row."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def grey(self) -> bool:
        """Whether every colour of the palette is grey."""
        colours = [self.palette[i : i + 3] for i in range(0, len(self.palette), 4)]
        return bool(colours) and all(len(set(colour)) == 1 for colour in colours)


def bmp_layout(data: bytes) -> BmpLayout:
    """The layout of a BMP file, from the header of OS/2 1 to that of Windows 5.

    Raises:
        ImageError: for compressed pixels and masks with holes.
    """
    begin, size = struct.unpack_from("<II", data, 10)
    old = size == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    bits, packing = (struct.unpack_from("<H", data, 24)[0], 0) if old else struct.unpack_from("<HI", data, 28)
    if packing not in (0, 3, 6) or bits not in (1, 2, 4, 8, 16, 24, 32):  # plain, and plain with masks for the channels
        raise ImageError(f"BMP with compression {packing} and {bits} bits is not supported; save it as PNG")
    layout = BmpLayout(width, height, bits, begin)
    if bits <= 8:
        (used,) = (0,) if old else struct.unpack_from("<I", data, 46)
        each, start = 3 if old else 4, 14 + size
        if used > 2**bits:
            raise ImageError(f"the header declares a palette of {used} colours for {bits} bits")
        count = min(used or 2**bits, (begin - start) // each)
        colours = [data[start + each * i : start + each * i + 3] + b"\0" for i in range(max(0, count))]
        return dataclasses.replace(layout, palette=b"".join(colours))
    masks = {16: (0x7C00, 0x3E0, 0x1F, 0), 24: (0xFF0000, 0xFF00, 0xFF, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}[bits]
    if packing:
        with_alpha = size >= 56 or packing == 6
        masks = struct.unpack_from("<IIII" if with_alpha else "<III", data, 54) + (0,) * (not with_alpha)
        if bits == 24 or not all(masks[:3]) or not all(map(_is_mask, masks)):
            raise ImageError(f"BMP with the masks {', '.join(map(hex, masks))} and {bits} bits is not supported")
    elif bits == 32:
        # The fourth byte has no meaning in the standard; programs that know of alpha put it there, others write 0.
        layout = dataclasses.replace(layout, masks=masks)
        end = begin + layout.stride * abs(height)
        if not 0 < end <= len(data):
            raise IndexError("whether there is alpha cannot be told before all pixels are there")
        if any(data[begin + 3 : end : 4]):
            masks = (*masks[:3], 0xFF000000)
    return dataclasses.replace(layout, masks=masks)


def _is_mask(mask: int) -> bool:
    """Whether the bits of a mask lie side by side, 16 at most."""
    low = mask & -mask
    return mask == 0 or ((mask + low) & mask == 0 and mask // low < 2**16)


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        alpha, animated = bool(data[20] & 0x10), bool(data[20] & 0x02)
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        frames = max(1, _webp_frames(data)) if animated else 1
        return Header(width, height, alpha=alpha, frames=frames)
    if kind == b"VP8L":
        (fields,) = struct.unpack_from("<I", data, 21)
        return Header(1 + (fields & 0x3FFF), 1 + (fields >> 14 & 0x3FFF), alpha=bool(fields >> 28 & 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(width & 0x3FFF, height & 0x3FFF)


def _webp_frames(data: bytes) -> int:
    """Frames of an animation; all of the file is needed to count them."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise IndexError("the file is cut short")
    return sum(kind == b"ANMF" for kind, _, _ in webp_chunks(data))


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and length of the content of every chunk, as far as the file goes."""
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, position + 8, length
        position += 8 + length + length % 2


@dataclasses.dataclass(frozen=True)
class PnmLayout:
    """How a file of the PNM family stores its values: the header, and where the values begin.

    Attributes:
        kind: the second letter of the file: 1 to 6, 7 for PAM, f and F for floats.
        width: columns.
        height: rows.
        channels: values of a pixel.
        peak: the value of white; for floats, negative where the low byte comes first.
        begin: where the values begin.
    """

    kind: str
    width: int
    height: int
    channels: int
    peak: float
    begin: int


def pnm_layout(data: bytes) -> PnmLayout:
    """The layout of a PBM, PGM, PPM, PAM or PFM file.

    Raises:
        ImageError: if the header is not whole, or of a maximum that is none.
    """
    kind = data[1:2].decode()
    gap, number = rb"(?:\s|#[^\n]*\n)+", rb"(\d{1,9})"
    if kind == "7":
        return _pam_layout(data)
    peak = b"" if kind in "14" else gap + (rb"([-+.\deE]{1,20})" if kind in "fF" else number)
    match = re.match(rb"P." + gap + number + gap + number + peak + rb"\s", data[:HEADER_OF_PNM], re.DOTALL)
    if match is None:
        raise ImageError("the file is cut short within its header")
    try:
        white = float(match[3]) if kind in "fF" else int(match[3]) if peak else 1
    except ValueError:
        white = 0
    if not white or (kind not in "fF" and white > 65535):
        raise ImageError(f"expected a maximum from 1 to 65535, got {match[3].decode()}")
    return PnmLayout(kind, int(match[1]), int(match[2]), 3 if kind in "36F" else 1, white, match.end())


def _pam_layout(data: bytes) -> PnmLayout:
    head, end, _ = data[:HEADER_OF_PNM].partition(b"\nENDHDR\n")
    told = dict(line.split(None, 1) for line in head.splitlines()[1:] if line[:1] != b"#" and len(line.split()) > 1)
    try:
        width, height, depth, peak = (int(told[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError):
        end = b""
        width = height = depth = peak = 0
    if not end:
        raise ImageError("the file is cut short within its header")
    kind = told.get(b"TUPLTYPE", b"").strip().decode(errors="replace")
    if not 1 <= depth <= 4 or not 1 <= peak <= 65535 or "CMYK" in kind:
        raise ImageError(f"PAM with {depth} channels, maximum {peak} and tuples {kind} is not supported")
    return PnmLayout("7", width, height, depth, peak, len(head) + len(end))


def _pnm(data: bytes) -> Header:
    layout = pnm_layout(data)
    grey, alpha = layout.channels < 3, layout.channels in (2, 4)
    if layout.kind in "fF":
        return Header(layout.width, layout.height, 32, grey=grey)
    peak = int(layout.peak)
    white = None if peak in (1, 255, 65535) else peak
    return Header(layout.width, layout.height, 8 if peak <= 255 else 16, alpha, grey, white)


FORMATS: dict[bytes, Callable[[bytes], Header]] = {
    rb"\x89PNG\r\n\x1a\n....IHDR": _png,
    rb"\xff\xd8\xff": _jpeg,
    rb"II[*+]\x00|MM\x00[*+]": _tiff,
    rb"BM": _bmp,
    rb"RIFF....WEBP": _webp,
    rb"P[1-7fF]\s": _pnm,
}
