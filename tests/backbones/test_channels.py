"""Networks for grey images and for images with more than three channels, out of networks for RGB."""

import pytest
import torch
from torch import nn

from gesso.backbones import create_backbone
from gesso.backbones._channels import adapt
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint import load, load_features, recognise, save
from gesso.checkpoint.loading import CheckpointError

SMALL = {
    "restormer_tiny": {"dim": 8, "num_blocks": (1, 1, 1, 1)},
    "promptir_tiny": {},
    "nafnet_tiny": {},
    "baseline_tiny": {},
    "uformer_tiny": {"img_size": 32},
    "swinir_tiny": {"depths": (2,), "num_heads": (4,)},
    "swinir_tiny_x2": {"depths": (2,), "num_heads": (4,)},
    "ipt_tiny": {"num_layers": 1},
}
CENTRED = (
    "swinir_tiny",
    "swinir_tiny_x2",
    "ipt_tiny",
)  # take the mean of RGB off, so that zeros beside the image differ


def trained(name, **options):
    """A network in which every parameter matters."""
    torch.manual_seed(0)
    net = create_backbone(name, **SMALL[name], **options).eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    return net


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 4])
def test_every_network_is_pretrained_and_restores_with_other_channels(name, channels):
    net = create_backbone(name, **SMALL[name], image_channels=channels)
    image = torch.rand(2, channels, 37, 29)
    assert net(image).shape == (2, channels, 37 * net.scale, 29 * net.scale)
    net.replace_last(64, image_residual=False)
    assert net(image).shape[1] == 64


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 4])
def test_an_adapted_network_begins_as_good_as_it_was(name, channels, tmp_path):
    net = trained(name)
    save(net, tmp_path / "rgb.safetensors")
    found = recognise(tmp_path / "rgb.safetensors", image_channels=channels)
    assert f"from 3 to {channels} image channels" in str(found)
    net, adapted = net.double(), found.network.double().eval()  # so that only the adaption makes a difference
    adapted.load_state_dict(adapt(adapted, net.state_dict())[0])
    image = torch.rand(1, channels, 64, 64, dtype=torch.float64)
    seen = image.expand(1, 3, -1, -1) if channels == 1 else image[:, :3]
    with torch.no_grad():
        expected, restored = net(seen), adapted(image)
    if name == "ipt_tiny":
        return  # its patches are all border
    inside = (..., slice(24, 40), slice(24, 40)) if name in CENTRED else (...,)
    expected, restored, image = expected[inside], restored[inside], image[inside]
    if channels == 1:
        torch.testing.assert_close(restored, expected.mean(1, keepdim=True), rtol=0, atol=1e-5)
        return
    torch.testing.assert_close(restored[:, :3], expected, rtol=0, atol=1e-5)
    unseen = image[:, 3:] if net.image_residual else expected.mean(1, keepdim=True)
    torch.testing.assert_close(restored[:, 3:], unseen, rtol=0, atol=1e-5)


def test_a_means_removal_moves_into_the_biases():
    """Away from the border, where zeros surround the image, IPT sees the same without its mean."""
    net = trained("ipt_tiny").double()
    grey = create_backbone("ipt_tiny", **SMALL["ipt_tiny"], image_channels=1).double().eval()
    state, adapted = adapt(grey, net.state_dict())
    grey.load_state_dict(state)
    assert set(adapted.names) == {f"{part}.{end}" for part in ("head.0.0", "tail.0.1") for end in ("weight", "bias")}
    assert not grey.get_parameter("sub_mean.bias").any()
    image = torch.rand(1, 1, 20, 20, dtype=torch.float64)
    first, first_grey = net.get_submodule("head.0.0"), grey.get_submodule("head.0.0")
    with torch.no_grad():
        centred = 255 * image.expand(1, 3, -1, -1) + net.get_parameter("sub_mean.bias").view(3, 1, 1)
        seen, seen_grey = first(centred), first_grey(255 * image)
        torch.testing.assert_close(seen_grey[..., 1:-1, 1:-1], seen[..., 1:-1, 1:-1], rtol=1e-6, atol=1e-4)
        feature = torch.rand(1, 16, 16, 16, dtype=torch.float64)
        expected = net.reconstruct(feature, image).mean(1, keepdim=True)
        torch.testing.assert_close(grey.reconstruct(feature, image), expected, rtol=0, atol=1e-6)


