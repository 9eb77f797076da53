"""Every kind of image file through `restore` with a network that changes nothing: what comes out, others read."""

import functools
import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.restore import restore
from gesso.data.io import read_picture
from tests.data._kinds import HEIGHT, WIDTH, encoded, kinds, picture, png, samples

LOSSY = (".jpg", ".jpe", ".jfif", ".mpo", ".pbm")  # restored into PNG
SOME = {
    name: kind
    for name, kind in kinds().items()
    if not any(
        word in name for word in ("tiles", "strips", "deflate", "turned 2", "turned 5", "turned 7", "header 1", "words")
    )
}


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    net = create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1))
    torch.nn.init.zeros_(net.output.weight)
    path = tmp_path_factory.mktemp("net") / "identity.safetensors"
    checkpoint.save(net, path)
    return path


@pytest.fixture(scope="module")
def restored(tmp_path_factory, identity):
    folder = tmp_path_factory.mktemp("kinds")
    for name, kind in SOME.items():
        path = folder / ("png" if kind.suffix in LOSSY else "kept") / (name.replace("/", "-") + kind.suffix)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(kind.data)
    for part, options in (("kept", {}), ("png", {"format": "png"})):
        done = restore(folder / part, folder / f"{part}-out", checkpoint=identity, precision="float32", **options)
        assert not done.failed
    return folder


def as_others_see(path) -> np.ndarray:
    """A file by tifffile, Pillow or, where Pillow has no 16 bits, byte by byte, (H, W, channels) in [0, 1]."""
    if path.suffix in (".tif", ".tiff"):
        array = tifffile.imread(path, key=0)
    elif path.suffix == ".pfm":
        data = path.read_bytes()
        array = np.frombuffer(data, "<f4", offset=len(data) - 4 * HEIGHT * WIDTH * (3 if data[1:2] == b"F" else 1))
        array = array.reshape(HEIGHT, WIDTH, -1)[::-1]
    elif path.read_bytes()[:2] in (b"P5", b"P6", b"P7"):
        _, peak, body = pnm(path.read_bytes())
        array = np.frombuffer(body, ">u2" if peak > 255 else "u1").reshape(HEIGHT, WIDTH, -1) / peak
        return array.reshape(*array.shape[:2], -1)
    elif path.suffix == ".png" and path.read_bytes()[24] == 16:
        array = by_unfiltering(path.read_bytes())
    elif path.suffix in (".bmp", ".dib") and path.read_bytes()[28] == 32:
        image = Image.open(path)
        image.load()
        array = np.asarray(image)
    else:
        array = np.asarray(Image.open(path))
    array = array if array.ndim == 3 else array[..., None]
    return array.astype(np.float64) / (1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max)


def pnm(data: bytes) -> tuple[bytes, int, bytes]:
    if data.startswith(b"P7"):
        head, _, body = data.partition(b"ENDHDR\n")
        return head, int(head.split(b"MAXVAL")[1].split()[0]), body
    magic, size, peak, body = data.split(b"\n", 3)
    return magic + size, int(peak), body


def by_unfiltering(data: bytes) -> np.ndarray:
    """A PNG of 16 bits as two of 8, whose bytes Pillow can filter: the rows are the same bytes."""
    import struct
    import zlib

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[data[25]]
    width, height = struct.unpack_from(">II", data, 16)
    idat, position = b"", 8
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        idat += data[position + 8 : position + 8 + length] if name == b"IDAT" else b""
        position += 12 + length
    raw = np.frombuffer(zlib.decompress(idat), np.uint8).reshape(height, -1)
    rows, step = np.zeros((height + 1, raw.shape[1] - 1), np.uint8), 2 * channels
    for y, (kind, line) in enumerate(zip(raw[:, 0], raw[:, 1:], strict=True), 1):
        for x, value in enumerate(line):
            left = int(rows[y, x - step]) if x >= step else 0
            above, corner = int(rows[y - 1, x]), int(rows[y - 1, x - step]) if x >= step else 0
            guess = left + above - corner
            near = min((left, above, corner), key=lambda near: abs(guess - near))
            rows[y, x] = (int(value) + (0, left, above, (left + above) // 2, near)[kind]) & 255
    return rows[1:].copy().view(">u2").reshape(height, width, channels).astype(np.uint16)


@pytest.mark.parametrize("name", SOME)
def test_what_comes_out_is_what_went_in(restored, name):
    kind = SOME[name]
    part = "png" if kind.suffix in LOSSY else "kept"
    suffix = ".png" if kind.suffix in LOSSY else kind.suffix
    seen = as_others_see(restored / f"{part}-out" / (name.replace("/", "-") + suffix))
    expected = kind.pixels
    if seen.shape[2] != expected.shape[2] and suffix in (
        ".bmp",
        ".webp",
        ".ppm",
        ".pnm",
    ):  # which hold no grey, or none with alpha
        expected = np.broadcast_to(expected, seen.shape) if expected.shape[2] == 1 else expected[..., (0, 0, 0, 1)]
    assert seen.shape == expected.shape
    steps = {8: 255, 16: 65535, 32: 1}[kind.bits]
    if kind.bits != 32 and suffix not in (".ppm", ".pgm", ".pnm", ".pam"):
        expected = np.rint(expected * steps) / steps
    np.testing.assert_allclose(seen, expected, rtol=0, atol=max(kind.error, 1e-6))


# ------------------------------------------------------------------------------------- what stands beside the pixels


@functools.cache  # each has the time at which it was made
def profile(space: str) -> bytes:
    """A colour profile of another library."""
    if space == "RGB":  # not sRGB: red and blue of sRGB's profile change places
        data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        return data.replace(b"rXYZ", b"temp", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"temp", b"bXYZ", 1)
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().replace(b"RGB XYZ", b"GRAYXYZ", 1)


def camera() -> bytes:
    exif = Image.Exif()
    exif[271], exif[272], exif[274], exif[306] = "Maker", "Camera 1", 6, "2026:11:29 12:00:00"
    exif.get_ifd(0x8769).update({33434: 0.004, 34855: 400, 40962: WIDTH, 40963: HEIGHT, 36867: "2026:11:29 12:00:00"})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 1.5)})
    return exif.tobytes()


