"""Uformer: the official numbers, names and sizes; the halves that IFP and DegAE train; any size, any precision."""

import pytest
import torch

from benchmarks.textbook.uformer import Textbook
from gesso.backbones import create_backbone
from gesso.backbones.uformer import Uformer
from gesso.functional.padding import pad
from gesso.pretext._decoders import GlobalFeatureModulation
from tests._golden import (
    case,
    case_id,
    cases,
    check_gradients,
    check_official,
    check_output,
    check_state,
    fill,
    fill_value,
    is_filled,
    make_inputs,
)
from tests._networks import check_same_function

TINY = {"img_size": 64, "embed_dim": 4, "depths": [2, 1, 1, 2, 1, 1, 2, 1, 2], "num_heads": [1, 2, 2, 2, 4, 4, 2, 2, 1]}
PUBLISHED = {  # official state dict -> our variant, parameters
    "Uformer_T": ("uformer_t", 5_291_853),
    "Uformer_S": ("uformer_s", 20_751_197),
    "Uformer_B": ("uformer_b", 50_880_946),
    "Uformer_B_dd_in_6": ("uformer_b", 50_881_810),
}
SIX_TO_THREE = {"dd_in": 6, "out_channels": 3, "image_residual": False}
ENCODER = ("input_proj.", "encoderlayer_", "dowsample_", "conv.")
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


def options_of(golden):
    """Our options for the official arguments of a golden case."""
    options = {key: value for key, value in golden["args"].items() if key != "token_projection"}
    return options | (SIX_TO_THREE if options.get("dd_in") == 6 else {})


def random_tiny(**options):
    """A small network in which every parameter matters."""
    torch.manual_seed(0)
    net = Uformer(**(TINY | options))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else parameter[0].numel() ** -0.5)
    return net.eval()


@pytest.mark.parametrize(
    ("golden", "dtype"),
    [
        pytest.param(golden, dtype, id=f"{golden['id']}-{dtype}")
        for golden in cases("networks", network="Uformer")
        for dtype in (torch.float32, torch.float64)
        if dtype == torch.float32 or golden["args"]["img_size"] == 64  # depthwise convolutions in float64 are slow
    ],
)
def test_equals_the_official_network(golden, dtype):
    net = fill(Uformer(**options_of(golden))).to(dtype)
    check_state(net, golden)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    features = net.features(inputs["x"])
    restored = net.reconstruct(features[-1], inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_output(features[-1], golden["out"]["feature"])
    check_gradients(golden, inputs, {"out": restored})
    assert [feature.shape[1] for feature in features] == net.channels
    with torch.no_grad():  # attention through the fused kernel
        check_output(net(inputs["x"]), golden["out"]["out"])


# ---------------------------------------------------------------------------------------------------------- halves


def fill_halves(golden, **options):
    """A filled network without image residual, its decoder without shifts, and its state under the case's names."""
    net = Uformer(**(options_of(golden) | {"out_channels": 3, "image_residual": False} | options))
    halves = {"encoder." + key if key.startswith(ENCODER) else "decoder." + key: key for key in net.to_official()}
    named = {long: net.to_official()[key] for long, key in halves.items()}
    named |= {long: fill_value(long, value.shape) for long, value in named.items() if is_filled(long)}
    net.load_state_dict(net.from_official({halves[long]: value for long, value in named.items()}))
    return net.eval(), named


@precisions
@pytest.mark.parametrize("golden", cases("ifp", name="Uformer_Encoder + Uformer_Decoder"), ids=case_id)
def test_halves_equal_those_that_ifp_trains(golden, dtype):
    net, named = fill_halves(golden, decoder_shift_flag=False)
    check_state(named, golden)
    net.to(dtype)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    maps = net.encode(inputs["x"])
    outputs = {f"enc{level}": encoded.flatten(2).transpose(1, 2) for level, encoded in enumerate(maps)}
    outputs["out"] = net.reconstruct(net.decode(maps)[-1], inputs["x"])
    for name, output in outputs.items():
        check_output(output, golden["out"][name])
    check_gradients(golden, inputs, outputs)


@precisions
def test_halves_with_modulation_between_equal_those_that_degae_trains(dtype):
    golden = case("degae", "degae_uformer_modulated")
    width = golden["args"].pop("degradation_embed_dim")
    net, named = fill_halves(golden, decoder_shift_flag=False)
    layers = [GlobalFeatureModulation(channels, width) for channels in net.channels[:3]]
    layers = [fill(layer, prefix=f"decoder.modulation_layer{index}.").to(dtype) for index, layer in enumerate(layers)]
    for index, layer in enumerate(layers):
        named |= {f"decoder.modulation_layer{index}.{key}": value for key, value in layer.state_dict().items()}
    check_state(named, golden)
    net.to(dtype)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    *skips, feature = net.encode(inputs["x"])
    for stage, skip in enumerate(reversed(skips)):
        feature = net.decode_stage(stage, feature, skip)
        if stage < 3:
            feature = layers[stage](feature, inputs["embedding"].flatten(1), None)
    restored = net.reconstruct(feature, inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})


