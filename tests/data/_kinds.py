"""Image files of every kind, made by Pillow, tifffile or byte by byte, with the pixels that they hold."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 13, 18  # neither a multiple of a tile, of a byte or of a word


@dataclass(frozen=True)
class Kind:
    """A file and what is in it.

    Attributes:
        data: the file.
        suffix: what it is called.
        pixels: (H, W, 1, 2, 3 or 4) in [0, 1]: grey, grey and alpha, RGB, RGB and alpha.
        bits: of a channel, once it is read.
        error: the largest difference between two readers that both follow the standard.
    """

    data: bytes
    suffix: str
    pixels: np.ndarray
    bits: int = 8
    error: float = 0.0


def samples(peak: int, channels: int, seed: int = 0) -> np.ndarray:
    """Whole numbers (H, W, channels) from 0 to `peak`, both of which occur."""
    numbers = np.random.default_rng([seed, peak, channels]).integers(0, peak + 1, (HEIGHT, WIDTH, channels))
    numbers[0, 0], numbers[-1, -1] = 0, peak
    return numbers.astype(np.uint8 if peak < 256 else np.uint16)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(array: np.ndarray) -> Image.Image:
    """Pillow's image of (H, W, 1 to 4) uint8."""
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def kinds() -> dict[str, Kind]:
    """All of them by name."""
    return dict([*pngs(), *jpegs(), *bmps(), *pnms(), *webps(), *tiffs(), *turned()])


# ------------------------------------------------------------------------------------------------------------ PNG


def png(numbers: np.ndarray, depth: int, colour: int, *chunks: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """A PNG byte by byte: numbers (H, W, channels) of `depth` bits, with chunks before the pixels."""
    adam = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = [numbers[a::c, b::d] for a, b, c, d in adam] if interlaced else [numbers]
    rows = b"".join(b"\0" + packed(row, depth) for part in passes if part.size for row in part)
    head = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], depth, colour, 0, 0, interlaced)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )


def packed(row: np.ndarray, depth: int) -> bytes:
    """Numbers one after the other without gaps, the high bit first."""
    bits = (row.reshape(-1, 1).astype(np.uint32) >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def pngs() -> Iterator[tuple[str, Kind]]:
    for depth in (1, 2, 4, 8, 16):
        numbers, peak, bits = samples(2**depth - 1, 1), 2**depth - 1, max(8, depth)
        for interlaced in (False, True):
            name = f"png grey {depth} bits{' interlaced' * interlaced}"
            yield name, Kind(png(numbers, depth, 0, interlaced=interlaced), ".png", numbers / peak, bits)
        key = int(numbers[3, 3, 0])
        alpha = numbers != key
        both = np.concatenate([numbers / peak, alpha], axis=2)
        yield (
            f"png grey {depth} bits tRNS",
            Kind(png(numbers, depth, 0, (b"tRNS", struct.pack(">H", key))), ".png", both, bits),
        )
        if depth <= 8:
            palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3)).astype(np.uint8)
            colours = palette[numbers[..., 0]] / 255
            table = (b"PLTE", palette.tobytes())
            yield f"png palette {depth} bits", Kind(png(numbers, depth, 3, table), ".png", colours)
            opacity = np.arange(2**depth).astype(np.uint8)
            clear = (b"tRNS", opacity.tobytes())
            seen = np.dstack([colours, opacity[numbers[..., 0]] / 255])
            yield f"png palette {depth} bits tRNS", Kind(png(numbers, depth, 3, table, clear), ".png", seen)
    for depth, colour, channels in [(d, c, n) for d in (8, 16) for c, n in ((2, 3), (4, 2), (6, 4))]:
        numbers, peak = samples(2**depth - 1, channels), 2**depth - 1
        for interlaced in (False, True):
            name = f"png {channels} channels {depth} bits{' interlaced' * interlaced}"
            yield name, Kind(png(numbers, depth, colour, interlaced=interlaced), ".png", numbers / peak, depth)
        if colour == 2:
            key = numbers[3, 3]
            alpha = (numbers != key).any(axis=2)
            clear = (b"tRNS", struct.pack(">HHH", *map(int, key)))
            seen = np.dstack([numbers / peak, alpha])
            yield f"png RGB {depth} bits tRNS", Kind(png(numbers, depth, colour, clear), ".png", seen, depth)
    rgb = samples(255, 3)
    gamma = (b"gAMA", struct.pack(">I", 100_000))
    yield "png of another gamma", Kind(png(rgb, 8, 2, gamma), ".png", rgb / 255)
    yield "png RGB by Pillow", Kind(encoded(picture(rgb), "PNG", optimize=True), ".png", rgb / 255)
    frames = {"save_all": True, "append_images": [picture(rgb[::-1]), picture(rgb[:, ::-1])]}
    yield "apng", Kind(encoded(picture(rgb), "PNG", **frames), ".apng", rgb / 255)


