"""SwinIR: the official numbers, names, buffers and sizes; what DCPT and DegAE make of it; any size, any precision."""

import pytest
import torch

from benchmarks.textbook.swinir import Textbook
from gesso.backbones import create_backbone, swinir
from gesso.backbones.swinir import SwinIR
from gesso.functional.padding import pad
from tests._golden import (
    case,
    case_id,
    cases,
    check_gradients,
    check_official,
    check_output,
    check_state,
    fill,
    make_input,
    make_inputs,
)
from tests._networks import check_same_function

TINY = {"img_size": 32, "depths": [2, 2], "embed_dim": 12, "num_heads": [2, 3]}
HEADS = {
    "": 1, "pixelshuffle": 2, "pixelshuffledirect": 3, "nearest+conv": 4,
}  # fmt: skip
PUBLISHED = {  # official state dict -> our variant, parameters
    "SwinIR_SwinIR_color_dn": ("swinir_color_dn", 11_504_163),
    "SwinIR_gray_dn": ("swinir_gray_dn", 11_497_681),
    "SwinIR_jpeg_color": ("swinir_jpeg_color", 11_492_067),
    "SwinIR_jpeg_gray": ("swinir_jpeg_gray", 11_485_585),
    "SwinIR_classical_x2_s48": ("swinir_classical_x2", 11_752_487),
    "SwinIR_classical_x3_s48": ("swinir_classical_x3", 11_937_127),
    "SwinIR_classical_x4_s48": ("swinir_classical_x4", 11_900_199),
    "SwinIR_classical_x8_s48": ("swinir_classical_x8", 12_047_911),
    "SwinIR_classical_x2_s64": ("swinir_classical_x2", 11_752_487),
    "SwinIR_classical_x3_s64": ("swinir_classical_x3", 11_937_127),
    "SwinIR_classical_x4_s64": ("swinir_classical_x4", 11_900_199),
    "SwinIR_classical_x8_s64": ("swinir_classical_x8", 12_047_911),
    "SwinIR_light_x2": ("swinir_light_x2", 910_152),
    "SwinIR_light_x3": ("swinir_light_x3", 918_267),
    "SwinIR_light_x4": ("swinir_light_x4", 929_628),
    "SwinIR_real_sr_M_x4": ("swinir_real_sr_m_x4", 11_715_559),
    "SwinIR_real_sr_L_x4": ("swinir_real_sr_l_x4", 28_013_059),
    "DCPT_DCPT_SwinIR": ("swinir_dcpt", 11_455_563),
}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


def dcpt_options(golden):
    """Our options for the arguments of DCPT's class."""
    arguments = {key: value for key, value in golden.items() if key != "patch_size"}
    return arguments | {"position_bias": False, "shift_mask": False, "drop_path_rate": 0.0}


def random_tiny(**options):
    """A small network in which every parameter matters."""
    torch.manual_seed(0)
    net = SwinIR(**(TINY | options))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else parameter[0].numel() ** -0.5)
    return net.eval()


@precisions
@pytest.mark.parametrize("golden", cases("networks", network="SwinIR"), ids=case_id)
def test_equals_the_official_network(golden, dtype):
    net = fill(SwinIR(**golden["args"])).to(dtype)
    check_state(net, golden)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    restored = net(inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})
    features = net.features(net.pad(inputs["x"]))
    check_output(features[-1], golden["out"]["feature"])
    assert [feature.shape[1] for feature in features] == net.channels


