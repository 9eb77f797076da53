"""`gesso refine`, from a restorer and a prior to a file that evaluate, restore and export take."""

import contextlib
import importlib
import io
import shutil

import pytest
import torch
from safetensors.torch import load_file

import gesso
from gesso import checkpoint, cli
from gesso.backbones import create_backbone
from gesso.commands.refine import refine
from gesso.losses import VGG19
from gesso.refiner import open_prior
from gesso.training.refine_module import RefineModule
from tests._networks import photo_like
from tests._runs import NAFNET, write_pairs


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder with eight pairs, a restorer and a prior, which no test changes."""
    folder = tmp_path_factory.mktemp("shared")
    write_pairs(folder / "data", 8, 40, 48)
    networks = {"restorer": ("nafnet_tiny", NAFNET), "prior": ("restormer_tiny", {"dim": 8, "num_blocks": (1,) * 4})}
    for seed, (name, (backbone, options)) in enumerate(networks.items()):
        torch.manual_seed(seed)
        checkpoint.save(create_backbone(backbone, **options), folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def refined(shared):
    """What a refinement leaves, which no test changes, and what it has said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        path = run(shared, lr=1e-2)
    return path, said.getvalue()


@pytest.fixture
def place(shared, tmp_path):
    """A folder as `shared`, of the test's own."""
    return shutil.copytree(shared, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("run"))


def run(place, out="run", **options):
    small = {"steps": 4, "crop_size": 16, "batch_size": 2, "log_every": 2, "precision": "float32", "loss": "l1"}
    fixed = {"checkpoint": place / "restorer.safetensors", "prior": str(place / "prior.safetensors")}
    return refine(**{"out": place / out, "task": "derain", "data": place / "data", **small, **fixed, **options})


def restorer_of(path):
    return {key: value for key, value in load_file(path).items() if key.startswith("backbone.")}


def refiner_of(path):
    return {key: value for key, value in load_file(path).items() if key.startswith("refiner.")}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_restorer_and_refiner_are_trained_together_and_evaluated(shared, refined):
    path, said = refined
    assert "refiner:" in said
    before = {f"backbone.{key}": value for key, value in load_file(shared / "restorer.safetensors").items()}
    after = restorer_of(path)
    assert after.keys() == before.keys()
    assert not equal(after, before)
    header = checkpoint.read_header(path)
    assert (header["task"], header["backbone"]) == ("derain", "Refined")
    assert refiner_of(path)["refiner.conv_last3.weight"].any()
    assert (shared / "run/samples/000004.png").exists()
    assert (shared / "run/best.safetensors").exists()
    with_prior, with_mean = (
        gesso.evaluate(checkpoint=path, task="derain", data=shared / "data", device="cpu", backbone_args=args)
        for args in (None, {"prior": "mean"})
    )
    assert with_prior.psnr > 12
    assert with_prior.psnr != with_mean.psnr


def test_evaluation_says_what_doing_without_the_prior_costs(shared, refined, capsys):
    path, _ = refined
    options = {"checkpoint": path, "task": "derain", "data": shared / "data", "device": "cpu"}
    scores = gesso.evaluate(**options, prior_cost=True)
    mean, alone = scores.instead.values()
    assert mean.psnr == gesso.evaluate(**options, backbone_args={"prior": "mean"}).psnr
    assert len({scores.psnr, mean.psnr, alone.psnr}) == 3
    printed = capsys.readouterr().out
    assert f"{mean.psnr - scores.psnr:+.2f}" in printed
    assert "nothing, the restorer alone" in printed
    with pytest.raises(ValueError, match="prior_cost: expected a refined network that has its prior"):
        gesso.evaluate(**options | {"checkpoint": shared / "restorer.safetensors"}, prior_cost=True)


