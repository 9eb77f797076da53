import csv
import json
import shutil

import pytest
import torch
from PIL import Image

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.commands.evaluate import evaluate
from gesso.data.integrity import DamagedWarning
from gesso.data.io import read_image, write_image
from gesso.functional.resize import imresize
from gesso.metrics import Protocol
from gesso.tasks import find_task
from tests._data import ROOT, data_folder
from tests._networks import photo_like


def pairs(root, count=3, scale=1, size=(24, 36)):
    """A set of noisy images and their ground truths."""
    generator = torch.Generator().manual_seed(count)
    for i in range(count):
        gt = photo_like(3, *size, seed=i)
        lq = imresize(gt, 1 / scale) if scale > 1 else gt + 0.1 * torch.randn(gt.shape, generator=generator)
        write_image(root / "input" / f"{i}.png", lq)
        write_image(root / "target" / f"{i}.png", gt)
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    checkpoint.save(create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1)), path)
    return path


def test_the_input_is_measured_where_there_is_no_network(tmp_path, capsys):
    scores = evaluate(task="derain", data=pairs(tmp_path / "rain"))
    measure = Protocol(channel="y")
    for row in scores.rows:
        images = [read_image(tmp_path / "rain" / side / f"{row.name}.png") for side in ("input", "target")]
        assert {"psnr": row.psnr, "ssim": row.ssim} == measure(*images)
    assert scores.psnr == pytest.approx(sum(row.psnr for row in scores.rows) / 3)
    assert scores.protocol == str(measure)
    printed = capsys.readouterr().out
    assert "Y rounded to 8 bits" in printed
    assert f"{scores.psnr:.2f}" in printed


def test_a_network_is_measured_by_what_it_restores(tmp_path, network):
    root = pairs(tmp_path / "noise", count=1)
    row = evaluate(task="denoise", data=root, checkpoint=network).rows[0]
    with torch.no_grad():
        restored = checkpoint.load(network)(read_image(root / "input" / "0.png")[None])[0]
    assert {"psnr": row.psnr, "ssim": row.ssim} == pytest.approx(
        Protocol()(restored, read_image(root / "target" / "0.png"))
    )


def test_super_resolution_is_compared_with_bicubic_enlargement(tmp_path):
    root = pairs(tmp_path / "x2", count=1, scale=2)
    scores = evaluate(task="sr", scale=2, data=root)
    lq, gt = read_image(root / "input" / "0.png"), read_image(root / "target" / "0.png")
    assert scores.rows[0].psnr == Protocol(channel="y", round_y=False, border=2)(imresize(lq, 2), gt)["psnr"]
    assert scores.restored_by == "bicubic enlargement"


def test_sets_count_alike_whatever_their_size(tmp_path):
    roots = [pairs(tmp_path / "small", 1), pairs(tmp_path / "large", 3)]
    scores = evaluate(task="derain", data=roots)
    assert [row.set for row in scores.sets] == ["small", "large"]
    assert scores.psnr == pytest.approx(sum(row.psnr for row in scores.sets) / 2)
    assert scores.psnr != pytest.approx(sum(row.psnr for row in scores.rows) / 4)


def test_the_protocol_can_be_changed_and_says_so(tmp_path):
    root = pairs(tmp_path / "set")
    plain = evaluate(task="derain", data=root)
    changed = evaluate(task="derain", data=root, protocol={"channel": "rgb", "ssim": "matlab3d"})
    assert changed.psnr != plain.psnr
    assert "on RGB" in changed.protocol
    assert "MATLAB ssim" in changed.protocol


def test_clean_photos_are_degraded_on_demand(tmp_path):
    root = pairs(tmp_path / "set") / "target"
    options = {"task": "denoise", "data": root, "degradation": {"name": "gaussian_noise", "sigma": 25}}
    scores = evaluate(**options)
    assert scores.psnr == pytest.approx(20.2, abs=1)
    assert "sigma=25" in scores.protocol
    assert evaluate(**options).rows == scores.rows
    assert evaluate(**options, seed=1).rows != scores.rows


