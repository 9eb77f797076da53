"""Small image files of every kind that gesso reads, ways to damage them, and a second opinion on what they hold."""

import functools
import io
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image

from gesso.data.io import read_picture

Image.MAX_IMAGE_PIXELS = 50_000_000  # the second opinion shall not fall for bombs either
HEIGHT, WIDTH = 30, 40


def photo() -> np.ndarray:
    """A smooth picture (30, 40, 3) uint8, so that it compresses as photos do."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(rows / (3 + k) + columns / (5 - k) + k) for k in range(3)]
    grain = np.random.default_rng(0).normal(0, 4, (HEIGHT, WIDTH, 3))
    return np.clip(127 + 90 * np.dstack(waves) + grain, 0, 255).astype(np.uint8)


def corpus() -> dict[str, bytes]:
    """Files by name: PNG, JPEG, TIFF, BMP, WebP, PPM and PGM in the variants that cameras and programs write."""
    rgb = photo()
    grey, alpha, deep = rgb[..., 0], rgb[..., 1], rgb * np.uint16(257) - (rgb > 9) * np.uint16(3)
    image, floats = Image.fromarray(rgb), rgb.astype(np.float32) / 255
    exif = Image.Exif()
    exif[274] = 6
    thumbnail = encoded(image.resize((20, 15)), "JPEG")
    return {
        "png_rgb": encoded(image, "PNG"),
        "png_grey": encoded(Image.fromarray(grey), "PNG"),
        "png_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "PNG"),
        "png_grey_alpha": encoded(Image.fromarray(np.dstack([grey, alpha])), "PNG"),
        "png_palette": encoded(image.quantize(16), "PNG"),
        "png_palette_alpha": encoded(image.quantize(7), "PNG", transparency=2),
        "png_bits": encoded(image.convert("1"), "PNG"),
        "png_16_grey": png(deep[..., :1]),
        "png_16_rgb": png(deep),
        "png_16_alpha": png(np.dstack([deep, deep[..., 0]])),
        "png_interlaced": png(rgb, interlaced=True),
        "png_16_interlaced": png(deep, interlaced=True),
        "png_animated": encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]),
        "jpeg": encoded(image, "JPEG", quality=90),
        "jpeg_grey": encoded(Image.fromarray(grey), "JPEG", quality=90),
        "jpeg_444": encoded(image, "JPEG", quality=95, subsampling=0),
        "jpeg_progressive": encoded(image, "JPEG", quality=90, progressive=True),
        "jpeg_restarts": encoded(image, "JPEG", quality=90, restart_marker_blocks=2),
        "jpeg_turned": encoded(image, "JPEG", quality=90, exif=exif),
        "jpeg_thumbnail": with_segment(encoded(image, "JPEG", quality=90), b"Exif\0\0" + thumbnail),
        "jpeg_cmyk": encoded(image.convert("CMYK"), "JPEG", quality=90),
        "tiff_rgb": encoded(image, "TIFF"),
        "tiff_lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_packbits": encoded(image, "TIFF", compression="packbits"),
        "tiff_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "TIFF"),
        "tiff_grey": encoded(Image.fromarray(grey), "TIFF"),
        "tiff_palette": encoded(image.quantize(16), "TIFF"),
        "tiff_cmyk": encoded(image.convert("CMYK"), "TIFF"),
        "tiff_16": tiff(deep),
        "tiff_16_deflate": tiff(deep, compression="zlib", predictor=True),
        "tiff_float": tiff(floats),
        "tiff_tiled": tiff(rgb, tile=(32, 32)),
        "tiff_strips": tiff(rgb, rowsperstrip=7),
        "tiff_big_endian": tiff(deep, byteorder=">"),
        "tiff_planes": tiff(np.ascontiguousarray(deep.transpose(2, 0, 1)), planarconfig="separate", compression="zlib"),
        "tiff_planes_tiled": tiff(np.ascontiguousarray(rgb.transpose(2, 0, 1)), planarconfig="separate", tile=(32, 32)),
        "tiff_white_is_zero": tiff(deep[..., 0], photometric="miniswhite"),
        "tiff_grey_alpha": encoded(Image.fromarray(np.dstack([grey, alpha])), "TIFF", compression="tiff_lzw"),
        "tiff_associated": tiff(np.dstack([rgb, np.maximum(rgb.max(axis=2), 9)]), extrasamples=["assocalpha"]),
        "tiff_big": tiff(deep, bigtiff=True, compression="zlib", predictor=True),
        "tiff_pages": encoded(image, "TIFF", save_all=True, append_images=[image.rotate(180)], compression="tiff_lzw"),
        "png_grey_key": encoded(Image.fromarray(grey), "PNG", transparency=int(grey[3, 3])),
        "png_turned_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "PNG", exif=exif),
        "bmp_rgb": encoded(image, "BMP"),
        "bmp_palette": encoded(image.quantize(16), "BMP"),
        "bmp_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "BMP"),
        "webp_animated": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "webp": encoded(image, "WEBP", quality=80),
        "webp_lossless": encoded(image, "WEBP", lossless=True),
        "webp_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "WEBP", lossless=True, exact=True),
        "webp_lossy_alpha": encoded(Image.fromarray(np.dstack([rgb, alpha])), "WEBP", quality=80),
        "ppm": encoded(image, "PPM"),
        "pgm_10": b"P5\n40 30\n1023\n" + (deep[..., 0] >> 6).astype(">u2").tobytes(),
        "pbm": encoded(image.convert("1"), "PPM"),
        "pgm": encoded(Image.fromarray(grey), "PPM"),
        "ppm_16": b"P6\n# sixteen bits\n40 30\n65535\n" + deep.astype(">u2").tobytes(),
        "ppm_text": b"P3\n40 30\n255\n" + " ".join(map(str, rgb.ravel())).encode() + b"\n",
    }


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    grey = array.ndim == 2 or array.shape[2] == 1
    options = {"photometric": "minisblack" if grey else "rgb"} | options
    tifffile.imwrite(buffer, array, metadata=None, **options)
    return buffer.getvalue()


def with_segment(jpeg: bytes, content: bytes) -> bytes:
    """A JPEG file with an APP1 segment behind its first marker."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


