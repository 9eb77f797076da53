"""The golden numbers themselves: the fill rule, the input rule and the recipes give the documented values."""

import hashlib

import pytest
import torch

from tests._golden import (
    case,
    cases,
    check_output,
    fill_value,
    make_input,
    manifest,
    manifest_names,
    metric_pairs,
)

FILL = {
    "demo.weight": ((2, 3), [-0.852118611, -0.129665241, 0.117097974, -0.0973633751, 0.459544986, -0.00161755586]),
    "demo.conv.weight": ((2, 1, 2, 2), [-1.00465477, 0.740903616, -1.59995687, -1.09591508, 0.613960683]),
    "demo.norm.weight": ((4,), [1.03181863, 0.938276589, 1.05289936, 1.17107844]),
    "demo.bias": ((4,), [0.0596056134, 0.203664422, -0.0504749641, 0.0206104554]),
    "demo.attn.temperature": ((2, 1, 1), [0.794021785, 1.07899821]),
    "demo.beta": ((1, 3, 1, 1), [-0.116982833, -0.354642779, 0.212276503]),
    "demo.relative_position_bias_table": ((3, 2), [0.0317281522, -0.0205165725, -0.0171817075, 0.00595574826]),
    "demo.modulator.weight": ((2, 2), [0.0353759155, -0.010801984, -0.0491179749, 0.124730028]),
    "demo.attn.project_out.weight": ((2, 2, 1, 1), [0.0547396727, 0.50819701, 0.0686810911, 0.363788575]),
    "demo.self_attn.out_proj.weight": ((2, 2), [-0.267290443, 0.113564231, -0.170574859, -0.303388238]),
    "demo.linear2.weight": ((2, 2), [-0.0272051673, 0.209195569, 0.119652011, -0.0160279069]),
}


@pytest.mark.parametrize("key", FILL)
def test_fill_rule(key):
    shape, values = FILL[key]
    torch.testing.assert_close(fill_value(key, shape).flatten()[: len(values)], torch.tensor(values), rtol=3e-7, atol=0)


def test_input_rule():
    expected = torch.tensor([0.625095487, 0.897213817, 0.775685668, 0.225207195, 0.300166279, 0.873553455])
    torch.testing.assert_close(make_input({"seed": 7, "shape": (1, 1, 2, 3)}).flatten(), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("pair", metric_pairs(), ids=lambda pair: pair["id"])
def test_image_recipes(pair):
    for side in "AB":
        assert pair[side].shape == tuple(pair["shape"])
        assert hashlib.sha256(pair[side].tobytes()).hexdigest() == pair[f"sha256_{side}"]


def test_manifests_are_complete():
    assert len(manifest_names()) == 53
    restormer = manifest("Restormer_WithBias")
    assert len(restormer) == 494
    assert restormer["patch_embed.proj.weight"] == ((48, 3, 3, 3), torch.float32, "P")


def test_cases_are_found_by_field():
    assert {c["network"] for c in cases("networks", network=["NAFNet", "Baseline"])} == {"NAFNet", "Baseline"}
    assert (
        sum(len(cases(file)) for file in ("ifp", "mfm", "degae", "dcpt", "ipt", "ptg_rm", "schedule", "imresize"))
        == 112
    )
    assert len(cases("networks")) == 46


def test_a_wrong_number_is_seen():
    expected = case("dcpt", "dcpt_focal_gamma0")["grad"]["logits"]
    good = torch.tensor(expected["f64"]["values"], dtype=torch.float64).reshape(expected["shape"])
    check_output(good, expected)
    bad = good.clone()
    bad[0, 0] += 1e-6
    with pytest.raises(AssertionError):
        check_output(bad, expected)
