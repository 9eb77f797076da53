"""IPT's recipe on networks that are not IPT: a shared body, a last convolution for each task."""

import pytest
import torch

from gesso.functional.random import generator_for
from gesso.pretext.ipt import IPT
from tests.pretext._plain import Plain


def batch(size=2, side=32):
    return {"image": torch.rand(size, 3, side, side, generator=generator_for(0))}


def test_six_tasks_in_the_order_of_the_authors():
    ipt = IPT(Plain())
    assert [task.name for task in ipt.tasks] == ["bicubic"] * 3 + ["rain"] + ["gaussian_noise"] * 2
    assert [task.scale for task in ipt.tasks[:3]] == [2, 3, 4]
    assert [task.sigma for task in ipt.tasks[4:]] == [30, 50]
    generator = generator_for(0)
    drawn = [ipt.degrade(torch.rand(1, 3, 8, 8), generator)[2] for _ in range(60)]
    assert set(drawn) == set(range(6))


def test_each_task_has_its_own_last_convolution():
    backbone = Plain()
    ipt = IPT(backbone, tasks=["rain", "haze"])
    lq = torch.rand(1, 3, 12, 14)
    first, second = (ipt.restore(lq, task)[0] for task in (0, 1))
    torch.testing.assert_close(first, backbone(lq))
    assert not torch.allclose(first, second)
    second.sum().backward()
    assert backbone.output.weight.grad is None
    assert ipt.tails[0].weight.grad.any()
    assert backbone.down.weight.grad.any()


def test_terms_add_up():
    losses = IPT(Plain(), contrastive_weight=0.3)(batch(), generator_for(0))
    assert losses["loss"].item() == pytest.approx((losses["pixel"] + 0.3 * losses["contrast"]).item(), rel=1e-5)
    assert set(IPT(Plain(), contrastive_weight=0.0)(batch(1), generator_for(0))) == {"loss", "pixel"}


@pytest.mark.parametrize("contrastive", ["paper", "supcon"])
@pytest.mark.parametrize("shape", [(20, 24), (17, 9)])
def test_contrast_of_any_size(contrastive, shape):
    ipt = IPT(Plain(scale=2), contrastive=contrastive)
    losses = ipt({"image": torch.rand(2, 3, *shape)}, generator_for(0))
    losses["loss"].backward()
    assert all(torch.isfinite(value) for value in losses.values())


def test_bad_input_is_said():
    with pytest.raises(ValueError, match="raise batch_size, or set contrastive_weight to 0"):
        IPT(Plain())(batch(1), generator_for(0))
    with pytest.raises(ValueError, match="contrastive: expected paper or supcon"):
        IPT(Plain(), contrastive="simclr")


def test_preview():
    shown = IPT(Plain()).preview(batch(), generator_for(0))
    assert list(shown) == ["original", "degraded", "restored"]
