"""Grey images and images of four channels, 16 bits each: pre-trained and fine-tuned on, measured, restored."""

import csv

import cv2
import numpy as np
import pytest
import tifffile
import torch

import gesso
from gesso.backbones import create_backbone
from gesso.checkpoint import load, read_state, save
from gesso.commands.degrade import degrade
from gesso.commands.export import export
from gesso.comparison.splits import open_folds, write_tests
from gesso.data.io import ImageError, read_picture, read_planes, write_image
from gesso.data.training_data import open_images
from gesso.degradations import parse_degradation
from gesso.functional.color import as_rgb, to_grey
from gesso.functional.random import generator_for
from gesso.lab._probe import clean_images
from gesso.metrics import Protocol
from gesso.pretext import create_pretext, list_pretexts
from gesso.report.results import label
from gesso.sources import list_sources
from gesso.tasks import find_task
from tests._networks import photo_like

SMALL = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]}
CHANNELS = (1, 4)


@pytest.fixture(params=CHANNELS, ids=["grey", "four"])
def channels(request):
    return request.param


@pytest.fixture
def rgb(tmp_path):
    """A file of weights for RGB."""
    torch.manual_seed(0)
    save(create_backbone("nafnet_tiny", **SMALL), tmp_path / "rgb.safetensors")
    return tmp_path / "rgb.safetensors"


@pytest.fixture
def pairs(tmp_path, channels):
    """A folder of four noisy pairs of 16-bit files, TIFF or PNG."""
    for number in range(4):
        clean = photo_like(channels, 40, 48, seed=number)
        noisy = (clean + 0.1 * torch.randn(clean.shape, generator=generator_for(number))).clamp(0, 1)
        for side, image in (("input", noisy), ("target", clean)):
            suffix = ".png" if number % 2 or channels == 1 else ".tif"
            write_image(tmp_path / "data" / side / f"{number}{suffix}", image, bits=16)
    return tmp_path / "data"


def test_from_files_to_files(tmp_path, pairs, channels):
    network = {"backbone": "nafnet_tiny", "backbone_args": SMALL | {"image_channels": channels}}
    primed = gesso.pretrain(out=tmp_path / "ifp", **network, steps=2, crop_size=16, batch_size=2, workers=0)
    trained = gesso.finetune(
        out=tmp_path / "run", task="denoise", data=pairs, init=str(primed), **network, steps=2, crop_size=16,
        batch_size=2, workers=0, val_every=0,
    )  # fmt: skip
    scores = gesso.evaluate(checkpoint=trained, task="denoise", data=pairs, out=tmp_path / "scores", save_images=True)
    assert len(scores.rows) == 4
    assert scores.psnr > 15
    assert ("grey" if channels == 1 else "all four channels") in scores.protocol

    done = gesso.restore(pairs / "input", tmp_path / "restored", checkpoint=trained, tile=32)
    assert not done.failed
    for path in done.written:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16
        assert stored.shape == ((40, 48) if channels == 1 else (40, 48, 4))
    export(trained, tmp_path / "official.pth")
    assert read_state(tmp_path / "official.pth")["intro.weight"].shape[1] == channels
    assert load(tmp_path / "official.pth").in_channels == channels


