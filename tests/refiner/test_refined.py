"""A restorer and its refiner as one network: saved, found again with its prior, restored in tiles, exported."""

import pytest
import torch

from gesso import checkpoint
from gesso.backbones import create_backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint.graph import IS_OLD
from gesso.refiner import Prior, Refined, open_prior
from gesso.refiner.ptg_rm import ABLATIONS
from gesso.restorer import Restorer
from tests._networks import convolutional, photo_like
from tests.refiner._models import Brightness

SMALL = {"dim": 8, "num_blocks": (1, 1, 1, 1)}
BRIGHTNESS = "tests.refiner._models:Brightness"


def small_restormer(seed=0, **options):
    torch.manual_seed(seed)
    return create_backbone("restormer_tiny", **SMALL, **options)


def refined(backbone, prior, **options) -> Refined:
    """A refined network whose refiner shows."""
    torch.manual_seed(1)
    net = Refined.around(backbone, prior, **{"width": 4, **options})
    torch.nn.init.normal_(net.refiner.conv_last3.weight, std=0.3)
    if prior is not None:
        net.refiner.mean_prior = torch.nn.functional.normalize(torch.rand(prior.dim), dim=0)
    return net.eval()


@pytest.fixture
def prior_file(tmp_path):
    checkpoint.save(small_restormer(7), tmp_path / "prior.safetensors")
    return tmp_path / "prior.safetensors"


@pytest.fixture
def net(prior_file):
    return refined(small_restormer(), open_prior(str(prior_file), checkpoint.load))


@pytest.fixture
def file(tmp_path, net):
    checkpoint.save(net, tmp_path / "refined.safetensors", task="derain")
    return tmp_path / "refined.safetensors"


# ------------------------------------------------------------------------------------------------------------- network


def test_refines_what_the_restorer_returns(net):
    image = photo_like(3, 21, 30)[None]
    expected = net.refiner(net.backbone(image), image, net.prior(image))
    torch.testing.assert_close(net(image), expected)
    assert not torch.allclose(net(image), net.backbone(image))


@pytest.mark.parametrize("name", ["nafnet_tiny", "snr_net_tiny", "uformer_tiny", "promptir_tiny"])
def test_a_feature_map_is_refined_before_the_restorer_makes_the_image_of_it(name, prior_file):
    torch.manual_seed(0)
    backbone = create_backbone(name)
    torch.nn.init.normal_(backbone.head_conv.weight, std=0.1)
    net = refined(backbone, open_prior(str(prior_file), checkpoint.load), level="feature")
    image = photo_like(3, 21, 30)[None]
    padded = net.pad(image)
    feature = net.features(padded)[-1]
    expected = backbone.crop(backbone.reconstruct(net.refiner(feature, padded, net.prior(padded)), padded), image)
    torch.testing.assert_close(net(image), expected)
    restored, also = net.both(image)
    torch.testing.assert_close(restored, backbone(image))
    torch.testing.assert_close(also, expected)
    assert not torch.allclose(expected, restored)
    untrained = Refined.around(backbone, net.prior, level="feature").eval()
    torch.testing.assert_close(untrained(image), restored)


def test_a_file_says_what_is_refined(tmp_path, prior_file):
    net = refined(small_restormer(), open_prior(str(prior_file), checkpoint.load), level="feature")
    checkpoint.save(net, tmp_path / "refined.safetensors")
    again = checkpoint.load(tmp_path / "refined.safetensors").eval()
    image = photo_like(3, 21, 30)[None]
    assert again.level == "feature"
    torch.testing.assert_close(again(image), net(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "features"}, "level: expected image or feature"),
        ({"prior_view": "image", **ABLATIONS["concat_2d"]}, "prior_view: a prior of two dimensions"),
    ],
)
def test_what_cannot_be_refined_is_said(options, message, prior_file):
    with pytest.raises(ValueError, match=message):
        Refined.around(small_restormer(), open_prior(str(prior_file), checkpoint.load), **options)


def test_networks_that_restore_in_parts_have_no_level_feature():
    with pytest.raises(ValueError, match="level: IPT does more than features and image"):
        Refined.around(create_backbone("ipt_tiny"), None, level="feature")


