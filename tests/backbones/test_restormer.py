"""Restormer: the official numbers, names and sizes; what DCPT and IFP make of it; any size, any precision."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.textbook.restormer import Textbook
from gesso.backbones import create_backbone
from gesso.backbones._channel_blocks import (
    BiasFreeLayerNorm,
    DivideByDeviation,
    GatedFeedForward,
    expansion_factor,
    spare_channels,
)
from gesso.backbones.restormer import Restormer
from tests._golden import (
    case,
    case_id,
    cases,
    check_gradients,
    check_official,
    check_output,
    check_state,
    fill,
    make_inputs,
)
from tests._networks import check_same_function

TINY = {"dim": 8, "num_blocks": (1, 1, 1, 1), "num_refinement_blocks": 1}
DCPT = {"attention": "relu", "norm_eps": 1e-6}
PUBLISHED = {  # official state dict -> our variant, parameters
    "Restormer_WithBias": ("restormer", 26_126_644),
    "Restormer_BiasFree": ("restormer_biasfree", 26_111_668),
    "Restormer_gray_BiasFree": ("restormer_gray", 26_109_076),
    "Restormer_dualpixel": ("restormer_dual_pixel", 26_132_548),
    "DCPT_DCPT_Restormer": ("restormer_dcpt", 26_111_668),
    "DCPT_DCPT_Restormer_origin": ("restormer", 26_126_644),  # the same names as Restormer's own
}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


def options_of(golden):
    """Our options for the official arguments of a golden case."""
    options = dict(golden["args"])
    if "global_residual" in options:
        options["image_residual"] = options.pop("global_residual")
    if "(DCPT)" in golden.get("name", ""):
        options |= DCPT | {"wrapped": "origin" not in golden["name"]}
    return options


def check(golden, net, dtype):
    """Output and input gradient of a filled network equal a golden case; returns its feature maps."""
    net = net.to(dtype)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    restored = net(inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})
    return net.features(net.pad(inputs["x"]))


@precisions
@pytest.mark.parametrize("golden", cases("networks", network="Restormer"), ids=case_id)
def test_equals_the_official_network(golden, dtype):
    net = fill(Restormer(**golden["args"]))
    check_state(net, golden)
    features = check(golden, net, dtype)
    check_output(features[-1], golden["out"]["feature"])
    assert [feature.shape[1] for feature in features] == net.channels


@precisions
@pytest.mark.parametrize("golden", cases("ifp", name="Restormer_Backbone"), ids=case_id)
def test_equals_the_network_that_ifp_trains(golden, dtype):
    net = fill(Restormer(**options_of(golden)))
    check_state(net, golden)
    check(golden, net, dtype)


@precisions
@pytest.mark.parametrize(
    "golden",
    cases("dcpt", name=["Restormer (DCPT)", "Restormer_origin (DCPT)"]),
    ids=case_id,
)
def test_equals_the_network_of_dcpt(golden, dtype):
    net = fill(Restormer(**options_of(golden)))
    check_state(net, golden)
    check(golden, net, dtype)


def test_kernels_of_dcpts_network_start_as_they_do_there():
    torch.manual_seed(0)
    kernels = {
        wrapped: Restormer(**TINY, **DCPT, wrapped=wrapped).latent[0].attn.qkv.weight for wrapped in (True, False)
    }
    assert kernels[True].std().item() == pytest.approx(0.02, rel=0.05)
    assert kernels[False].std().item() > 0.04


def test_stages_are_those_that_dcpt_classifies():
    golden = case("dcpt", "dcpt_joint_restormer")
    net = fill(Restormer(**golden["args"]["net"], **DCPT, wrapped=True), prefix="net_g.").double()
    features = net.features(make_inputs(golden, torch.float64)["x"])
    stages = [features[index] for index in net.stages]
    for index, feature in enumerate(reversed(stages)):
        check_output(feature, golden["out"][f"feature{index}"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    variant, parameters = PUBLISHED[name]
    check_official(name, variant, parameters, image_residual=variant != "restormer_dual_pixel")


@pytest.mark.parametrize(
    "options",
    [
        {"dim": 12, "num_blocks": [2, 1, 1, 3], "heads": [2, 3, 4, 6], "ffn_expansion_factor": 2.0, "bias": True},
        {"dim": 8, "out_channels": 64, "image_residual": False, "LayerNorm_type": "BiasFree"},
        {"dim": 8, "inp_channels": 6, "dual_pixel_task": True, "image_residual": False, "ffn_expansion_factor": 1.5},
        {"dim": 8, "wrapped": True, "bias": True, **DCPT},
        {"dim": 8, "wrapped": True, "scale": 4, "bias": True, **DCPT},
    ],
)
def test_recognise_deduces_every_option(options):
    net = Restormer(**{**TINY, **options})
    recognised = Restormer.recognise(net.to_official())
    assert Restormer(**recognised).options == {
        **net.options,
        "num_blocks": list(net.options["num_blocks"]),
        "heads": list(net.options["heads"]),
    }


def test_a_network_that_enlarges_is_pretrained_like_others():
    net = Restormer(**TINY, **DCPT, wrapped=True, scale=2)
    net.replace_last(64, image_residual=False)
    assert net(torch.rand(1, 3, 11, 9)).shape == (1, 64, 22, 18)
    assert [key for key in net.state_dict() if net.is_head(key)] == [f"output.{number}.weight" for number in range(4)]
    with pytest.raises(ValueError, match="scale: expected 1, 2 or 4, got 3"):
        Restormer(**TINY, scale=3)


def test_recognise_leaves_other_networks_alone():
    assert Restormer.recognise({}) is None
    assert Restormer.recognise(create_backbone("promptir_tiny").to_official()) is None
    assert Restormer.recognise(create_backbone("uformer_tiny").to_official()) is None


def test_wrapped_names_lose_and_gain_body():
    net = Restormer(**TINY, **DCPT, wrapped=True)
    official = net.to_official()
    assert "latent.body.0.attn.qkv.weight" in official
    assert "down1_2.body.0.weight" in official
    assert Restormer.from_official(official).keys() == net.state_dict().keys()
    assert Restormer.from_official(net.state_dict()).keys() == net.state_dict().keys()


def test_expansion_factor_is_the_shortest_that_fits():
    assert expansion_factor([(48, 127), (96, 255), (192, 510), (384, 1021)]) == 2.66
    assert expansion_factor([(16, 32), (32, 64)]) == 2.0


@pytest.mark.parametrize("attention", ["softmax", "relu"])
@pytest.mark.parametrize("norm", ["WithBias", "BiasFree"])
def test_equals_the_textbook_formulation(attention, norm):
    torch.manual_seed(0)
    net = Restormer(**TINY, attention=attention, LayerNorm_type=norm).double().eval()
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    check_same_function(net, Textbook(**net.options).double(), image, tolerance=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_spare_channels_change_nothing(bias):
    torch.manual_seed(0)
    layer = GatedFeedForward(12, hidden=31, bias=bias).double()  # 32 channels inside, where the map is large enough
    x = torch.randn(1, 16, 16, 12, dtype=torch.float64, requires_grad=True)
    hidden = layer.dwconv(layer.project_in(x.movedim(-1, 1)))
    plain = layer.project_out(F.gelu(hidden[:, :31]) * hidden[:, 31:]).movedim(1, -1)
    torch.testing.assert_close(layer(x), plain)
    ours, theirs = (torch.autograd.grad(out.square().sum(), [x, *layer.parameters()]) for out in (layer(x), plain))
    torch.testing.assert_close(ours, theirs)
    assert spare_channels(31, pixels=256) == 1
    assert [spare_channels(31, pixels=100), spare_channels(32, pixels=256), spare_channels(40, pixels=999)] == [0, 0, 0]


def test_bias_free_norm_divides_by_the_deviation():
    norm = BiasFreeLayerNorm(6, 1e-5).double()
    x = 3 + torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(norm(x), x / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt())
    weight = 1 + torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: DivideByDeviation.apply(x, weight, 1e-5), (x, weight))


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (21, 30)])
def test_any_size(size):
    net = Restormer(**TINY).eval()
    image = torch.rand(1, 3, *size)
    assert net(image).shape == image.shape


@pytest.mark.parametrize("norm", ["WithBias", "BiasFree"])
@pytest.mark.parametrize("autocast", [False, True], ids=["pure", "autocast"])
def test_bfloat16_is_close_to_float32(norm, autocast):
    torch.manual_seed(0)
    net = create_backbone("restormer_tiny", LayerNorm_type=norm).eval()
    image = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        exact = net(image)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            rough = net(image) if autocast else net.bfloat16()(image.bfloat16())
    error = (rough.float() - exact).square().mean()
    assert -10 * error.log10() > 45


@pytest.mark.parametrize("norm", ["WithBias", "BiasFree"])
def test_a_black_image_has_finite_gradients(norm):
    net = Restormer(**TINY, LayerNorm_type=norm)
    net(torch.zeros(1, 3, 16, 16)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_strips_change_nothing(monkeypatch):
    net = Restormer(**TINY).eval()
    image = torch.rand(2, 3, 32, 40)
    whole = net(image)
    monkeypatch.setattr("gesso.functional.row_chunks.STRIP", 1)
    with torch.no_grad():
        torch.testing.assert_close(net(image), whole)


def test_maps_stay_channels_last():
    net = Restormer(**TINY).eval()
    image = torch.rand(2, 3, 16, 24)
    features = net.features(image)
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in features)
    torch.testing.assert_close(net(image.contiguous(memory_format=torch.channels_last)), net(image))


@pytest.mark.parametrize("norm", ["WithBias", "BiasFree"])
def test_compiles_without_a_graph_break(norm):
    stage = Restormer(**TINY, LayerNorm_type=norm).encoder_level2
    feature = torch.rand(1, 16, 8, 8)
    compiled = torch.compile(stage, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(feature), stage(feature))


def test_tiny_is_small():
    assert 0.5e6 < sum(parameter.numel() for parameter in create_backbone("restormer_tiny").parameters()) < 2e6


def test_options_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="image_residual"):
        Restormer(**TINY, out_channels=64)
    with pytest.raises(ValueError, match="LayerNorm_type"):
        Restormer(**TINY, LayerNorm_type="Biasfree")
    with pytest.raises(ValueError, match="attention"):
        Restormer(**TINY, attention="sigmoid")