def test_a_comparison_trains_measures_and_shows_them(tmp_path, pairs, channels, rgb):
    outcome = gesso.compare(
        out=tmp_path / "out", task="derain", data=pairs, starts=["ifp", str(rgb)], seeds=0,
        folds=2, backbone="nafnet_tiny", backbone_args=SMALL | {"image_channels": channels}, steps=2, val_every=2,
        crop_size=16, batch_size=1, pretrain_args={"steps": 1, "crop_size": 16, "batch_size": 1},
        finetune_args={"precision": "float32", "workers": 0},
    )  # fmt: skip
    assert outcome.exit_code == 0
    assert len(outcome.verdicts) == 2
    words = "grey" if channels == 1 else "all four channels"
    assert f"Gaussian 11x11 window) on {words}" in (tmp_path / "out/comparison.md").read_text()
    assert ("pictures show the first three as red, green and blue" in outcome.page.read_text()) == (channels == 4)
    for kind in ("input", "truth", "random", "ifp"):
        stored = cv2.imread(str(tmp_path / f"out/images/1/{kind}.png"), cv2.IMREAD_UNCHANGED)
        assert stored.shape == ((40, 48) if channels == 1 else (40, 48, 4))
    with (tmp_path / "out/comparison.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["fold"], row["start"], row["step"]) == ("0", "ifp", "2")]
    found = [float(row["psnr"]) for row in rows]
    (trained,) = (tmp_path / "out/runs").glob("*/seed-0-fold-0/ifp-*/backbone.safetensors")
    scores = gesso.evaluate(checkpoint=trained, task="derain", data=tmp_path / "out/data/test-0")
    assert found == pytest.approx([row.psnr for row in scores.rows], abs=1e-3)


def test_a_comparison_degrades_clean_photos_in_all_their_channels_and_bits(tmp_path, pairs, channels):
    task, noise = find_task("denoise").with_channels(channels), parse_degradation("gaussian_noise")
    folds = open_folds(pairs / "target", folds=2, made=tmp_path / "degraded")
    write_tests(folds, task, noise)
    for pair in (pair for fold in folds for pair in fold.test):
        stored = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (pair.photo, pair.gt, pair.lq)]
        assert np.array_equal(stored[0], stored[1])
        assert stored[2].dtype == np.uint16
        assert stored[2].shape == stored[1].shape


def test_what_a_comparison_cannot_serve_is_refused_before_anything_is_written(tmp_path, pairs, channels):
    for number in range(4):
        for side in ("input", "target"):
            write_image(tmp_path / f"rgb/{side}/{number}.png", torch.rand(3, 24, 24))
    network = {"backbone": "nafnet_tiny", "backbone_args": SMALL | {"image_channels": channels}}
    options = {"out": tmp_path / "out", "steps": 2, "crop_size": 16, **network}
    if channels == 4:
        with pytest.raises(ImageError, match=r"expected four channels of data.*this has 3"):
            gesso.compare(task="denoise", data=tmp_path / "rgb", **options)
        with pytest.raises(ValueError, match="jpeg: defined for RGB and grey"):
            gesso.compare(task="jpeg", data=pairs / "target", **options)
        with pytest.raises(ValueError, match="denoise_grey: the task gives images of 1 channels"):
            gesso.compare(task="denoise_grey", data=pairs, **options)
    with pytest.raises(ValueError, match="images of one view"):
        gesso.compare(task="defocus_dual", data=pairs, **options)
    assert not (tmp_path / "out").exists()


def test_the_probe_and_inspection_show_a_network_what_it_takes(tmp_path, pairs, channels, rgb, capsys):
    network = {"backbone": "nafnet_tiny", "backbone_args": SMALL | {"image_channels": channels}}
    small, images = {"count": 4, "crop_size": 16, "degradations": ["rain", "low_light"]}, pairs / "target"
    found = gesso.probe(images=str(images), checkpoint=str(rgb), pixels=True, **network, **small)
    assert [accuracy.start for accuracy in found] == ["pixels", "random", str(rgb)]
    assert f"from 3 to {channels} image channels" in capsys.readouterr().out

    primed = gesso.pretrain(out=tmp_path / "ifp", **network, steps=2, crop_size=16, workers=0)
    found = gesso.inspect(
        str(primed.parent),
        out=tmp_path / "seen",
        images=images,
        against=str(rgb),
        spectra=True,
        embeddings=True,
        **small,
    )
    assert found["networks"] == ["random start", "ifp", label(str(rgb))]
    assert {tuple(shape) for shape in found["images"].values()} == {(4, channels, 16, 16)}
    assert max(part["relative"] for part in found["weights"]["its beginning"]["parts"].values()) < 0.1
    assert list(found["rings"]["by itself"]) == ["the noise it was trained on", "other noise", "leaves", "photos"]
    assert all(np.isfinite(number) for number in found["spectra"]["psnr"].values())
    assert read_picture(tmp_path / "seen/masked-rings.png").pixels.std() > 0.05


