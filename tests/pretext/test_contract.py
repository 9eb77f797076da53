"""What every pretext owes, on real backbones: a new file in gesso/pretext is tested the moment it exists."""

import pytest
import torch

from gesso.backbones import create_backbone
from gesso.functional.random import ImageGenerators, generator_for
from gesso.pretext import create_pretext, list_pretexts

BACKBONES = {
    "restormer_tiny": {"dim": 8, "num_blocks": (1, 1, 1, 1)},
    "nafnet_tiny": {"width": 8, "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]},
}
SMALL = {
    "ifp": {"decoder_width": 16, "feature_channels": 16},
    "mfm": {"decoder_width": 16, "feature_channels": 16},
    "degae": {"representor_width": 8, "representor_blocks": 4, "decoder_width": 16},
    "maskdcpt": {"decoder_width": 16},
}
SIDE = 32
NAMES = [*list_pretexts(), "tests.extending.own_pretext:Colours"]  # and one of a user's, which draws nothing

pytestmark = [pytest.mark.parametrize("name", NAMES), pytest.mark.parametrize("backbone", list(BACKBONES))]


def build(name, backbone, seed=0):
    torch.manual_seed(seed)
    return create_pretext(name, create_backbone(backbone, **BACKBONES.get(backbone, {})), **SMALL.get(name, {}))


def make_batch(pretext, size=2, height=SIDE, width=SIDE):
    """Images of the kind that the pretext prefers: noise, or something in [0, 1]."""
    images = (pretext.images_per_sample,) if pretext.images_per_sample > 1 else ()
    image = torch.randn(size, *images, 3, height, width, generator=generator_for(1))
    return {"image": image if pretext.images == "noise" else image.sigmoid()}


def train(pretext, batch, steps, lr=1e-3):
    optimizer = torch.optim.Adam([p for p in pretext.parameters() if p.requires_grad], lr)
    for _ in range(steps):
        optimizer.zero_grad()
        pretext(batch, generator_for(0))["loss"].backward()
        optimizer.step()


def test_losses_are_finite_scalars_and_only_one_has_a_gradient(name, backbone):
    pretext = build(name, backbone)
    losses = pretext(make_batch(pretext), generator_for(0))
    assert all(value.dim() == 0 and torch.isfinite(value) for value in losses.values())
    assert [part for part, value in losses.items() if value.requires_grad] == ["loss"]


def test_the_generator_is_the_only_source_of_chance(name, backbone):
    """A pretext that draws nothing from it has the same loss each time."""
    pretext = build(name, backbone)
    batch, generator = make_batch(pretext), generator_for(3)
    before = generator.get_state()
    first = pretext(batch, generator)["loss"].item()
    draws = not torch.equal(generator.get_state(), before)
    again, other = (pretext(batch, generator_for(seed))["loss"].item() for seed in (3, 4))
    assert first == again
    assert (first != other) == draws


def test_a_batch_may_be_cut_unless_the_pretext_says_why_not(name, backbone):
    """The draws of an image do not depend on those beside it, and the loss is a mean over images."""
    pretext = build(name, backbone).double()
    batch = {key: images.double() for key, images in make_batch(pretext, 4).items()}

    def loss(rows: slice) -> float:
        own = [generator_for(1, number) for number in range(4)[rows]]
        part = {key: images[rows] for key, images in batch.items()}
        return pretext(part, ImageGenerators(own, generator_for(2)))["loss"].item()

    halves = (loss(slice(0, 2)) + loss(slice(2, 4))) / 2
    assert (abs(loss(slice(0, 4)) - halves) > 1e-9) == bool(pretext.batch_coupling)


def test_gradient_reaches_the_whole_body(name, backbone):
    """After two steps, because networks may begin with branches switched off (NAFNet's beta and gamma are 0)."""
    pretext = build(name, backbone)
    batch = make_batch(pretext)
    train(pretext, batch, steps=2)
    pretext.zero_grad()
    pretext(batch, generator_for(0))["loss"].backward()
    body = {key: p for key, p in pretext.backbone.named_parameters() if not pretext.backbone.is_head(key)}
    assert not [key for key, p in body.items() if p.grad is None or not p.grad.any()]


def test_preview_shows_pictures(name, backbone):
    pretext = build(name, backbone)
    shown = pretext.preview(make_batch(pretext), generator_for(0))
    assert len(shown) >= 2
    for picture in shown.values():
        assert picture.shape == (2, 3, SIDE, SIDE)
        assert not picture.requires_grad
        assert 0 <= picture.min() <= picture.max() <= 1


def test_odd_and_oblong_images(name, backbone):
    pretext = build(name, backbone)
    loss = pretext(make_batch(pretext, height=27, width=41), generator_for(0))["loss"]
    loss.backward()
    assert torch.isfinite(loss)


def test_twenty_steps_lower_the_loss(name, backbone):
    pretext = build(name, backbone)
    batch = make_batch(pretext)
    before = pretext(batch, generator_for(0))["loss"].item()
    train(pretext, batch, steps=20)
    after = pretext(batch, generator_for(0))["loss"].item()
    assert after < 0.9 * before, f"{before:.4g} -> {after:.4g}"


def test_it_trains_under_mixed_precision(name, backbone):
    pretext = build(name, backbone)
    batch = make_batch(pretext)
    with torch.autocast("cpu", torch.bfloat16):
        losses = pretext(batch, generator_for(0))
    losses["loss"].backward()
    assert losses["loss"].dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in pretext.parameters() if p.grad is not None)
