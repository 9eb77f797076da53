"""NAFNet and Baseline: the official numbers, names and sizes; DCPT's NAFNet; local pooling; any size, any precision."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.textbook.nafnet import Textbook
from gesso.backbones import create_backbone
from gesso.backbones.nafnet import Baseline, NAFNet, Pool, box_sum, pooling_window, spread
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

TINY = {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 1], "dec_blk_nums": [1, 1, 1, 1]}
NETWORKS = {"NAFNet": NAFNet, "Baseline": Baseline}
PUBLISHED = {  # official state dict -> our variant, parameters
    "NAFNet_SIDD_32": ("nafnet_width32_sidd", 29_159_715),
    "NAFNet_SIDD_64": ("nafnet_width64_sidd", 115_982_915),
    "NAFNet_GoPro_32": ("nafnet_width32_gopro", 17_111_907),
    "NAFNet_GoPro_64": ("nafnet_width64_gopro", 67_888_835),
    "DCPT_DCPT_NAFNetBaseline": ("nafnet_dcpt", 67_888_835),
    "Baseline_SIDD_32": ("baseline_width32_sidd", 29_056_227),
    "Baseline_SIDD_64": ("baseline_width64_sidd", 115_775_939),
    "Baseline_GoPro_32": ("baseline_width32_gopro", 17_023_875),
    "Baseline_GoPro_64": ("baseline_width64_gopro", 67_712_771),
}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
networks = pytest.mark.parametrize("network", NETWORKS.values())


def options_of(golden):
    """Our options for the official arguments of a golden case."""
    options = dict(golden["args"])
    if "train_size" in options:
        options["train_size"] = tuple(options["train_size"][2:])
    return options | ({"dcpt_names": True} if golden.get("method") == "DCPT" else {})


def random_tiny(network, **options):
    """A small network in which every parameter matters."""
    torch.manual_seed(0)
    net = network(**(TINY | options))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else parameter[0].numel() ** -0.5)
    return net.eval()


def check(golden, net, dtype):
    """Names, output and input gradient of a filled network equal a golden case; returns its feature maps."""
    check_state(net, golden)
    net.to(dtype)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    restored = net(inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})
    return net.features(net.pad(inputs["x"]))


@precisions
@pytest.mark.parametrize("golden", cases("networks", network=list(NETWORKS)), ids=case_id)
def test_equals_the_official_network(golden, dtype):
    net = fill(NETWORKS[golden["network"]](**options_of(golden)))
    features = check(golden, net, dtype)
    check_output(features[-1], golden["out"]["feature"])
    assert [feature.shape[1] for feature in features] == net.channels
    assert net.stages == tuple(range(len(features)))


@precisions
@pytest.mark.parametrize("golden", cases("dcpt", id=["dcpt_nafnetbaseline", "dcpt_nafnet_local"]), ids=case_id)
def test_equals_the_network_of_dcpt(golden, dtype):
    check(golden, fill(NAFNet(**options_of(golden))), dtype)


def test_stages_are_those_that_dcpt_classifies():
    golden = case("dcpt", "dcpt_joint_nafnet")
    net = fill(NAFNet(**golden["args"]["net"], dcpt_names=True), prefix="net_g.").double()
    features = net.features(make_inputs(golden, torch.float64)["x"])
    stages = [features[index] for index in net.stages]
    for index, feature in enumerate(reversed(stages)):
        check_output(feature, golden["out"][f"feature{index}"])


# -------------------------------------------------------------------------------------------------- official files


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    check_official(name, *PUBLISHED[name], in_order="DCPT" not in name, out_channels=3)


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (NAFNet, {"enc_blk_nums": [2, 1, 3], "dec_blk_nums": [1, 2, 1], "middle_blk_num": 2}),
        (NAFNet, {"img_channel": 1, "dcpt_names": True}),
        (NAFNet, {"out_channels": 64, "image_residual": False}),
        (Baseline, {"dw_expand": 2, "ffn_expand": 3, "img_channel": 6, "out_channels": 3, "image_residual": False}),
    ],
)
def test_recognise_deduces_every_option(network, options):
    net = network(**(TINY | options))
    net.options["out_channels"] = net.out_channels
    assert network(**network.recognise(net.to_official())).options == net.options


def test_recognise_tells_the_networks_apart():
    nafnet, baseline = (create_backbone(f"{name}_tiny").to_official() for name in ("nafnet", "baseline"))
    assert NAFNet.recognise(baseline) is None
    assert Baseline.recognise(nafnet) is None
    assert NAFNet.recognise({}) is None
    assert NAFNet.recognise(create_backbone("restormer_tiny").to_official()) is None


def test_names_of_dcpt_are_taken_and_given():
    net = NAFNet(**TINY, dcpt_names=True)
    assert "decoder0.0.conv1.weight" in net.to_official()
    assert net.from_official(net.to_official()).keys() == net.state_dict().keys()
    assert net.from_official(net.state_dict()).keys() == net.state_dict().keys()


def test_variants_pool_as_their_authors_test():
    with torch.device("meta"):
        pooling = {name: create_backbone(name).options["train_size"] for name in NAFNet.variants | Baseline.variants}
    assert {name for name, size in pooling.items() if size == (256, 256)} == {
        *(f"nafnet_width{width}_{data}" for width in (32, 64) for data in ("gopro", "reds")),
        *(f"baseline_width{width}_gopro" for width in (32, 64)),
    }
    assert pooling["nafnet_dcpt"] == (128, 128)
    assert pooling["nafnet_width32"] is None


# --------------------------------------------------------------------------------------------------------- pooling


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("dim", [0, 1])
def test_box_sum(size, dim):
    x = torch.randint(100, (12, 11))
    assert torch.equal(box_sum(x, size, dim), x.unfold(dim, size, 1).sum(-1))


def test_box_sum_is_precise_where_cumulative_sums_are_not():
    x = 100 + torch.rand(1, 20_000)
    exact = x.double().unfold(1, 5, 1).sum(-1)
    total = F.pad(x.cumsum(1), (1, 0))
    assert (total[:, 5:] - total[:, :-5] - exact).abs().max() > 1e-2
    assert (box_sum(x, 5, 1) - exact).abs().max() < 1e-4


@pytest.mark.parametrize("window", [(3, 4), (5, 20), (8, 1), (20, 2)])
def test_local_means_and_their_edges(window):
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    means = spread(Pool(window)(x), 8, 10)
    height, width = min(window[0], 8), min(window[1], 10)
    inside = F.avg_pool2d(x, (height, width), stride=1)
    missing_rows, missing_columns = 8 - inside.shape[2], 10 - inside.shape[3]
    for row in range(8):
        for column in range(10):
            y = min(max(row - missing_rows // 2, 0), inside.shape[2] - 1)
            z = min(max(column - missing_columns // 2, 0), inside.shape[3] - 1)
            torch.testing.assert_close(means[..., row, column], inside[..., y, z])


def test_a_window_over_the_whole_map_is_global():
    x = torch.randn(2, 3, 8, 10)
    assert Pool((8, 10))(x).shape == (2, 3, 1, 1)
    torch.testing.assert_close(Pool((100, 100))(x), Pool(None)(x))


def test_windows_are_half_again_as_large_as_the_training_crop():
    assert [pooling_window((256, 256), level, 16) for level in range(5)] == [
        (384, 384), (192, 192), (96, 96), (48, 48), (24, 24),
    ]  # fmt: skip
    assert pooling_window((30, 32), 4, 16) == (2 * 45 // 30, 2 * 48 // 32)


@networks
def test_local_pooling_equals_global_pooling_in_images_up_to_its_window(network):
    everywhere, local = random_tiny(network), random_tiny(network, train_size=(32, 32))
    small, large = torch.rand(1, 3, 48, 40), torch.rand(1, 3, 64, 40)
    torch.testing.assert_close(local(small), everywhere(small))
    assert not torch.allclose(local(large), everywhere(large))


# -------------------------------------------------------------------------------------------------------- behaviour


@networks
def test_equals_the_textbook_formulation(network):
    net = random_tiny(network).double()
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    check_same_function(net, Textbook(**net.options).double(), image, tolerance=1e-11)


@networks
@pytest.mark.parametrize("train_size", [None, (16, 16)])
@pytest.mark.parametrize("size", [(1, 1), (16, 17), (37, 61)])
def test_any_size(network, size, train_size):
    net = random_tiny(network, train_size=train_size)
    image = torch.rand(1, 3, *size)
    assert net(image).shape == image.shape


def test_zeros_pad_at_the_right_and_the_bottom():
    net = random_tiny(NAFNet)
    image = torch.rand(1, 3, 20, 16)
    padded = F.pad(image, (0, 0, 0, 12))
    torch.testing.assert_close(net(image), net(padded)[..., :20, :])
    mirrored = NAFNet(**net.options | {"dcpt_names": True}).eval()  # as DCPT tests it
    mirrored.load_state_dict(net.state_dict())
    padded = F.pad(image, (0, 0, 0, 12), mode="reflect")
    torch.testing.assert_close(mirrored(image), net(padded)[..., :20, :])


@networks
def test_a_fresh_block_is_the_identity(network):
    stage = network(**TINY).encoders[0]
    feature = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(stage(feature), feature)


@networks
def test_strips_change_nothing(network, monkeypatch):
    net = random_tiny(network, train_size=(32, 32)).double()
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        whole = net(image)
        monkeypatch.setattr("gesso.functional.row_chunks.STRIP", 3000)
        torch.testing.assert_close(net(image), whole)


@networks
@pytest.mark.parametrize("train_size", [None, (32, 32)], ids=["global", "local"])
@pytest.mark.parametrize("autocast", [False, True], ids=["pure", "autocast"])
def test_bfloat16_is_close_to_float32(network, train_size, autocast):
    torch.manual_seed(0)
    net = network(**TINY, train_size=train_size).eval()
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma")):
            torch.nn.init.normal_(parameter, std=0.3)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact = net(image)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            rough = net(image) if autocast else net.bfloat16()(image.bfloat16())
    error = (rough.float() - exact).square().mean()
    assert -10 * error.log10() > 45


@networks
def test_maps_stay_channels_last(network):
    net = random_tiny(network)
    features = net.features(torch.rand(2, 3, 32, 48))
    assert all(feature.is_contiguous(memory_format=torch.channels_last) for feature in features)


@networks
def test_compiles_without_a_graph_break(network):
    stage = random_tiny(network).encoders[1]
    feature = torch.rand(1, 8, 8, 8)
    compiled = torch.compile(stage, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(feature), stage(feature))


@pytest.mark.parametrize("name", ["nafnet_tiny", "baseline_tiny"])
def test_tiny_is_small(name):
    assert 0.3e6 < sum(parameter.numel() for parameter in create_backbone(name).parameters()) < 0.5e6


@networks
def test_options_that_cannot_be_are_named(network):
    with pytest.raises(ValueError, match="dec_blk_nums"):
        network(enc_blk_nums=[1, 1], dec_blk_nums=[1])
    with pytest.raises(ValueError, match="image_residual"):
        network(out_channels=64)