def by_tifffile(array, **options) -> bytes:
    file = io.BytesIO()
    how = {"photometric": "rgb", "iccprofile": profile("RGB"), "resolution": (300, 200), "resolutionunit": "inch"}
    tifffile.imwrite(file, array, metadata=None, **how | options)
    return file.getvalue()


def with_everything() -> dict[str, bytes]:
    rgb, rgba = picture(samples(255, 3)), picture(samples(255, 4))
    beside = {"icc_profile": profile("RGB"), "dpi": (300, 200), "exif": camera()}
    return {
        "rgb.png": encoded(rgb, "PNG", **beside),
        "rgba.png": encoded(rgba, "PNG", **beside),
        "rgb.jpg": encoded(rgb, "JPEG", quality=95, **beside),
        "rgb.webp": encoded(rgb, "WEBP", lossless=True, **beside),
        "rgba.webp": encoded(rgba, "WEBP", lossless=True, exact=True, **beside),
        "rgb.tif": encoded(rgb, "TIFF", **beside),
        "16.tif": by_tifffile(samples(65535, 3)),
        "float.tif": by_tifffile((samples(255, 3) / 255).astype(np.float32)),
        "grey.jpg": encoded(picture(samples(255, 1)), "JPEG", **beside | {"icc_profile": profile("GRAY")}),
        "grey alpha.png": encoded(picture(samples(255, 2)), "PNG", **beside | {"icc_profile": profile("GRAY")}),
    }


@pytest.fixture(scope="module")
def carried(tmp_path_factory, identity):
    folder = tmp_path_factory.mktemp("beside")
    (folder / "in").mkdir()
    for name, data in with_everything().items():
        (folder / "in" / name).write_bytes(data)
    for suffix in ("same", "png", "tif", "webp"):
        options = {} if suffix == "same" else {"format": suffix}
        for path in (folder / "in").iterdir():
            if suffix != "webp" or path.name not in ("16.tif", "float.tif"):
                if suffix == "png" and path.name == "float.tif":
                    continue
                restore(path, folder / suffix / path.stem / path.suffix[1:], checkpoint=identity, **options)
    return folder


def outputs(carried, suffix):
    return [
        (carried / "in" / f"{file.parents[1].name}.{file.parent.name}", file)
        for file in sorted((carried / suffix).rglob("*.*"))
    ]


@pytest.mark.parametrize("suffix", ["same", "png", "tif", "webp"])
def test_profile_resolution_and_camera_come_out_again(carried, suffix):
    assert len(outputs(carried, suffix)) >= 8
    for before, after in outputs(carried, suffix):
        old, kept = read_picture(before).metadata, Image.open(after) if after.stem not in ("16", "float") else None
        if kept is None:
            page = tifffile.TiffFile(after).pages[0] if after.suffix == ".tif" else None
            seen = page.iccprofile if page else Image.open(after).info["icc_profile"]
            assert seen == profile("RGB")
            continue
        grey_into_colour = b"GRAY" in old.icc[:20] and after.suffix == ".webp"
        assert kept.info.get("icc_profile") == (None if grey_into_colour else old.icc), after
        exif = kept.getexif()
        if before.suffix != ".webp":  # the others say it twice
            dpi = [exif[282], exif[283]] if after.suffix == ".webp" else kept.info["dpi"]
            assert np.allclose(np.array(dpi, float), (300, 200), atol=0.5)
            assert np.allclose(read_picture(after).metadata.dpi, (300, 200), atol=0.5)
        assert 274 not in exif or exif[274] == 1
        assert exif[272] == "Camera 1", after
        assert exif.get_ifd(0x8769)[34855] == 400
        assert 40962 not in exif.get_ifd(0x8769)
        assert exif.get_ifd(0x8825)[1] == "N"