# ----------------------------------------------------------------------------------------------------------- JPEG


def jpegs() -> Iterator[tuple[str, Kind]]:
    smooth = np.clip(
        128 + 90 * np.sin(np.arange(HEIGHT)[:, None, None] / 4 + np.arange(WIDTH)[None, :, None] / 5 + np.arange(4)),
        0,
        255,
    ).astype(np.uint8)
    rgb, grey = picture(smooth[..., :3]), picture(smooth[..., :1])
    ways = {
        "jpeg": {}, "jpeg 444": {"subsampling": 0}, "jpeg progressive": {"progressive": True},
        "jpeg RGB kept": {"keep_rgb": True}, "jpeg with restarts": {"restart_marker_blocks": 1},
    }  # fmt: skip
    for name, options in ways.items():
        data = encoded(rgb, "JPEG", quality=95, **options)
        yield name, Kind(data, ".jpg", as_pillow_sees(data))
    data = encoded(grey, "JPEG", quality=95)
    yield "jpeg grey", Kind(data, ".jfif", as_pillow_sees(data, "L"))
    data = encoded(rgb.convert("CMYK"), "JPEG", quality=95)
    yield "jpeg CMYK", Kind(data, ".jpe", as_pillow_sees(data), error=3 / 255)
    data = encoded(rgb, "MPO", save_all=True, append_images=[grey.convert("RGB")])
    yield "mpo", Kind(data, ".mpo", as_pillow_sees(data))


def as_pillow_sees(data: bytes, mode: str = "RGB") -> np.ndarray:
    array = np.asarray(Image.open(io.BytesIO(data)).convert(mode)) / 255
    return array[..., None] if array.ndim == 2 else array


# ------------------------------------------------------------------------------------------------------------ BMP


def bmp(rows: list[bytes], bits: int, *, packing: int = 0, size: int = 40, masks=(), palette=b"", top_down=False):
    """A BMP byte by byte, whose rows are given from the uppermost down."""
    rows = [row + bytes(-len(row) % 4) for row in rows]
    pixels = b"".join(rows if top_down else rows[::-1])
    height = -HEIGHT if top_down else HEIGHT
    used = len(palette) // 4 if bits <= 8 and size > 12 else 0
    head = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, packing, len(pixels), 2835, 2835, used, 0)
    if size == 12:
        head = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    masked = struct.pack(f"<{len(masks)}I", *masks)
    head = (head + masked).ljust(size, b"\0") if size > 40 else head + masked
    begin = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", begin + len(pixels), 0, 0, begin) + head + palette + pixels