@precisions
def test_equals_the_network_of_dcpt(dtype):
    golden = case("dcpt", "dcpt_swinir")
    net = fill(SwinIR(**dcpt_options(golden["args"]))).to(dtype)
    check_state(net, golden)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    restored = net(inputs["x"])
    check_output(restored, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": restored})


@precisions
def test_stages_are_those_that_dcpt_classifies(dtype):
    golden = case("dcpt", "dcpt_joint_swinir")
    net = fill(SwinIR(**dcpt_options(golden["args"]["net"])), prefix="net_g.").to(dtype)
    features = net.features(make_inputs(golden, dtype)["x"])
    stages = [features[index] for index in net.stages]
    assert len(stages) == 3
    for index, feature in enumerate(reversed(stages)):
        check_output(feature.flatten(2).transpose(1, 2), golden["out"][f"feature{index}"])


@precisions
def test_body_is_the_encoder_of_degae(dtype):
    golden = case("degae", "degae_swinir_backbone")
    options = {key: value for key, value in golden["args"].items() if key != "global_residual"}
    net = fill(SwinIR(**options)).to(dtype)
    check_state(net, golden)
    image = make_input(golden, dtype)
    feature = net.body(net.conv_first(net.pad(image)))[-1]
    check_output(feature[..., : image.shape[-2], : image.shape[-1]], golden["out"]["out"])
    encoder = net.encoder_for(12)
    check_state(encoder, golden)
    check_output(encoder.to(dtype)(image), golden["out"]["out"])
    assert encoder.out_channels == encoder.channels[-1] == 12


def test_the_body_alone_has_no_last_convolution():
    net = SwinIR(**TINY, body_only=True)
    net.replace_last(net.encoder_channels, image_residual=False)
    net(torch.rand(1, 3, 9, 13)).mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters() if parameter.requires_grad)
    with pytest.raises(ValueError, match="12 channels of the body and no image is added; asked for 64"):
        net.replace_last(64, image_residual=False)
    with pytest.raises(ValueError, match="body_only: expected no upsampler"):
        SwinIR(**TINY, body_only=True, upscale=2, upsampler="pixelshuffle")
    assert SwinIR(**TINY).encoder_for(64).out_channels == 3


@pytest.mark.parametrize("upsampler", ["pixelshuffle", "pixelshuffledirect", "nearest+conv"])
def test_dcpt_leaves_an_enlarged_image_as_the_last_convolution_returns_it(upsampler):
    net = random_tiny(upscale=2, upsampler=upsampler, img_range=255.0).double()
    dcpt = SwinIR(**TINY, upscale=2, upsampler=upsampler, img_range=255.0, position_bias=False, shift_mask=False)
    dcpt = dcpt.double()
    feature = torch.randn(1, dcpt.channels[-1], 16, 16, dtype=torch.float64)
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    dcpt.head_conv.load_state_dict(net.head_conv.state_dict())
    mean = net.get_buffer("mean")
    torch.testing.assert_close(dcpt.reconstruct(feature, image), (net.reconstruct(feature, image) - mean) * 255)


# -------------------------------------------------------------------------------------------------- official files


@pytest.mark.parametrize("name", PUBLISHED)
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    check_official(name, *PUBLISHED[name], **({"img_size": 64} if name.endswith("s64") else {}))


@pytest.mark.parametrize("upsampler", HEADS)
def test_a_file_written_and_read_is_the_same(upsampler):
    net = SwinIR(**TINY, upsampler=upsampler, upscale=HEADS[upsampler])
    written = net.to_official()
    again = SwinIR(**SwinIR.recognise(written))
    again.load_state_dict(SwinIR.from_official(written))
    returned = again.to_official()
    assert returned.keys() == written.keys()
    for key, value in written.items():
        assert torch.equal(returned[key].view(torch.uint8), value.view(torch.uint8)), key


def test_official_mask_keeps_opposite_borders_apart():
    state = SwinIR(**TINY).to_official()
    mask = state["layers.0.residual_group.blocks.1.attn_mask"].view(4, 4, 8, 8, 8, 8)
    assert not mask[:3, :3].any()  # windows that the shift left whole
    right = mask[0, 3]
    assert (right[0, 0, 0, 3], right[0, 0, 0, 4]) == (0, -100)  # columns 28 to 31 of the image, then 0 to 3
    assert (right[0, 0, 7, 3], right[7, 7, 7, 4]) == (0, 0)
    assert (mask[3, 3, 0, 0, 3, 3], mask[3, 3, 0, 0, 4, 0], mask[3, 3, 0, 0, 0, 4]) == (0, -100, -100)
    assert set(mask.unique().tolist()) == {0.0, -100.0}
    index = state["layers.0.residual_group.blocks.0.attn.relative_position_index"]
    assert (index[0, 0], index[63, 0], index[0, 63]) == (7 * 15 + 7, 14 * 15 + 14, 0)  # one offset, one row


def test_files_of_other_networks_are_not_recognised():
    assert SwinIR.recognise(create_backbone("restormer_tiny").state_dict()) is None


# ----------------------------------------------------------------------------------------------------- computation


@pytest.mark.parametrize("upsampler", HEADS)
def test_equals_the_textbook_in_training(upsampler):
    net = random_tiny(upsampler=upsampler, upscale=HEADS[upsampler]).double()
    image = torch.rand(2, 3, 24, 40, dtype=torch.float64)
    check_same_function(net, Textbook(**net.options).double(), image, tolerance=1e-7)  # its mask of -100 leaks a little