def test_what_was_measured_is_written_down(tmp_path, network):
    root = pairs(tmp_path / "set")
    scores = evaluate(task="derain", data=root, checkpoint=network, out=tmp_path / "out", save_images=True)
    with (tmp_path / "out" / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == ["0", "1", "2"]
    assert float(lines[1]["psnr"]) == pytest.approx(scores.rows[1].psnr, abs=1e-4)
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["protocol"] == scores.protocol
    assert content["mean"]["psnr"] == scores.psnr
    assert str(network) in content["restored_by"]
    text = (tmp_path / "out" / "scores.md").read_text()
    assert f"| set | 3 | {scores.psnr:.2f} | {scores.ssim:.4f} |" in text
    assert scores.protocol in text
    image = read_image(tmp_path / "out" / "images" / "set" / "1.png")
    assert Protocol(channel="y")(image, read_image(root / "target" / "1.png"))["psnr"] == scores.rows[1].psnr


def test_photos_of_one_name_in_two_folders_are_told_apart(tmp_path):
    for folder, brightness in (("one", 40), ("two", 200)):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (24, 24), (brightness, 0, 0)).save(tmp_path / "photos" / folder / "a.png")
    noise = {"name": "gaussian_noise", "sigma": 1}
    scores = evaluate(
        task="denoise", data=tmp_path / "photos", degradation=noise, out=tmp_path / "out", save_images=True
    )
    assert [row.name for row in scores.rows] == ["one/a", "two/a"]
    for folder, brightness in (("one", 40), ("two", 200)):
        written = read_image(tmp_path / "out" / "images" / "photos" / folder / "a.png")
        assert float(written[0].mean()) * 255 == pytest.approx(brightness, abs=2)


def test_images_in_the_way_are_seen_before_the_first_is_measured(tmp_path):
    root = pairs(tmp_path / "set")
    there = tmp_path / "out" / "images" / "set" / "2.png"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"2\.png exists already; --overwrite"):
        evaluate(task="derain", data=root, out=tmp_path / "out", save_images=True)
    assert there.read_bytes() == b"mine"
    assert len(list(there.parent.iterdir())) == 1
    evaluate(task="derain", data=root, out=tmp_path / "out", save_images=True, overwrite=True)
    assert len(list(there.parent.iterdir())) == 3


