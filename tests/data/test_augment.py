"""Augmentations change batches as their papers say, alike for both sides, and repeat themselves."""

import numpy as np
import pytest
import torch
from scipy import stats

from gesso.data.augment import CUT, cutblur, cutmix, list_augmentations, mixup, open_augmentation
from gesso.functional.random import generator_for


def test_mixup_blends_every_second_batch_by_one_weight_for_lq_and_gt_alike():
    lq, gt = torch.rand(2, 4, 3, 6, 6, dtype=torch.float64)
    weights, identities = [], 0
    for number in range(600):
        mixed_lq, mixed_gt = mixup(lq, gt, generator_for(0, number))
        again, _ = mixup(lq, gt, generator_for(0, number))
        assert torch.equal(mixed_lq, again)
        if torch.equal(mixed_lq, lq):
            identities += 1
            assert torch.equal(mixed_gt, gt)
        for partner in range(1, 4):  # which partner, if another, explains the first image with one weight?
            weight = ((mixed_lq[0] - lq[partner]) / (lq[0] - lq[partner])).flatten()
            if torch.allclose(weight, weight[0]) and not torch.equal(mixed_lq[0], lq[0]):
                blend = weight[0] * gt[0] + (1 - weight[0]) * gt[partner]
                torch.testing.assert_close(mixed_gt[0], blend)
                weights.append(float(weight[0]))
    assert 250 < identities < 350
    assert 170 < len(weights) < 280, "an image may be its own partner"
    assert stats.kstest(np.array(weights), stats.beta(1.2, 1.2).cdf).pvalue > 0.01


def test_cutmix_takes_one_rectangle_from_another_image_on_both_sides():
    gt = torch.rand(4, 3, 40, 60, generator=generator_for(1))
    mixed_lq, mixed_gt = cutmix(gt[:, :, ::2, ::2], gt, generator_for(2))
    assert torch.equal(mixed_lq, mixed_gt[:, :, ::2, ::2])  # the same pixels at twice the size
    changed = (mixed_gt != gt).any(1)
    for image, where in zip(mixed_gt, changed, strict=True):
        rows, columns = where.any(1).nonzero(), where.any(0).nonzero()
        if where.any():
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            assert where[top:bottom, left:right].all()
            assert abs((bottom - top) / 40 - CUT) < 0.1
            partners = [(image == other).all(0)[top:bottom, left:right].all() for other in gt]
            assert sum(map(int, partners)) == 1
    assert changed.any()


def test_cutblur_restores_a_rectangle_of_the_input_or_all_but_it():
    lq, gt = torch.zeros(2, 3, 40, 40), torch.ones(2, 3, 40, 40)
    shares = []
    for number in range(40):
        mixed, same = cutblur(lq, gt, generator_for(3, number))
        assert same is gt
        assert torch.equal(mixed, cutblur(lq, gt, generator_for(3, number))[0])
        shares.append(mixed.mean().item())
    inside, outside = [s for s in shares if s < 0.5], [s for s in shares if s > 0.5]
    assert np.mean(inside) == pytest.approx(CUT**2, abs=0.03)
    assert np.mean(outside) == pytest.approx(1 - CUT**2, abs=0.03)
    assert min(len(inside), len(outside)) > 8


def swapped(lq, gt, generator):
    return gt, lq


@pytest.mark.parametrize(
    ("spec", "scale", "message"),
    [
        ("cutblurr", 1, "did you mean cutblur"),
        ("cutblur", 2, "cutblur pastes gt into lq"),
        (swapped, 2, "of the same shapes; swapped made"),
        (lambda batch: batch, 1, "says"),
        (lambda lq, gt, generator: None, 1, "made NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(spec, scale, message):
    with pytest.raises(ValueError, match=message):
        open_augmentation(spec, (3, 3), scale)


def test_augmentations_are_found_by_name_and_by_module():
    assert list_augmentations() == ["cutblur", "cutmix", "mixup"]
    assert open_augmentation("mixup") is mixup
    assert open_augmentation(f"{__name__}:swapped") is swapped