def test_a_format_without_profiles_gets_srgb_and_a_word(tmp_path, identity, capsys):
    (tmp_path / "x.png").write_bytes(with_everything()["rgb.png"])
    restore(tmp_path / "x.png", tmp_path / "x.bmp", checkpoint=identity)
    printed = " ".join(capsys.readouterr().out.split())
    assert ".bmp holds no colour profile" in printed
    assert "became sRGB" in printed
    assert ".bmp holds no EXIF" in printed
    source = Image.open(tmp_path / "x.png").transpose(Image.Transpose.ROTATE_270)
    profiles = ImageCms.ImageCmsProfile(io.BytesIO(profile("RGB"))), ImageCms.createProfile("sRGB")
    expected = ImageCms.profileToProfile(source, *profiles, outputMode="RGB")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x.bmp")), np.asarray(expected))


def test_what_a_png_says_of_its_colours_stays_in_it(tmp_path, identity, capsys):
    chunks = [(b"gAMA", (100_000).to_bytes(4, "big")), (b"cICP", b"\x09\x10\x00\x01")]
    (tmp_path / "x.png").write_bytes(png(samples(255, 3), 8, 2, *chunks))
    restore(tmp_path / "x.png", tmp_path / "y.png", checkpoint=identity)
    assert read_picture(tmp_path / "y.png").metadata.chunks == tuple(chunks)
    assert "cannot say" not in capsys.readouterr().out
    restore(tmp_path / "x.png", tmp_path / "y.tif", checkpoint=identity)
    assert "cannot say what the PNG says of its colours (gAMA, cICP)" in " ".join(capsys.readouterr().out.split())


def test_a_profile_of_inks_is_left_out_with_a_word(tmp_path, identity, capsys):
    ink = profile("RGB").replace(b"RGB XYZ", b"CMYKXYZ", 1)
    image = Image.frombytes("CMYK", (WIDTH, HEIGHT), samples(255, 4).tobytes())
    image.save(tmp_path / "x.jpg", icc_profile=ink)
    restore(tmp_path / "x.jpg", tmp_path / "y.jpg", checkpoint=identity)
    assert "icc_profile" not in Image.open(tmp_path / "y.jpg").info
    assert "CMYK became RGB without its colour profile" in " ".join(capsys.readouterr().out.split())


# --------------------------------------------------------------------------------------------- pages and formats


def test_every_page_of_a_tiff_is_restored(tmp_path, identity, capsys):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(samples(255, 3), photometric="rgb", metadata=None)
        file.write(samples(65535, 1)[..., 0], photometric="miniswhite", metadata=None)
        file.write(samples(255, 4)[:7], photometric="rgb", extrasamples=["unassalpha"], metadata=None)
        file.write(samples(255, 3)[:4, :4], photometric="rgb", subfiletype=1, metadata=None)  # a thumbnail
    restore(tmp_path / "x.tif", tmp_path / "y.tif", checkpoint=identity)
    pages = tifffile.TiffFile(tmp_path / "y.tif").pages
    assert len(pages) == 3
    np.testing.assert_array_equal(pages[0].asarray(), samples(255, 3))
    np.testing.assert_array_equal(pages[1].asarray(), 65535 - samples(65535, 1)[..., 0])
    np.testing.assert_array_equal(pages[2].asarray(), samples(255, 4)[:7])
    assert "left out" not in capsys.readouterr().out
    restore(tmp_path / "x.tif", tmp_path / "y.png", checkpoint=identity)
    assert "2 frames left out, of 1 file such as" in " ".join(capsys.readouterr().out.split())


def test_a_page_that_cannot_be_read_is_named(tmp_path, identity):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(samples(255, 3), photometric="rgb", metadata=None)
        file.write(samples(255, 3), photometric="cielab", metadata=None)
    done = restore(tmp_path / "x.tif", tmp_path / "y.tif", checkpoint=identity)
    assert done.exit_code == 1
    assert not (tmp_path / "y.tif").exists()