def bmps() -> Iterator[tuple[str, Kind]]:
    for bits in (1, 2, 4, 8):
        numbers = samples(2**bits - 1, 1)
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 4)).astype(np.uint8)
        palette[:, 3] = 0
        rows = [packed(row, bits) for row in numbers]
        colours = palette[numbers[..., 0], 2::-1] / 255
        for name, options in {"": {}, " top-down": {"top_down": True}, " V5": {"size": 124}}.items():
            yield (
                f"bmp palette {bits} bits{name}",
                Kind(bmp(rows, bits, palette=palette.tobytes(), **options), ".bmp", colours),
            )
        old = palette[:, :3].tobytes()
        yield f"bmp palette {bits} bits OS/2", Kind(bmp(rows, bits, palette=old, size=12), ".bmp", colours)
    rgb, rgba = samples(255, 3), samples(255, 4)
    plain = [row[:, ::-1].tobytes() for row in rgb]
    yield "bmp 24 bits", Kind(bmp(plain, 24), ".bmp", rgb / 255)
    yield "bmp 24 bits top-down", Kind(bmp(plain, 24, top_down=True), ".dib", rgb / 255)
    yield "bmp 24 bits OS/2", Kind(bmp(plain, 24, size=12), ".bmp", rgb / 255)
    yield "bmp grey by Pillow", Kind(encoded(picture(rgb[..., :1]), "BMP"), ".bmp", rgb[..., :1] / 255)
    yield "bmp 32 bits by Pillow", Kind(encoded(picture(rgba), "BMP"), ".bmp", rgba / 255)
    empty = [np.dstack([row[None, :, ::-1], np.zeros((1, WIDTH, 1), np.uint8)]).tobytes() for row in rgb]
    yield "bmp 32 bits, the fourth byte 0", Kind(bmp(empty, 32), ".bmp", rgb / 255)
    yield from masked_bmps()


def masked_bmps() -> Iterator[tuple[str, Kind]]:
    """Every order of the channels, in 16 and 32 bits."""
    layouts = {
        "555": (16, 0, (5, 5, 5, 0)), "565": (16, 3, (5, 6, 5, 0)), "5551": (16, 6, (5, 5, 5, 1)),
        "4444": (16, 6, (4, 4, 4, 4)), "888": (32, 3, (8, 8, 8, 0)), "8888": (32, 6, (8, 8, 8, 8)),
        "10-10-10-2": (32, 6, (10, 10, 10, 2)),
    }  # fmt: skip
    for name, (bits, packing, widths) in layouts.items():
        orders = (
            [(2, 1, 0, 3)] if not packing else [(2, 1, 0, 3), (0, 1, 2, 3), (1, 2, 0, 3), (3, 0, 1, 2), (3, 2, 1, 0)]
        )
        for order in orders:  # from the lowest bits up
            shifts, masks, place = {}, {}, 0
            for channel in order:
                shifts[channel], masks[channel] = place, (2 ** widths[channel] - 1) << place
                place += widths[channel]
            values = [
                samples(2 ** widths[c] - 1, 1, seed=c)[..., 0].astype(np.uint32) if widths[c] else None
                for c in range(4)
            ]
            words = sum(values[c] << shifts[c] for c in range(4) if widths[c])
            rows = [row.astype(f"<u{bits // 8}").tobytes() for row in words]
            peaks = [2**width - 1 for width in widths]
            seen = np.dstack([np.rint(values[c] * 255 / peaks[c]) / 255 for c in range(4) if widths[c]])
            told = [masks[c] for c in range(4)]
            letters = "".join("RGBA"[c] for c in order if widths[c])
            if packing != 6:
                data = bmp(rows, bits, packing=packing, masks=told[:3] if packing else ())
                yield f"bmp {name} {letters}", Kind(data, ".bmp", seen)
            for size in (56, 108, 124) if packing else ():
                data = bmp(rows, bits, packing=3, size=size, masks=told, top_down=size == 108)
                yield f"bmp {name} {letters} header {size}", Kind(data, ".bmp", seen)


# ------------------------------------------------------------------------------------------------------------ PNM


