"""The throw-away decoder, plain and modulated, against the official classes."""

import pytest
import torch

from gesso.functional.random import generator_for
from gesso.pretext._decoders import MSRResNetHead
from tests._golden import case, case_id, cases, check_gradients, check_output, check_state, fill, make_inputs


def build(args):
    return MSRResNetHead(
        args["in_c"],
        args["out_c"],
        args["nf"],
        args["scale"],
        args.get("modulation"),
        args.get("degradation_embed_dim", 512),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "case",
    cases("ifp", name="MSRResNet_Head") + cases("degae", name="MSRResNet_Head with modulation"),
    ids=case_id,
)
def test_equals_the_official_decoder(case, dtype):
    decoder = fill(build(case["args"]))
    check_state(decoder, case)
    inputs = make_inputs(case, dtype, requires_grad=True)
    after = {}
    decoder.basic_block1.register_forward_hook(lambda *call: after.update(after_block1=call[-1]))
    outputs = {"out": decoder.to(dtype)(*inputs.values())} | after
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


def test_published_sizes():
    assert sum(p.numel() for p in MSRResNetHead().parameters()) == 371_011
    assert sum(p.numel() for p in MSRResNetHead(modulation="stylegan2").parameters()) == 797_511
    plain = case("degae", "degae_head_plain_keys")
    check_state(fill(MSRResNetHead()), plain)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_scale_enlarges(scale):
    assert MSRResNetHead(8, 3, 8, scale)(torch.zeros(1, 8, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize("modulation", ["stylegan2", "gfm"])
def test_injected_noise_comes_from_the_generator(modulation):
    decoder = MSRResNetHead(8, 3, 8, modulation=modulation, embedding=4)
    for block in (decoder.basic_block1, decoder.basic_block4):
        block.modulation_layer.weight_noise.data.fill_(0.5)
    feature, embedding = torch.ones(2, 8, 6, 6), torch.ones(2, 4)
    first, again, other = (decoder(feature, embedding, generator_for(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_wrong_use_is_said():
    with pytest.raises(ValueError, match="scale: expected 1, 2, 3 or 4, got 5"):
        MSRResNetHead(scale=5)
    with pytest.raises(ValueError, match="needs an embedding"):
        MSRResNetHead(8, 3, 8, modulation="gfm")(torch.zeros(1, 8, 4, 4))
