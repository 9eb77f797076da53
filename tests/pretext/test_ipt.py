"""IPT's recipe on IPT, and on any other network: a shared body, a tail for each task."""

import pytest
import torch

from gesso.backbones import create_backbone
from gesso.degradations import create_degradation
from gesso.functional.random import generator_for
from gesso.pretext._contrast import patch_contrast
from gesso.pretext.ipt import IPT
from tests.pretext._plain import Plain


def batch(size=2, side=32):
    return {"image": torch.rand(size, 3, side, side, generator=generator_for(0))}


def test_six_tasks_in_the_order_of_the_authors():
    ipt = IPT(Plain())
    assert [task.name for task in ipt.tasks] == ["bicubic"] * 3 + ["rain"] + ["gaussian_noise"] * 2
    assert [task.scale for task in ipt.tasks[:3]] == [2, 3, 4]
    assert [task.sigma for task in ipt.tasks[4:]] == [30, 50]
    assert ipt.tasks[3] == create_degradation("rain_light")
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


def six_task_network():
    """IPT in small: patches of 16 pixels, the published six tasks."""
    torch.manual_seed(0)
    return create_backbone("ipt_tiny", num_queries=6, scale=[2, 3, 4, 1, 1, 1])


@pytest.mark.parametrize(("task", "side"), [(0, 32), (1, 48), (2, 64), (3, 16), (5, 16)])
def test_a_network_with_tasks_of_its_own_enlarges_small_images(task, side):
    ipt = IPT(six_task_network())
    image = batch(side=64)["image"]
    seed = next(seed for seed in range(99) if ipt.degrade(image, generator_for(seed))[2] == task)
    gt, lq, drawn = ipt.degrade(image, generator_for(seed))
    assert drawn == task
    assert gt.shape[-2:] == (side, side)
    assert lq.shape[-2:] == (16, 16)
    restored, features = ipt.restore(lq, task)
    assert restored.shape == gt.shape
    assert features[0].shape == (2, 16, 16, 16)


def test_a_network_with_tasks_of_its_own_trains_one_tail_a_batch():
    network = six_task_network()
    ipt = IPT(network)
    assert not len(ipt.tails)
    losses = ipt(batch(side=64), generator_for(0))
    losses["loss"].backward()
    task = ipt.degrade(batch(side=64)["image"], generator_for(0))[2]
    trained = [number for number, tail in enumerate(network.tail) if tail[1].weight.grad is not None]
    assert trained == [task]
    assert network.body.query_embed.weight.grad.any(dim=1).nonzero().flatten().tolist() == [task]
    assert network.task == 0
    assert ipt.preview(batch(side=64), generator_for(0)).keys() == {"original", "degraded", "restored"}


def test_contrast_compares_the_tokens_of_the_network():
    """Patches of the map that the transformer makes, as wide as its tokens, are what its perceptron put out."""
    network = six_task_network()
    ipt = IPT(network)
    made = []
    network.body.mlp_head.register_forward_hook(lambda *call: made.append(call[1][0] + call[2]))
    _, features = ipt.restore(torch.rand(2, 3, 16, 16), task=4)
    unfolded = torch.nn.functional.unfold(features[0], 2, stride=2).mT
    torch.testing.assert_close(unfolded, made[0])
    assert ipt.contrast(features[0]).item() == pytest.approx(patch_contrast(made[0]).item(), rel=1e-5)


@pytest.mark.parametrize(("patch_size", "patch_dim", "n_feats"), [(48, 3, 4), (256, 8, 1), (16, 2, 3), (24, 4, 2)])
def test_contrast_takes_the_bodys_own_patches_on_every_ipt(patch_size, patch_dim, n_feats, monkeypatch):
    """Of ipt_deblur these are 32 x 32 of 8 x 8 pixels, not 16 x 16 of 16 x 16."""
    options = {"patch_size": patch_size, "patch_dim": patch_dim, "n_feats": n_feats, "num_heads": 1, "num_layers": 1}
    seen = []
    monkeypatch.setattr("gesso.pretext.ipt.patch_contrast", lambda patches: seen.append(patches) or patches.mean())
    feature = torch.rand(2, n_feats, patch_size, patch_size)
    ipt = IPT(create_backbone("ipt_tiny", **options), tasks=["rain"])
    ipt.contrast(feature)
    assert seen[0].shape == (2, (patch_size // patch_dim) ** 2, n_feats * patch_dim**2)
    IPT(Plain(), patches=4).contrast(torch.rand(2, 5, 32, 40))
    assert seen[1].shape == (2, 4 * 5, 5 * 8 * 8)
    IPT(Plain()).contrast(torch.rand(2, 5, 32, 40))
    assert seen[2].shape == (2, 16 * 20, 5 * 2 * 2), "16 along the shorter side of a network without patches"


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
    with pytest.raises(ValueError, match=r"have the scales \[2, 3, 4, 1, 1, 1\], these have \[1\]"):
        IPT(six_task_network(), tasks=["rain"])
    with pytest.raises(ValueError, match="contrastive: expected paper or supcon"):
        IPT(Plain(), contrastive="simclr")


def test_preview():
    shown = IPT(Plain()).preview(batch(), generator_for(0))
    assert list(shown) == ["original", "degraded", "restored"]
