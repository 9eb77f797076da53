"""Pixels that lie in a file as they are, read and written with NumPy: BMP, and PBM, PGM, PPM, PAM and PFM.

OpenCV orders BMP channels by masks that it assumes, widens 5 bits to 248, and takes every PGM for one of 8 or 16 bits.
"""

import re

import numpy as np

from gesso.data.headers import ImageError, PnmLayout, bmp_layout, pnm_layout


def decode_bmp(data: bytes) -> np.ndarray:
    """The pixels of a whole BMP file: (H, W), (H, W, 3) RGB or (H, W, 4) RGBA uint8.

    Raises:
        ImageError: if a pixel has a colour that the palette lacks.
    """
    layout = bmp_layout(data)
    height = abs(layout.height)
    rows = np.frombuffer(data, np.uint8, height * layout.stride, layout.begin).reshape(height, layout.stride)
    rows = rows if layout.height < 0 else rows[::-1]
    if layout.bits == 24:
        return np.ascontiguousarray(rows[:, : 3 * layout.width].reshape(height, layout.width, 3)[..., ::-1])
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


def decode_pnm(data: bytes) -> np.ndarray:
    """The values of a file of the PNM family as stored, (H, W), or (H, W, 3 or 4) also for grey with alpha.

    uint8, uint16 or float32. Bitmaps become 0 and 255. Values above the declared maximum are an error.

    Raises:
        ImageError: if values are missing, above the maximum, or no numbers.
    """
    layout = pnm_layout(data)
    count = layout.width * layout.height * layout.channels
    values = _bitmap(data, layout) if layout.kind in "14" else _values(data, layout, count)
    if layout.kind not in "fF":
        if values.size and values.max() > layout.peak:
            raise ImageError(f"the PNM file is cut short or damaged: {values.max()} is above its maximum {layout.peak}")
        values = values.astype(np.uint8 if layout.peak <= 255 else np.uint16)
        values = values * np.uint8(255) if layout.peak == 1 else values
    array = values.reshape(layout.height, layout.width, layout.channels)
    if layout.kind in "fF":  # the lowest row comes first
        array = np.ascontiguousarray(array[::-1], dtype=np.float32)
    if layout.channels == 2:
        return array[..., (0, 0, 0, 1)]
    return array[..., 0] if layout.channels == 1 else array


def _values(data: bytes, layout: PnmLayout, count: int) -> np.ndarray:
    """All values in their order."""
    if layout.kind in "23":
        words = re.sub(rb"#[^\n]*", b"", data[layout.begin :]).split()
        if len(words) != count or not all(word.isdigit() and len(word) < 6 for word in words):
            raise ImageError(f"the PNM file is cut short or damaged: expected {count} numbers, got {len(words)} words")
        return np.array(words, np.uint32)
    kind = {True: f"{'<' if layout.peak < 0 else '>'}f4", False: "u1" if layout.peak <= 255 else ">u2"}
    dtype = np.dtype(kind[layout.kind in "fF"])
    if len(data) < layout.begin + count * dtype.itemsize:
        raise ImageError("the PNM file is cut short or damaged")
    return np.frombuffer(data, dtype, count, layout.begin)


def _bitmap(data: bytes, layout: PnmLayout) -> np.ndarray:
    """The pixels of a PBM, in which 1 is black, as 0 and 1."""
    if layout.kind == "4":
        stride = (layout.width + 7) // 8
        if len(data) < layout.begin + layout.height * stride:
            raise ImageError("the PNM file is cut short or damaged")
        rows = np.frombuffer(data, np.uint8, layout.height * stride, layout.begin).reshape(-1, stride)
        return 1 - unpack_bits(rows, 1)[:, : layout.width]
    digits = b"".join(re.sub(rb"#[^\n]*", b"", data[layout.begin :]).split())
    if len(digits) != layout.width * layout.height or digits.strip(b"01"):
        raise ImageError(f"the PNM file is cut short or damaged: expected {layout.width * layout.height} digits")
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
