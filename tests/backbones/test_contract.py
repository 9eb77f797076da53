"""What every backbone owes: a new file in gesso/backbones is tested the moment it exists."""

import pytest
import torch
from torch import nn

from gesso.backbones import Backbone, backbone_classes, create_backbone, list_backbones
from gesso.checkpoint import load, save

SMALL = {
    "swinir_tiny_x2": {"depths": (2, 2), "num_heads": (4, 4)},
    "swinir_tiny": {"depths": (2, 2), "num_heads": (4, 4)},
}
TINY = [name for name in list_backbones() if "_tiny" in name]
ODD = (37, 61)

names = pytest.mark.parametrize("name", TINY)


def build(name, **options):
    """A small network in which every parameter matters: those that begin at zero are random."""
    torch.manual_seed(0)
    net = create_backbone(name, **SMALL.get(name, {}), **options).eval()
    for parameter in net.parameters():
        if parameter.requires_grad and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return net


def image_for(net, *size, batch=1):
    return torch.rand(batch, net.in_channels, *size, generator=torch.Generator().manual_seed(1))


def test_every_network_has_a_tiny():
    networks = {type(create_backbone(name)) for name in TINY}
    assert networks == {kind for kind in backbone_classes().values() if kind.variants}


@names
def test_any_size_and_each_image_of_a_batch_by_itself(name):
    net = build(name)
    image = image_for(net, *ODD, batch=2)
    with torch.no_grad():
        restored = net(image)
        assert restored.shape == (2, net.out_channels, ODD[0] * net.scale, ODD[1] * net.scale)
        torch.testing.assert_close(net(image[1:]), restored[1:], rtol=0, atol=1e-4)
        assert net(image[:1, :, :1, :2]).shape[2:] == (net.scale, 2 * net.scale)


@names
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("learns", [False, True], ids=["restores", "learns"])
def test_nothing_stays_on_another_device(name, dtype, learns):
    """A device without arithmetic tells what a GPU would: a tensor made on the CPU meets one that is elsewhere."""
    net = build(name).to("meta", dtype)
    with torch.set_grad_enabled(learns):
        restored = net(torch.empty(1, net.in_channels, *ODD, device="meta", dtype=dtype))
    if learns:
        restored.sum().backward()
    assert (restored.device.type, restored.dtype) == ("meta", dtype)
    assert restored.shape[2:] == (ODD[0] * net.scale, ODD[1] * net.scale)


@names
def test_forward_is_reconstruct_of_features(name):
    net = build(name, **({"stitch": "none"} if name == "ipt_tiny" else {}))
    image = image_for(net, *ODD)
    with torch.no_grad():
        padded = net.pad(image)
        assert all(side % net.size_multiple == 0 for side in padded.shape[2:])
        features = net.features(padded)
        assert [feature.shape[1] for feature in features] == net.channels
        assert set(net.stages) <= set(range(len(features)))
        stages = net.stage_features(padded)
        assert all(torch.equal(stages[position], features[position]) for position in net.stages)
        assert torch.equal(net(image), net.crop(net.reconstruct(features[-1], padded), image))


@names
def test_the_gradient_reaches_every_parameter_of_the_body(name):
    net = build(name)  # in evaluation, where no branch is left out by chance
    image = image_for(net, 32, 32)
    image[..., :16] = 0.5  # without noise: what SNR-Net looks at
    net(image).square().mean().backward()
    without = [
        key for key, parameter in net.named_parameters() if parameter.requires_grad and not net.is_head(key)
        and (parameter.grad is None or not parameter.grad.any())
    ]  # fmt: skip
    assert not without


@names
@pytest.mark.parametrize("autocast", [False, True], ids=["pure", "autocast"])
def test_bfloat16_is_close_to_float32(name, autocast):
    net = build(name)
    image = image_for(net, *ODD)
    with torch.no_grad():
        exact = net(image)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            rough = net(image) if autocast else net.bfloat16()(image.bfloat16())
    assert rough.dtype == (torch.float32 if autocast else torch.bfloat16)
    assert -10 * (rough.float() - exact).square().mean().log10() > 45


@names
def test_bfloat16_trains(name):
    net = build(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        net(image_for(net, 32, 32, batch=2)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters() if parameter.requires_grad)


@names
def test_the_same_image_gives_the_same_output(name):
    net = build(name)
    image = image_for(net, 32, 48)
    with torch.no_grad():
        assert torch.equal(net(image), net(image))


@names
def test_a_file_brings_the_network_back(name, tmp_path):
    net = build(name)
    save(net, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors").eval()
    assert list(again.state_dict()) == list(net.state_dict())
    image = image_for(net, 24, 40)
    with torch.no_grad():
        assert torch.equal(again(image), net(image))


@names
def test_a_new_last_convolution_leaves_the_body_alone(name):
    net = build(name)
    body = {key: tensor.clone() for key, tensor in net.state_dict().items() if not net.is_head(key)}
    net.replace_last(64, image_residual=False)
    assert net(image_for(net, 16, 16)).shape == (1, 64, 16 * net.scale, 16 * net.scale)
    state = net.state_dict()
    assert {key for key in state if not net.is_head(key)} == body.keys()
    assert all(torch.equal(state[key], tensor) for key, tensor in body.items())
    assert net.twin().state_dict().keys() == state.keys()


@pytest.mark.parametrize("name", ["features", "channels", "head_conv", "pad", "scale"])
def test_a_layer_may_not_hide_behind_a_name_of_the_base(name):
    """PyTorch would store it, and the method of that name would still be called."""

    class Hides(Backbone):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, torch.nn.Conv2d(3, 3, 3))

    with pytest.raises(ValueError, match=f"Hides.{name}: .* needs another name"):
        Hides()
