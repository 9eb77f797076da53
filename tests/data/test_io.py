import io
import resource
import signal
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from gesso.data.decoding import read_header
from gesso.data.io import (
    ImageError,
    Picture,
    atomic_path,
    read_array,
    read_image,
    read_picture,
    write_image,
    write_picture,
)
from tests.faults._images import chunks, from_chunks

RNG = np.random.default_rng(0)
PHOTO = cv2.GaussianBlur(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8), (0, 0), 3)  # compresses like a photo


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    """Writes a file by another library than the one under test."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return path


def as_bytes(image: Image.Image | np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind)
    return buffer.getvalue()


def depth(bits: int) -> type:
    return {8: np.uint8, 16: np.uint16, 32: np.float32}[bits]


# ------------------------------------------------------------------------------------------------- round trips


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_written_and_read_again_nothing_has_changed(tmp_path_factory, data):
    bits = data.draw(st.sampled_from([8, 16, 32]))
    suffix = data.draw(
        st.sampled_from({8: [".png", ".tif", ".webp", ".bmp"], 16: [".png", ".tif"], 32: [".tif"]}[bits])
    )
    grey, with_alpha = data.draw(st.booleans()), data.draw(st.booleans())
    with_alpha &= suffix in (".png", ".tif")
    sides = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    elements = st.floats(0, 1, width=32) if bits == 32 else None
    stored = data.draw(hnp.arrays(depth(bits), (2 if grey else 4, *sides), elements=elements))
    peak = np.float32(1 if bits == 32 else 2**bits - 1)
    image = torch.from_numpy(stored.astype(np.float32) / peak)
    pixels = image[:1].expand(3, -1, -1) if grey else image[:3]
    picture = Picture(pixels, image[-1] if with_alpha else None, bits, grey)

    path = tmp_path_factory.mktemp("io") / f"x{suffix}"
    write_picture(path, picture)
    seen = read_picture(path)

    assert torch.equal(seen.pixels, pixels)
    assert seen.bits == bits
    header = read_header(path)
    assert (header.height, header.width, header.bits) == (*sides, bits)
    if with_alpha:
        assert seen.alpha is not None
        assert torch.equal(seen.alpha, image[-1])
    if grey and not with_alpha and suffix != ".webp":
        assert seen.grey


def test_webp_keeps_alpha_and_the_colours_that_can_be_seen(tmp_path):
    pixels, alpha = torch.randint(256, (3, 9, 7)) / 255, torch.randint(3, (9, 7)) / 2
    write_picture(tmp_path / "x.webp", Picture(pixels, alpha))
    seen = read_picture(tmp_path / "x.webp")
    assert seen.alpha is not None
    torch.testing.assert_close(seen.alpha, (alpha * 255).round() / 255)
    torch.testing.assert_close(seen.pixels[:, alpha > 0], pixels[:, alpha > 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".ppm"])
def test_every_value_of_16_bits_survives(tmp_path, suffix):
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / f"a{suffix}"), np.dstack([stored, stored[::-1], stored.T]))
    picture = read_picture(tmp_path / f"a{suffix}")
    write_picture(tmp_path / f"b{suffix}", picture)
    assert picture.bits == 16
    np.testing.assert_array_equal(read_array(tmp_path / f"a{suffix}"), read_array(tmp_path / f"b{suffix}"))
    np.testing.assert_array_equal(read_array(tmp_path / f"b{suffix}")[..., 2], stored)


def test_a_jpeg_is_written_well_enough_to_look_the_same(tmp_path):
    image = torch.from_numpy(PHOTO).permute(2, 0, 1) / 255
    write_image(tmp_path / "x.jpg", image)
    assert (read_image(tmp_path / "x.jpg") - image).abs().max() < 8 / 255


def test_values_outside_the_range_are_clamped_and_others_rounded(tmp_path):
    image = torch.tensor([-0.5, 1.7, 0.5]).view(3, 1, 1)
    write_image(tmp_path / "x.png", image)
    np.testing.assert_array_equal(read_array(tmp_path / "x.png").flatten(), [0, 255, 128])


# ----------------------------------------------------------------------------------------------------- reading


def test_the_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "x.png").write_bytes(as_bytes(PHOTO, "BMP"))
    np.testing.assert_array_equal(read_array(tmp_path / "x.png"), PHOTO)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg_is_honoured(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / "turned.jpg", PHOTO, exif=exif, quality=95)
    save(tmp_path / "plain.jpg", PHOTO, quality=95)
    upright = read_array(tmp_path / "plain.jpg")
    upright = upright.transpose(1, 0, 2) if orientation >= 5 else upright
    flips = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = flips[orientation]
    np.testing.assert_array_equal(read_array(tmp_path / "turned.jpg"), upright[::down, ::right])


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("place", ["behind the pixels", "raw profile", "xmp", "webp xmp", "jpeg xmp"])
def test_an_orientation_is_found_where_other_programs_put_it(tmp_path, place):
    exif = Image.Exif()
    exif[274] = 6
    block = exif.tobytes()
    told = PngInfo()
    suffix = {"webp xmp": ".webp", "jpeg xmp": ".jpg"}.get(place, ".png")
    path = tmp_path / f"x{suffix}"
    if place == "behind the pixels":
        parts = chunks(as_bytes(PHOTO, "PNG"))
        path.write_bytes(from_chunks([*parts[:-1], (b"eXIf", block.removeprefix(b"Exif\0\0")), parts[-1]]))
    elif place == "raw profile":
        told.add_text("Raw profile type exif", f"\nexif\n{len(block):8d}\n{block.hex()}\n")
        save(path, PHOTO, pnginfo=told)
    elif place == "xmp":
        told.add_itxt("XML:com.adobe.xmp", XMP)
        save(path, PHOTO, pnginfo=told)
    else:
        save(path, PHOTO, xmp=XMP.encode(), **({"lossless": True} if suffix == ".webp" else {"quality": 95}))
    stored = np.asarray(Image.open(path))
    np.testing.assert_array_equal(read_array(path), stored.transpose(1, 0, 2)[:, ::-1])
    np.testing.assert_array_equal(read_array(path), np.asarray(ImageOps.exif_transpose(Image.open(path))))


def test_text_in_a_png_turns_nothing(tmp_path):
    told = PngInfo()
    told.add_text("Orientation", "6")
    np.testing.assert_array_equal(read_array(save(tmp_path / "x.png", PHOTO, pnginfo=told)), PHOTO)


def test_palettes_become_rgb(tmp_path):
    palette = Image.fromarray(PHOTO).quantize(16)
    picture = read_picture(save(tmp_path / "x.png", palette))
    np.testing.assert_array_equal(read_array(tmp_path / "x.png"), np.asarray(palette.convert("RGB")))
    assert (picture.alpha, picture.bits, picture.grey) == (None, 8, False)


def test_a_transparent_palette_entry_becomes_alpha(tmp_path):
    palette = Image.fromarray(PHOTO).quantize(4)
    picture = read_picture(save(tmp_path / "x.png", palette, transparency=2))
    assert picture.alpha is not None
    np.testing.assert_array_equal(picture.alpha.numpy() == 0, np.asarray(palette) == 2)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    cmyk = Image.fromarray(PHOTO).convert("CMYK")
    array = read_array(save(tmp_path / f"x{suffix}", cmyk))
    expected = np.asarray(Image.open(tmp_path / f"x{suffix}").convert("RGB")).astype(int)
    assert array.shape == PHOTO.shape
    assert np.abs(array - expected).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_grey_is_three_equal_channels_and_known_to_be_grey(tmp_path, suffix):
    picture = read_picture(save(tmp_path / f"x{suffix}", PHOTO[..., 0]))
    assert picture.grey
    assert torch.equal(picture.pixels[0], picture.pixels[1])
    assert torch.equal(picture.pixels[0], picture.pixels[2])


def test_grey_with_alpha_keeps_both(tmp_path):
    picture = read_picture(save(tmp_path / "x.png", np.dstack([PHOTO[..., 0], PHOTO[..., 1]])))
    assert picture.grey
    assert picture.alpha is not None
    np.testing.assert_array_equal((picture.alpha * 255).round().numpy(), PHOTO[..., 1])


def test_one_bit_means_black_and_white(tmp_path):
    array = read_array(save(tmp_path / "x.png", Image.fromarray(PHOTO[..., 0]).convert("1")))
    assert set(np.unique(array)) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_headers_tell_the_size(tmp_path, kind, mode):
    image = Image.fromarray(PHOTO).convert(mode)
    (tmp_path / "x").write_bytes(as_bytes(image, kind))
    header = read_header(tmp_path / "x")
    assert (header.width, header.height, header.bits, header.alpha) == (40, 30, 8, False)


# --------------------------------------------------------------------------------------------------- bad input


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        read_image(tmp_path / "nothing.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"once upon a time there was a text file", "begins with b'once upo'"),
        (b"\x89PNG\r\n\x1a\n", "begins with"),
        (b"GIF89a" + bytes(50), "expected PNG, JPEG"),
        (b"P6\n4 4\n65536\n" + bytes(96), "maximum from 1 to 65535, got 65536"),
        (b"P6\n4 4\n200\n" + bytes([201] * 48), "cut short or damaged: 201 is above its maximum 200"),
        (b"ftypheic", "expected PNG, JPEG"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "cut short within its header"),
        (b"II*\x00\xff\xff\xff\x00", "cut short within its header"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, message):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as error:
        read_image(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM"])
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.02, 0.999))
def test_a_file_cut_short_is_refused_not_filled_up(tmp_path_factory, kind, share):
    data = as_bytes(PHOTO, kind)
    path = tmp_path_factory.mktemp("cut") / f"x.{kind.lower()}"
    path.write_bytes(data[: min(int(len(data) * share), len(data) - 2)])
    with pytest.raises(ImageError, match=r"x\."):
        read_image(path)


def test_a_cut_jpeg_with_a_whole_thumbnail_is_refused(tmp_path):
    thumbnail = as_bytes(PHOTO, "JPEG")
    segment = b"Exif\0\0" + thumbnail
    data = as_bytes(PHOTO, "JPEG")
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    assert read_image(path).shape == (3, 30, 40)
    path.write_bytes(data[:-20])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)


def test_a_flipped_bit_in_a_png_is_noticed(tmp_path):
    data = bytearray(as_bytes(PHOTO, "PNG"))
    data[len(data) // 2] ^= 4
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match="damaged"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("side", "message"), [(40_000, "declares 40000x40000 pixels"), (900, "cannot hold the 900x900 pixels")]
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(tmp_path, side, message):
    data = as_bytes(PHOTO, "PNG")
    header = b"IHDR" + struct.pack(">II", side, side) + data[24:29]
    data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, "1 values are NaN or infinite"), (np.inf, "NaN or infinite"), (255.0, "got 0.* to 255"), (-1, "got -1")],
)
def test_floats_that_are_no_image_are_refused(tmp_path, value, message):
    pixels = np.zeros((4, 5, 3), np.float32)
    pixels[1, 2, 0] = value
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb")
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "x.tif")


def test_double_precision_is_refused_rather_than_rounded(tmp_path):
    cv2.imwrite(str(tmp_path / "x.tif"), np.zeros((4, 5, 3)))
    with pytest.raises(ImageError, match="got float64"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"volumetric": True, "tile": (16, 16, 16)}, "a volume of 5 layers is not supported"),
        ({"imagej": True, "truncate": True}, "ImageJ has put 5 images behind one page"),
    ],
)
def test_layers_that_are_no_pages_are_not_dropped(tmp_path, options, message):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((5, 16, 16), np.uint16), photometric="minisblack", **options)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("kind", ["int8", "int16", "uint32", "int32", "float64"])
def test_numbers_that_are_no_image_are_refused_by_name(tmp_path, kind):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((4, 5, 3), kind), photometric="rgb")
    with pytest.raises(ImageError, match=f"expected 8 or 16 bits or 32-bit floats, got {kind}"):
        read_image(tmp_path / "x.tif")


def test_lab_tiff_is_not_taken_for_rgb(tmp_path):
    with pytest.raises(ImageError, match="photometric interpretation 8"):
        read_image(save(tmp_path / "x.tif", Image.fromarray(PHOTO).convert("LAB")))


# ----------------------------------------------------------------------------------------------------- writing


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "x.png"
    write_image(path, torch.zeros(3, 2, 2))
    with pytest.raises(FileExistsError, match="overwrite replaces it"):
        write_image(path, torch.ones(3, 2, 2))
    assert read_image(path).max() == 0
    write_image(path, torch.ones(3, 2, 2), overwrite=True)
    assert read_image(path).min() == 1


@pytest.mark.parametrize(
    ("name", "picture", "message"),
    [
        ("x.jpg", Picture(torch.zeros(3, 2, 2), bits=16), "cannot hold 16 bits"),
        ("x.png", Picture(torch.zeros(3, 2, 2), bits=32), r"cannot hold 32 bits; write .*\.tif"),
        ("x.jpg", Picture(torch.zeros(3, 2, 2), alpha=torch.ones(2, 2)), "cannot hold alpha"),
        (
            "x.txt",
            Picture(torch.zeros(3, 2, 2)),
            r"x\.txt: expected the suffix of a PNG, .* file, such as \.png; \.txt is none of these",
        ),
        ("x.png", Picture(torch.zeros(2, 2, 2)), r"expected an image \(3, height, width\)"),
        ("x.png", Picture(torch.full((3, 2, 2), torch.nan)), "NaN or infinite"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, picture, message):
    with pytest.raises(ValueError, match=message):
        write_picture(tmp_path / name, picture)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"could not write .*file/x\.png"):
        write_image(tmp_path / "file" / "x.png", torch.zeros(3, 2, 2))


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path):
    image = torch.rand(3, 64, 64)
    write_image(tmp_path / "old.png", torch.zeros(3, 2, 2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not write .*new"):
            write_image(tmp_path / "new.png", image)
        with pytest.raises(OSError, match=r"could not write .*old"):
            write_image(tmp_path / "old.png", image, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert read_image(tmp_path / "old.png").shape == (3, 2, 2)


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("old")

    def interrupted():
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            assert temporary.parent == path.parent
            assert temporary.suffix == path.suffix
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
