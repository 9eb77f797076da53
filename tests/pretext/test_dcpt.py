"""DCPT: its classifier and focal loss against the official ones, its modes, and the critic."""

import pytest
import torch
from torch.nn import functional as F

from gesso.backbones import create_backbone
from gesso.backbones.nafnet import NAFNet
from gesso.backbones.restormer import Restormer
from gesso.backbones.swinir import SwinIR
from gesso.functional.random import ImageGenerators, generator_for
from gesso.pretext import create_pretext
from gesso.pretext._base import stage_maps
from gesso.pretext._classes import classifier_for
from gesso.pretext._classifier import DegradationClassifier, focal_loss
from gesso.pretext._masking import patch_mask
from gesso.pretext.dcpt import DCPT, FIVE, TEN, DegradationCritic
from tests._golden import (
    case_id,
    cases,
    check_gradients,
    check_manifest,
    check_output,
    check_state,
    fill,
    make_inputs,
    official_state,
)
from tests.pretext._plain import Plain

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def batch(size=2, side=32):
    return {"image": torch.rand(size, 3, side, side, generator=generator_for(0))}


def as_map(tokens):
    """Tokens (B, s * s, C) as a map (B, C, s, s)."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens.mT.unflatten(2, (side, side))


@DTYPES
@pytest.mark.parametrize("case", cases("dcpt", name=["PromptIR_NoImg_DC", "PromptIR_DC"]), ids=case_id)
def test_equals_the_official_classifier(case, dtype):
    args = case["args"]
    with_image = case["name"] == "PromptIR_DC"
    classifier = fill(
        DegradationClassifier(args["feature_dims"], args["num_classes"], args["num_res_blocks"], with_image=with_image)
    )
    check_state(classifier, case)
    inputs = make_inputs(case, dtype, requires_grad=True)
    features = [value for name, value in inputs.items() if name.startswith("feature")]
    if args.get("downsample"):
        features = [as_map(tokens) for tokens in features]
    summary = classifier.to(dtype).summary(features, inputs.get("lq"))
    outputs = {"logits": classifier(features, inputs.get("lq")), "after_last_stage": summary}
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


@DTYPES
@pytest.mark.parametrize("case", cases("dcpt", name="FocalLoss"), ids=case_id)
def test_equals_the_official_focal_loss(case, dtype):
    args = case["args"]
    inputs = make_inputs(case, dtype, requires_grad=True)
    alpha = None if args["alpha"] is None else torch.tensor(args["alpha"], dtype=dtype)
    items = focal_loss(
        inputs["logits"], torch.tensor(args["labels"]), args["gamma"], alpha, args["ignore_index"], args["reduction"]
    )
    outputs = {"per_item": items, "loss": items.sum()}
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


def build_dcpt_network(name, options):
    match name:
        case "Restormer":
            options = {key: value for key, value in options.items() if key != "scale"}
            return Restormer(**options, attention="relu", norm_eps=1e-6, wrapped=True)
        case "NAFNetBaseline":
            return NAFNet(**options, dcpt_names=True)
        case "SwinIR":
            options = {key: value for key, value in options.items() if key != "patch_size"}
            return SwinIR(**options, position_bias=False, shift_mask=False)


@DTYPES
@pytest.mark.parametrize("case", cases("dcpt", name="network in feature mode + PromptIR_NoImg_DC"), ids=case_id)
def test_equals_the_official_pair(case, dtype):
    """The network in feature mode and the classifier on its decoder stages."""
    net = build_dcpt_network(case["args"]["network"], case["args"]["net"])
    net = fill(net, prefix="net_g.").to(dtype)
    classifier = fill(classifier_for(net, 5), prefix="net_dc.").to(dtype)
    inputs = make_inputs(case, dtype, requires_grad=True)
    maps = stage_maps(net, net.features(inputs["x"]))
    outputs = {f"feature{i}": feature for i, feature in enumerate(maps)} | {"logits": classifier(maps)}
    if case["args"]["classifier"].get("downsample"):  # recorded as tokens (B, N, C)
        outputs |= {name: value.flatten(2).mT for name, value in outputs.items() if name != "logits"}
    check_state(official_state(net, "net_g.") | official_state(classifier, "net_dc."), case)
    for name, expected in case["out"].items():
        check_output(outputs[name], expected)
    check_gradients(case, inputs, outputs)


@pytest.mark.parametrize(
    ("manifest", "dims", "classes"),
    [
        ("DCPT_DC_NAFNet", [64, 128, 256, 512], 5),
        ("DCPT_DC10_NAFNet", [64, 128, 256, 512], 10),
        ("DCPT_DC_Restormer", [96, 96, 192], 5),
        ("DCPT_DC_PromptIR", [96, 192, 192], 5),
        ("DCPT_DC_SwinIR", [180, 180, 180], 5),
    ],
)
def test_published_classifiers_have_our_names_and_shapes(manifest, dims, classes):
    with torch.device("meta"):
        check_manifest(DegradationClassifier(dims, classes).state_dict(), manifest)


def test_a_classifier_is_rebuilt_from_its_weights():
    classifier = DegradationClassifier([4, 6], 3, num_res_blocks=1, with_image=True)
    again = DegradationClassifier.from_state(classifier.state_dict())
    features, image = [torch.rand(1, 4, 8, 8), torch.rand(1, 6, 4, 4)], torch.rand(1, 3, 16, 16)
    assert torch.equal(classifier(features, image), again(features, image))
    with pytest.raises(ValueError, match="expected a degradation classifier"):
        DegradationClassifier.from_state(Plain().state_dict())


def test_maps_of_any_size_are_brought_to_their_level():
    classifier = DegradationClassifier([4, 4, 4], 2)
    assert classifier([torch.rand(1, 4, 27, 41)] * 3).shape == (1, 2)


def test_the_five_classes_in_order():
    names = [choice.name for choice in DCPT(Plain()).mix.choices]
    assert names == ["rain", "mix", "haze", "low_light", "motion_blur"]
    assert len(create_pretext("dcpt", Plain(), preset="ten").mix.choices) == len(TEN) == 10
    assert len(FIVE) == 5


def test_clean_generation_is_the_identity_for_a_network_that_adds_nothing():
    backbone = Plain()
    torch.nn.init.zeros_(backbone.output.weight)
    torch.nn.init.zeros_(backbone.output.bias)
    losses = DCPT(backbone)(batch(), generator_for(0))
    assert losses["pixel"] == 0
    losses = DCPT(backbone, generation="direct")(batch(), generator_for(0))
    assert losses["pixel"] > 0


@pytest.mark.parametrize("mode", ["joint", "alternate", "separate"])
def test_modes_decide_what_is_minimised(mode):
    dcpt = DCPT(Plain(), mode=mode, generation_steps=2, pixel_weight=2.0, class_weight=3.0)
    seen = []
    for step in range(4):  # the turn follows from the number of the step, so a resumed run takes it up
        own = [generator_for(0, image) for image in range(len(batch()["image"]))]
        losses = dcpt(batch(), ImageGenerators(own, generator_for(0), step))
        parts = {"pixel": 2 * losses["pixel"].item(), "class": 3 * losses["class"].item()}
        seen += [name for name, value in parts.items() if losses["loss"].item() == pytest.approx(value)]
        if mode == "joint":
            assert losses["loss"].item() == pytest.approx(sum(parts.values()))
    assert (
        seen
        == {
            "joint": [],
            "alternate": ["pixel", "class", "pixel", "class"],
            "separate": ["pixel", "pixel", "class", "class"],
        }[mode]
    )


@pytest.mark.parametrize("mode", ["alternate", "separate"])
@pytest.mark.parametrize("generation", ["clean", "direct"])
def test_what_the_loss_of_the_turn_does_not_reach_stays_as_it_is(mode, generation):
    """Adam moves weights on whose gradient is 0, by what it remembers of earlier steps."""
    dcpt = DCPT(Plain(), mode=mode, generation=generation, generation_steps=2)
    optimizer = torch.optim.AdamW(dcpt.groups(), lr=1e-2)
    for step in range(4):
        before = {name: value.clone() for name, value in dcpt.state_dict().items()}
        optimizer.zero_grad()
        own = [generator_for(0, step, image) for image in range(2)]
        dcpt(batch(), ImageGenerators(own, generator_for(0), step))["loss"].backward()
        optimizer.step()
        moved = {name for name, value in dcpt.state_dict().items() if not torch.equal(value, before[name])}
        generate, classify = dcpt.turn(step)
        assert any(name.startswith("classifier.") for name in moved) is classify
        assert ("backbone.output.weight" in moved) is generate
        assert "backbone.down.weight" in moved
    assert dcpt.find_unused_parameters
    assert not DCPT(Plain()).find_unused_parameters


def test_classification_reaches_the_features_but_not_the_head():
    backbone = Plain()
    DCPT(backbone, pixel_weight=0.0)(batch(), generator_for(0))["loss"].backward()
    assert backbone.down.weight.grad.any()
    assert not backbone.output.weight.grad.any()


@pytest.mark.parametrize("generation", ["clean", "direct", "masked"])
@pytest.mark.parametrize("image_in_classifier", [False, True])
def test_variants_run_on_any_size(generation, image_in_classifier):
    dcpt = DCPT(Plain(scale=2), generation=generation, image_in_classifier=image_in_classifier)
    losses = dcpt({"image": torch.rand(2, 3, 19, 26)}, generator_for(0))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert 0 <= losses["accuracy"] <= 1


def test_classes_from_folders_come_with_the_batch():
    given = {"gt": torch.rand(2, 3, 16, 16), "lq": torch.rand(2, 3, 16, 16), "label": torch.tensor([4, 0])}
    dcpt = DCPT(Plain())
    gt, lq, label = dcpt.classified(given, generator_for(0))
    assert (gt is given["gt"], lq is given["lq"], label.tolist()) == (True, True, [4, 0])
    with pytest.raises(ValueError, match="label 5 in the data, but 5 classes"):
        dcpt(given | {"label": torch.tensor([5, 0])}, generator_for(0))


def test_any_number_of_classes_from_folders():
    given = {"gt": torch.rand(3, 3, 16, 16), "lq": torch.rand(3, 3, 16, 16), "label": torch.tensor([6, 0, 2])}
    dcpt = DCPT(Plain(), num_classes=7)
    assert dcpt.classes == dcpt.classifier.fc.out_features == 7
    dcpt(given, generator_for(0))["loss"].backward()
    with pytest.raises(ValueError, match="5 degradations to make the classes from, got 7"):
        dcpt(batch(), generator_for(0))


def test_the_classifier_has_its_own_rate_and_decay():
    dcpt = DCPT(Plain(), classifier_lr_factor=0.25, classifier_weight_decay=0.01)
    network, classifier = dcpt.groups()
    assert {id(p) for p in network["params"]} == {id(p) for p in dcpt.backbone.parameters()}
    assert {id(p) for p in classifier["params"]} == {id(p) for p in dcpt.classifier.parameters()}
    assert (classifier["lr_factor"], classifier["weight_decay"]) == (0.25, 0.01)
    assert len(DCPT(Plain(), freeze_backbone=True).groups()) == 1


def test_a_frozen_network_is_seen_as_it_is():
    """Without the branches that stochastic depth leaves out in training."""
    net = create_backbone("uformer_tiny", drop_path_rate=0.5)
    dcpt = DCPT(net, freeze_backbone=True).train()
    losses = [dcpt(batch(), generator_for(0))["class"].item() for _ in range(3)]
    assert len(set(losses)) == 1


@pytest.mark.parametrize("preset", ["five", "ten", "two"])
def test_noise_is_not_clipped_as_in_the_released_code(preset):
    def noises(degradation):
        parts = [*getattr(degradation, "choices", ()), *getattr(degradation, "steps", ())]
        own = [degradation] if degradation.name == "gaussian_noise" else []
        return own + [noise for part in parts for noise in noises(part)]

    found = noises(create_pretext("dcpt", Plain(), preset=preset).mix)
    assert len(found) == (1 if preset == "ten" else 3)
    assert not any(noise.clip for noise in found)


def test_patches_are_hidden():
    image = torch.ones(8, 3, 64, 40)
    hidden = image * patch_mask(image, 0.5, 16, generator_for(0))
    for image in hidden:
        patches = [image[:, y : y + 16, x : x + 16] for y in range(0, 64, 16) for x in range(0, 40, 16)]
        assert sum(bool(patch.any()) for patch in patches) == 6
        assert all(patch.all() or not patch.any() for patch in patches)
    assert not torch.equal(hidden[0], hidden[1])


def test_critic_guides_the_restorer_and_stays_as_it_is():
    backbone = Plain()
    classifier = classifier_for(backbone, 5)
    critic = DegradationCritic(classifier, target=4)
    lq = torch.rand(2, 3, 16, 16)
    features = backbone.features(lq)
    loss = critic(backbone, features, lq)
    expected = F.cross_entropy(classifier(stage_maps(backbone, features)), torch.tensor([4, 4]))
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert backbone.down.weight.grad.any()
    assert not any(p.requires_grad for p in critic.parameters())
    with pytest.raises(ValueError, match="classes 0 to 4, got 5"):
        DegradationCritic(classifier, target=5)


def test_stages_of_a_real_network_are_finest_first():
    net = create_backbone("restormer_tiny")
    sides = [feature.shape[-1] for feature in stage_maps(net, net.features(torch.rand(1, 3, 32, 32)))]
    assert sides == [32, 16, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degradations": ["rain"]}, "expected two classes or more"),
        ({"generation": "clear"}, "generation: expected clean, direct or masked"),
        ({"mode": "both"}, "mode: expected joint, alternate or separate"),
        ({"mode": "alternate", "generation": "masked"}, "in one forward, so not 'alternate'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DCPT(Plain(), **options)