def pnms() -> Iterator[tuple[str, Kind]]:
    ones = samples(1, 1)[..., 0]
    head = f"\n# comment\n{WIDTH} {HEIGHT}\n".encode()
    text = "\n".join(" ".join(map(str, row)) for row in 1 - ones).encode()
    yield "pbm words", Kind(b"P1" + head + text, ".pbm", ones[..., None])
    yield "pbm", Kind(b"P4" + head + b"".join(packed(1 - row, 1) for row in ones), ".pbm", ones[..., None])
    for peak in (1, 15, 100, 255, 256, 1023, 4095, 16383, 65535):
        bits = 8 if peak < 256 else 16
        for channels, letters, suffix in ((1, "25", ".pgm"), (3, "36", ".ppm")):
            numbers = samples(peak, channels)
            start = head + f"{peak}\n".encode()
            words = b"P" + letters[0].encode() + start + " ".join(map(str, numbers.ravel())).encode() + b"\n"
            binary = b"P" + letters[1].encode() + start + numbers.astype(">u2" if peak > 255 else "u1").tobytes()
            yield f"{suffix[1:]} words {peak}", Kind(words, suffix, numbers / peak, bits)
            yield f"{suffix[1:]} {peak}", Kind(binary, ".pnm" if peak == 255 else suffix, numbers / peak, bits)
    for channels, kind in ((1, "GRAYSCALE"), (2, "GRAYSCALE_ALPHA"), (3, "RGB"), (4, "RGB_ALPHA")):
        numbers = samples(4095, channels)
        start = (
            f"P7\n# comment\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH {channels}\nMAXVAL 4095\nTUPLTYPE {kind}\nENDHDR\n"
        )
        yield f"pam {kind}", Kind(start.encode() + numbers.astype(">u2").tobytes(), ".pam", numbers / 4095, 16)
    for channels, letter in ((1, "f"), (3, "F")):
        floats = (samples(65535, channels) / 65535).astype(np.float32)
        for order, scale in (("<", "-1.0"), (">", "1.0")):
            data = f"P{letter}\n{WIDTH} {HEIGHT}\n{scale}\n".encode() + floats[::-1].astype(f"{order}f4").tobytes()
            yield f"pfm {channels} {order}", Kind(data, ".pfm", floats, 32)


# ----------------------------------------------------------------------------------------------------------- WebP


