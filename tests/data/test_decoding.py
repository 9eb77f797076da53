import os
import struct
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from gesso.data import decoding
from gesso.data.decoding import read_header
from gesso.data.io import ImageError, read_array, read_picture, read_tensor
from tests.faults._images import chunks, encoded, from_chunks, photo, png, tiff

DATA = Path(decoding.__file__).parent
PHOTO = photo()


def refused(path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message):
        read_array(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp", "ppm"])
def test_three_files_lie_between_a_path_and_a_tensor(tmp_path, suffix):
    """`io.py`, `decoding.py` and what knows the format; CONTRIBUTING has the walk from there to the loss."""
    Image.fromarray(PHOTO).save(tmp_path / f"x.{suffix}")
    seen = set()

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(DATA) and not frame.f_code.co_name.startswith("__"):
            seen.add(path.name)

    sys.setprofile(note)
    try:
        read_tensor(tmp_path / f"x.{suffix}")
    finally:
        sys.setprofile(None)
    assert {"io.py", "decoding.py"} < seen
    assert len(seen) <= 3


# ------------------------------------------------------------------------------------------------ silent mistakes


def test_a_tiff_whose_checksum_is_wrong_is_refused(tmp_path):
    data = encoded(Image.fromarray(PHOTO), "TIFF", compression="tiff_adobe_deflate")
    refused(tmp_path / "x.tif", data.replace(data[1000:1010], bytes(10)), "the TIFF file is cut short or damaged")


def test_a_tiff_whose_coded_data_are_damaged_is_refused(tmp_path):
    data = encoded(Image.fromarray(PHOTO), "TIFF", compression="tiff_lzw")
    refused(tmp_path / "x.tif", data[:1000] + b"\xff" * 30 + data[1030:], "the TIFF file is cut short or damaged")


def test_without_stderr_images_are_read_all_the_same(tmp_path):
    (tmp_path / "x.png").write_bytes(png(PHOTO))
    before = os.dup(2)
    os.close(2)
    try:
        np.testing.assert_array_equal(read_array(tmp_path / "x.png"), PHOTO)
    finally:
        os.dup2(before, 2)
        os.close(before)


def test_nothing_that_another_thread_writes_to_stderr_is_lost(tmp_path, capfd):
    files = []
    for name, kind in (("x.jpg", "JPEG"), ("x.png", "PNG"), ("x.webp", "WEBP"), ("x.tif", "TIFF")):
        files.append(tmp_path / name)
        files[-1].write_bytes(encoded(Image.fromarray(PHOTO), kind))
    (tmp_path / "deep.png").write_bytes(png(PHOTO.astype(np.uint16) * 257))
    files.append(tmp_path / "deep.png")
    over = threading.Event()
    written = []

    def write():
        while not over.is_set():
            written.append(os.write(2, b"."))

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        for file in files:
            read_array(file)
    over.set()
    writer.join()
    assert capfd.readouterr().err == "." * sum(written)


DECODERS = {
    "JPEG": (ImageFile.ImageFile, "load"),
    "PNG": (ImageFile.ImageFile, "load"),
    "PNG of 16 bits": (cv2, "imdecode"),
    "WebP": (cv2, "imdecode"),
    "TIFF": (TiffImagePlugin.TiffImageFile, "load"),
}


@pytest.mark.parametrize("kind", DECODERS)
def test_two_threads_decode_at_the_same_time(tmp_path, monkeypatch, kind):
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    deep = kind == "PNG of 16 bits"
    data = png(PHOTO.astype(np.uint16) * 257) if deep else encoded(Image.fromarray(PHOTO), kind.upper(), **options)
    (tmp_path / "x").write_bytes(data)
    where, name = DECODERS[kind]
    decode, both = getattr(where, name), threading.Barrier(2, timeout=60)

    def decode_together(*args):
        both.wait()  # for the other thread, which a lock around the decoder would keep out
        return decode(*args)

    monkeypatch.setattr(where, name, decode_together)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(read_array, [tmp_path / "x"] * 2)
    np.testing.assert_array_equal(one, other)


def test_colours_under_the_alpha_of_a_tiff_are_those_of_the_file(tmp_path):
    alpha = PHOTO[..., 1]
    (tmp_path / "x.tif").write_bytes(tiff(np.dstack([PHOTO, alpha]), extrasamples=["unassalpha"]))
    picture = read_picture(tmp_path / "x.tif")
    np.testing.assert_array_equal((picture.pixels * 255).round().permute(1, 2, 0).numpy(), PHOTO)
    assert picture.alpha is not None
    np.testing.assert_array_equal((picture.alpha * 255).round().numpy(), alpha)


def test_grey_with_three_samples_is_not_taken_for_colour(tmp_path):
    data = tiff(PHOTO)
    photometric = struct.pack("<HHIH", 262, 3, 1, 2)
    refused(tmp_path / "x.tif", data.replace(photometric, struct.pack("<HHIH", 262, 3, 1, 1)), "not supported")


def test_bytes_that_are_missing_in_a_webp_are_noticed(tmp_path):
    data = encoded(Image.fromarray(PHOTO), "WEBP", lossless=True)
    refused(tmp_path / "x.webp", data[:1000] + b"fifty bytes" + data[1000:], "damaged")
    refused(tmp_path / "y.webp", data[:16] + b"\x10\0\0\0" + data[20:], "WebP file is cut short or damaged")


@pytest.mark.parametrize("wrong", [b"12x", b"300", b"", b"\x16"])
def test_words_that_are_no_values_are_noticed(tmp_path, wrong):
    data = b"P3\n2 1\n255\n1 2 3 4 5 "
    (tmp_path / "x.ppm").write_bytes(data + b"6\n")
    np.testing.assert_array_equal(read_array(tmp_path / "x.ppm"), [[[1, 2, 3], [4, 5, 6]]])
    refused(tmp_path / "x.ppm", data + wrong + b"\n", "PNM file is cut short or damaged")


def test_an_animated_png_shows_its_first_picture(tmp_path):
    image = Image.fromarray(PHOTO)
    data = encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)])
    (tmp_path / "x.png").write_bytes(data)
    np.testing.assert_array_equal(read_array(tmp_path / "x.png"), PHOTO)