@pytest.mark.parametrize("golden", cases("ifp", name=["Uformer_Encoder", "Uformer_Decoder"], kind="keys"), ids=case_id)
def test_names_of_the_halves(golden):
    with torch.device("meta"):
        official = Uformer(**options_of(golden)).to_official()
    wanted = golden["name"] == "Uformer_Encoder"
    half = {key: value for key, value in official.items() if key.startswith(ENCODER) == wanted}
    check_state({key: fill_value(key, value.shape) for key, value in half.items() if is_filled(key)}, golden)
    assert len(half) - golden["state"]["keys"] == golden["state"]["kept"]["relative_position_index"]


# -------------------------------------------------------------------------------------------------- official files


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    check_official(name, *PUBLISHED[name], **{"out_channels": 3} | (SIX_TO_THREE if name.endswith("dd_in_6") else {}))


def test_the_index_that_official_files_store():
    index = Uformer(**TINY).to_official()["encoderlayer_0.blocks.0.attn.relative_position_index"]
    place = torch.tensor([(y, x) for y in range(8) for x in range(8)])
    offset = place[:, None] - place[None, :] + 7
    assert torch.equal(index, offset[..., 0] * 15 + offset[..., 1])
    assert index.dtype == torch.int64


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"win_size": 4, "mlp_ratio": 2.0, "qkv_bias": False, "modulator": False},
        {"token_mlp": "mlp", "out_channels": 64, "image_residual": False},
        {"img_size": 32, **SIX_TO_THREE},
    ],
)
def test_recognise_deduces_what_a_file_holds(options):
    net = Uformer(**(TINY | options))
    recognised = Uformer(**Uformer.recognise(net.to_official())).options
    net.options["out_channels"] = net.out_channels
    if options.get("win_size") == 4:  # all windows are alike: nothing tells the size of the crops
        net.options["img_size"] = 128
    assert recognised == net.options


def test_recognise_leaves_other_networks_alone():
    assert Uformer.recognise({}) is None
    assert Uformer.recognise(create_backbone("nafnet_tiny").to_official()) is None
    halves = Uformer(**TINY).to_official()
    assert Uformer.recognise({key: value for key, value in halves.items() if key.startswith(ENCODER)}) is None


# ------------------------------------------------------------------------------------------------------ img_size


def test_img_size_decides_what_is_shifted():
    small, large = (random_tiny(img_size=size, depths=[1, 1, 1, 1, 2, 1, 1, 1, 1]) for size in (128, 256))
    assert small.state_dict().keys() == large.state_dict().keys()
    assert [block.shift for block in small.conv.blocks] == [0, 0]
    assert [block.shift for block in large.conv.blocks] == [0, 4]
    image = torch.rand(1, 3, 128, 128)
    assert not torch.allclose(small(image), large(image))
    assert Uformer(**TINY).conv.blocks[0].side == 4


@pytest.mark.parametrize("options", [{}, {"modulator": False, "token_mlp": "mlp"}, {"decoder_shift_flag": False}])
def test_equals_the_textbook_formulation(options):
    net = random_tiny(**options).double()
    check_same_function(net, Textbook(**net.options).double(), torch.rand(2, 3, 64, 64, dtype=torch.float64))


# --------------------------------------------------------------------------------------------------------- any size


@pytest.mark.parametrize("square", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (37, 61), (64, 65), (70, 30)])
def test_any_size(size, square):
    net = Uformer(**TINY, square=square).eval()
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert net(image).shape == image.shape


@pytest.mark.parametrize(("img_size", "multiple"), [(16, 16), (64, 64), (96, 192), (128, 128), (256, 128)])
def test_sides_divide_into_windows_at_every_level(img_size, multiple):
    net = Uformer(**(TINY | {"img_size": img_size})).eval()
    assert net.size_multiple == multiple
    with torch.no_grad():
        assert net(torch.rand(1, 3, multiple, multiple)).shape[-1] == multiple