def test_frames_and_other_files_are_counted_in_one_line_each(tmp_path, identity, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("apng", "webp animated RGB", "tiff of three pages", "mpo", "png RGB by Pillow"):
        kind = kinds()[name]
        (folder / f"{name}{kind.suffix}").write_bytes(kind.data)
    for name in ("a.heic", "b.HEIC", "c.txt", "notes", ".hidden.txt"):
        (folder / name).write_text("no image")
    assert len(restore(folder, tmp_path / "out", checkpoint=identity).written) == 5
    printed = " ".join(capsys.readouterr().out.split())
    assert "4 files left out: 2 .heic, 1 .txt, 1 without suffix" in printed
    assert "5 frames left out, of 3 files such as" in printed


def test_format_names_what_is_written(tmp_path, identity):
    (tmp_path / "in").mkdir()
    kind = kinds()["jpeg"]
    (tmp_path / "in" / "a.JPEG").write_bytes(kind.data)
    done = restore(tmp_path / "in", tmp_path / "out", checkpoint=identity, format="png")
    assert [path.name for path in done.written] == ["a.png"]
    assert Image.open(done.written[0]).format == "PNG"
    (tmp_path / "in" / "a.bmp").write_bytes(kinds()["bmp 24 bits"].data)
    with pytest.raises(ValueError, match=r"a\.JPEG and .*a\.bmp would both be written as .*a\.png"):
        restore(tmp_path / "in", tmp_path / "other", checkpoint=identity, format="png")
    with pytest.raises(ValueError, match=r"format: expected the suffix of a PNG, JPEG, .* file, such as png, got gif"):
        restore(tmp_path / "in", tmp_path / "other", checkpoint=identity, format="gif")
    with pytest.raises(ValueError, match="format: png is not the format of"):
        restore(tmp_path / "in" / "a.bmp", tmp_path / "a.tif", checkpoint=identity, format="png")


@pytest.mark.parametrize(
    ("name", "suffix", "message"),
    [
        ("png 3 channels 16 bits", "jpg", "cannot hold 16 bits"),
        ("png 4 channels 8 bits", "jpg", "cannot hold alpha"),
        ("png grey 8 bits tRNS", "ppm", "cannot hold alpha"),
        ("bmp 32 bits by Pillow", "jpg", "cannot hold alpha"),
        ("webp alpha", "ppm", "cannot hold alpha"),
        ("tiff f4 3 samples", "png", "cannot hold 32 bits"),
        ("tiff u2 grey and alpha", "webp", "cannot hold 16 bits"),
        ("pgm 1023", "bmp", "cannot hold 16 bits"),
        ("jpeg", "pgm", "cannot hold colour"),
        ("pbm", "pbm", "black and white only"),
    ],
)  # fmt: skip
def test_a_format_that_cannot_hold_the_result_is_found_before_the_network_runs(
    tmp_path, identity, monkeypatch, name, suffix, message
):
    kind = kinds()[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"x{kind.suffix}").write_bytes(kind.data)
    monkeypatch.setattr("gesso.restorer.Restorer.__call__", None)
    with pytest.raises(ValueError, match=f"{message}.*--format png or tif"):
        restore(tmp_path / "in", tmp_path / "out", checkpoint=identity, format=suffix)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ the white level


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_data_of_few_bits_comes_back_in_its_scale(tmp_path, identity, capsys, bits, suffix):
    numbers = samples(2**bits - 1, 1)
    data = {
        ".png": lambda: png(numbers, 16, 0),
        ".tif": lambda: kinds_tiff(numbers),
        ".pgm": lambda: f"P5\n{WIDTH} {HEIGHT}\n65535\n".encode() + numbers.astype(">u2").tobytes(),
    }[suffix]()
    (tmp_path / f"x{suffix}").write_bytes(data)
    restore(tmp_path / f"x{suffix}", tmp_path / f"dark{suffix}", checkpoint=identity)
    assert f"if they hold {bits} bits, --white_level {2**bits - 1} says so" in " ".join(capsys.readouterr().out.split())
    out = tmp_path / f"y{suffix}"
    restore(tmp_path / f"x{suffix}", out, checkpoint=identity, white_level=2**bits - 1)
    assert "white_level" not in capsys.readouterr().out
    np.testing.assert_array_equal(np.rint(as_others_see(out) * 65535), numbers)
    seen = read_picture(tmp_path / f"x{suffix}", white_level=2**bits - 1).pixels[0].numpy()
    np.testing.assert_allclose(seen, numbers[..., 0] / (2**bits - 1), rtol=0, atol=1e-7)


def kinds_tiff(numbers):
    file = io.BytesIO()
    tifffile.imwrite(file, numbers[..., 0], photometric="minisblack", metadata=None)
    return file.getvalue()


def test_values_above_the_white_level_are_named(tmp_path, identity):
    (tmp_path / "x.png").write_bytes(png(samples(65535, 3), 16, 2))
    done = restore(tmp_path / "x.png", tmp_path / "y.png", checkpoint=identity, white_level=4095)
    assert "expected values up to the white_level 4095, got 65535" in done.failed[tmp_path / "x.png"]
    with pytest.raises(ValueError, match="white_level: expected the stored value of white"):
        restore(tmp_path / "x.png", tmp_path / "y.png", checkpoint=identity, white_level=100)