def test_a_run_on_rgb_is_inspected_as_its_weights_serve_them(tmp_path, channels):
    network = {"backbone": "nafnet_tiny", "backbone_args": SMALL}
    gesso.pretrain(out=tmp_path / "ifp", **network, steps=2, crop_size=16, workers=0)
    options = {"out": tmp_path / "seen", "backbone_args": {"image_channels": channels}, "count": 4, "crop_size": 16}
    found = gesso.inspect(str(tmp_path / "ifp"), **options)
    assert found["images"]["leaves"][1] == channels
    changes = found["weights"]["its beginning"]["tensors"].values()
    assert min(1 if one["cosine"] is None else one["cosine"] for one in changes) > 0.99
    assert "its decoder makes images of 3 channels" in found["rings"]["words"]


def test_photos_turn_grey_or_have_to_have_four_channels(tmp_path, channels):
    photo = photo_like(3, 20, 24)
    write_image(tmp_path / "photo.png", photo)
    if channels == 1:
        (crop,) = clean_images(str(tmp_path), 1, 20, seed=0, channels=1)
        assert torch.equal(crop, to_grey(read_picture(tmp_path / "photo.png").pixels[..., 2:22]))
        return
    with pytest.raises(ImageError, match=r"photo\.png: expected four channels of data.*this has 3"):
        clean_images(str(tmp_path), 1, 20, seed=0, channels=4)


def test_a_restorer_of_them_is_refined_with_a_prior_for_rgb(tmp_path, pairs, channels, rgb):
    refined = gesso.refine(
        out=tmp_path / "refined", checkpoint=rgb, backbone_args={"image_channels": channels}, prior=str(rgb),
        prior_view="image", task="denoise", data=pairs, steps=2, crop_size=16, batch_size=2, workers=0, val_every=0,
    )  # fmt: skip
    scores = gesso.evaluate(checkpoint=refined, task="denoise", data=pairs)
    assert len(scores.rows) == 4
    assert ("grey" if channels == 1 else "all four channels") in scores.protocol
    image = photo_like(channels, 24, 24)[None]
    assert torch.equal(load(refined).prior(image), load(refined).prior(as_rgb(image)))
    with pytest.raises(ValueError, match="adapt the restorer to 3 channels, and refine that"):
        load(refined, image_channels=3)


def test_pairs_are_made_of_them(tmp_path, pairs, channels):
    made = tmp_path / "made"
    done = degrade(pairs / "target", made, degradation="gaussian_noise", image_channels=channels)
    assert len(done.written) == 4
    for path in done.written:
        clean, kept, degraded = (
            cv2.imread(str(folder / path.name), cv2.IMREAD_UNCHANGED)
            for folder in (pairs / "target", made / "target", made / "input")
        )
        assert np.array_equal(clean, kept)
        assert degraded.shape == clean.shape
        assert (degraded != clean).reshape(-1, channels).any(0).all()


def test_a_fourth_channel_is_not_left_out_in_silence(tmp_path, capsys):
    write_image(tmp_path / "photos/0.png", photo_like(4, 16, 16))
    degrade(tmp_path / "photos", tmp_path / "made")
    assert "1 of 1 photos had alpha, which is left out; if it is data, --image_channels 4 takes it" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_network_for_rgb_restores_them_at_once(tmp_path, pairs, channels, rgb):
    done = gesso.restore(
        pairs / "input", tmp_path / "out", checkpoint=rgb,
        backbone_args={"image_channels": channels},
    )  # fmt: skip
    assert not done.failed
    assert len(done.written) == 4


@pytest.mark.parametrize("name", list_pretexts())
def test_every_pretext_trains_on_them_or_says_why_not(name, channels):
    small = {"degae": {"representor_width": 8, "representor_blocks": 4, "decoder_width": 16}}
    pretext = create_pretext(
        name, create_backbone("nafnet_tiny", **SMALL, image_channels=channels), **small.get(name, {})
    )
    kind = {"per_sample": pretext.images_per_sample, "channels": channels}
    dataset = open_images(pretext.images, seed=0, **kind)
    image = torch.stack([dataset[number, 32]["image"] for number in range(2)])
    assert image.shape[-3] == channels
    if name == "degae" and channels == 4:
        with pytest.raises(ValueError, match="defined for RGB and grey, these images have 4 channels"):
            pretext({"image": image}, generator_for(0))
        return
    pretext({"image": image}, generator_for(0))["loss"].backward()
    weight = pretext.backbone.get_parameter("intro.weight")
    assert weight.grad.abs().amax((0, 2, 3)).min() > 0
    assert all(
        picture.shape[-3] in (channels, 3) for picture in pretext.preview({"image": image}, generator_for(0)).values()
    )