# -------------------------------------------------------------------------------------------- PNG, piece by piece

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def png(array: np.ndarray, interlaced: bool = False) -> bytes:
    """A PNG file of (H, W, 1, 3 or 4) uint8 or uint16 in which no row is filtered."""
    passes = [array[top::down, left::right] for top, left, down, right in ADAM7] if interlaced else [array]
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for part in passes for row in part)
    colour = {1: 0, 3: 2, 4: 6}[array.shape[2]]
    size = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 8 * array.itemsize, colour, 0, 0, interlaced)
    return from_chunks([(b"IHDR", size), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG file."""
    found, position = [], 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        found.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def from_chunks(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG file of these chunks, with true checksums."""
    sealed = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


# ------------------------------------------------------------------------------------------------------- damage


def damaged(name: str, files: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """The file `name` with one to three faults: bits, bytes, missing or foreign parts, numbers that lie."""
    data = files[name]
    for _ in range(rng.integers(1, 4)):
        data = damage(data, rng, files[str(rng.choice(list(files)))])
    if name.startswith("png") and rng.random() < 0.5:  # damage behind true checksums
        parts = chunks(files[name])
        which = int(rng.integers(len(parts)))
        parts[which] = (parts[which][0], damage(parts[which][1], rng, data))
        if rng.random() < 0.2:
            del parts[int(rng.integers(len(parts)))]
        data = from_chunks(parts)
    return data


def damage(data: bytes, rng: np.random.Generator, other: bytes = b"") -> bytes:
    """`data` with one fault; `other` is what a part is taken from where files are mixed up."""
    if not data:
        return data
    begin, end = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    if rng.random() < 0.5:  # most of what decoders trust stands at the beginning
        begin, end = begin % 96, min(begin % 96 + int(rng.integers(1, 9)), len(data))
    middle = data[begin:end]
    number = rng.choice([0, 1, 2, 3, 255, 256, 4096, 65535, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1])
    order = rng.choice(["<", ">"])
    wide = struct.pack(f"{order}I", number) if rng.random() < 0.5 else struct.pack(f"{order}H", number & 0xFFFF)
    flipped = bytearray(data)
    flipped[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    faults = [
        lambda: bytes(flipped),
        lambda: data[: int(rng.integers(len(data)))],
        lambda: data[:begin] + rng.bytes(len(middle)) + data[end:],
        lambda: data[:begin] + data[end:],
        lambda: data[:begin] + bytes(len(middle)) + data[end:],
        lambda: data[:end] + middle + data[end:],
        lambda: data[:begin] + wide + data[begin + len(wide) :],
        lambda: data[:begin] + other[begin:end] + data[end:],
        lambda: data[:begin] + rng.bytes(int(rng.integers(1, 200))) + data[begin:],
        lambda: data + rng.bytes(int(rng.integers(1, 200))),
    ]
    return faults[int(rng.integers(len(faults)))]()


# ------------------------------------------------------------------------------------------------------- verdict


def verdict(whole: bytes, data: bytes, path: Path) -> str:
    """What reading `data` came to: refused, unchanged, confirmed by another decoder, or `WRONG` and why."""
    path.write_bytes(data)
    try:
        seen = stored(path)
    except ValueError as error:
        return "refused" if str(path) in str(error) else f"WRONG: an error that does not name the file: {error}"
    path.write_bytes(whole)
    before = stored(path)
    if seen.shape == before.shape and np.array_equal(seen, before):
        return "unchanged"
    opinions = second_opinions(data, seen.shape[2] == 4)
    if not opinions:
        return "WRONG: read, though no other decoder can"
    if b"Exif" in data or b"eXIf" in data:  # decoders differ in what they make of a rotation that has been damaged
        opinions += [np.rot90(opinion, turns)[::flip] for opinion in opinions for turns in range(4) for flip in (1, -1)]
    if any(alike(seen, opinion, tolerance(data)) for opinion in opinions):
        return "confirmed"
    return (
        f"WRONG: {seen.shape} {seen.mean():.3f}, others see {[(o.shape, round(float(o.mean()), 3)) for o in opinions]}"
    )


def stored(path: Path) -> np.ndarray:
    """What gesso reads, (H, W, 3 or 4) float."""
    picture = read_picture(path)
    pixels = picture.pixels.permute(1, 2, 0).numpy()
    return pixels if picture.alpha is None else np.dstack([pixels, picture.alpha.numpy()])


def second_opinions(data: bytes, with_alpha: bool) -> list[np.ndarray]:
    """What Pillow and tifffile see, (H, W, 3 or 4) float; those that refuse the file are left out."""
    opinions = []
    for decoder in (by_pillow, by_tifffile):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                opinions.append(decoder(data, with_alpha))
            except Exception:
                continue
    return opinions


def by_pillow(data: bytes, with_alpha: bool) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    turned = image.getexif().get(274, 1) if image.format == "JPEG" else 1
    if image.mode.startswith("I"):
        image.load()
        grey = np.asarray(image).astype(np.float32) / 65535
        array = np.dstack([grey] * 3 + [np.ones_like(grey)] * with_alpha)
    elif image.format == "BMP" and with_alpha and image.tile[0].args[0] == "BGRX":  # Pillow leaves out alpha
        tile = image.tile[0]
        pixels = data[tile.offset : tile.offset + image.width * image.height * 4]
        array = np.asarray(Image.frombytes("RGBA", image.size, pixels, "raw", "BGRA", *tile.args[1:])) / np.float32(255)
    else:
        array = np.asarray(image.convert("RGBA" if with_alpha else "RGB")).astype(np.float32) / 255
    if turned in (5, 6, 7, 8):
        array = array.transpose(1, 0, 2)
    flips = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = flips.get(turned, (1, 1))
    return array[::down, ::right]


def by_tifffile(data: bytes, with_alpha: bool) -> np.ndarray:
    if data[:2] not in (b"II", b"MM"):
        raise ValueError("no TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        if page.imagewidth * page.imagelength > Image.MAX_IMAGE_PIXELS:
            raise ValueError("too large")
        array = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            array = np.iinfo(array.dtype).max - array
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and array.ndim == 3:
            array = np.moveaxis(array, 0, -1)
    array = array if array.dtype == np.float32 else array / np.float32(np.iinfo(array.dtype).max)
    if array.ndim == 2:
        array = np.dstack([array] * 3)
    return array[..., : 4 if with_alpha else 3]


def alike(one: np.ndarray, other: np.ndarray, most: float) -> bool:
    """Whether two decoders see the same picture; where it is wholly transparent, colours may differ."""
    if one.shape != other.shape:
        return False
    difference = np.abs(one - other)
    if one.shape[2] == 4:
        difference[..., :3] *= (one[..., 3:] > 0) & (other[..., 3:] > 0)
    return bool(np.nanmax(difference, initial=0) <= most)


def tolerance(data: bytes) -> float:
    """The largest difference between decoders that both follow the standard."""
    if data[:2] == b"\xff\xd8":
        return 4 / 255
    return 4 / 255 if data[8:12] == b"WEBP" or data[:2] in (b"II", b"MM") else 1.01 / 255


@functools.cache
def originals() -> dict[str, bytes]:
    """The corpus, made once; OpenCV's threads would not survive the fork into children."""
    cv2.setNumThreads(0)
    return corpus()


def case(number: int, seed: int, folder: Path) -> str:
    """Damages one file of the corpus and judges what is read; see `verdict`."""
    files = originals()
    name = list(files)[number % len(files)]
    data = damaged(name, files, np.random.default_rng([seed, number]))
    result = verdict(files[name], data, folder / "image")
    return f"{result} ({name})" if result.startswith("WRONG") else result