def test_the_mean_feature_is_that_of_training_crops(shared, refined):
    mean = load_file(refined[0])["refiner.mean_prior"]
    prior = open_prior(str(shared / "prior.safetensors"), checkpoint.load)
    images = torch.stack([gesso.read_image(shared / f"data/input/{i}.png") for i in range(8)])
    crops = images.unfold(2, 16, 4).unfold(3, 16, 4).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    turned = torch.cat([crops, crops.flip(2), crops.flip(3), crops.flip(2, 3)])
    assert mean.norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.cosine_similarity(prior(turned).mean(0), mean, dim=0) > 0.98


def test_a_frozen_restorer_stays_as_it_is(place):
    path = run(place, freeze_restorer=True)
    before = {f"backbone.{key}": value for key, value in load_file(place / "restorer.safetensors").items()}
    assert equal(restorer_of(path), before)
    assert refiner_of(path)["refiner.conv_last3.weight"].any()


def test_the_prior_of_whole_images_is_looked_at_once(place, monkeypatch):
    first = run(place, "one", prior_view="image", prior_cache=place / "cache")
    (cache,) = (place / "cache").iterdir()
    assert len(load_file(cache)) == 7  # eight, and one held out
    read = gesso.commands._refine.read_tensor
    monkeypatch.setattr(gesso.commands._refine, "read_tensor", lambda path, format: pytest.fail(f"{path} read again"))
    again = run(place, "two", prior_view="image", prior_cache=place / "cache")
    assert equal(load_file(first), load_file(again))
    assert checkpoint.load(first).prior_view == "image"
    image = next(iter(load_file(cache))).split(" ")[0]
    gesso.write_image(image, photo_like(3, 40, 48, seed=9), overwrite=True)
    looked_at = []
    monkeypatch.setattr(
        gesso.commands._refine, "read_tensor", lambda path, format: looked_at.append(str(path)) or read(path, format)
    )
    run(place, "three", prior_view="image", prior_cache=place / "cache")
    assert looked_at == [image]


