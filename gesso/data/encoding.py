"""Pixels and metadata as the bytes of an image file, in the format that a suffix names."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gesso._extras import check_extra
from gesso.data.metadata import (
    DESCRIPTIVE,
    EXIF_IFD,
    GPS_IFD,
    Header,
    LeftOutWarning,
    Metadata,
    is_standard,
    profile_name,
)
from gesso.data.rasters import encode_bmp, encode_pnm

Kind = Literal["png", "jpeg", "tiff", "bmp", "webp", "pnm"]
KINDS: dict[str, Kind] = {
    ".png": "png", ".apng": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jpe": "jpeg", ".jfif": "jpeg", ".jif": "jpeg",
    ".mpo": "jpeg", ".tif": "tiff", ".tiff": "tiff", ".btf": "tiff", ".tf8": "tiff", ".bmp": "bmp", ".dib": "bmp",
    ".webp": "webp", ".ppm": "pnm", ".pgm": "pnm", ".pbm": "pnm", ".pnm": "pnm", ".pam": "pnm", ".pfm": "pnm",
}  # fmt: skip
"""What is read and written, by suffix."""

IMAGE_FILES = "PNG, JPEG, TIFF, BMP, WebP or PNM"  # of these formats, in messages

BITS: dict[Kind, tuple[int, ...]] = {"png": (8, 16), "tiff": (8, 16, 32), "pnm": (8, 16)}
WITH_ALPHA = ("png", "tiff", "webp", "bmp")
WITH_PLANES = ("png", "tiff")
WITH_PROFILE = ("png", "jpeg", "tiff", "webp")
WITH_RESOLUTION = ("png", "jpeg", "tiff", "bmp", "webp")
INCH = 0.0254  # metres


def kind_of(path: Path) -> Kind:
    """The format that a file's suffix names.

    Raises:
        ValueError: if it names none.
    """
    if path.suffix.lower() not in KINDS:
        ending = f"{path.suffix} is none of these" if path.suffix else "it has none"
        raise ValueError(f"{path}: expected the suffix of a {IMAGE_FILES} file, such as .png; {ending}")
    return KINDS[path.suffix.lower()]


def check_holds(path: Path, header: Header, *, planes: bool = False) -> None:
    """Checks that the format that a file's suffix names can hold a picture.

    Args:
        path: the file to write.
        header: of the picture.
        planes: whether its fourth channel is data.

    Raises:
        ValueError: if not, naming what can.
    """
    kind, suffix, bits = kind_of(path), path.suffix.lower(), header.bits
    able = (32,) if suffix == ".pfm" else BITS.get(kind, (8,))
    if bits not in able:
        raise ValueError(f"{path}: {suffix} cannot hold {bits} bits; write .png (8, 16) or .tif (8, 16, 32)")
    if planes and kind not in WITH_PLANES:
        raise ValueError(f"{path}: {suffix} cannot hold four channels; write .png or .tif")
    if header.alpha and kind not in WITH_ALPHA and suffix != ".pam":
        raise ValueError(f"{path}: {suffix} cannot hold alpha; write .png, .tif, .webp or .bmp")
    if suffix == ".pgm" and not header.grey:
        raise ValueError(f"{path}: .pgm cannot hold colour; write .ppm or .png")
    if suffix == ".pbm":
        raise ValueError(f"{path}: .pbm can hold black and white only; write .pgm or .png")


def encode(path: Path, array: np.ndarray, header: Header, about: Metadata, peak: int | None = None) -> bytes:
    """The bytes of a file.

    Args:
        path: its name.
        array: (H, W), (H, W, 2) grey with alpha, (H, W, 3) RGB or (H, W, 4) RGBA of the header's bits.
        header: of the picture.
        about: what else the file is to say.
        peak: the maximum that a PNM file is to declare.

    Warns:
        LeftOutWarning: if it cannot say that.
    """
    kind, suffix = kind_of(path), path.suffix.lower()
    if array.ndim == 3 and array.shape[2] == 2 and (kind in ("webp", "bmp")):
        array = array[..., (0, 0, 0, 1)]
    if array.ndim == 2 and suffix == ".ppm":
        array = np.repeat(array[..., None], 3, axis=2)
    grey = array.ndim == 2 or array.shape[2] == 2
    array, about = _fitting(array, about, kind, suffix, grey=grey and kind != "webp")
    if kind == "pnm":
        return encode_pnm(array, suffix, peak or 2**header.bits - 1)
    if kind == "bmp":
        rgba = array.ndim == 3 and array.shape[2] == 4
        data = bytearray(encode_bmp(array) if rgba else _by_opencv(array, ".bmp"))
        if about.dpi:
            struct.pack_into("<ii", data, 38, *(round(dpi / INCH) for dpi in about.dpi))
        return bytes(data)
    return _png(array, about) if kind == "png" else _by_pillow(array, kind, about)


def _fitting(array: np.ndarray, about: Metadata, kind: Kind, suffix: str, *, grey: bool) -> tuple[np.ndarray, Metadata]:
    """The pixels and what can be said beside them in a format; what cannot is converted or left out, with a word."""
    icc = about.icc
    wrong = icc is not None and icc[16:20] == b"GRAY" and not grey
    if icc is not None and (wrong or kind not in WITH_PROFILE):
        reason = (
            "its grey profile does not fit a file of three colours" if wrong else f"{suffix} holds no colour profile"
        )
        converted = None if wrong else _to_srgb(array, icc)
        array = array if converted is None else converted
        done = "is left out" if converted is None else "became sRGB"
        _say(f"{reason}: {profile_name(icc)!r} {done}")
        about = replace(about, icc=None)
    if about.chunks and kind != "png" and not is_standard(about.chunks):
        names = ", ".join(name.decode() for name, _ in about.chunks)
        _say(f"{suffix} cannot say what the PNG says of its colours ({names}), which is left out")
    if about.exif and kind not in WITH_PROFILE:
        _say(f"{suffix} holds no EXIF, which is left out")
    if about.dpi and kind not in WITH_RESOLUTION:
        _say(f"{suffix} holds no resolution, which is left out")
    return array, about


def _say(what: str) -> None:
    warnings.warn(what, LeftOutWarning, stacklevel=4)


def _to_srgb(array: np.ndarray, icc: bytes) -> np.ndarray | None:
    """Pixels of 8 bits in sRGB; None if the profile cannot be used for them."""
    from PIL import Image, ImageCms

    colours = array[..., :3] if array.ndim == 3 else array
    if array.dtype != np.uint8 or (array.ndim == 3 and array.shape[2] == 2):
        return None
    try:
        profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        mode = "RGB" if colours.ndim == 3 else "L"
        image = ImageCms.profileToProfile(Image.fromarray(np.ascontiguousarray(colours)), *profiles, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if image is None:
        return None
    converted = np.asarray(image)
    if mode == "L":
        return np.ascontiguousarray(converted[..., 1])
    return np.concatenate([converted, array[..., 3:]], axis=2)


def _by_opencv(array: np.ndarray, suffix: str) -> bytes:
    import cv2

    if array.ndim == 3:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, data = cv2.imencode(suffix, array)
    if not done:
        raise ValueError(f"OpenCV could not encode the image as {suffix}")
    return data.tobytes()


def _png(array: np.ndarray, about: Metadata) -> bytes:
    """A PNG, with its metadata between the header and the pixels."""
    data = _grey_with_alpha(array) if array.ndim == 3 and array.shape[2] == 2 else _by_opencv(array, ".png")
    chunks = [(kind, content) for kind, content in about.chunks if not (about.icc and kind == b"sRGB")]
    if about.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(about.icc)))
    if about.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(dpi / INCH) for dpi in about.dpi), 1)))
    if about.exif:
        chunks.append((b"eXIf", about.exif.removeprefix(b"Exif\0\0")))
    return data[:33] + b"".join(_chunk(*chunk) for chunk in chunks) + data[33:]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _grey_with_alpha(array: np.ndarray) -> bytes:
    """A PNG of grey with alpha (H, W, 2), which OpenCV cannot write: every row as its difference from the one above."""
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array.astype(array.dtype.newbyteorder(">"))).view(np.uint8).reshape(height, -1)
    rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), rows], axis=1)
    size = struct.pack(">IIBBBBB", width, height, 8 * array.itemsize, 4, 0, 0, 0)
    parts = [(b"IHDR", size), (b"IDAT", zlib.compress(filtered.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _by_pillow(array: np.ndarray, kind: Kind, about: Metadata) -> bytes:
    """A JPEG or WebP with its metadata."""
    from PIL import Image

    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if kind == "jpeg" else {"lossless": True, "exact": True}
    options |= {"icc_profile": about.icc} if about.icc else {}
    exif = about.exif
    if about.dpi and kind == "webp":  # which has no other place for it
        told = _exif(exif)
        told[282], told[283], told[296] = *about.dpi, 2
        exif = told.tobytes()
    options |= {"exif": exif} if exif else {}
    if about.dpi and kind == "jpeg":
        options["dpi"] = tuple(min(65535, max(1, round(dpi))) for dpi in about.dpi)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, kind, **options)
    return file.getvalue()


def encode_tiff(path: Path, pages: Iterable[tuple[np.ndarray, Header, Metadata]]) -> None:
    """Writes pages into a TIFF, one after the other as they come, with a predictor and Deflate."""
    check_extra("tifffile", "tiff", "a TIFF")
    import tifffile

    notes: list[bytes | None] = []
    with tifffile.TiffWriter(path, byteorder="<") as file:
        for array, _, about in pages:
            grey = array.ndim == 2 or array.shape[2] == 2
            array, about = _fitting(array, about, "tiff", ".tif", grey=grey)
            samples = 1 if array.ndim == 2 else array.shape[2]
            notes.append(about.exif)
            told = _descriptive(about.exif)
            file.write(
                array,
                photometric="minisblack" if grey else "rgb",
                planarconfig=None if samples == 1 else "contig",
                extrasamples=["unassalpha"] if samples in (2, 4) else None,
                compression="zlib",
                predictor=array.dtype != np.float32,
                iccprofile=about.icc,
                resolution=about.dpi,
                resolutionunit="inch" if about.dpi else None,
                description=told.pop(270, None),
                software=told.pop(305, False),
                datetime=told.pop(306, None),
                extratags=[(tag, "s", 0, value, True) for tag, value in told.items()]
                + [(tag - 1, "I", 1, 0, True) for tag in _directories(about.exif)],
                metadata=None,
                contiguous=False,
            )
    if any(notes):
        _add_exif(path, notes)


def _descriptive(exif: bytes | None) -> dict[int, str]:
    """Camera, date, author and the like, which a TIFF says in its own directory."""
    read = _exif(exif)
    return {tag: read[tag] for tag in DESCRIPTIVE if isinstance(read.get(tag), str) and read[tag].isascii()}


def _directories(exif: bytes | None) -> list[int]:
    """The directories of an EXIF block that a TIFF points at."""
    return [part for part in (EXIF_IFD, GPS_IFD) if _exif(exif).get_ifd(part)]


def _exif(exif: bytes | None) -> Any:
    from PIL import Image

    read = Image.Exif()
    if exif:
        read.load(exif)
    return read


def _add_exif(path: Path, notes: list[bytes | None]) -> None:
    """Puts the directories of EXIF behind the end of a TIFF, and their places where its pages have kept room."""
    import tifffile
    from PIL import TiffImagePlugin

    with tifffile.TiffFile(path) as file:
        places = [  # tifffile writes no tags that point at directories: the one below keeps their room
            {part: page.aspage().tags[part - 1].offset for part in _directories(exif)}
            for page, exif in zip(file.pages, notes, strict=True)
        ]
        big = file.is_bigtiff
    if big:
        _say("EXIF is left out of a file of 4 GiB and more")
        return
    with path.open("r+b") as file:
        for parts, exif in zip(places, notes, strict=True):
            for part, place in parts.items():
                directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
                for tag, value in _exif(exif).get_ifd(part).items():
                    directory[tag] = value
                begin = file.seek(0, io.SEEK_END)
                file.write(b"\0" * (begin % 2))
                begin += begin % 2
                file.write(directory.tobytes(begin))
                file.seek(place)
                file.write(struct.pack("<HHII", part, 4, 1, begin))