def test_equal_images_are_infinitely_alike(tmp_path):
    root = pairs(tmp_path / "set")
    shutil.copytree(root / "target", root / "same")
    evaluate(task="derain", lq=root / "same", gt=root / "target", out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["mean"]["psnr"] == "inf"


def test_an_image_that_cannot_be_measured_is_reported_and_the_rest_is_done(tmp_path, capsys):
    root = pairs(tmp_path / "set")
    write_image(root / "target" / "1.png", photo_like(3, 30, 30), overwrite=True)
    (root / "input" / "2.png").write_text("no image")
    scores = evaluate(task="derain", data=root)
    assert scores.exit_code == 1
    assert [row.name for row in scores.rows] == ["0"]
    assert "1.png is 36x24" in scores.failed[0]
    assert "2.png" in scores.failed[1]
    assert "warning" in capsys.readouterr().out


def test_bad_input_is_an_error(tmp_path, network):
    root = pairs(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    (tmp_path / "scores" / "scores.json").parent.mkdir()
    (tmp_path / "scores" / "scores.json").write_text("{}")
    for options, error, message in [
        ({"task": "deran"}, ValueError, "did you mean derain"),
        ({"data": tmp_path / "none"}, FileNotFoundError, "no such folder"),
        ({"data": tmp_path / "empty"}, ValueError, "empty"),
        ({"data": None}, ValueError, "expected either the root of a data set"),
        ({"data": [root, root]}, ValueError, "two sets are called set"),
        ({"protocol": {"chanel": "y"}}, ValueError, "did you mean channel"),
        ({"save_images": True}, ValueError, "needs a folder"),
        ({"out": tmp_path / "scores"}, FileExistsError, "holds results already"),
        ({"out": root / "input/0.png"}, NotADirectoryError, "expected a folder to write into"),
        ({"scale": 2}, ValueError, "derain keeps the size"),
        ({"task": "sr", "scale": 2, "checkpoint": network}, ValueError, "enlarges 1 times, expected 2"),
        ({"data": None, "lq": root, "gt": root, "degradation": "rain"}, ValueError, "a folder of them is needed"),
    ]:
        with pytest.raises(error, match=message):
            evaluate(**{"task": "derain", "data": root} | options)
    for path in (root / "target").iterdir():
        write_image(path, photo_like(3, 50, 50), overwrite=True)
    with pytest.raises(ValueError, match="none of the images could be measured"):
        evaluate(task="derain", data=root)


def published_inputs():
    """The RGB PSNR of the unrestored images of every real set."""
    if not (ROOT / "pairs.csv").exists():
        return {}
    with (ROOT / "pairs.csv").open() as file:
        lines = list(csv.DictReader(file))
    sets = dict.fromkeys(line["set"] for line in lines if line["set"] != "noise_polyu")
    return {
        name: {line["input"]: float(line["psnr_input_db"]) for line in lines if line["set"] == name} for name in sets
    }


@pytest.mark.parametrize(
    "name",
    [
        "derain_rain100h",
        "dehaze_sots_indoor",
        "deblur_gopro",
        "lowlight_fivek_dpe",
        "lowlight_lol_train",
        "sr_set5_x2",
        "sr_set5_x4",
    ],
)
def test_real_inputs_have_the_psnr_that_is_known(name):
    data, scale = data_folder(name), int(name[-1]) if name.startswith("sr") else 1
    expected = published_inputs()[name]
    task = {"derain": "derain", "dehaze": "dehaze", "deblur": "deblur", "lowlight": "lowlight", "sr": "sr"}[
        name.split("_")[0]
    ]
    protocol = {"channel": "rgb", "border": 0, "ssim": "gaussian"}
    scores = evaluate(task=task, data=data, scale=scale, protocol=protocol)
    seen = {row.name: row.psnr for row in scores.rows}
    assert len(seen) == len(expected)
    for path, psnr in expected.items():
        assert seen[path.rsplit("/", 1)[1].rsplit(".", 1)[0]] == pytest.approx(psnr, abs=0.02)


def test_published_numbers_stand_beside_and_say_where_they_come_from(tmp_path, capsys):
    scores = evaluate(task="derain", data=pairs(tmp_path / "Rain100L", count=1), out=tmp_path / "out")
    printed = capsys.readouterr().out
    assert "38.99 / 0.978" in printed
    assert "[1] Xu et al., PTG-RM, CVPR 2024, table 5" in printed
    assert "published numbers are means of 100 images, these of 1" in printed
    row = scores.published[0]
    assert (row.method, row.scores["Rain100L"].psnr) == ("Restormer", 38.99)
    assert "38.99 / 0.978" in (tmp_path / "out/scores.md").read_text()
    assert json.loads((tmp_path / "out/scores.json").read_text())["published"][0]["source"] == row.source
    assert (
        evaluate(task="derain", data=tmp_path / "Rain100L", protocol={"channel": "rgb"}).published != scores.published
    )
    assert evaluate(task="derain", data=pairs(tmp_path / "holidays", count=1)).published == ()


@pytest.mark.parametrize(
    ("count", "said"), [(5, "| Set5 | 5 |"), (1, "| Set5 | 1 of 5 |"), (6, "| Set5 | 6 (published: 5) |")]
)
def test_a_mean_over_other_images_than_the_published_says_so_in_its_line(tmp_path, count, said):
    for i in range(count):  # as everybody has Set5: ground truths that are no multiples of 3
        gt = photo_like(3, 37, 50, seed=i)
        write_image(tmp_path / "Set5/HR" / f"{i}.png", gt)
        write_image(tmp_path / "Set5/LR_bicubic/X3" / f"{i}x3.png", imresize(gt[:, :36, :48], 1 / 3))
    scores = evaluate(task="sr", scale=3, data=tmp_path / "Set5", out=tmp_path / "out")
    assert (len(scores.rows), scores.failed) == (count, ())
    assert scores.published
    assert said in (tmp_path / "out/scores.md").read_text()
    assert json.loads((tmp_path / "out/scores.json").read_text())["whole"] == {"Set5": 5}


def test_images_that_could_not_be_measured_are_missed_in_the_line_of_their_mean(tmp_path, capsys):
    root = pairs(tmp_path / "holidays", count=3)
    (root / "input/1.png").write_bytes(b"no image")
    scores = evaluate(task="derain", data=root)
    assert scores.images_of("holidays") == "2 of 3"
    assert "2 of 3" in capsys.readouterr().out


def test_published_sets_below_a_root_are_sets_of_their_own(tmp_path):
    for name in ("Rain100L", "Test100"):
        pairs(tmp_path / "Rain13K" / "test" / name, count=1)
    scores = evaluate(task="derain", data=tmp_path / "Rain13K")
    assert [row.set for row in scores.sets] == ["Rain100L", "Test100"]
    assert {name for one in scores.published for name in one.scores} == {"Rain100L", "Test100"}


def test_clean_photos_in_a_mix_are_degraded_as_in_training(tmp_path):
    photos = str(pairs(tmp_path / "rain", count=1) / "target")
    rainy = {"name": "rainy", "task": "derain", "data": str(tmp_path / "rain")}
    scores = evaluate(task="all-in-one", mix=[{"name": "noisy", "task": "denoise", "data": photos}, rainy])
    spelled = evaluate(task="denoise", data=photos, degradation=find_task("denoise").degradation)
    assert scores.sets[0].psnr == spelled.psnr


def test_a_mix_is_measured_part_by_part_each_by_its_protocol(tmp_path, capsys):
    mix = [
        {"name": "rainy", "task": "derain", "data": str(pairs(tmp_path / "rain", count=1)), "repeats": 3},
        {"name": "noisy", "task": "denoise", "data": str(tmp_path / "rain/target"), "degradation": "gaussian_noise"},
        {"name": "foggy", "task": "dehaze", "data": "leaves", "protocol": {"ssim": "matlab3d"}, "crop_size": 64},
    ]
    scores = evaluate(task="all-in-one", mix=mix, out=tmp_path / "out")
    assert [row.set for row in scores.sets] == ["rainy", "noisy", "foggy"]
    assert scores.sets[0].psnr == evaluate(task="derain", data=tmp_path / "rain").psnr
    for words in ("rainy: PSNR and SSIM (Gaussian 11x11 window) on Y", "noisy:", "GaussianNoise", "MATLAB ssim"):
        assert words in scores.protocol
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("rainy", "noisy", "foggy", "mean of sets"))
    assert "| foggy | 8 |" in (tmp_path / "out/scores.md").read_text()
    with pytest.raises(ValueError, match=r"mix part rainy: .*nowhere: no such folder\nmix part foggy: .*gone"):
        evaluate(task="all-in-one", mix=[mix[0] | {"data": "nowhere"}, mix[2] | {"data": "gone"}])
    with pytest.raises(ValueError, match="split: it has no effect with --mix"):
        evaluate(task="all-in-one", mix=mix, split="train")
    with pytest.raises(ValueError, match="mix: it belongs to the task all-in-one"):
        evaluate(task="derain", mix=mix)


def test_grey_and_dual_pixel_images_are_measured(tmp_path):
    root = pairs(tmp_path / "set", count=1)
    options = {"task": "denoise_grey", "data": root / "target", "degradation": {"name": "gaussian_noise", "sigma": 25}}
    torch.manual_seed(0)
    grey = create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1), inp_channels=1, out_channels=1)
    checkpoint.save(grey, tmp_path / "grey.safetensors")
    assert evaluate(**options).psnr == pytest.approx(20.2, abs=1)
    assert "on grey" in evaluate(**options, checkpoint=tmp_path / "grey.safetensors").protocol
    for side in ("inputL", "inputR"):
        write_image(tmp_path / "dual" / side / "0.png", photo_like(3, 24, 36) * 0.9)
    write_image(tmp_path / "dual" / "target" / "0.png", photo_like(3, 24, 36))
    assert evaluate(task="defocus_dual", data=tmp_path / "dual").psnr > 20
    wrong = create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1))
    checkpoint.save(wrong, tmp_path / "rgb.safetensors")
    with pytest.raises(ValueError, match=r"expected a network for 6 channels, the images of defocus_dual"):
        evaluate(task="defocus_dual", data=tmp_path / "dual", checkpoint=tmp_path / "rgb.safetensors")


def test_damaged_pairs_are_named_or_left_out_where_that_is_asked_for(tmp_path):
    root = pairs(tmp_path, count=4)
    broken = sorted((root / "input").iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:200])
    scores = evaluate(task="derain", data=root)
    assert (len(scores.rows), len(scores.failed), scores.exit_code) == (3, 1, 1)
    with pytest.warns(DamagedWarning, match=broken.name):
        scores = evaluate(task="derain", data=root, skip_damaged=True)
    assert (len(scores.rows), len(scores.failed), scores.exit_code) == (3, 0, 0)
