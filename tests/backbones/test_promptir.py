"""PromptIR: the official numbers, names and sizes; small ones, any size, any precision."""

import pytest
import torch

from gesso.backbones import create_backbone
from gesso.backbones.promptir import PromptIR
from tests._golden import (
    case_id,
    cases,
    check_gradients,
    check_official,
    check_output,
    check_state,
    fill,
    make_inputs,
    manifest,
)

TINY = {"dim": 12, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}
PUBLISHED = {  # official state dict -> our variant, parameters
    "PromptIR_decoder_True": ("promptir", 35_592_263),
    "DCPT_DCPT_PromptIR": ("promptir_dcpt", 35_376_967),
}


@pytest.mark.parametrize(
    "golden", cases("networks", network="PromptIR") + cases("dcpt", name="PromptIR (DCPT)"), ids=case_id
)
def test_equals_the_official_network(golden):
    official_only = ("decoder", "bias")  # always true, always false
    options = {name: value for name, value in golden["args"].items() if name not in official_only}
    net = fill(PromptIR(**options, unused_layers=golden.get("network") == "PromptIR"))
    check_state(net, golden)
    inputs = make_inputs(golden, requires_grad=True)
    features = net.features(inputs["x"])
    restored = net.reconstruct(features[-1], inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})
    assert [feature.shape[1] for feature in features] == net.channels


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    check_official(name, *PUBLISHED[name], in_order=False)


def test_official_files_without_prompts_are_not_recognised():
    official = {
        key: torch.empty(shape, device="meta") for key, (shape, *_) in manifest("PromptIR_decoder_False").items()
    }
    assert PromptIR.recognise(official) is None


def test_recognise_deduces_every_option():
    net = PromptIR(**TINY, LayerNorm_type="BiasFree", out_channels=64, image_residual=False, ffn_expansion_factor=2.0)
    recognised = PromptIR.recognise(net.to_official())
    assert PromptIR(**recognised).options == net.options | {"num_blocks": [1, 1, 1, 1], "heads": [1, 2, 4, 8]}


def test_unused_layers_are_frozen_and_change_nothing():
    torch.manual_seed(0)
    net = PromptIR(**TINY).eval()
    without = net.twin(unused_layers=False).eval()
    unused = net.state_dict().keys() - without.state_dict().keys()
    assert len(unused) == 6
    assert not any(parameter.requires_grad for name, parameter in net.named_parameters() if name in unused)
    without.load_state_dict({key: value for key, value in net.state_dict().items() if key not in unused})
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(net(image), without(image), rtol=0, atol=0)
    net(image).mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)


def test_the_prompt_depends_on_the_image():
    torch.manual_seed(0)
    prompt = PromptIR(**TINY).prompt2
    dark, bright = (prompt(torch.full((1, 48, 8, 8), value)) for value in (0.0, 5.0))
    assert dark.shape == (1, 32, 8, 8)
    assert not torch.allclose(dark, bright, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (21, 30)])
def test_any_size(size):
    net = PromptIR(**TINY).eval()
    image = torch.rand(1, 3, *size)
    assert net(image).shape == image.shape


def test_tiny_is_small():
    assert 0.5e6 < sum(parameter.numel() for parameter in create_backbone("promptir_tiny").parameters()) < 2e6


def test_options_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="multiple of 3"):
        PromptIR(dim=16)
    with pytest.raises(ValueError, match="image_residual"):
        PromptIR(**TINY, out_channels=64)