def test_a_prior_of_two_dimensions_lies_over_the_image(prior_file):
    prior = open_prior(str(prior_file), checkpoint.load)
    net = refined(small_restormer(), prior, **ABLATIONS["concat_2d"])
    image = photo_like(3, 21, 30)[None]
    torch.testing.assert_close(net(image), net.refiner(net.backbone(image), image, prior.map(image)))
    assert not torch.allclose(net(image), net.refiner(net.backbone(image), image))


@pytest.mark.parametrize("name", ["nafnet_tiny", "swinir_tiny", "uformer_tiny", "promptir_tiny", "ipt_tiny"])
def test_behind_other_networks(name):
    torch.manual_seed(0)
    net = refined(create_backbone(name), Prior(Brightness(), BRIGHTNESS))
    image = photo_like(3, 19, 26)[None]
    torch.testing.assert_close(net(image), net.refiner(net.backbone(image), image, net.prior(image)))


def test_behind_grey_dual_pixel_and_transferred_networks():
    prior = Prior(Brightness(), BRIGHTNESS)
    grey = small_restormer(inp_channels=1, out_channels=1)
    dual = small_restormer(inp_channels=6, dual_pixel_task=True)
    transferred = PaperTransfer(small_restormer(out_channels=64, image_residual=False))
    for backbone in (grey, dual, transferred):
        image = torch.rand(1, backbone.in_channels, 16, 24)
        assert refined(backbone, prior)(image).shape == (1, backbone.out_channels, 16, 24)


def test_super_resolution_is_refused():
    with pytest.raises(ValueError, match="enlarges 2"):
        refined(convolutional(scale=2), None)


# ---------------------------------------------------------------------------------------------------------------- file


def test_a_refined_file_finds_its_prior(file, net):
    image = photo_like(3, 21, 30)[None]
    found = checkpoint.recognise(file)
    torch.testing.assert_close(found.network(image), net(image))
    assert str(found).startswith("Refined (no published size), recognised by the header of the file")
    options = checkpoint.read_header(file)["options"]
    assert options["fingerprint"] == net.prior.fingerprint()
    assert options["refiner"] == "ptg_rm"
    assert options["refiner_args"]["prior_dim"] == net.prior.dim
    assert options["prior"].endswith("prior.safetensors")


def test_the_prior_is_not_in_the_file(file):
    names = checkpoint.read_state(file)
    assert {name.split(".")[0] for name in names} == {"backbone", "refiner"}
    assert sum(name.endswith("mean_prior") for name in names) == 1


def test_another_prior_is_an_error(file, prior_file):
    checkpoint.save(small_restormer(8), prior_file)
    with pytest.raises(ValueError, match=r"is not the one that the refiner was trained with .*or the prior `mean`"):
        checkpoint.load(file)


def test_a_prior_of_another_width_is_an_error(file):
    with pytest.raises(ValueError, match="says 6 numbers of an image, the refiner takes 80"):
        checkpoint.load(file, prior=BRIGHTNESS)


def test_a_missing_prior_is_an_error_that_says_what_to_do(file, prior_file):
    prior_file.unlink()
    with pytest.raises(FileNotFoundError, match=r"its prior is missing .*`mean` for the mean feature"):
        checkpoint.load(file)


