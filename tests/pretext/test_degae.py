"""DegAE: its networks and losses against the official ones, and how its terms meet."""

import pytest
import torch
from torch.nn import functional as F

from gesso.functional.random import ImageGenerators, generator_for
from gesso.pretext._critics import (
    PatchDiscriminator,
    VGGDiscriminator,
    VGGFeatures,
    adversarial_losses,
    blurred_mse,
    judge_frozen,
    load_frozen,
    realism,
)
from gesso.pretext._representor import DegradationRepresentor, SuperResolver
from gesso.pretext.degae import DegAE
from tests._golden import case_id, cases, check_gradients, check_output, check_state, fill, make_inputs
from tests.pretext._plain import Plain

SMALL = {"representor_width": 4, "representor_blocks": 4, "decoder_width": 8}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def batch(size=2, side=32):
    return {"image": torch.rand(size, 2, 3, side, side, generator=generator_for(0))}


@DTYPES
@pytest.mark.parametrize("case", cases("degae", name="DeepDegradationEncoder_v2"), ids=case_id)
def test_equals_the_official_representor(case, dtype):
    representor = fill(DegradationRepresentor(case["args"]["nf"], case["args"]["nb"]))
    check_state(representor, case)
    inputs = make_inputs(case, dtype, requires_grad=True)
    representor.to(dtype)
    outputs = {"out": representor(inputs["x"])[..., None, None]}
    check_output(outputs["out"], case["out"]["out"])
    check_output(representor.DDR_extractor(inputs["x"]), case["out"]["extractor_block_last"])
    check_gradients(case, inputs, outputs)


def test_published_size_of_the_representor():
    representor = DegradationRepresentor()
    assert sum(p.numel() for p in representor.parameters()) == 5_058_947
    representor.DDR_extractor.requires_grad_(False)
    assert sum(p.numel() for p in representor.parameters() if p.requires_grad) == 3_541_376


@DTYPES
@pytest.mark.parametrize("case", cases("degae", name="NLayerDiscriminator"), ids=case_id)
def test_equals_the_official_discriminator(case, dtype):
    args = case["args"]
    discriminator = fill(PatchDiscriminator(args["input_nc"], args["ndf"], args["n_layers"]))
    check_state(discriminator, case)
    inputs = make_inputs(case, dtype, requires_grad=True)
    outputs = {"out": discriminator.to(dtype)(inputs["x"])}
    check_output(outputs["out"], case["out"]["out"])
    check_gradients(case, inputs, outputs)


def test_published_size_of_the_discriminator():
    assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_765_633


@DTYPES
@pytest.mark.parametrize("case", cases("degae", name="adversarial loss"), ids=case_id)
def test_equals_the_official_adversarial_loss(case, dtype):
    inputs = make_inputs(case, dtype, requires_grad=True)
    generated, real = inputs["p"], inputs["q"]
    form = case["args"]["form"].split("_")[-1]
    if form == "ragan":
        terms = {
            "generator": adversarial_losses(form, generated, real, for_generator=True),
            "discriminator": adversarial_losses(form, generated, real, for_generator=False),
        }
    else:
        terms = {"real": realism(form, generated, real=True), "fake": realism(form, generated, real=False)}
    outputs = terms | {"loss": torch.stack(list(terms.values())).sum()}
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


@DTYPES
@pytest.mark.parametrize("case", cases("degae", name="mean squared error after a 5x5 Gaussian"), ids=case_id)
def test_equals_the_official_blurred_error(case, dtype):
    inputs = make_inputs(case, dtype, requires_grad=True)
    outputs = {"loss": blurred_mse(inputs["x"], inputs["y"])}
    # the published Gaussian is made of float32 numbers, also in the float64 case
    check_output(outputs["loss"], case["out"]["loss"], slack=2)
    check_gradients(case, inputs, outputs, slack=2)


def test_one_draw_serves_both_images_and_the_embedding_of_the_second():
    degae = DegAE(Plain(), **SMALL, degradation={"name": "degae", "clean_prob": 0.0, "gaussian_prob": 1.0})
    image = batch(1)["image"][:, :1].expand(-1, 2, -1, -1, -1)
    degraded, target = degae.degrade(image, generator_for(3))
    assert degraded.shape == target.shape == image.shape
    assert not torch.equal(degraded, target)
    embedding = degae.representor(target.flatten(0, 1)).unflatten(0, (-1, 2))
    assert degae.transfer(degraded, embedding[:, 1], generator_for(0)).shape == image.shape


