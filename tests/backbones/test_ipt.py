"""IPT: the official numbers, names and tasks; images of any size, stitched of patches; any precision."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.textbook.ipt import Textbook
from gesso.backbones import create_backbone
from gesso.backbones.ipt import IPT, cut, join, plan_fast, plan_official
from tests._golden import (
    case_id,
    cases,
    check_gradients,
    check_official,
    check_output,
    check_state,
    fill,
    make_inputs,
    manifest_names,
)
from tests._networks import check_same_function

TINY = {"n_feats": 4, "patch_size": 12, "patch_dim": 3, "num_heads": 3, "num_layers": 1, "rgb_range": 1.0}
PUBLISHED = {  # official state dict -> our variant, parameters
    "IPT_scale_1_q_1": ("ipt_x1", 115_312_731),
    "IPT_scale_2_q_1": ("ipt_x2", 115_460_443),
    "IPT_scale_3_q_1": ("ipt_x3", 115_645_083),
    "IPT_scale_4_q_1": ("ipt_x4", 115_608_155),
    "IPT_scale_2_3_4_1_1_1_q_6": ("ipt_multi", 118_892_394),
    "IPT_deblur_256_8_9": ("ipt_deblur", 115_792_722),
}
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])


def random_tiny(**options):
    """A small network in which every parameter matters."""
    torch.manual_seed(0)
    net = IPT(**(TINY | options))
    for name, parameter in net.named_parameters():
        if "mean" not in name:
            torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() == 1 else parameter[0].numel() ** -0.5)
    return net.eval()


@precisions
@pytest.mark.parametrize("golden", cases("networks", network="IPT"), ids=case_id)
def test_equals_the_official_network(golden, dtype):
    options = {key: value for key, value in golden["args"].items() if key != "dropout_rate"}
    net = fill(IPT(**options, task=golden.get("set_scale", 0))).to(dtype)
    check_state(net, golden)
    inputs = make_inputs(golden, dtype, requires_grad=True)
    image = inputs["x"] / net.rgb_range  # the official network takes and gives images in [0, rgb_range]
    restored = net(image) * net.rgb_range
    check_output(restored, golden["out"]["out"])
    check_output(net.features(image)[-1], golden["out"]["feature"])
    check_gradients(golden, inputs, {"out": restored})


# -------------------------------------------------------------------------------------------------- official files


@pytest.mark.parametrize("name", manifest_names("IPT_"))
def test_official_files_are_recognised_and_return_bit_by_bit(name):
    check_official(name, *PUBLISHED[name])


def test_a_file_written_and_read_is_the_same():
    net = random_tiny(scale=[4, 3, 1], num_queries=2, no_norm=True, rgb_range=255.0)
    written = net.to_official()
    options = IPT.recognise(written)
    assert options == {key: net.options[key] for key in options}
    again = IPT(**options, num_heads=3)
    again.load_state_dict(IPT.from_official(written))
    returned = again.to_official()
    assert returned.keys() == written.keys()
    assert all(torch.equal(returned[key], written[key]) for key in written)


def test_files_of_other_networks_are_not_recognised():
    assert IPT.recognise(create_backbone("swinir_tiny").state_dict()) is None


# ----------------------------------------------------------------------------------------------------- computation


@pytest.mark.parametrize("options", [{}, {"pos_every": True}, {"scale": [2, 1], "num_queries": 2, "task": 1}])
def test_equals_the_textbook_in_training(options):
    net = random_tiny(**options).double()
    check_same_function(net, Textbook(**net.options).double(), torch.rand(2, 3, 12, 12, dtype=torch.float64))


def test_patches_are_those_of_unfold():
    image = torch.rand(2, 5, 12, 18)
    patches = cut(image, 3)
    assert torch.equal(patches.flatten(2).transpose(1, 2), F.unfold(image, 3, stride=3))
    assert torch.equal(join(patches, 6), image)


@pytest.mark.parametrize("precision", ["weights", "autocast"])
def test_bfloat16_is_close_to_float32(precision):
    net, image = random_tiny(), torch.rand(2, 3, 12, 12)
    expected = net(image)
    if precision == "weights":
        restored = random_tiny().bfloat16()(image.bfloat16()).float()
    else:
        with torch.autocast("cpu", torch.bfloat16):
            restored = net(image)
    assert (restored - expected).std() < 0.03 * expected.std()


def test_a_task_has_its_own_head_tail_and_query():
    net = random_tiny(scale=[2, 1, 1], num_queries=3)
    image = torch.rand(1, 3, 12, 12)
    restored = []
    for task in (0, 1, 2):
        net.task = task
        assert net.head_conv is net.tail[task][1]
        restored.append(net(image))
        assert net.twin().task == task
    assert [output.shape[-1] for output in restored] == [24, 12, 12]
    assert not torch.allclose(restored[1], restored[2])
    with pytest.raises(ValueError, match="task: expected 0 to 2, got 3"):
        net.task = 3


def test_layers_begin_alike_and_means_are_not_trained():
    net = create_backbone("ipt_tiny")
    first, second = net.body.encoder["layers"]
    assert torch.equal(first.linear1.weight, second.linear1.weight)
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == {
        f"{shift}_mean.{what}" for shift in ("sub", "add") for what in ("weight", "bias")
    }


def test_fixed_positions_are_not_learnt_and_tell_every_token_apart():
    net = random_tiny()
    fixed = IPT(**TINY, fixed_pos=True)
    table = fixed.body.position_encoding.get_parameter("pe.weight")
    assert not table.requires_grad
    assert fixed.state_dict().keys() == net.state_dict().keys()
    distances = torch.cdist(table, table) + torch.eye(len(table))
    assert table.shape == (16, 36)
    assert distances.min() > 0.1
    assert torch.equal(table[:4, :18], table[:1, :18].expand(4, -1)), "one row: half of the channels"
    assert torch.equal(table[::4, 18:], table[:1, 18:].expand(4, -1)), "one column: the other half"
    assert torch.equal(table[0, :18], torch.tensor([0.0, 1.0] * 9)), "sines and cosines of 0"


def test_task_embeddings_may_be_left_out_alone():
    net = random_tiny(scale=[1, 1], no_task=True)
    assert net.body.query_embed is None
    assert net.body.mlp_head is not None
    net.task = 1
    assert net(torch.rand(1, 3, 12, 12)).shape == (1, 3, 12, 12)
    options = IPT.recognise(net.to_official())
    assert options["no_task"]
    assert not options["no_mlp"]
    assert options["patch_size"] == 12
    assert not IPT.recognise(random_tiny(no_mlp=True).to_official())["no_task"]


# ------------------------------------------------------------------------------------------------------------ seam


def test_patches_side_by_side_go_through_the_seam():
    net = random_tiny(scale=[2], stitch="none")
    image = torch.rand(2, 3, 24, 36)
    features = net.features(image)
    assert [feature.shape[1:] for feature in features] == [(4, 24, 36), (4, 48, 72)]
    assert torch.equal(net(image), net.reconstruct(features[-1], image))
    for y in (0, 12):
        for x in (0, 12, 24):
            deep, enlarged = net.features(image[..., y : y + 12, x : x + 12])
            torch.testing.assert_close(features[0][..., y : y + 12, x : x + 12], deep)
            torch.testing.assert_close(features[1][..., 2 * y : 2 * y + 24, 2 * x : 2 * x + 24], enlarged)


def test_new_last_convolutions_for_every_task():
    net = random_tiny(scale=[2, 1], num_queries=2, task=1)
    net.replace_last(16, image_residual=False)
    assert [tail[1].out_channels for tail in net.tail] == [16, 16]
    assert net(torch.rand(1, 3, 12, 12)).shape == (1, 16, 12, 12)
    assert net.twin().state_dict().keys() == net.state_dict().keys()
    assert all(net.is_head(f"tail.{task}.1.weight") and not net.is_head(f"tail.{task}.0.0.weight") for task in (0, 1))


def test_image_residual():
    net = random_tiny(image_residual=True)
    torch.nn.init.zeros_(net.head_conv.weight)
    torch.nn.init.zeros_(net.head_conv.bias)
    image = torch.rand(1, 3, 12, 12)
    assert torch.equal(net(image), image)


# --------------------------------------------------------------------------------------------------- whole images


@pytest.mark.parametrize("stitch", ["fast", "official", "none"])
@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [(37, 61), (12, 12), (5, 14), (12, 24)])
def test_any_size(stitch, scale, size):
    net = random_tiny(stitch=stitch, scale=[scale])
    image = torch.rand(2, 3, *size)
    restored = net(image)
    assert restored.shape == (2, 3, *(side * scale for side in size))
    assert restored.isfinite().all()
    if size == (12, 12):
        assert torch.equal(restored, net.reconstruct(net.features(image)[-1], image))
    torch.testing.assert_close(net.train()(image), random_tiny(stitch="none", scale=[scale])(image))


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("size", [12, 13, 24, 26, 37])
@pytest.mark.parametrize("plan", [plan_fast, plan_official])
def test_every_pixel_counts_once(plan, size, scale):
    total = torch.zeros(size * scale)
    for strip in plan(size, 12, scale):
        assert strip.source.stop - strip.source.start == 12
        total[strip.target] += strip.weight
    torch.testing.assert_close(total, torch.ones(size * scale))


def averaged(net, piece, axes):
    """Patches of a piece every quarter patch, restored and averaged over their middle halves along some of its axes.

    Along another axis a piece is as long as one patch, all of which counts. Sums and counts of a frame that no middle
    reaches are those of whole patches.
    """
    patch, scale = net.size_multiple, net.scale
    step, height, width = patch // 4, *piece.shape[-2:]
    total, count, rim = (piece.new_zeros(1, 3, height * scale, width * scale) for _ in range(3))
    for y in range(0, height - patch + 1, step):
        for x in range(0, width - patch + 1, step):
            restored = net.train()(piece[..., y : y + patch, x : x + patch])
            rows, columns = (slice(at * scale, (at + patch) * scale) for at in (y, x))
            rim[..., rows, columns] = restored  # the last patch's, where patches overlap
            margins = [step if axis in axes else 0 for axis in (2, 3)]
            inner = [slice(margin * scale, (patch - margin) * scale) for margin in margins]
            middle = [
                slice((at + margin) * scale, (at + patch - margin) * scale)
                for at, margin in zip((y, x), margins, strict=True)
            ]
            total[..., middle[0], middle[1]] += restored[..., inner[0], inner[1]]
            count[..., middle[0], middle[1]] += 1
    return torch.where(count > 0, total / count, rim)


def official_chop(net, image):
    """The official `forward_chop`, stated anew: strips along the borders, the left one put over the upper one."""
    patch, scale = net.size_multiple, net.scale
    step, height, width = patch // 4, *image.shape[-2:]
    rest_y, rest_x = ((side - patch) % step for side in (height, width))
    even_y, even_x = height - rest_y, width - rest_x
    whole = averaged(net, image[..., :even_y, :even_x], axes=(2, 3))
    frame = step * scale
    inside = (..., slice(frame, even_y * scale - frame), slice(frame, even_x * scale - frame))
    middle = whole[inside].clone()
    whole[..., : patch * scale, :] = averaged(net, image[..., :patch, :even_x], axes=(3,))
    whole[..., : patch * scale] = averaged(net, image[..., :even_y, :patch], axes=(2,))
    whole[inside] = middle

    def joined(first, second, axis, rest):
        """The first part up to the middle of the overlap, then the second."""
        overlap = (patch - rest) / 2 * scale
        kept, begin = first.shape[axis] - int(overlap), int(overlap + 0.5)
        return torch.cat([first.narrow(axis, 0, kept), second.narrow(axis, begin, second.shape[axis] - begin)], axis)

    lower = averaged(net, image[..., height - patch :, :even_x], axes=(3,))
    right = averaged(net, image[..., :even_y, width - patch :], axes=(2,))
    corner = averaged(net, image[..., height - patch :, width - patch :], axes=())
    return joined(joined(whole, lower, 2, rest_y), joined(right, corner, 2, rest_y), 3, rest_x)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(48, 48), (60, 96), (61, 131), (107, 59), (97, 72), (120, 49)])
def test_official_stitching_equals_the_authors_everywhere(size, scale):
    net = random_tiny(stitch="official", scale=[scale], patch_size=48, patch_dim=12, num_heads=4, n_feats=1).double()
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(net.eval()(image), official_chop(net, image), rtol=0, atol=1e-12)


def test_the_upper_left_corner_is_that_of_one_patch_as_far_as_the_left_strip_covers_the_upper_one():
    net = random_tiny(stitch="official").double()  # patches of 12
    image = torch.rand(1, 3, 36, 37, dtype=torch.float64)
    restored, alone = net(image), net.train()(image[..., :12, :12])
    torch.testing.assert_close(restored[..., :3, :12], alone[..., :3, :])
    assert not torch.allclose(restored[..., 3:12, :3], alone[..., 3:, :3]), "below it, patches are averaged"


def test_tiles_do_not_depend_on_how_many_run_at_once(monkeypatch):
    net, image = random_tiny(), torch.rand(2, 3, 30, 41)
    expected = net(image)
    monkeypatch.setattr("gesso.backbones.ipt.TILES_AT_ONCE", 0)
    torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"patch_size": 13}, "patch_size"),
        ({"num_heads": 5}, "num_heads"),
        ({"scale": [5]}, "scale"),
        ({"scale": []}, "scale"),
        ({"stitch": "slow"}, "stitch"),
        ({"task": 1}, "task"),
        ({"scale": [2], "image_residual": True}, "image_residual"),
        ({"out_channels": 8, "image_residual": True}, "image_residual"),
    ],
)
def test_impossible_options_are_named(options, word):
    with pytest.raises(ValueError, match=word):
        IPT(**(TINY | options))
