"""Pixels that lie in a file as they are, read and written with NumPy: BMP, and PBM, PGM, PPM, PAM and PFM.

Pillow reads neither most masks nor alpha of BMP, nor 10 to 14 bits of PGM and PPM, nor PAM; OpenCV orders the channels
of BMP by masks that it assumes, widens 5 bits to 248, and takes every PGM for one of 8 or 16 bits.
"""

import dataclasses
import re
import struct

import numpy as np

from gesso.data.metadata import Header, ImageError

HEADER_OF_PNM = 1 << 12  # bytes, comments included
DAMAGED = "the PNM file is cut short or damaged"

# ----------------------------------------------------------------------------------------------------------- BMP


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
        end = begin + layout.stride * abs(height)
        if not 0 < end <= len(data):
            raise IndexError("whether there is alpha cannot be told before all pixels are there")
        if any(data[begin + 3 : end : 4]):
            masks = (*masks[:3], 0xFF000000)
    return dataclasses.replace(layout, masks=masks)


def _is_mask(mask: int) -> bool:
    """Whether the bits of a mask lie next to each other, 16 at most."""
    low = mask & -mask
    return mask == 0 or ((mask + low) & mask == 0 and mask // low < 2**16)


def read_bmp_header(data: bytes, page: int = 0) -> Header:
    """The header of a BMP file."""
    layout = bmp_layout(data)
    return Header(layout.width, abs(layout.height), alpha=layout.masks[3] != 0, grey=layout.grey)


def bmp_is_complete(data: bytes, header: Header) -> bool:
    """Whether the pixels lie between the header and the end."""
    layout = bmp_layout(data)
    (size,) = struct.unpack_from("<I", data, 14)
    return 14 + size <= layout.begin and layout.begin + layout.stride * header.height <= len(data)


def encode_bmp(rgba: np.ndarray) -> bytes:
    """A BMP file with alpha, (H, W, 4) uint8, said by masks as Windows 5 does; OpenCV before 4.10 writes none."""
    height, width, _ = rgba.shape
    size, begin = 124, 14 + 124
    header = struct.pack("<2sI4xI", b"BM", begin + rgba.nbytes, begin)
    header += struct.pack("<IiiHHI20x", size, width, height, 1, 32, 3)
    header += struct.pack("<4I4s", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")  # masks; sRGB
    return header.ljust(begin, b"\0") + np.ascontiguousarray(rgba[::-1, :, (2, 1, 0, 3)]).tobytes()


def decode_bmp(data: bytes, header: Header) -> np.ndarray:
    """The pixels of a whole BMP file: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA uint8.

    Raises:
        ImageError: if a pixel has a colour that the palette lacks.
    """
    layout = bmp_layout(data)
    rows = np.frombuffer(data, np.uint8, header.height * layout.stride, layout.begin).reshape(header.height, -1)
    rows = rows if layout.height < 0 else rows[::-1]
    if layout.bits == 24:
        return np.ascontiguousarray(rows[:, : 3 * layout.width].reshape(header.height, layout.width, 3)[..., ::-1])
    if layout.bits > 8:
        pixels = np.ascontiguousarray(rows).view(f"<u{layout.bits // 8}")[:, : layout.width]
        return np.dstack([_masked(pixels, mask) for mask in layout.masks if mask])
    colours = np.frombuffer(layout.palette, np.uint8).reshape(-1, 4)
    numbers = unpack_bits(rows, layout.bits)[:, : layout.width]
    if numbers.max() >= len(colours):
        raise ImageError(f"the palette has {len(colours)} colours, and a pixel has number {numbers.max()}")
    return colours[numbers, 0] if layout.grey else colours[:, 2::-1][numbers]


def _masked(pixels: np.ndarray, mask: int) -> np.ndarray:
    """The bits of a mask as 8 bits, rounded: all bits set is 255."""
    low = mask & -mask
    peak = mask // low
    values = (pixels & mask) // low
    return (values if peak == 255 else (values.astype(np.uint32) * 510 + peak) // (2 * peak)).astype(np.uint8)


def unpack_bits(rows: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of 1 to 16 bits, packed without gaps into rows of bytes (H, N), the highest bit first."""
    if bits == 8:
        return rows
    apart = np.unpackbits(rows, axis=1)
    apart = apart[:, : apart.shape[1] // bits * bits].reshape(len(rows), -1, bits)
    numbers = np.zeros(apart.shape[:2], np.uint8 if bits < 8 else np.uint16)
    for i in range(bits):
        numbers = (numbers << 1) | apart[..., i]
    return numbers


# ----------------------------------------------------------------------------------------------------------- PNM


@dataclasses.dataclass(frozen=True)
class PnmLayout:
    """How a file of the PNM family stores its values.

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
    if kind == "7":
        return _pam_layout(data)
    gap, number = rb"(?:\s|#[^\n]*\n)+", rb"(\d{1,9})"
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
        raise ImageError("the file is cut short within its header") from None
    if not end:
        raise ImageError("the file is cut short within its header")
    kind = told.get(b"TUPLTYPE", b"").strip().decode(errors="replace")
    if not 1 <= depth <= 4 or not 1 <= peak <= 65535 or "CMYK" in kind:
        raise ImageError(f"PAM with {depth} channels, maximum {peak} and tuples {kind} is not supported")
    return PnmLayout("7", width, height, depth, peak, len(head) + len(end))


def read_pnm_header(data: bytes, page: int = 0) -> Header:
    """The header of a file of the PNM family."""
    layout = pnm_layout(data)
    grey, alpha, peak = layout.channels < 3, layout.channels in (2, 4), int(layout.peak)
    if layout.kind in "fF":
        return Header(layout.width, layout.height, 32, grey=grey)
    white = None if peak in (1, 255, 65535) else peak
    return Header(layout.width, layout.height, 8 if peak <= 255 else 16, alpha, grey, white)


def decode_pnm(data: bytes, header: Header) -> np.ndarray:
    """The values of a file of the PNM family as stored, (H, W), or (H, W, 3 or 4) also for grey with alpha.

    uint8, uint16 or float32. Bitmaps become 0 and 255. Values above the declared maximum are an error.

    Raises:
        ImageError: if values are missing, above the maximum, or no numbers.
    """
    layout = pnm_layout(data)
    values = _bitmap(data, layout) if layout.kind in "14" else _values(data, layout)
    if layout.kind not in "fF":
        if values.size and values.max() > layout.peak:
            raise ImageError(f"{DAMAGED}: {values.max()} is above its maximum {layout.peak}")
        values = values.astype(np.uint8 if layout.peak <= 255 else np.uint16)
        values = values * np.uint8(255) if layout.peak == 1 else values
    array = values.reshape(layout.height, layout.width, layout.channels)
    if layout.kind in "fF":  # the lowest row comes first
        array = np.ascontiguousarray(array[::-1], dtype=np.float32)
    if layout.channels == 2:
        return array[..., (0, 0, 0, 1)]
    return array[..., 0] if layout.channels == 1 else array


def _values(data: bytes, layout: PnmLayout) -> np.ndarray:
    """All values in their order."""
    count = layout.width * layout.height * layout.channels
    if layout.kind in "23":
        words = re.sub(rb"#[^\n]*", b"", data[layout.begin :]).split()
        if len(words) != count or not all(word.isdigit() and len(word) < 6 for word in words):
            raise ImageError(f"{DAMAGED}: expected {count} numbers, got {len(words)} words")
        return np.array(words, np.uint32)
    whole = "u1" if layout.peak <= 255 else ">u2"
    dtype = np.dtype(whole if layout.kind not in "fF" else "<f4" if layout.peak < 0 else ">f4")
    return np.frombuffer(data, dtype, count, layout.begin)


def _bitmap(data: bytes, layout: PnmLayout) -> np.ndarray:
    """The pixels of a PBM, in which 1 is black, as 0 and 1."""
    if layout.kind == "4":
        stride = (layout.width + 7) // 8
        rows = np.frombuffer(data, np.uint8, layout.height * stride, layout.begin).reshape(-1, stride)
        return 1 - unpack_bits(rows, 1)[:, : layout.width]
    digits = b"".join(re.sub(rb"#[^\n]*", b"", data[layout.begin :]).split())
    if len(digits) != layout.width * layout.height or digits.strip(b"01"):
        raise ImageError(f"{DAMAGED}: expected {layout.width * layout.height} digits")
    return 49 - np.frombuffer(digits, np.uint8)


def encode_pnm(array: np.ndarray, suffix: str, peak: int) -> bytes:
    """A PGM, PPM or PAM file of values (H, W) or (H, W, channels); of floats a PFM file."""
    height, width = array.shape[:2]
    channels = 1 if array.ndim == 2 else array.shape[2]
    if suffix == ".pfm":
        kind = "PF" if channels == 3 else "Pf"
        return f"{kind}\n{width} {height}\n-1.0\n".encode() + np.ascontiguousarray(array[::-1], "<f4").tobytes()
    if suffix == ".pam":
        kind = {1: "GRAYSCALE", 2: "GRAYSCALE_ALPHA", 3: "RGB", 4: "RGB_ALPHA"}[channels]
        head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {peak}\nTUPLTYPE {kind}\nENDHDR\n"
    else:
        head = f"P{6 if channels == 3 else 5}\n{width} {height}\n{peak}\n"
    return head.encode() + array.astype(">u2" if peak > 255 else np.uint8).tobytes()
