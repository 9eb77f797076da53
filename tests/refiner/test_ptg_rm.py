"""The refiner: the published numbers, the cheap forms beside the plain ones, and what the options mean."""

import pytest
import torch
import yaml
from torch.nn import functional as F

from gesso import _discovery
from gesso.functional.memory import peak_bytes
from gesso.functional.snr import snr_map
from gesso.refiner.ptg_rm import ABLATIONS, PTGRM, guided_conv, per_pixel_depthwise
from tests._golden import case, case_id, cases, check_gradients, check_manifest, check_output, check_state, fill
from tests._golden import make_inputs as inputs_of

SMALL = {"prior_dim": 6, "width": 4}


def small(**options) -> PTGRM:
    """A refiner with weights that show."""
    torch.manual_seed(0)
    refiner = PTGRM(**{**SMALL, **options})
    torch.nn.init.normal_(refiner.conv_last3.weight, std=0.2)
    return refiner.eval()


def images(height=8, width=12, batch=2, prior_dim=6):
    generator = torch.Generator().manual_seed(1)
    restored = 1.5 * torch.rand(batch, 3, height, width, generator=generator) - 0.25
    degraded = torch.rand(batch, 3, height, width, generator=generator)
    return restored, degraded, F.normalize(torch.randn(batch, prior_dim, generator=generator), dim=1)


def unfolded(feature, kernel):
    """The per-pixel convolution as its authors write it: every neighbourhood laid out."""
    batch, channels, height, width = feature.shape
    patches = F.unfold(F.pad(feature, (1, 1, 1, 1), mode="replicate"), 3).view(batch, channels, 9, height, width)
    return (patches * kernel.view(batch, channels, 9, height, width)).sum(2)


# --------------------------------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("golden", cases("ptg_rm", kind="module"), ids=case_id)
def test_equals_the_official_refiner(golden, dtype):
    refiner = fill(PTGRM())
    check_state(refiner, golden)
    inputs = inputs_of(golden, dtype, requires_grad=True)
    refined = refiner.to(dtype)(inputs["restored"], inputs["degraded"], inputs["prior"])
    check_output(refined, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": refined})


def test_names_shapes_and_size_are_the_published_ones():
    refiner = PTGRM(512)
    check_manifest(refiner.state_dict(), "PTG_RM_refinement2")
    assert sum(p.numel() for p in refiner.parameters()) == 671_735


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equals_the_official_per_pixel_convolution(dtype):
    golden = case("ptg_rm", "ptgrm_per_pixel_kernel")
    inputs = inputs_of(golden, dtype, requires_grad=True)
    out = per_pixel_depthwise(inputs["feature"], inputs["kernel"])
    check_output(out, golden["out"]["out"])
    check_gradients(golden, inputs, {"out": out})


RECIPES = sorted(_discovery.ROOT.glob("recipes/refine/*.yaml"))


PAGE = _discovery.ROOT.parent / "docs" / "methods" / "ptg_rm.md"


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_less_than_a_million_parameters(recipe, ablation):
    options = yaml.safe_load(recipe.read_text())
    prior_dim = 0 if ablation == "larger" else 512
    refiner = PTGRM(**{"prior_dim": prior_dim, **ABLATIONS[ablation]} | options.get("refiner_args", {}))
    count = sum(p.numel() for p in refiner.parameters())
    assert count < 1_000_000
    if ablation == "full":
        assert f"{count:,} parameters" in recipe.read_text()
    if recipe.stem == "ptg_rm":
        assert f"{count:,}" in PAGE.read_text()


# -------------------------------------------------------------------------------------------------------- cheap forms


def test_nine_shifted_products_need_less_memory_than_neighbourhoods_side_by_side():
    feature, kernel = torch.rand(1, 16, 32, 32), torch.rand(1, 144, 32, 32)
    torch.testing.assert_close(per_pixel_depthwise(feature, kernel), unfolded(feature, kernel))
    shifted, plain = (peak_bytes(lambda f=form: f(feature, kernel)) for form in (per_pixel_depthwise, unfolded))
    assert shifted < 4.5 * feature.nbytes
    assert plain > 17 * feature.nbytes


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (3, 4), (7, 6)])
def test_a_prior_that_is_not_laid_out_counts_like_one_that_is(size):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3 + 5 + 2, 4, 3, padding=1, bias=False).double()
    feature, described, placed = torch.rand(2, 3, *size), torch.rand(2, 5), torch.rand(1, 2, *size)
    feature, described, placed = feature.double(), described.double(), placed.double()
    laid_out = described[:, :, None, None].expand(-1, -1, *size)
    expected = conv(torch.cat([feature, laid_out, placed.expand(2, -1, -1, -1)], 1))
    torch.testing.assert_close(guided_conv(conv, feature, described, placed), expected)


# ------------------------------------------------------------------------------------------------------------ meaning


@pytest.mark.parametrize("image_mask", [False, True])
def test_an_untrained_refiner_returns_the_clamped_restored_image(image_mask):
    restored, degraded, prior = images()
    refined = PTGRM(**SMALL, image_mask=image_mask)(restored, degraded, prior)
    torch.testing.assert_close(refined, restored.clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 9), (17, 8)])
def test_sizes_that_four_does_not_divide(size):
    refiner, (restored, degraded, prior) = small(), images(*size)
    refined = refiner(restored, degraded, prior)
    assert refined.shape == restored.shape
    assert torch.isfinite(refined).all()


def test_what_is_padded_is_mirrored():
    refiner, (restored, degraded, prior) = small(), images(7, 12)
    mirrored = [torch.cat([image, image[:, :, -2:-1]], 2) for image in (restored, degraded)]
    torch.testing.assert_close(refiner(restored, degraded, prior), refiner(*mirrored, prior)[:, :, :7])