def test_terms_add_up():
    degae = DegAE(Plain(), **SMALL, pixel_weight=0.5, embedding_weight=2.0, adversarial_weight=0.1)
    losses = degae(batch(), generator_for(0))
    assert set(losses) == {"loss", "pixel", "embedding", "generator", "discriminator"}
    expected = 0.5 * losses["pixel"] + 2 * losses["embedding"] + 0.1 * losses["generator"] + losses["discriminator"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_discriminator_and_generator_do_not_reach_each_other():
    degae = DegAE(Plain(), **SMALL, adversarial_weight=1.0)
    transferred = torch.rand(2, 3, 32, 32, requires_grad=True)
    degraded = torch.rand(2, 3, 32, 32)
    weights = list(degae.discriminator.parameters())
    fooled = degae.fooled(degae.discriminator, transferred, degraded)
    of_generator = torch.autograd.grad(fooled, [transferred, *weights], allow_unused=True)
    assert of_generator[0].any()
    assert all(gradient is None for gradient in of_generator[1:])
    told_apart = degae.told_apart(degae.discriminator, transferred, degraded)
    of_discriminator = torch.autograd.grad(told_apart, [transferred, *weights], allow_unused=True)
    assert of_discriminator[0] is None
    assert all(gradient is not None for gradient in of_discriminator[1:])


def test_the_discriminator_has_its_head_start_and_the_generator_its_turns():
    degae = DegAE(Plain(), **SMALL, adversarial_weight=1.0, head_start=3, generator_every=2)
    image, learnt = batch(1)["image"], []
    for step in range(8):
        degae.zero_grad()
        degae({"image": image}, ImageGenerators([generator_for(0)], generator_for(1), step))["loss"].backward()
        assert all(p.grad is not None for p in degae.discriminator.parameters())
        learnt.append([p.grad is not None for p in degae.backbone.parameters()])
    assert [all(some) for some in learnt] == [any(some) for some in learnt]
    assert [step for step, some in enumerate(learnt, 1) if any(some)] == [4, 6, 8]


def test_a_discriminator_of_whole_crops():
    assert VGGDiscriminator()(torch.rand(2, 3, 128, 128)).shape == (2, 1)
    degae = DegAE(Plain(), **SMALL, adversarial_weight=1.0, discriminator="vgg128")
    degae(batch(1, side=128), generator_for(0))["loss"].backward()
    assert all(p.grad is not None for p in degae.discriminator.parameters())
    with pytest.raises(ValueError, match="set crop_size to 128"):
        degae(batch(1), generator_for(0))


def test_a_frozen_judge_says_the_same():
    discriminator = PatchDiscriminator(width=4).eval()
    image = torch.rand(1, 3, 32, 32)
    assert torch.equal(judge_frozen(discriminator, image), discriminator(image))


def test_extractor_from_a_file_is_frozen(tmp_path):
    source = SuperResolver(4, 4)
    torch.save({"params": source.state_dict()}, tmp_path / "srgan.pth")
    degae = DegAE(Plain(), **SMALL, extractor=tmp_path / "srgan.pth")
    ours = degae.representor.DDR_extractor
    assert all(torch.equal(ours.state_dict()[key], tensor) for key, tensor in source.state_dict().items())
    assert not any(p.requires_grad for p in ours.parameters())
    degae(batch(), generator_for(0))["loss"].backward()


def test_perceptual_term_from_a_file(tmp_path):
    torch.manual_seed(0)
    torch.save(VGGFeatures().state_dict() | {"classifier.0.weight": torch.zeros(1)}, tmp_path / "vgg19.pth")
    degae = DegAE(Plain(), **SMALL, vgg=tmp_path / "vgg19.pth", perceptual_weight=0.1)
    losses = degae(batch(1), generator_for(0))
    assert losses["perceptual"] > 0
    assert not any(p.requires_grad for p in degae.vgg.parameters())
    degae.vgg.double()  # the distances are about 1e-7: rounding to float32 would be seen in them
    ours, theirs = torch.rand(2, 2, 3, 32, 32, dtype=torch.float64)
    for criterion, distance in (("l1", F.l1_loss), ("l2", F.mse_loss)):  # summed over the two images of a sample
        degae.perceptual_criterion = criterion
        both = sum(distance(degae.vgg(ours[[i]]), degae.vgg(theirs[[i]])).item() for i in range(2))
        assert degae.perceptual_loss(degae.vgg, ours, theirs).item() == pytest.approx(both, rel=1e-9)


def test_vgg_is_torchvisions():
    vgg = VGGFeatures()
    shapes = {key: tuple(tensor.shape) for key, tensor in vgg.state_dict().items() if key.endswith("weight")}
    assert len(shapes) == 16
    assert shapes["features.0.weight"] == (64, 3, 3, 3)
    assert shapes["features.34.weight"] == (512, 512, 3, 3)
    assert vgg(torch.rand(1, 3, 32, 48)).shape == (1, 512, 2, 3)


def test_bad_input_is_said(tmp_path):
    with pytest.raises(ValueError, match="needs VGG-19; pass vgg=FILE"):
        DegAE(Plain(), **SMALL, perceptual_weight=1.0)
    with pytest.raises(ValueError, match="expected degae or degae_test"):
        DegAE(Plain(), **SMALL, degradation="rain")
    with pytest.raises(ValueError, match="generator_every, head_start: expected"):
        DegAE(Plain(), **SMALL, generator_every=0)
    with pytest.raises(ValueError, match="discriminator: expected patch or vgg128"):
        DegAE(Plain(), **SMALL, discriminator="vgg")
    with pytest.raises(ValueError, match="expected two images per sample"):
        DegAE(Plain(), **SMALL)({"image": torch.rand(2, 3, 32, 32)}, generator_for(0))
    torch.save({"conv_first.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="of 26 tensors are missing or of another shape: conv_first"):
        load_frozen(SuperResolver(4, 4), tmp_path / "other.pth")


def test_preview():
    shown = DegAE(Plain(), **SMALL).preview(batch(), generator_for(0))
    assert list(shown) == ["original", "input", "reference", "transferred", "target"]