def test_an_animated_png_without_order_does_not_end_the_process(tmp_path):
    image = Image.fromarray(PHOTO)
    parts = chunks(encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]))
    first = next(i for i, (kind, _) in enumerate(parts) if kind == b"fcTL")
    (tmp_path / "x.png").write_bytes(from_chunks(parts[:first] + parts[first + 1 :]))
    np.testing.assert_array_equal(read_array(tmp_path / "x.png"), PHOTO)


# --------------------------------------------------------------------------------------------- bombs and lies


def black(side: int) -> bytes:
    """A PNG file that truly holds side x side black pixels in a thousandth of the bytes."""
    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return from_chunks([(b"IHDR", size), (b"IDAT", zlib.compress(bytes(side * (1 + 3 * side)))), (b"IEND", b"")])


def test_a_bomb_is_refused_where_it_does_not_fit_into_memory(tmp_path, monkeypatch):
    data = black(2000)
    assert len(data) < 20_000
    monkeypatch.setattr(decoding, "ALWAYS_FITS", 1_000_000)
    monkeypatch.setattr(decoding, "free_memory", lambda: 100 << 20)
    refused(tmp_path / "x.png", data, r"2000x2000 pixels, which takes 0\.1 GiB, and 0\.1 GiB are free")
    monkeypatch.setattr(decoding, "free_memory", lambda: 1 << 30)
    assert not read_array(tmp_path / "x.png").any()


def test_a_bomb_of_more_pixels_than_asked_for_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(black(2000))
    with pytest.raises(ImageError, match=r"declares 2000x2000 pixels, more than 1,000,000"):
        read_picture(tmp_path / "x.png", max_pixels=1_000_000)


def test_a_jpeg_header_that_lies_is_refused_before_memory_is_taken(tmp_path):
    data = encoded(Image.fromarray(PHOTO), "JPEG", quality=90)
    size = struct.pack(">HH", 30, 40)
    refused(tmp_path / "x.jpg", data.replace(size, struct.pack(">HH", 15_000, 20_000)), "cannot hold the 20000x15000")


def test_a_tiff_tile_that_lies_is_refused_before_memory_is_taken(tmp_path):
    data = tiff(PHOTO, tile=(32, 32))
    width = struct.pack("<HHII", 322, 4, 1, 32)
    assert width in data
    refused(tmp_path / "x.tif", data.replace(width, struct.pack("<HHII", 322, 4, 1, 65504)), "declares tiles of")


def test_endless_digits_are_no_size(tmp_path):
    refused(tmp_path / "x.ppm", b"P6\n" + b"9" * 5000 + b" 4\n255\n", r"x\.ppm: .*header")


def test_a_header_behind_a_long_profile_is_found(tmp_path):
    data = encoded(Image.fromarray(PHOTO), "JPEG", quality=90)
    segment = b"\xff\xe2" + struct.pack(">H", 65_535) + bytes(65_533)
    (tmp_path / "x.jpg").write_bytes(data[:2] + 4 * segment + data[2:])
    header = decoding.parse_header((tmp_path / "x.jpg").read_bytes(), tmp_path / "x.jpg")
    assert read_header(tmp_path / "x.jpg") == header
    assert read_array(tmp_path / "x.jpg").shape == PHOTO.shape