def test_an_interrupted_run_resumed_ends_with_the_same_bits(place, monkeypatch):
    whole = run(place, "whole", ema_decay=0.9)
    losses = RefineModule.losses

    def failing(self, batch, generator):
        if self.batches_done == 3:
            raise RuntimeError("power cut")
        return losses(self, batch, generator)

    monkeypatch.setattr(RefineModule, "losses", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        run(place, "part", ema_decay=0.9, save_every=2)
    monkeypatch.undo()
    state = torch.load(place / "part/last.ckpt", weights_only=True)["state_dict"]
    assert "backbone.refiner.mean_prior" in state
    assert not any(key.startswith("backbone.prior") for key in state)
    assert equal(load_file(run(place, "part", ema_decay=0.9, save_every=2, resume=True)), load_file(whole))


def test_a_refined_file_is_trained_further_with_its_prior_or_with_the_mean(place, refined):
    path, _ = refined
    for prior in (str(place / "prior.safetensors"), "mean"):
        further = run(place, f"further_{prior == 'mean'}", checkpoint=path, prior=prior)
        assert not equal(refiner_of(further), refiner_of(path))
    assert checkpoint.load(place / "further_True/backbone.safetensors").options["prior"] == "mean"


class Means(torch.nn.Module):
    """A prior of the user's own: mean and deviation of each channel."""

    def forward(self, image):
        return torch.cat([image.mean((2, 3)), image.std((2, 3)) + 1e-3], 1)


def test_a_prior_may_be_a_module(place):
    path, prior = run(place, prior=Means()), "an object of tests.commands.test_refine.Means"
    assert checkpoint.read_header(path)["options"]["prior"].startswith(prior)
    assert checkpoint.load(path, prior=Means()).refiner.prior_dim == 6
    assert checkpoint.load(path, prior="mean").refiner.prior_dim == 6
    with pytest.raises(ValueError, match=f"its prior was {prior}.*pass --backbone_args.prior FILE"):
        checkpoint.load(path)
    scores = gesso.evaluate(checkpoint=path, task="derain", data=place / "data", backbone_args={"prior": Means()})
    assert scores.psnr > 0


def test_a_larger_refiner_without_prior_by_its_recipe(place):
    words = ["refine", "--config", "ptg_rm", "--ablation", "larger", "--prior", "none", "--task", "derain"]
    words += ["--out", str(place / "run")]
    words += ["--checkpoint", str(place / "restorer.safetensors"), "--data", str(place / "data"), "--steps", "2"]
    words += ["--crop_size", "16", "--batch_size", "2", "--refiner_args.width", "4", "--val_every", "0"]
    assert cli.main(words) == 0
    net = checkpoint.load(place / "run/backbone.safetensors")
    assert net.options["prior"] == "none"
    assert net.refiner.r1.out_channels == 4, "options that are given win"
    assert not net.refiner.spatial_varying


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"prior": "clip:nowhere"}, "no CLIP weights"),
        ({"prior": "no_such_module:Class"}, "cannot import no_such_module"),
        ({"prior": "mean"}, "is not refined, so it holds no mean feature"),
        ({"refiner_args": {"widht": 8}}, "did you mean width"),
        ({"ablation": "no_prior"}, "ablation: expected full or no_sve"),
        ({"ablation": "larger"}, "guided by nothing; pass the prior none"),
        ({"refiner_args": {"prior_dim": 512}}, "prior_dim: 512, but the prior says 80 numbers"),
        ({"checkpoint": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"prior_view": "image", "degradation": "gaussian_noise"}, "makes degraded images anew in every step"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_input_is_said_before_anything_is_trained(place, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run(place, **options)
    assert not (place / "run/last.ckpt").exists()


def test_the_command_has_its_name_to_itself():
    importlib.import_module("gesso.checkpoint")
    assert gesso.refine is refine


@pytest.mark.parametrize(
    "options", [{"level": "feature"}, {"ablation": "concat_1d"}, {"ablation": "concat_2d"}, {"ablation": "snr_mask"}],
    ids=lambda options: "-".join(options.values()),
)  # fmt: skip
def test_rows_of_the_papers_tables_are_trained_and_measured(place, options):
    path = run(place, lr=1e-2, **options)
    net = checkpoint.load(path)
    assert refiner_of(path)["refiner.conv_last3.weight"].any()
    if net.refiner.concat != "none" or "level" in options:
        assert net.refiner.mean_prior.norm() > 0
    scores = gesso.evaluate(checkpoint=path, task="derain", data=place / "data", device="cpu")
    mean = gesso.evaluate(
        checkpoint=path, task="derain", data=place / "data", device="cpu", backbone_args={"prior": "mean"}
    )
    assert scores.psnr != mean.psnr
    assert (place / "run/samples/000004.png").exists()


def test_the_released_setting_runs_from_random_weights(place, monkeypatch):
    """SNR-Net, the sums of Charbonnier and VGG-19, and another prior, for CLIP is not here."""
    monkeypatch.setattr("gesso.losses.WIDTHS", (3, 3, 0, 6, 6, 0, *[12] * 4, 0, *[24] * 4, 0, 24))
    torch.save(VGG19().state_dict(), place / "vgg19.pth")
    words = ["refine", "--config", "ptg_rm_snr", "--checkpoint", "snr_net_tiny", "--data", str(place / "data")]
    words += ["--prior", str(place / "prior.safetensors"), "--loss.vgg", str(place / "vgg19.pth"), "--steps", "2"]
    words += ["--crop_size", "32", "--precision", "float32", "--out", str(place / "run")]
    assert cli.main(words) == 0
    net = checkpoint.load(place / "run/backbone.safetensors")
    assert type(net.backbone).__name__ == "SNRNet"
    assert checkpoint.read_header(place / "run/backbone.safetensors")["restorer"] == "snr_net_tiny"


def test_a_restorer_that_is_no_file_and_no_network_is_said(place):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(place, checkpoint="nowhere.safetensors")
