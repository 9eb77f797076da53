"""Weights in the shape of trained ones: products near plus and minus the identity, kernels that vary smoothly."""

import pytest
import torch
from torch import nn

import gesso
from gesso.backbones._base import attention_weights, is_depthwise
from gesso.comparison.arms import Common, find_arms
from gesso.functional.mimetic import VALUE_OUTPUT, kernel_covariance
from gesso.lab.provenance import beginning, open_trained

WITH_ATTENTION = ["restormer_tiny", "swinir_tiny", "uformer_tiny", "promptir_tiny", "ipt_tiny", "snr_net_tiny"]
WITH_DEPTHWISE = ["nafnet_tiny", "baseline_tiny", "restormer_tiny", "uformer_tiny"]


def drawn(name: str) -> gesso.Backbone:
    torch.manual_seed(0)
    network = gesso.create_backbone(name)
    network.draw_mimetic()
    return network


def likeness(product: torch.Tensor) -> float:
    """The cosine between a square matrix and the identity."""
    return (product.trace() / product.norm() / len(product) ** 0.5).item()


def layers(network: nn.Module) -> list:
    return [weights for module in network.modules() if (weights := attention_weights(module))]


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_queries_and_keys_of_all_heads_are_alike(name):
    found = layers(drawn(name))
    assert found
    for layer in found:
        for query, key in zip(layer.query.chunk(layer.heads), layer.key.chunk(layer.heads), strict=True):
            product = query @ key.T if layer.across_channels else query.T @ key
            rank = len(query)
            assert (
                likeness(product) > 0.6 * (rank / len(product)) ** 0.5
            )  # of so low a rank none can be more than 1 times
            assert product.trace() / rank > 0.4


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_values_and_output_projection_are_opposite(name):
    noise, identity = VALUE_OUTPUT
    for layer in layers(drawn(name)):
        product = layer.output @ layer.value
        rest = product + identity * torch.eye(len(product))
        assert product.diagonal().mean().item() == pytest.approx(-identity, abs=0.15)
        assert rest.std().item() == pytest.approx(noise / len(product) ** 0.5, rel=0.25)
        assert likeness(product) < -0.5


@pytest.mark.parametrize("name", WITH_ATTENTION)
def test_random_weights_are_like_neither(name):
    for layer in layers(gesso.create_backbone(name)):
        assert abs(likeness(layer.output @ layer.value)) < 0.5


@pytest.mark.parametrize("name", WITH_DEPTHWISE)
def test_depthwise_kernels_vary_smoothly_and_keep_their_size(name):
    torch.manual_seed(0)
    plain, shaped = gesso.create_backbone(name), drawn(name)
    pairs = [(a.weight, b.weight) for a, b in zip(plain.modules(), shaped.modules(), strict=True) if is_depthwise(a)]
    assert pairs
    for before, after in pairs:
        assert not torch.equal(before, after)
        assert after.square().mean().item() == pytest.approx(before.square().mean().item(), rel=1e-4)
    last = torch.cat([after.flatten(1) for _, after in pairs[-2:]])
    together = torch.corrcoef(last.T)
    assert together[0, 1] > 0.2  # neighbours
    assert together[1, 7] < 0.1  # opposite sides


@pytest.mark.parametrize("side", [3, 5, 7])
@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_the_covariance_of_kernels_is_one(side, std):
    covariance = kernel_covariance(side, std)
    assert torch.equal(covariance, covariance.T)
    assert covariance.diagonal().argmax() == side * side // 2  # the middle varies most
    values = torch.linalg.eigvalsh(covariance)
    assert values.min() > -0.02 * values.max()


@pytest.mark.parametrize("name", ["nafnet_tiny", "restormer_tiny"])
def test_everything_else_stays_and_the_seed_decides_the_rest(name):
    torch.manual_seed(0)
    plain = gesso.create_backbone(name).state_dict()
    first, second = drawn(name).state_dict(), drawn(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    changed = {key for key in first if not torch.equal(first[key], plain[key])}
    assert changed
    assert all(any(word in key for word in ("qkv", "project_out", "dwconv", "conv2")) for key in changed)


class Attending(gesso.Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(16, 2)


def test_pytorchs_own_attention_is_drawn_too():
    torch.manual_seed(0)
    network = Attending()
    network.draw_mimetic()
    (layer,) = layers(network)
    assert likeness(layer.output @ layer.value) < -0.5


def test_a_network_with_nothing_to_draw_is_refused():
    class Plain(gesso.Backbone):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

    with pytest.raises(ValueError, match="mimetic: Plain has no attention and no depthwise convolution"):
        Plain().draw_mimetic()


# --------------------------------------------------------------------------------------------------- as a start


QUICK = {"data": "leaves", "holdout": 1, "crop_size": 16, "batch_size": 1, "steps": 1, "val_every": 0, "workers": 0,
         "backbone": "nafnet_tiny", "precision": "float32", "lr": 1e-9}  # fmt: skip


def test_fine_tuning_begins_with_them_by_name_and_inspect_draws_them_again(tmp_path):
    out = tmp_path / "run"
    gesso.finetune(out=out, task="derain", init="mimetic", seed=3, **QUICK)
    trained = gesso.load(out / "backbone.safetensors")
    began, words = beginning(open_trained(out / "backbone.safetensors", {}), 3)
    assert words.startswith("mimetic random weights of seed 3")
    kernels = [module.weight for module in trained.modules() if is_depthwise(module)]
    again = [module.weight for module in began.modules() if is_depthwise(module)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(kernels, again, strict=True))


def test_it_is_a_start_of_a_comparison_that_is_not_pre_trained():
    common = Common({"backbone": "nafnet_tiny", "backbone_args": {}}, {}, "derain")
    random, mimetic = find_arms(["mimetic"], {"mimetic": {"finetune": {"shrink": 0.5}}}, {}, common)
    assert (random.init, mimetic.init) == ("random", "mimetic")
    assert mimetic.folder.startswith("mimetic-")
    assert mimetic.pretraining is None
    assert mimetic.changes == {"shrink": 0.5}
    with pytest.raises(ValueError, match="mimetic is not pre-trained, so it cannot have steps"):
        find_arms(["mimetic"], {"mimetic": {"steps": 3}}, {}, common)
