"""MaskDCPT: what is hidden stays hidden inside the network, and the losses are those of equation 5."""

import pytest
import torch
from torch.nn import functional as F

from gesso.backbones import create_backbone
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext
from gesso.pretext._base import stage_maps
from gesso.pretext._classifier import focal_loss
from gesso.pretext._masking import SeenThrough, mask_like, patch_mask
from gesso.pretext.maskdcpt import MaskDCPT
from tests.pretext._plain import Plain

NETWORKS = ["nafnet_tiny", "restormer_tiny", "swinir_tiny", "promptir_tiny", "uformer_tiny"]


def batch(size=2, side=32):
    return {"image": torch.rand(size, 3, side, side, generator=generator_for(0))}


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
@pytest.mark.parametrize(("height", "width", "patches"), [(64, 64, 16), (64, 40, 12), (48, 48, 9), (10, 10, 1)])
def test_as_many_patches_are_seen_as_the_inference_code_keeps(ratio, height, width, patches):
    mask = patch_mask(torch.rand(8, 3, height, width), ratio, 16, generator_for(0))
    seen = {int(one[0, ::16, ::16].sum()) for one in mask}
    assert seen == {max(1, round(patches * (1 - ratio)))}
    assert mask.shape == (8, 1, height, width)
    assert patches == 1 or not torch.equal(mask, mask[:1].expand_as(mask)), "drawn for each image"


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_give_nothing_where_the_image_is_hidden(name):
    """Seen through a mask, no convolution of any network puts anything into what is hidden; without it they do."""
    net = create_backbone(name).eval()
    image = torch.rand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    put: list[bool] = []

    def watch(module, args, output):
        if max(module.kernel_size) > 1:
            put.append(bool((output * (1 - mask_like(mask, output))).any()))

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(watch)
    with SeenThrough(mask):
        net.features(image * mask)
    assert put
    assert not any(put)
    put.clear()
    net.features(image * mask)
    assert any(put)


def test_what_is_hidden_changes_no_feature_of_a_convolutional_network():
    """NAFNet pools over the whole image, hidden zeros included, so values under the mask must not matter at all."""
    pretext = MaskDCPT(create_backbone("nafnet_tiny"), decoder_width=8)
    lq, other = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    mask = patch_mask(lq, 0.5, 16, generator_for(5))
    hidden, features = pretext.see(lq, generator_for(5))
    assert torch.equal(hidden, lq * mask)
    _, again = pretext.see(torch.where(mask.bool(), lq, other), generator_for(5))
    for one, two in zip(features, again, strict=True):
        assert torch.equal(one, two)
        assert not (one * (1 - mask_like(mask, one))).any()


def test_losses_are_those_of_equation_5():
    pretext = MaskDCPT(Plain(), pixel_weight=0.3, focal_gamma=1.0, decoder_width=8)
    losses = pretext(batch(), generator_for(0))
    gt, lq, label = pretext.classified(batch(), generator := generator_for(0))
    _, features = pretext.see(lq, generator)
    pixel = F.l1_loss(pretext.decoder(features[-1]), gt)
    classification = focal_loss(pretext.classifier(stage_maps(pretext.backbone, features)), label, 1.0)
    assert losses["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((0.3 * pixel + classification).item(), rel=1e-5)


def test_the_decoders_have_a_rate_and_a_decay_of_their_own():
    """Encoder 3e-4, decoders 1e-4, no weight decay; the network's last convolution takes no part."""
    pretext = MaskDCPT(Plain(), decoder_width=8)
    network, decoders = pretext.groups()
    assert decoders["lr_factor"] == pytest.approx(1e-4 / 3e-4)
    assert decoders["weight_decay"] == 0
    assert len(network["params"]) + len(decoders["params"]) == len(list(pretext.parameters()))
    pretext(batch(), generator_for(0))["loss"].backward()
    assert pretext.backbone.output.weight.grad is None
    assert all(parameter.grad is not None for parameter in decoders["params"])
    assert pretext.extra_modules().keys() == {"classifier"}


def test_a_hidden_patch_is_within_reach_of_the_cnn_and_not_of_one_convolution():
    feature = torch.zeros(1, 8, 48, 48)
    feature[..., :16, :] = 1  # what is seen lies 8 pixels above the middle of the hidden patch at row 24
    reach = {}
    for kind in ("cnn", "conv"):
        pretext = MaskDCPT(create_backbone("nafnet_tiny", width=8), reconstruction=kind, decoder_width=8)
        made, nothing = pretext.decoder(feature), pretext.decoder(torch.zeros_like(feature))
        reach[kind] = bool(((made - nothing)[..., 24, 24].abs() > 1e-9).any())
    assert reach == {"cnn": True, "conv": False}


def test_data_of_classes_from_folders():
    pretext = create_pretext("maskdcpt", Plain(), num_classes=3, decoder_width=8)
    data = {"gt": torch.rand(2, 3, 32, 32), "lq": torch.rand(2, 3, 32, 32), "label": torch.tensor([2, 0])}
    assert torch.isfinite(pretext(data, generator_for(0))["loss"])
    shown = pretext.preview(data, generator_for(0))
    assert list(shown) == ["original", "degraded", "hidden", "reconstructed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"mask_size": 0}, "mask_size: expected a side of 1 pixel or more, got 0"),
        ({"reconstruction": "mlp"}, "reconstruction: expected cnn or conv"),
        ({"decoder_lr_factor": 0.0}, "decoder_lr_factor"),
        ({"degradations": ["rain"]}, "two classes or more"),
    ],
)
def test_impossible_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MaskDCPT(Plain(), **options)


def test_a_network_that_cuts_images_says_so():
    pretext = MaskDCPT(create_backbone("ipt_tiny"), decoder_width=8)
    assert torch.isfinite(pretext(batch(side=16), generator_for(0))["loss"])
    with pytest.raises(ValueError, match="mask_features: expected maps of 2 whole images, this network makes one of 8"):
        pretext(batch(), generator_for(0))