def test_a_network_for_grey_serves_colour(tmp_path):
    grey = trained("nafnet_tiny", image_channels=1)
    save(grey, tmp_path / "grey.safetensors")
    grey, colour = grey.double(), load(tmp_path / "grey.safetensors", image_channels=3).double().eval()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        seen = image.mean(1, keepdim=True)
        torch.testing.assert_close(colour(image), image + grey(seen) - seen, rtol=0, atol=1e-6)


def test_new_kernels_learn_from_the_first_step():
    net = trained("restormer_tiny")
    more = create_backbone("restormer_tiny", **SMALL["restormer_tiny"], image_channels=4)
    more.load_state_dict(adapt(more, net.state_dict())[0])
    (more(torch.rand(1, 4, 16, 16)) - 0.5).square().mean().backward()
    for weight in (more.patch_embed.proj.weight.grad[:, 3], more.output.weight.grad[3]):
        assert weight.abs().max() > 0


@pytest.mark.parametrize("channels", [1, 4])
def test_features_of_rgb_prime_other_channels_and_the_report_says_so(tmp_path, channels):
    pretrained = trained("nafnet_tiny")
    pretrained.replace_last(64, image_residual=False)
    save(pretrained, tmp_path / "ifp.safetensors")
    net = create_backbone("nafnet_tiny", image_channels=channels)
    report = load_features(net, tmp_path / "ifp.safetensors")
    assert report.relearned == ["ending.weight", "ending.bias"]
    assert f"adapted 1 from 3 to {channels} image channels" in str(report)
    assert "intro.weight" in str(report)
    head = create_backbone("nafnet_tiny", image_channels=channels)
    head.replace_last(64, image_residual=False)
    paper = PaperTransfer(head, None, channels)
    assert "backbone.intro.weight" in load_features(paper, tmp_path / "ifp.safetensors").loaded
    assert torch.equal(paper.backbone.intro.weight, net.intro.weight)


def test_the_last_convolution_is_kept_where_asked(tmp_path):
    save(trained("nafnet_tiny"), tmp_path / "rgb.safetensors")
    net = create_backbone("nafnet_tiny", image_channels=1)
    report = load_features(net, tmp_path / "rgb.safetensors", keep_head=True)
    assert not report.relearned
    assert "adapted 3" in str(report)
    assert "averaged" in str(report)


def test_the_model_of_the_papers_is_adapted_too(tmp_path):
    encoder = trained("restormer_tiny")
    encoder.replace_last(16, image_residual=False)
    net = PaperTransfer(encoder).eval()
    save(net, tmp_path / "paper.safetensors")
    net, grey = net.double(), load(tmp_path / "paper.safetensors", image_channels=1).double().eval()
    image = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected = net(image.expand(1, 3, -1, -1)).mean(1, keepdim=True)
        torch.testing.assert_close(grey(image), expected, rtol=0, atol=1e-6)


def test_official_files_are_adapted(tmp_path):
    net = trained("uformer_tiny")
    torch.save(net.official_file(), tmp_path / "rgb.pth")
    found = recognise(tmp_path / "rgb.pth", image_channels=4)
    assert found.network.in_channels == found.network.out_channels == 4
    assert "the first 3 keep their kernels" in str(found)
    assert "adapted" not in str(recognise(tmp_path / "rgb.pth"))


def test_what_is_no_matter_of_channels_is_still_an_error(tmp_path):
    save(trained("nafnet_tiny"), tmp_path / "rgb.safetensors")
    with pytest.raises(CheckpointError, match="misshapen"):
        load_features(create_backbone("nafnet_tiny", width=16, image_channels=1), tmp_path / "rgb.safetensors")