def test_the_prior_decides():
    refiner, (restored, degraded, prior) = small(), images()
    assert not torch.allclose(refiner(restored, degraded, prior), refiner(restored, degraded, prior.flip(0)))


def test_the_mean_stands_in_for_an_absent_prior():
    refiner, (restored, degraded, prior) = small(), images()
    refiner.mean_prior = prior[0]
    torch.testing.assert_close(refiner(restored, degraded), refiner(restored, degraded, prior[:1].expand(2, -1)))


def test_the_two_signs_of_the_mask_swap_the_branches():
    code, paper = small(), small(mask_sign="paper")
    feature, prior = torch.rand(1, 4, 3, 3), images(batch=1)[2]
    both = code.transformer(feature) + code.resnet(feature)
    torch.testing.assert_close(code.enhance(feature, prior) + paper.enhance(feature, prior), both)
    assert not torch.allclose(code.enhance(feature, prior), paper.enhance(feature, prior))


def test_the_image_mask_mixes_the_degraded_image_in():
    refiner, (restored, degraded, prior) = PTGRM(**SMALL, image_mask=True), images()
    torch.nn.init.zeros_(refiner.conv_mask.bias)
    torch.testing.assert_close(refiner(restored, degraded, prior), degraded)


LEFT_OUT = {name: options for name, options in ABLATIONS.items() if name not in ("full", "larger")}
LEFT_OUT["no prior"] = {"prior_dim": 0}
LEFT_OUT["nothing of it"] = {name: value for name, value in ABLATIONS["larger"].items() if name != "width"}


@pytest.mark.parametrize("options", LEFT_OUT.values(), ids=LEFT_OUT)
def test_ablations_use_all_of_their_parameters_and_have_fewer(options):
    refiner, (restored, degraded, prior) = small(**options), images()
    prior = prior[:, :, None, None].expand(-1, -1, 3, 5) if options.get("concat") == "map" else prior
    refiner(restored, degraded, prior).square().mean().backward()
    unused = [name for name, parameter in refiner.named_parameters() if parameter.grad is None]
    assert unused == []
    assert sum(p.numel() for p in refiner.parameters()) < sum(p.numel() for p in small().parameters())


def test_the_map_of_signal_and_noise_weighs_the_branches():
    refiner, (_, degraded, prior) = small(mask="snr"), images()
    feature = torch.rand(2, 4, 2, 3)
    signal = snr_map(degraded)[..., ::4, ::4]
    expected = refiner.transformer(feature) * (1 - signal) + refiner.resnet(feature) * signal
    torch.testing.assert_close(refiner.enhance(feature, prior, degraded), expected)
    assert not any(name.startswith(("r1_mask", "mapp_space1.")) for name, _ in refiner.named_parameters())


def test_a_concatenated_prior_is_part_of_the_map_and_guides_nothing_else():
    vector, _ = small(**ABLATIONS["concat_1d"]), None
    both, (restored, degraded, prior) = small(**ABLATIONS["concat_2d"]), images()
    both.load_state_dict(vector.state_dict())
    laid_out = prior[:, :, None, None]
    torch.testing.assert_close(
        both(restored, degraded, laid_out.expand(-1, -1, 2, 3)), vector(restored, degraded, prior)
    )
    torch.testing.assert_close(both(restored, degraded, laid_out), vector(restored, degraded, prior))
    assert not torch.allclose(vector(restored, degraded, prior), vector(restored, degraded, -prior))
    uneven = torch.rand(2, 6, 2, 3)
    assert not torch.allclose(both(restored, degraded, uneven), both(restored, degraded, uneven.flip(3)))
    vector.mean_prior = both.mean_prior = prior[0]
    torch.testing.assert_close(both(restored, degraded), vector(restored, degraded))


def test_feature_maps_are_not_clamped():
    refiner = PTGRM(**SMALL, out_channels=5, clamp=False)
    feature, degraded, prior = 4 * torch.randn(2, 5, 8, 12), *images()[1:]
    torch.testing.assert_close(refiner(feature, degraded, prior), feature)


def test_grey_and_dual_pixel_images():
    prior = images()[2]
    assert small(in_channels=1, out_channels=1)(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), prior).shape[1] == 1
    assert small(in_channels=6)(torch.rand(2, 3, 8, 8), torch.rand(2, 6, 8, 8), prior).shape[1] == 3


def test_mixed_precision_comes_near():
    refiner, (restored, degraded, prior) = small(), images(16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = refiner(restored, degraded, prior)
    mixed.float().square().mean().backward()
    torch.testing.assert_close(mixed.float(), refiner(restored, degraded, prior), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda restored, degraded, prior: (restored, degraded, prior[:, :5]), r"expected \(2, 6\), got \(2, 5\)"),
        (lambda restored, degraded, prior: (restored, degraded, prior[:1]), r"expected \(2, 6\), got \(1, 6\)"),
        (lambda restored, degraded, prior: (restored, degraded), "holds no mean"),
        (lambda restored, degraded, prior: (restored[..., 1:], degraded, prior), "of the size of the degraded one"),
    ],
)
def test_what_does_not_fit_is_said(change, message):
    with pytest.raises(ValueError, match=message):
        small()(*change(*images()))


def test_bad_options_are_said():
    with pytest.raises(ValueError, match="concat: a prior that is merely concatenated guides nothing else"):
        PTGRM(concat="map")
    with pytest.raises(ValueError, match="mask: expected learned or snr"):
        PTGRM(mask="none")
    with pytest.raises(ValueError, match="mask_sign: expected code or paper"):
        PTGRM(mask_sign="left")
    with pytest.raises(ValueError, match="image_mask: mixes"):
        PTGRM(image_mask=True, in_channels=6)
