import cv2
import numpy as np
import pytest
import torch

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.restore import restore
from gesso.data.io import Picture, read_image, read_picture, write_picture
from gesso.restorer import Restorer
from tests._networks import photo_like

QUICK = {"dim": 8, "num_blocks": (1, 1, 1, 1)}


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A network that changes nothing: what comes out shows what the command did."""
    net = create_backbone("restormer_tiny", **QUICK)
    torch.nn.init.zeros_(net.output.weight)
    path = tmp_path_factory.mktemp("net") / "identity.safetensors"
    checkpoint.save(net, path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    checkpoint.save(create_backbone("restormer_tiny", **QUICK), path)
    return path


def picture(seed=0, size=(21, 34), **kind) -> Picture:
    """A picture whose values are exactly those that a file of its bits can hold."""
    steps = 2 ** kind.get("bits", 8) - 1
    pixels = (photo_like(3, *size, seed) * steps).round() / steps
    if kind.get("grey"):
        pixels = pixels[:1].expand(3, -1, -1)
    return Picture(pixels, **kind)


def test_a_folder_tree_is_restored_under_its_names(tmp_path, network):
    photos = tmp_path / "photos"
    for name in ("a.png", "deep/er/b.tif", "deep/c.jpg"):
        write_picture(photos / name, picture(len(name)))
    done = restore(photos, tmp_path / "out", checkpoint=network, precision="float32")
    assert done.exit_code == 0
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in done.written) == [
        "a.png",
        "deep/c.jpg",
        "deep/er/b.tif",
    ]
    restorer = Restorer.load(network, precision="float32")
    for name in ("a.png", "deep/er/b.tif"):
        expected = (restorer(read_image(photos / name)) * 255).round() / 255
        torch.testing.assert_close(read_image(tmp_path / "out" / name), expected, atol=1e-6, rtol=0)
    assert not torch.equal(read_image(tmp_path / "out" / "a.png"), read_image(photos / "a.png"))


@pytest.mark.parametrize("kind", [{}, {"bits": 16}, {"grey": True}, {"grey": True, "bits": 16}])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_bits_greyness_and_alpha_are_kept_exactly(tmp_path, identity, kind, alpha, suffix, precision):
    steps = 2 ** kind.get("bits", 8) - 1
    opacity = (photo_like(1, 21, 34, 9)[0] * steps).round() / steps if alpha else None
    before = picture(alpha=opacity, **kind)
    write_picture(tmp_path / f"in{suffix}", before)
    restore(tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", checkpoint=identity, precision=precision)
    stored, again = read_picture(tmp_path / f"in{suffix}"), read_picture(tmp_path / f"out{suffix}")
    assert (again.bits, again.grey) == (stored.bits, stored.grey)
    assert torch.equal(again.pixels, stored.pixels)
    assert torch.equal(stored.pixels, before.pixels)
    assert (again.alpha is None) == (not alpha)
    if alpha:
        assert torch.equal(again.alpha, opacity)


def test_a_rotation_that_a_jpeg_asks_for_is_done(tmp_path, identity):
    upright = (photo_like(3, 40, 64).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", upright)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6: turn right
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (tmp_path / "in.jpg").write_bytes(data[:2].tobytes() + segment + data[2:].tobytes())
    restore(tmp_path / "in.jpg", tmp_path / "out.png", checkpoint=identity)
    assert read_image(tmp_path / "out.png").shape == (3, 64, 40)
    assert torch.equal(read_image(tmp_path / "out.png"), read_image(tmp_path / "in.jpg"))


def test_a_grey_network_restores_grey_and_colour(tmp_path):
    net = create_backbone("restormer_tiny", inp_channels=1, out_channels=1, **QUICK)
    checkpoint.save(net, tmp_path / "grey.safetensors")
    write_picture(tmp_path / "in" / "grey.png", picture(grey=True))
    write_picture(tmp_path / "in" / "colour.png", picture())
    assert restore(tmp_path / "in", tmp_path / "out", checkpoint=tmp_path / "grey.safetensors").exit_code == 0
    assert read_picture(tmp_path / "out" / "grey.png").grey
    assert not read_picture(tmp_path / "out" / "colour.png").grey


def test_a_broken_file_is_reported_and_the_rest_is_done(tmp_path, identity, capsys):
    write_picture(tmp_path / "in" / "a.png", picture())
    (tmp_path / "in" / "b.png").write_text("this is no image")
    whole = (tmp_path / "in" / "a.png").read_bytes()
    (tmp_path / "in" / "c.png").write_bytes(whole[: len(whole) // 2])
    write_picture(tmp_path / "in" / "d.png", picture())
    done = restore(tmp_path / "in", tmp_path / "out", checkpoint=identity)
    assert done.exit_code == 1
    assert [path.name for path in done.failed] == ["b.png", "c.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "d.png"]
    printed = capsys.readouterr().out
    assert "b.png" in printed
    assert "2 of 4 images could not be restored" in printed


def test_nothing_is_overwritten_unless_asked_for(tmp_path, identity):
    write_picture(tmp_path / "in" / "a.png", picture(1))
    write_picture(tmp_path / "in" / "b.png", picture(2))
    write_picture(tmp_path / "out" / "b.png", picture(3))
    with pytest.raises(FileExistsError, match=r"b\.png"):
        restore(tmp_path / "in", tmp_path / "out", checkpoint=identity)
    assert not (tmp_path / "out" / "a.png").exists()
    assert torch.equal(read_image(tmp_path / "out" / "b.png"), picture(3).pixels)
    restore(tmp_path / "in", tmp_path / "out", checkpoint=identity, overwrite=True)
    assert torch.equal(read_image(tmp_path / "out" / "b.png"), picture(2).pixels)


@pytest.mark.parametrize("where", ["same", "file"])
def test_the_images_themselves_are_never_replaced(tmp_path, identity, where):
    write_picture(tmp_path / "a.png", picture())
    source = tmp_path if where == "same" else tmp_path / "a.png"
    with pytest.raises(ValueError, match="is one of the images themselves"):
        restore(source, tmp_path, checkpoint=identity, overwrite=True)


def test_a_folder_may_be_restored_into_the_one_around_it(tmp_path, identity):
    for name in ("in/a.png", "in/in/b.png"):
        write_picture(tmp_path / name, picture())
    done = restore(tmp_path / "in", tmp_path, checkpoint=identity)
    assert [path.relative_to(tmp_path).as_posix() for path in done.written] == ["a.png", "in/b.png"]
    with pytest.raises(ValueError, match=r"in/b\.png is one of the images themselves"):
        restore(tmp_path / "in", tmp_path, checkpoint=identity, overwrite=True)


def test_a_folder_inside_the_images_is_not_restored_again(tmp_path, identity):
    write_picture(tmp_path / "a.png", picture())
    restore(tmp_path, tmp_path / "restored", checkpoint=identity)
    assert len(restore(tmp_path, tmp_path / "restored", checkpoint=identity, overwrite=True).written) == 1


def test_a_single_image_goes_into_a_folder_or_a_file(tmp_path, identity):
    write_picture(tmp_path / "a.png", picture())
    assert restore(tmp_path / "a.png", tmp_path / "out", checkpoint=identity).written == (tmp_path / "out" / "a.png",)
    assert restore(tmp_path / "a.png", tmp_path / "b.tif", checkpoint=identity).written == (tmp_path / "b.tif",)
    versioned = tmp_path / "run-1.5"
    assert restore(tmp_path / "a.png", versioned, checkpoint=identity).written == (versioned / "a.png",)
    with pytest.raises(ValueError, match=r"c\.gif is no folder, and images are written as PNG, JPEG, .*; name it so"):
        restore(tmp_path / "a.png", tmp_path / "c.gif", checkpoint=identity)


def test_bad_input_is_an_error_before_anything_is_written(tmp_path, identity):
    write_picture(tmp_path / "in" / "a.png", picture())
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.safetensors").write_text("no weights")
    checkpoint.save(
        create_backbone("restormer_tiny", inp_channels=6, dual_pixel_task=True, **QUICK), tmp_path / "6.safetensors"
    )
    for options, error, message in [
        ({"input": tmp_path / "none"}, FileNotFoundError, "no such file or folder"),
        ({"input": tmp_path / "empty"}, ValueError, "no images"),
        ({"checkpoint": tmp_path / "none.pth"}, FileNotFoundError, "no such file"),
        ({"input": tmp_path / "none.png"}, FileNotFoundError, r"none\.png: no such file or folder"),
        ({"checkpoint": tmp_path / "notes.safetensors"}, ValueError, "damaged"),
        ({"checkpoint": tmp_path / "6.safetensors"}, ValueError, "the network takes 6"),
        ({"backbone_args": {"dmi": 8}}, ValueError, "did you mean dim"),
        ({"tile": -3}, ValueError, "tile: expected"),
    ]:
        given = {"input": tmp_path / "in", "out": tmp_path / "out", "checkpoint": identity} | options
        with pytest.raises(error, match=message):
            restore(**given)
    assert not (tmp_path / "out").exists()


def test_a_file_where_a_folder_should_be_is_seen_before_anything_is_restored(tmp_path, identity):
    write_picture(tmp_path / "in" / "deep" / "a.png", picture())
    (tmp_path / "deep").write_text("precious")
    for out in (tmp_path / "deep", tmp_path / "deep" / "er", tmp_path):
        with pytest.raises(NotADirectoryError, match=r"expected a folder to write into; .*deep is a file"):
            restore(tmp_path / "in", out, checkpoint=identity)


def test_an_output_that_cannot_be_written_is_reported(tmp_path, identity):
    write_picture(tmp_path / "in" / "a.png", picture())
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    done = restore(tmp_path / "in", tmp_path / "out", checkpoint=identity, overwrite=True)
    assert done.exit_code == 1
    assert "could not write" in done.failed[tmp_path / "in" / "a.png"]
