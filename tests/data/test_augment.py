import numpy as np
import pytest
import torch
from scipy import stats

from gesso.data.augment import TURNS, mixup, turn
from gesso.functional.random import generator_for


def test_the_eight_turns_are_all_different_and_the_first_is_none():
    image = torch.arange(9.0).view(1, 3, 3)
    turned = {tuple(turn(image, number).flatten().tolist()) for number in range(TURNS)}
    assert len(turned) == 8
    assert torch.equal(turn(image, 0), image)


@pytest.mark.parametrize("number", range(TURNS))
def test_a_turn_moves_every_channel_and_image_alike(number):
    image = torch.rand(2, 3, 4, 5)
    turned = turn(image, number)
    assert turned.shape == ((2, 3, 5, 4) if number & 4 else (2, 3, 4, 5))
    assert torch.equal(turned[1, 2], turn(image[1, 2], number))


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