def test_the_mix_of_restore_has_what_is_defined_for_them(channels):
    pretext = create_pretext("restore", create_backbone("nafnet_tiny", **SMALL, image_channels=channels))
    names = {choice.name for choice in pretext.degradation.choices}
    assert ("jpeg" in names) == (channels == 1)
    assert {"rain", "rings"} < names


@pytest.mark.parametrize("source", list_sources())
def test_generated_images_have_them(source, channels):
    images = open_images(source, seed=0, channels=channels)[0, 24]["image"]
    assert images.shape == (channels, 24, 24)
    colours = open_images(source, seed=0)[0, 24]["image"]
    if channels == 4:
        assert torch.equal(images[:3], colours)
        assert 0.1 < images[3].std() / colours.std() < 3


def test_degradations_take_them_or_say_why_not(channels):
    image = photo_like(channels, 32, 32)[None]
    for name in ("rain", "haze", "snow", "low_light", "motion_blur", "defocus", "gaussian_noise", "inpainting", "jpeg"):
        if name == "jpeg" and channels == 4:
            with pytest.raises(ValueError, match="jpeg: defined for RGB and grey, these images have 4 channels"):
                parse_degradation(name)(image, generator_for(0))
            continue
        degraded = parse_degradation(name)(image, generator_for(0))
        assert degraded.shape == image.shape
        assert not torch.equal(degraded, image)
    rgb = parse_degradation("rain")(
        photo_like(3, 32, 32)[None].mean(1, keepdim=True).expand(1, 3, 32, 32), generator_for(0)
    )
    grey = parse_degradation("rain")(photo_like(3, 32, 32)[None].mean(1, keepdim=True), generator_for(0))
    assert torch.equal(rgb[:, :1], grey)


def test_a_task_is_measured_on_the_channels_that_there_are(channels):
    task = find_task("derain").with_channels(channels)
    assert task.channels == channels
    gt = photo_like(channels, 32, 32)
    error = 10 / 255
    assert task.protocol((gt * 0.5 + error).clamp(0, 1), gt * 0.5)["psnr"] == pytest.approx(28.13, abs=0.2)
    assert find_task("denoise_grey").with_channels(3).format.name == "grey"
    with pytest.raises(ValueError, match=r"\(3, height, width\)"):
        Protocol()(gt, gt)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_four_channels_survive_a_file(tmp_path, suffix, bits):
    stored = np.random.default_rng(0).integers(0, 2**bits, (9, 11, 4)).astype({8: np.uint8, 16: np.uint16}[bits])
    image = torch.from_numpy(stored.astype(np.float32) / (2**bits - 1)).permute(2, 0, 1)
    write_image(tmp_path / f"x{suffix}", image, bits=bits)
    assert np.array_equal(read_planes(tmp_path / f"x{suffix}"), stored)
    assert read_picture(tmp_path / f"x{suffix}").alpha is not None  # whoever does not ask for planes
    assert read_picture(tmp_path / f"x{suffix}", planes=True).alpha is None
    with pytest.raises(ValueError, match="cannot hold four channels"):
        write_image(tmp_path / "x.webp", image)


def test_files_without_a_fourth_channel_of_data_are_refused(tmp_path):
    write_image(tmp_path / "rgb.png", torch.rand(3, 8, 8))
    with pytest.raises(ImageError, match=r"expected four channels of data.*this has 3"):
        read_planes(tmp_path / "rgb.png")
    grey = np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    with pytest.raises(ImageError, match="this has 1"):
        read_planes(tmp_path / "grey.png")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_a_fourth_channel_of_data_changes_nothing_whatever_it_is_called(tmp_path, kind):
    rgba = np.random.default_rng(0).integers(0, 255, (8, 8, 4), np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=[kind])
    assert np.array_equal(read_planes(tmp_path / "x.tif"), rgba)


def test_pictures_of_them_are_rgb():
    assert as_rgb(torch.rand(4, 5, 6)).shape == as_rgb(torch.rand(1, 5, 6)).shape == (3, 5, 6)
