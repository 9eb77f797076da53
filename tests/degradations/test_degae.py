"""DegAE's draw: the published distributions, shared by the images of a sample."""

from collections import Counter

import pytest
import torch

from gesso.degradations.degae import DegAE, draw_blur, draw_jpeg, draw_mixing, draw_noise, draw_poisson
from gesso.functional.random import generator_for

ALWAYS = {
    "clean_prob": 0.0,
    "blur_prob": 1.0,
    "gaussian_prob": 1.0,
    "poisson_prob": 1.0,
    "speckle_prob": 1.0,
    "jpeg_prob": 1.0,
}


def names(degradation: DegAE, seed: int) -> tuple[str, ...]:
    """Which functions drew the steps, by their qualified names."""
    return tuple(step.__qualname__.split(".")[0] for step in degradation.draw_steps(generator_for(seed)))


def test_steps_come_with_their_probabilities():
    drawn = [names(DegAE(), seed) for seed in range(4000)]
    counts = Counter(name for steps in drawn for name in steps)
    assert counts["draw_blur"] / 4000 == pytest.approx(0.7 * 0.7, abs=0.03)
    assert counts["draw_noise"] / 4000 == pytest.approx(0.7 * (0.5 + 0.2), abs=0.03)
    assert counts["draw_poisson"] / 4000 == pytest.approx(0.7 * 0.2, abs=0.03)
    assert counts["draw_jpeg"] / 4000 == pytest.approx(0.7 * 0.5, abs=0.03)
    nothing = 0.3 + 0.7 * 0.3 * 0.5 * 0.8 * 0.8 * 0.5
    assert drawn.count(()) / 4000 == pytest.approx(nothing, abs=0.03)


def test_half_of_the_orders_are_free_and_half_begin_with_blur_and_end_with_jpeg():
    orders = [names(DegAE(**ALWAYS), seed) for seed in range(1000)]
    framed = sum(order[0] == "draw_blur" and order[-1] == "draw_jpeg" for order in orders) / 1000
    assert framed == pytest.approx(0.5 + 0.5 / 20, abs=0.05)
    assert all(names(DegAE(**ALWAYS, shuffle_prob=0.0), seed)[::4] == ("draw_blur", "draw_jpeg") for seed in range(20))


def test_blur_kernels_have_the_published_sides_and_spreads():
    impulse = torch.zeros(1, 3, 51, 51)
    impulse[..., 25, 25] = 1
    distance = (torch.arange(51) - 25.0).square()
    sides, variances = set(), []
    for seed in range(300):
        spread = draw_blur(generator_for(seed))(impulse, generator_for(0))[0, 0].clamp(min=0)
        spread = torch.where(spread > 1e-7, spread, 0)
        variances.append((spread.sum(0) * distance).sum().item())
        sides.add(2 * int((spread.sum(0) > 0).nonzero().max() - 25) + 1)
    assert max(sides) <= 25
    assert max(variances) < 5
    assert 1.5 < sum(variances) / 300 < 2.3  # means 2.5 anisotropic, 1.6 isotropic, less the truncation


def test_noise_is_grey_coloured_or_correlated():
    image = torch.full((1, 3, 64, 64), 0.5)
    kinds = Counter()
    for seed in range(400):
        step = draw_noise(generator_for(seed), most=30, speckle=False)
        noise = step(image, generator_for(1)) - image
        rows = noise[0].flatten(1)
        correlation = torch.corrcoef(rows)[0, 1].item()
        kinds["grey" if correlation > 0.999 else "colour" if abs(correlation) < 0.06 else "correlated"] += 1
        if correlation > 0.999:
            assert 1.8 / 255 < rows.std().item() < 31 / 255
    assert kinds["grey"] / 400 == pytest.approx(0.4, abs=0.07)
    assert kinds["colour"] / 400 == pytest.approx(0.4, abs=0.07)


def test_correlated_noise_has_the_covariance_it_was_drawn_with():
    mixing = draw_mixing(generator_for(2), 0.1)
    covariance = mixing.T @ mixing
    normal = torch.randn(200_000, 3, generator=generator_for(0))
    assert torch.allclose(torch.cov((normal @ mixing).T), covariance, atol=3e-4)
    assert covariance.diagonal().max() < 0.01


def test_speckle_grows_with_the_light_and_poisson_comes_in_grey_too():
    image = torch.cat([torch.full((1, 3, 64, 64), 0.1), torch.full((1, 3, 64, 64), 0.6)])
    speckled = draw_noise(generator_for(5), most=25, speckle=True)(image, generator_for(0))
    assert (speckled[1] - 0.6).std() == pytest.approx(6 * (speckled[0] - 0.1).std().item(), rel=0.1)
    grey = 0
    for seed in range(100):
        noise = draw_poisson(generator_for(seed))(image, generator_for(0)) - image
        grey += torch.allclose(noise[:, 0], noise[:, 1], atol=1e-6)
    assert grey == pytest.approx(50, abs=15)


def test_jpeg_draws_qualities_of_its_range():
    image = torch.rand(1, 3, 16, 16, generator=generator_for(0))
    assert len({draw_jpeg(generator_for(s))(image, generator_for(0)).sum().item() for s in range(200)}) > 40


def test_images_of_a_sample_share_the_draw_but_not_the_noise():
    one = torch.rand(1, 1, 3, 32, 32, generator=generator_for(0))
    images = one.expand(1, 3, -1, -1, -1)
    blurred = DegAE(clean_prob=0, gaussian_prob=0, poisson_prob=0, speckle_prob=0).share(images, generator_for(3))
    assert torch.equal(blurred[0, 0], blurred[0, 2])
    noisy = DegAE(**{**ALWAYS, "jpeg_prob": 0.0, "blur_prob": 0.0}).share(images, generator_for(3))
    assert not torch.equal(noisy[0, 0], noisy[0, 2])
    assert (noisy[0] - images[0]).std((1, 2, 3)).tolist() == pytest.approx(
        [(noisy[0, 0] - one[0, 0]).std().item()] * 3, rel=0.1
    )


def test_samples_of_a_batch_draw_for_themselves():
    images = torch.rand(1, 2, 3, 32, 32, generator=generator_for(0)).expand(8, -1, -1, -1, -1)
    degraded = DegAE().share(images, generator_for(3))
    assert degraded.shape == images.shape
    errors = {round(value, 6) for value in (degraded - images).square().mean((1, 2, 3, 4)).tolist()}
    assert len(errors) > 3
