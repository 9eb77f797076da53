import numpy as np
import torch
from scipy import stats

from gesso.data.augment import mixup
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