def test_dcpt_equals_the_textbook_in_training():
    net = random_tiny(position_bias=False, shift_mask=False).double()
    textbook = Textbook(**net.options).double()
    textbook.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(net(image), textbook(image))


def test_img_size_does_not_change_the_function():
    small, large = random_tiny(img_size=32), random_tiny(img_size=128)
    image = torch.rand(1, 3, 48, 40)
    assert torch.equal(small(image), large(image))


@pytest.mark.parametrize("upsampler", HEADS)
@pytest.mark.parametrize("size", [(37, 61), (5, 3), (8, 8)])
def test_any_size(upsampler, size):
    net = random_tiny(upsampler=upsampler, upscale=HEADS[upsampler])
    restored = net(torch.rand(1, 3, *size))
    assert restored.shape == (1, 3, *(side * net.scale for side in size))
    assert restored.isfinite().all()


def test_ape_fits_other_sizes():
    net = random_tiny(ape=True)
    assert net(torch.rand(1, 3, 24, 48)).isfinite().all()


def test_images_of_a_batch_do_not_mix():
    net = random_tiny().double()
    images = torch.rand(3, 3, 24, 16, dtype=torch.float64)
    torch.testing.assert_close(net(images), torch.cat([net(image[None]) for image in images]))


@pytest.mark.parametrize("precision", ["weights", "autocast"])
def test_bfloat16_is_close_to_float32(precision):
    net, image = random_tiny(), torch.rand(1, 3, 32, 32)
    expected = net(image)
    if precision == "weights":
        restored = random_tiny().bfloat16()(image.bfloat16()).float()
    else:
        with torch.autocast("cpu", torch.bfloat16):
            restored = net(image)
    assert (restored - expected).std() < 0.03 * expected.std()


def test_evaluation_then_training():
    net, image = random_tiny().double(), torch.rand(1, 3, 40, 56, dtype=torch.float64)
    with torch.inference_mode():
        evaluated = net(image)
    restored = net(image)
    restored.mean().backward()
    torch.testing.assert_close(restored.detach(), evaluated)


def test_zeros_that_fill_up_heads_for_gpus_change_nothing(monkeypatch):
    net, image = random_tiny().double(), torch.rand(1, 3, 16, 24, dtype=torch.float64)
    expected = net(image)
    monkeypatch.setattr(swinir, "spare_channels", lambda channels, device: -channels % 8)
    torch.testing.assert_close(net(image), expected)


def test_stochastic_depth_leaves_out_branches_of_images():
    torch.manual_seed(0)
    net = SwinIR(**(TINY | {"drop_path_rate": 0.5})).train()
    image = torch.rand(1, 3, 16, 16)
    assert not torch.equal(net(image), net(image))
    assert torch.equal(net.eval()(image), net(image))


# ---------------------------------------------------------------------------------------------------- head and seam


def test_a_new_last_convolution_before_a_pixel_shuffle():
    net = random_tiny(upsampler="pixelshuffledirect", upscale=3)
    net.replace_last(64, image_residual=False)
    assert net.head_conv.out_channels == 64 * 9
    assert net(torch.rand(1, 3, 16, 16)).shape == (1, 64, 48, 48)
    assert net.twin().head_conv.out_channels == 64 * 9


def test_the_test_script_pads_a_window_more():
    net = random_tiny()
    image = torch.rand(1, 3, 16, 21)
    plain = net(image)
    net.pad_as_tested()
    assert net.padding(16, 21) == (0, 3, 0, 8)
    mirrored = pad(image, 0, 3, 0, 8, "symmetric")
    tested = net(image)
    torch.testing.assert_close(tested, net.reconstruct(net.features(mirrored)[-1], mirrored)[..., :16, :21])
    assert not torch.allclose(tested, plain, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"upsampler": "bicubic"}, "upsampler"),
        ({"upscale": 2}, "upscale"),
        ({"upsampler": "nearest+conv", "upscale": 3}, "upscale"),
        ({"img_size": 30}, "img_size"),
        ({"depths": [2]}, "num_heads"),
        ({"upsampler": "pixelshuffle", "upscale": 2, "image_residual": True}, "image_residual"),
        ({"out_channels": 64}, "image_residual"),
    ],
)
def test_impossible_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        SwinIR(**(TINY | options))
