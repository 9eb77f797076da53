"""Contrastive losses against two independent float64 implementations."""

import pytest
import torch

from gesso.pretext import _contrast
from gesso.pretext._contrast import patch_contrast, supervised_contrast
from tests._golden import case_id, cases, make_inputs

FORMS = {
    "eq5_same_index": patch_contrast,
    "eq5_same_index_distinct_pairs": lambda f: patch_contrast(f, distinct=True),
    "eq5_all_patches": lambda f: patch_contrast(f, all_patches=True),
    "supcon_tau007": supervised_contrast,
    "supcon_tau007_max_and_eps": lambda f: supervised_contrast(f, eps=1e-8),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", cases("ipt", name="contrastive loss"), ids=case_id)
def test_equals_the_reference(case, form):
    features = make_inputs(case, torch.float64)["features"].requires_grad_()
    loss = FORMS[form](features)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss.item() == pytest.approx(case["values_f64"][form], rel=1e-9)
    assert gradient.norm().item() == pytest.approx(case["grad_l2_f64"][form], rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_some_images_at_a_time_are_all_of_them(form, monkeypatch):
    features = torch.randn(5, 6, 8, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(whole := FORMS[form](features), features)
    monkeypatch.setattr(_contrast, "HELD", 2 * 5 * 6**2)
    (gradient,) = torch.autograd.grad(loss := FORMS[form](features), features)
    torch.testing.assert_close(loss, whole)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("loss", [patch_contrast, supervised_contrast])
def test_one_image_has_nobody_to_differ_from(loss):
    with pytest.raises(ValueError, match="two images or more"):
        loss(torch.rand(1, 4, 8))


@pytest.mark.parametrize("loss", [patch_contrast, supervised_contrast])
def test_images_that_differ_cost_less(loss):
    alike = torch.ones(2, 4, 8)
    apart = alike * torch.tensor([1.0, -1.0])[:, None, None]
    assert loss(apart) < loss(alike)