def test_a_prior_that_moved_with_the_file_or_is_named_is_found(file, prior_file, net, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = [path.rename(tmp_path / "elsewhere" / path.name) for path in (file, prior_file)]
    image = photo_like(3, 16, 16)[None]
    torch.testing.assert_close(checkpoint.load(moved[0])(image), net(image))
    named = moved[1].rename(tmp_path / "other.safetensors")
    torch.testing.assert_close(checkpoint.load(moved[0], prior=str(named))(image), net(image))


def test_without_the_prior_the_mean_feature_is_used(file, prior_file, net):
    prior_file.unlink()
    image = photo_like(3, 16, 16)[None]
    expected = net.refiner(net.backbone(image), image, net.refiner.mean_prior[None])
    torch.testing.assert_close(checkpoint.load(file, prior="mean")(image), expected)


def test_a_mean_file_still_knows_which_prior_it_had(file, prior_file, net, tmp_path):
    checkpoint.save(checkpoint.load(file, prior="mean"), tmp_path / "mean.safetensors")
    image = photo_like(3, 16, 16)[None]
    assert checkpoint.load(tmp_path / "mean.safetensors").prior is None
    torch.testing.assert_close(checkpoint.load(tmp_path / "mean.safetensors", prior=str(prior_file))(image), net(image))


def test_a_file_may_not_choose_code_to_run(tmp_path):
    net, path = refined(small_restormer(), Prior(Brightness(), BRIGHTNESS)), tmp_path / "refined.safetensors"
    checkpoint.save(net, path)
    with pytest.raises(ValueError, match="no code runs unasked"):
        checkpoint.load(path)
    image = photo_like(3, 16, 16)[None]
    torch.testing.assert_close(checkpoint.load(path, prior=BRIGHTNESS)(image), net(image))


def test_a_refiner_without_prior(tmp_path):
    net, path = refined(small_restormer(), None), tmp_path / "refined.safetensors"
    checkpoint.save(net, path)
    image = photo_like(3, 16, 16)[None]
    torch.testing.assert_close(checkpoint.load(path)(image), net(image))
    with pytest.raises(ValueError, match="trained without a prior, got 'mean'"):
        checkpoint.load(path, prior="mean")


def test_a_restorer_can_be_taken_out_of_a_refined_file(file, net):
    fresh = small_restormer(5)
    report = checkpoint.load_features(fresh, file, keep_head=True)
    assert report.relearned == []
    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in net.backbone.state_dict().items())


# ------------------------------------------------------------------------------------------------------- whole images


def test_tiles_of_an_image_share_what_the_prior_says_of_the_whole(prior_file):
    prior = open_prior(str(prior_file), checkpoint.load)
    image = torch.cat([photo_like(3, 64, 96), photo_like(3, 64, 96, seed=1).mul(0.2)], 2)
    seen = []
    for view in ("crop", "image"):
        net = refined(convolutional(), prior, prior_view=view)
        original = net.refiner.forward
        seen.append([])
        net.refiner.forward = lambda *inputs, f=original, s=seen[-1]: s.append(inputs[2]) or f(*inputs)
        Restorer(net, tile=64, device="cpu", precision="float32")(image)
        assert net.seen is None
    by_crop, by_image = (torch.cat(priors) for priors in seen)
    assert len(by_image) > 2
    torch.testing.assert_close(by_image, prior(image[None]).expand(len(by_image), -1))
    assert by_crop.std(0).max() > 1e-4


def test_bf16_comes_near(net):
    image = photo_like(3, 40, 40)
    exact, rough = (Restorer(net, device="cpu", precision=p)(image) for p in ("float32", "bf16"))
    assert 0 < (exact - rough).abs().max() < 0.05


# -------------------------------------------------------------------------------------------------------------- export


def test_official_files_have_the_restorer_and_the_refiner_as_the_authors_name_it(file, net, tmp_path):
    (written,) = checkpoint.export(file, tmp_path / "official.pth", "official")
    state = torch.load(written, weights_only=True)["params"]
    refiner = {name.removeprefix("refinement11.") for name in state if name.startswith("refinement11.")}
    assert refiner == set(net.refiner.state_dict()) - {"mean_prior"}
    restorer = {name: value for name, value in state.items() if not name.startswith("refinement11.")}
    assert restorer.keys() == net.backbone.to_official().keys()


@pytest.mark.parametrize("format", ["encoder", "degae"])
def test_formats_of_pretraining_are_refused(file, tmp_path, format):
    with pytest.raises(ValueError, match="not for a refined model"):
        checkpoint.export(file, tmp_path / "out.pth", format)


@pytest.mark.skipif(IS_OLD, reason="PyTorch 2.6 captures the mean of the prior for no batch of any size")
def test_onnx_takes_the_mean_for_the_prior(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    net = refined(convolutional(), Prior(Brightness(), BRIGHTNESS), width=2)
    net.refiner.transformer = torch.nn.Identity()  # Restormer's blocks are slow to export, and tested there
    net.prior = None
    assert checkpoint.export(net, tmp_path / "net.onnx", "onnx") == [tmp_path / "net.onnx"]  # it compares the outputs
    net.prior = Prior(Brightness(), BRIGHTNESS)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True, raising=False)
    with pytest.raises(ValueError, match="load the file with the prior `mean`"):
        net(torch.rand(1, 3, 8, 8))
