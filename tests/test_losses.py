import math

import pytest
import torch

from gesso import metrics
from gesso.losses import LOSSES, find_loss


def batch(error: float) -> tuple[torch.Tensor, torch.Tensor]:
    gt = torch.full((2, 3, 8, 8), 0.5)
    return gt + error, gt


@pytest.mark.parametrize(
    ("name", "expected"),
    [("l1", 0.1), ("mse", 0.01), ("charbonnier", math.sqrt(0.01 + 1e-6)), ("psnr", -20.0)],
)
def test_a_constant_error_of_a_tenth_costs(name, expected):
    assert find_loss(name)(*batch(0.1)).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_is_least_and_has_a_finite_gradient_at_the_ground_truth(name):
    restored, gt = batch(0.0)
    restored.requires_grad_()
    loss = LOSSES[name](restored, gt)
    loss.backward()
    assert restored.grad is not None
    assert torch.isfinite(restored.grad).all()
    assert loss < LOSSES[name](*batch(0.01))


def test_psnr_is_minus_the_metric_and_averages_over_images_not_pixels():
    restored, gt = torch.rand(2, 2, 3, 16, 16)
    restored[1] = gt[1] + 0.01
    each = [metrics.psnr(*pair, quantise=False) for pair in zip(restored[:1], gt[:1], strict=True)] + [40.0]
    assert LOSSES["psnr"](restored, gt).item() == pytest.approx(-sum(each) / 2, abs=1e-2)


def test_a_misspelt_loss_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean charbonnier"):
        find_loss("charbonier")