def webps() -> Iterator[tuple[str, Kind]]:
    rgb, rgba = picture(samples(255, 3)), picture(samples(255, 4))
    yield "webp lossless", Kind(encoded(rgb, "WEBP", lossless=True), ".webp", samples(255, 3) / 255)
    yield "webp alpha", Kind(encoded(rgba, "WEBP", lossless=True, exact=True), ".webp", samples(255, 4) / 255)
    data = encoded(rgb, "WEBP", quality=90)
    yield "webp lossy", Kind(data, ".webp", as_pillow_sees(data))
    data = encoded(rgba, "WEBP", quality=90, alpha_quality=80)
    yield "webp lossy alpha", Kind(data, ".webp", as_pillow_sees(data, "RGBA"))
    for mode, first in (("RGB", rgb), ("RGBA", rgba)):
        others = [first.transpose(Image.Transpose.ROTATE_180), first.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
        data = encoded(first, "WEBP", lossless=True, exact=True, save_all=True, append_images=others)
        yield f"webp animated {mode}", Kind(data, ".webp", as_pillow_sees(data, mode))


# ----------------------------------------------------------------------------------------------------------- TIFF


def tiff(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    big = options.pop("bigtiff", False)
    with tifffile.TiffWriter(file, byteorder=options.pop("byteorder", "<"), bigtiff=big) as writer:
        writer.write(array, metadata=None, **options)
    return file.getvalue()


def numbers_of(dtype: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of a type (H, W, channels), and what they mean in [0, 1]."""
    if dtype.startswith("f"):
        floats = (samples(65535, channels) / 65535).astype(dtype)
        return floats, floats.astype(np.float32)
    whole = samples(255 if dtype == "u1" else 65535, channels)
    return whole, whole / (255 if dtype == "u1" else 65535)


def tiffs() -> Iterator[tuple[str, Kind]]:
    bits_of = {"u1": 8, "u2": 16, "f4": 32, "f2": 32}
    layouts = {
        "": {}, " tiles": {"tile": (16, 16)}, " strips": {"rowsperstrip": 4}, " big endian": {"byteorder": ">"},
        " deflate": {"compression": "zlib"}, " BigTIFF": {"bigtiff": True},
        " BigTIFF big endian tiles": {"bigtiff": True, "byteorder": ">", "tile": (16, 32)},
    }  # fmt: skip
    for dtype, bits in bits_of.items():
        predicted = {"compression": "zlib", "predictor": True}
        extra = (
            {}
            if dtype.startswith("f")
            else {" predictor": predicted, " predictor tiles": predicted | {"tile": (16, 16)}}
        )
        for name, options in (layouts | extra).items():
            grey, seen = numbers_of(dtype, 1)
            start = f"tiff {dtype}"
            yield (
                f"{start} grey{name}",
                Kind(tiff(grey[..., 0], photometric="minisblack", **options), ".tif", seen, bits),
            )
            dark = tiff(grey[..., 0], photometric="miniswhite", **options)
            yield f"{start} WhiteIsZero{name}", Kind(dark, ".tif", 1 - seen, bits, 1e-7)
            for channels in (3, 4):
                values, seen = numbers_of(dtype, channels)
                how = {"photometric": "rgb", "extrasamples": ["unassalpha"] * (channels - 3), **options}
                side_by_side = tiff(values, planarconfig="contig", **how)
                yield f"{start} {channels} samples{name}", Kind(side_by_side, ".tiff", seen, bits)
                apart = tiff(np.ascontiguousarray(values.transpose(2, 0, 1)), planarconfig="separate", **how)
                yield f"{start} {channels} planes{name}", Kind(apart, ".tif", seen, bits)
            values, seen = numbers_of(dtype, 2)
            how = {"photometric": "minisblack", "extrasamples": ["unassalpha"], **options}
            yield f"{start} grey and alpha{name}", Kind(tiff(values, planarconfig="contig", **how), ".tif", seen, bits)
    yield from tiffs_of_few_bits()
    yield from tiffs_by_pillow()
    yield from tiffs_with_associated_alpha()


def tiffs_of_few_bits() -> Iterator[tuple[str, Kind]]:
    """Packed numbers, which tifffile reads but does not write: the tags are those of bytes, then changed."""
    for bits in (1, 2, 4, 6, 10, 12, 14):
        for photometric in (0, 1):
            numbers, peak = samples(2**bits - 1, 1), 2**bits - 1
            rows = np.stack([np.frombuffer(packed(row, bits), np.uint8) for row in numbers])
            data = bytearray(tiff(rows, photometric="minisblack", rowsperstrip=5))
            for tag, value in ((256, WIDTH), (258, bits), (262, photometric)):
                with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
                    place, kind = file.pages[0].tags[tag].valueoffset, file.pages[0].tags[tag].dtype
                struct.pack_into({3: "<H", 4: "<I"}[int(kind)], data, place, value)
            seen = numbers / peak if photometric else 1 - numbers / peak
            name = f"tiff {bits} bits{' WhiteIsZero' * (not photometric)}"
            yield name, Kind(bytes(data), ".tif", seen, 8 if bits <= 8 else 16, 1e-7)


def tiffs_by_pillow() -> Iterator[tuple[str, Kind]]:
    rgb, rgba, grey = picture(samples(255, 3)), picture(samples(255, 4)), picture(samples(255, 1))
    modes = {
        "RGB": rgb, "RGBA": rgba, "L": grey, "LA": picture(samples(255, 2)), "P": rgb.quantize(16),
        "1": grey.convert("1"),
        "CMYK": Image.frombytes("CMYK", (WIDTH, HEIGHT), samples(255, 4).tobytes()),
    }  # fmt: skip
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_deflate"):
        for mode, image in modes.items():
            data = encoded(image, "TIFF", compression=compression)
            whole = {"RGBA": "RGBA", "LA": "LA", "L": "L", "1": "L"}.get(mode, "RGB")
            array = np.asarray(image.convert(whole)) / 255
            seen = array[..., None] if array.ndim == 2 else array
            yield f"tiff {mode} {compression}", Kind(data, ".tif", seen, error=1.01 / 255 if mode == "CMYK" else 0)
    for mode, image in {"RGB": rgb, "L": grey, "YCbCr": rgb.convert("YCbCr")}.items():
        data = encoded(image, "TIFF", compression="jpeg", quality=95)
        seen = as_pillow_sees(data, "L" if mode == "L" else "RGB")
        yield f"tiff {mode} jpeg", Kind(data, ".tif", seen, error=2.01 / 255)
    for compression in ("group3", "group4", "tiff_ccitt"):
        bilevel = grey.convert("1")
        data = encoded(bilevel, "TIFF", compression=compression)
        yield f"tiff {compression}", Kind(data, ".tif", np.asarray(bilevel)[..., None].astype(float))
    stack = encoded(rgb, "TIFF", save_all=True, append_images=[grey, rgba], compression="tiff_lzw")
    yield "tiff of three pages", Kind(stack, ".tif", samples(255, 3) / 255)


def tiffs_with_associated_alpha() -> Iterator[tuple[str, Kind]]:
    for dtype, bits in (("u1", 8), ("u2", 16), ("f4", 32)):
        values, seen = numbers_of(dtype, 4)
        peak = 1 if dtype == "f4" else np.iinfo(dtype).max
        stored = values.astype(np.float64) * (values[..., 3:] / peak)
        stored[..., 3] = values[..., 3]
        stored = (stored if dtype == "f4" else np.rint(stored)).astype(dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            colours = np.where(stored[..., 3:] > 0, stored[..., :3].astype(float) * peak / stored[..., 3:], 0)
        colours = colours if dtype == "f4" else np.rint(colours)
        seen = np.dstack([np.clip(colours / peak, 0, 1), stored[..., 3] / peak])
        data = tiff(stored, photometric="rgb", extrasamples=["assocalpha"])
        yield f"tiff {dtype} associated alpha", Kind(data, ".tif", seen, bits, 1e-6)


# ---------------------------------------------------------------------------------------------------- orientation


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as EXIF wants them shown, by Pillow's table."""
    ways = {2: (0,), 3: (3,), 4: (1,), 5: (5,), 6: (4,), 7: (6,), 8: (2,)}  # of Image.Transpose
    if orientation == 1:
        return array
    layers = [Image.fromarray(layer).transpose(ways[orientation][0]) for layer in np.moveaxis(array, 2, 0)]
    return np.dstack([np.asarray(layer) for layer in layers])


def turned() -> Iterator[tuple[str, Kind]]:
    rgb, rgba, both = samples(255, 3), samples(255, 4), samples(255, 2)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        block = exif.tobytes()
        for name, numbers in (("RGB", rgb), ("RGBA", rgba), ("LA", both), ("L", rgb[..., :1])):
            seen = upright(numbers, orientation) / 255
            yield f"png {name} turned {orientation}", Kind(encoded(picture(numbers), "PNG", exif=block), ".png", seen)
            data = encoded(picture(numbers), "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
            yield f"tiff {name} turned {orientation}", Kind(data, ".tif", seen)
        for name, numbers in (("RGB", rgb), ("RGBA", rgba)):
            data = encoded(picture(numbers), "WEBP", lossless=True, exact=True, exif=block)
            yield f"webp {name} turned {orientation}", Kind(data, ".webp", upright(numbers, orientation) / 255)
        for name, numbers in (("L", rgb[..., :1]), ("RGB", rgb)):
            data = encoded(picture(numbers), "JPEG", quality=95, exif=block)
            stored = np.asarray(Image.open(io.BytesIO(data))).reshape(HEIGHT, WIDTH, -1)
            yield f"jpeg {name} turned {orientation}", Kind(data, ".jpg", upright(stored, orientation) / 255)
        deep = samples(65535, 3)
        layers = [upright((deep >> shift).astype(np.uint8), orientation).astype(int) << shift for shift in (8, 0)]
        data = png(deep, 16, 2, (b"eXIf", block.removeprefix(b"Exif\0\0")))
        whole = ((layers[0] & 0xFF00) | (layers[1] & 0xFF)) / 65535
        yield f"png 16 bits turned {orientation}", Kind(data, ".png", whole, 16)