def test_padding_is_centred_in_a_square_of_zeros():
    net = create_backbone("uformer_t")
    assert net.padding(720, 1280) == (0, 0, 280, 280)
    assert net.padding(321, 481) == (15, 16, 95, 96)
    assert net.padding(256, 256) == (0, 0, 0, 0)
    image = torch.rand(1, 3, 100, 128)
    assert torch.equal(net.pad(image), pad(image, 0, 0, 14, 14, mode="zeros"))


def test_a_rectangle_is_the_smallest_that_fits():
    net = create_backbone("uformer_t", square=False)
    assert net.padding(720, 1280) == (0, 0, 24, 24)
    assert net.padding(256, 300) == (42, 42, 0, 0)


def test_square_and_rectangle_differ_by_their_padding_only():
    square, rectangle = random_tiny(), random_tiny(square=False)
    rectangle.load_state_dict(square.state_dict())
    wide = torch.rand(1, 3, 64, 128)
    by_hand = square.features(pad(wide, 0, 0, 32, 32, mode="zeros"))[-1]
    by_hand = square.reconstruct(by_hand, pad(wide, 0, 0, 32, 32, mode="zeros"))[..., 32:96, :]
    torch.testing.assert_close(square(wide), by_hand)
    assert torch.equal(rectangle.pad(wide), wide)
    assert (square(wide) - rectangle(wide)).abs().mean() < 0.5 * square(wide).std()
    whole = torch.rand(1, 3, 64, 64)
    assert torch.equal(square(whole), rectangle(whole))


def test_strips_change_nothing(monkeypatch):
    net = random_tiny()
    image = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        whole = net(image)
        monkeypatch.setattr("gesso.functional.row_chunks.STRIP", 20_000)
        torch.testing.assert_close(net(image), whole, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------------- behaviour


def test_drop_path_is_random_in_training_and_off_in_evaluation():
    net = random_tiny(drop_path_rate=0.5)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(net(image), net(image))
        assert torch.equal(net(image), random_tiny(drop_path_rate=0.0)(image))
        net.train()
        assert not torch.equal(net(image), net(image))


def test_drop_path_rises_to_the_bottleneck_and_falls():
    net = Uformer(**TINY)
    rates = [
        block.drop_path.prob for stage in net.modules() if type(stage).__name__ == "Stage" for block in stage.blocks
    ]
    assert rates == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02, 0][: len(rates)])


def test_a_dropped_branch_keeps_its_mean():
    (block, *_) = Uformer(**TINY, drop_path_rate=0.3).conv.blocks
    torch.manual_seed(0)
    dropped = block.train().drop_path(torch.ones(20_000, 1, 1, 1))
    assert set(dropped.flatten().tolist()) == {0.0, dropped.max().item()}
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_replaced_last_convolution():
    net = Uformer(**TINY)
    net.replace_last(64, image_residual=False)
    assert net.output_proj(torch.rand(1, 8, 16, 16)).shape == (1, 64, 16, 16)
    assert {key for key in net.state_dict() if net.is_head(key)} == {
        "output_proj.proj.0.weight",
        "output_proj.proj.0.bias",
    }
    assert net.twin().state_dict().keys() == net.state_dict().keys()


def test_maps_stay_channels_last():
    net = Uformer(**TINY).eval()
    assert all(
        feature.is_contiguous(memory_format=torch.channels_last) for feature in net.features(torch.rand(2, 3, 64, 128))
    )


def test_an_evaluation_does_not_disturb_training():
    net = Uformer(**TINY)
    image = torch.rand(1, 3, 64, 192)
    with torch.inference_mode():
        net(image)
    net(image).mean().backward()


def test_compiles_without_a_graph_break_and_still_runs():
    stage = random_tiny().encoderlayer_0
    feature = torch.rand(1, 4, 24, 24)  # a size that no other test puts into the cache of windows
    compiled = torch.compile(stage, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(feature), stage(feature))


def test_tiny_is_small():
    assert sum(parameter.numel() for parameter in create_backbone("uformer_tiny").parameters()) < 1e6


def test_options_that_cannot_be_are_named():
    with pytest.raises(ValueError, match="nine numbers"):
        Uformer(depths=[2, 2, 2])
    with pytest.raises(ValueError, match="token_mlp"):
        Uformer(token_mlp="fastleff")
    with pytest.raises(ValueError, match="image_residual"):
        Uformer(dd_in=6, out_channels=3)
    with pytest.raises(ValueError, match="img_size"):
        Uformer(img_size=8)
    with pytest.raises(ValueError, match="num_heads: expected divisors"):
        Uformer(**(TINY | {"num_heads": [3] * 9}))
