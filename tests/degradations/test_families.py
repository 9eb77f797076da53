"""What each family does to an image, measured."""

import math

import cv2
import numpy as np
import pytest
import torch

from gesso.degradations import create_degradation, parse_degradation
from gesso.degradations._base import draw, draw_integer
from gesso.degradations.blur import filter_image, gaussian_kernel
from gesso.degradations.compose import Compose, Mix, RandomOrder
from gesso.degradations.haze import draw_depth
from gesso.degradations.inpainting import Inpainting
from gesso.degradations.jpeg import Jpeg
from gesso.degradations.low_light import LowLight
from gesso.degradations.noise import GaussianNoise, PoissonNoise, SpeckleNoise
from gesso.degradations.rain import Rain
from gesso.degradations.rings import Rings
from gesso.functional.random import generator_for
from gesso.functional.spectrum import spectrum
from tests._data import data_folder


def grey(level: float, batch: int = 1, side: int = 128) -> torch.Tensor:
    return torch.full((batch, 3, side, side), level)


def impulse(side: int = 41) -> torch.Tensor:
    image = torch.zeros(1, 3, side, side)
    image[..., side // 2, side // 2] = 1
    return image


def read(path) -> torch.Tensor:
    return torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255


def test_a_range_is_drawn_for_every_image_and_a_number_for_none():
    image = grey(0.5, batch=4000, side=1)
    values = draw((2, 4), image, generator_for(0))
    assert values.shape == (4000, 1, 1, 1)
    assert values.min() >= 2
    assert values.max() <= 4
    assert values.mean() == pytest.approx(3, abs=0.05)
    assert (draw(3, image, generator_for(0)) == 3).all()
    whole = draw_integer((1, 3), image, generator_for(0)).flatten()
    assert torch.bincount(whole.long()).tolist() == pytest.approx([0, 4000 / 3, 4000 / 3, 4000 / 3], abs=120)


@pytest.mark.parametrize(
    ("degradation", "level", "sigma"),
    [
        (GaussianNoise(25), 0.5, 25 / 255),
        (SpeckleNoise(25), 0.5, 12.5 / 255),
        (PoissonNoise(1000), 0.4, math.sqrt(0.4 / 1000)),
        (LowLight(exposure=0.5, gamma=1, shot=8, read=3), 0.5, math.sqrt(64 * 0.25 + 9) / 255),
    ],
)
def test_noise_has_the_strength_its_formula_says(degradation, level, sigma):
    degraded = degradation(grey(level), generator_for(0))
    assert degraded.std().item() == pytest.approx(sigma, rel=0.02)
    assert degraded.mean().item() == pytest.approx(0.25 if isinstance(degradation, LowLight) else level, abs=0.002)


def test_gaussian_noise_leaves_the_range_only_when_told():
    assert GaussianNoise(50, clip=False)(grey(0.0), generator_for(0)).min() < -0.3
    assert GaussianNoise(50)(grey(0.0), generator_for(0)).min() == 0


def published_noise(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """As Restormer's and DCPT's test programs add it to an image (height, width, channels) of float32 in [0, 1]."""
    noisy = pixels.copy()
    np.random.seed(seed=0)  # noqa: NPY002 (theirs is the legacy generator)
    noisy += np.random.normal(0, sigma / 255.0, noisy.shape)  # noqa: NPY002
    return noisy


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigma", [15, 25, 50])
def test_noise_of_the_papers_is_theirs_to_the_bit_and_begins_anew_at_every_image(channels, sigma):
    pixels = np.random.default_rng(5).random((2, 13, 17, channels), dtype=np.float32)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    noise = create_degradation("gaussian_noise", sigma=sigma, clip=False, numpy_seed=0)
    degraded = noise(images, generator_for(0)).permute(0, 2, 3, 1).numpy()
    assert degraded.shape == pixels.shape
    for one, expected in zip(degraded, pixels, strict=True):
        assert np.array_equal(one, published_noise(expected, sigma))
    assert torch.equal(noise(images, generator_for(1)), noise(images, generator_for(2))), "no draw but numpy's"
    clipped = create_degradation("gaussian_noise", sigma=sigma, numpy_seed=0)(images, generator_for(0))
    assert torch.equal(clipped, noise(images, generator_for(0)).clamp(0, 1))


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, "0"])
def test_seeds_that_numpy_does_not_take_are_refused(seed):
    with pytest.raises(ValueError, match=r"gaussian_noise.numpy_seed: expected a whole number"):
        create_degradation("gaussian_noise", numpy_seed=seed)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_small_images_have_the_grey_levels_of_files(scale):
    image = torch.rand(2, 3, 24, 36, generator=generator_for(0))
    small = create_degradation("bicubic", scale=scale, up=False)(image, generator_for(0))
    exact = create_degradation("bicubic", scale=scale, up=False, quantise=False)(image, generator_for(0))
    assert torch.equal(small, (255 * small).round() / 255)
    assert (255 * (small - exact)).abs().max() < 1.5
    assert not torch.equal(small, exact)


@pytest.mark.parametrize("scale", [2, 4])
def test_small_images_made_on_the_fly_are_the_published_files(scale):
    folder = data_folder(f"sr_set5_x{scale}")
    for path in sorted((folder / "target").glob("*.png")):
        small = create_degradation("bicubic", scale=scale, up=False)(read(path), generator_for(0))
        off = (255 * (small - read(folder / f"input/{path.stem}x{scale}.png"))).round().abs()
        assert off.max() <= 1
        assert (off > 0).float().mean() < 0.002, "all but what is half way between two levels"


def test_gaussian_blur_is_a_gaussian_and_turns():
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij")
    for angle, var_x, var_y in ((0, 9, 2.25), (90, 2.25, 9)):
        blur = create_degradation("gaussian_blur", sigma=3.0, ratio=0.5, angle=angle)
        spread = blur(impulse(), generator_for(0))[0, 0]
        assert (spread * x**2).sum().item() == pytest.approx(var_x, rel=0.05)
        assert (spread * y**2).sum().item() == pytest.approx(var_y, rel=0.05)
        assert spread.sum().item() == pytest.approx(1, abs=1e-4)


def test_filtering_matches_opencv_with_mirrored_edges():
    image = torch.rand(1, 3, 20, 30, generator=generator_for(0))
    two = [torch.full((1, 1, 1, 1), value) for value in (2.0, 2.0, 0.0)]
    kernel = gaussian_kernel(*two, margin=6)
    expected = cv2.filter2D(image[0].permute(1, 2, 0).numpy(), -1, kernel[0].numpy(), borderType=cv2.BORDER_REFLECT_101)
    filtered = filter_image(image, kernel)[0].permute(1, 2, 0).numpy()
    assert np.abs(filtered - expected).max() < 1e-5


def test_straight_motion_spreads_a_point_along_its_direction():
    moved = create_degradation("motion_blur", length=15, angle=0, shake=0)(impulse(), generator_for(0))[0, 0]
    assert moved[20].sum().item() == pytest.approx(1, abs=1e-4)
    assert ((moved[20] > 0.03).sum() - 15).abs() <= 1
    shaken = create_degradation("motion_blur", length=15, shake=1)(impulse(), generator_for(0))[0, 0]
    reach = torch.hypot(*(axis - 20.0 for axis in (shaken > 1e-4).nonzero(as_tuple=True)))
    assert reach.max() <= 15 / 2 + 2
    assert shaken.sum().item() == pytest.approx(1, abs=1e-4)


def test_defocus_spreads_a_point_over_a_disc():
    disc = create_degradation("defocus", radius=5)(impulse(), generator_for(0))[0, 0]
    assert (disc > disc.max() / 2).sum().item() == pytest.approx(math.pi * 25, rel=0.2)
    assert disc.max().item() == pytest.approx(1 / (math.pi * 25), rel=0.1)


def test_jpeg_agrees_with_another_decoder_and_encoder():
    from PIL import Image

    folder = data_folder("clean_set5")
    image = read(folder / "bird.png")[..., :96, :96]
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()
    for quality in (10, 50, 90):
        import io

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=quality, subsampling="4:2:0")
        expected = np.asarray(Image.open(file)).astype(int)
        ours = (Jpeg(quality)(image, generator_for(0))[0].permute(1, 2, 0) * 255).round().int().numpy()
        assert np.abs(ours - expected).max() <= 2
        assert (ours == expected).mean() > 0.95


def test_jpeg_takes_each_image_at_its_own_quality_and_keeps_grey_grey():
    image = torch.rand(1, 3, 32, 32, generator=generator_for(0)).expand(6, -1, -1, -1)
    error = (Jpeg((10, 95))(image, generator_for(0)) - image).square().mean((1, 2, 3))
    assert len(error.unique()) == 6
    flat = grey(0.4, side=16)
    assert (Jpeg(100)(flat, generator_for(0)) - flat).abs().max() < 1.01 / 255


@pytest.mark.parametrize("scale", [2, 4])
def test_bicubic_makes_the_published_low_resolution_set5(scale):
    folder = data_folder(f"sr_set5_x{scale}")
    same, total = 0, 0
    for path in sorted((folder / "target").iterdir()):
        gt = read(path)
        height, width = (side - side % scale for side in gt.shape[-2:])
        published = read(folder / "input" / f"{path.stem}x{scale}.png")
        ours = create_degradation("bicubic", scale=scale, up=False)(gt[..., :height, :width], generator_for(0))
        assert ours.shape == published.shape
        difference = ((ours * 255).round() - (published * 255).round()).abs()
        same += (difference <= 1).sum().item()
        total += difference.numel()
    assert same / total >= 0.999


def test_rain_covers_the_share_it_says_with_grey_light():
    black = grey(0.0, batch=4, side=256)
    for density in (0.1, 0.5, 0.9):
        rain = Rain(density=density, width=1.5, brightness=0.2, spread=0)(black, generator_for(0))
        assert torch.equal(rain[:, 0], rain[:, 2])
        assert (rain[:, 0] > 0.04).float().mean().item() == pytest.approx(density, abs=0.12)


@pytest.mark.parametrize("crossing", [1, 1.5, 3])
def test_streaks_that_cross_add_no_more_light_than_they_may(crossing):
    drawn = {"density": 0.9, "spread": 45, "brightness": 0.2}
    black = grey(0.0, side=256)
    free = Rain(**drawn)(black, generator_for(0))
    limited = Rain(**drawn, crossing=crossing)(black, generator_for(0))
    assert free.max() > 0.2 * crossing
    assert torch.equal(limited, free.clamp(max=0.2 * crossing))


def test_rain_falls_along_its_angle():
    black = grey(0.0, side=256)
    rain = Rain(density=0.05, length=60, width=1, angle=0, spread=0, brightness=0.3)(black, generator_for(0))[0, 0]
    assert (rain[1:] - rain[:-1]).abs().mean() < 0.1 * (rain[:, 1:] - rain[:, :-1]).abs().mean()
    tilted = Rain(density=0.05, length=60, width=1, angle=45, spread=0, brightness=0.3)(black, generator_for(0))[0, 0]
    along, across = (tilted[1:, 1:] - tilted[:-1, :-1]).abs().mean(), (tilted[1:, :-1] - tilted[:-1, 1:]).abs().mean()
    assert min(along, across) == along


def test_heavy_rain_harms_as_much_as_rain100h_and_light_rain_as_little_as_rain100l():
    folder = data_folder("derain_rain100h") / "target"
    clean = torch.cat([read(path)[..., :256, :256] for path in sorted(folder.iterdir())[:12]]).repeat(3, 1, 1, 1)
    mean_psnr = {}
    for name in ("rain_light", "rain_heavy"):
        error = (create_degradation(name)(clean, generator_for(0)) - clean).square().mean((1, 2, 3))
        mean_psnr[name] = (-10 * error.log10()).mean().item()
    assert 10 < mean_psnr["rain_heavy"] < 15  # Rain100H: 12.0 dB on these pairs
    assert 24 < mean_psnr["rain_light"] < 30  # Rain100L: 26.9 dB as published


def test_depth_is_smooth_and_touches_both_ends():
    depth = draw_depth(grey(0.5, batch=3, side=64), generator_for(0))
    assert depth.shape == (3, 1, 64, 64)
    assert depth.amin((1, 2, 3)).tolist() == [0] * 3
    assert depth.amax((1, 2, 3)).tolist() == pytest.approx([1] * 3)
    assert (depth[..., 1:, :] - depth[..., :-1, :]).abs().max() < 0.1


def test_haze_moves_every_pixel_towards_the_airlight():
    image = torch.rand(2, 3, 32, 32, generator=generator_for(1))
    hazy = create_degradation("haze", airlight=0.8, tint=0)(image, generator_for(0))
    assert ((hazy - image) * (0.8 - image) >= -1e-6).all()


def test_air_before_the_nearest_point_leaves_no_pixel_clear():
    options = {"beta": 2.0, "airlight": 1.0, "tint": 0}
    hazy = create_degradation("haze", **options, nearest=0.5)(grey(0.0, batch=3), generator_for(0))
    through = 1 - hazy  # of black, what is seen is the air
    assert through.amax((1, 2, 3)).tolist() == pytest.approx([math.exp(-2 * 0.5)] * 3)
    assert through.amin((1, 2, 3)).tolist() == pytest.approx([math.exp(-2)] * 3)
    clear = create_degradation("haze", **options)(grey(0.0, batch=3), generator_for(0))
    assert clear.amin((1, 2, 3)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)


def test_inpainting_draws_white_and_black_lines_of_their_thickness():
    image = grey(0.5)
    for colour, values in (("white", {0.5, 1.0}), ("black", {0.5, 0.0}), ("random", {0.0, 0.5, 1.0})):
        drawn = Inpainting(lines=8, colour=colour)(image, generator_for(4))
        assert set(drawn.unique().tolist()) == values
    thin, thick = (
        (Inpainting(lines=1, thickness=t, colour="white")(image, generator_for(0)) == 1).sum() for t in (4, 8)
    )
    assert thick / thin == pytest.approx(2, rel=0.3)


def test_a_mosaic_shows_one_colour_per_pixel_and_demosaicing_finds_the_others():
    image = torch.rand(1, 3, 8, 8, generator=generator_for(0))
    seen = create_degradation("mosaic", demosaic="none")(image, generator_for(0))
    assert ((seen > 0).sum(1) == 1).all()
    assert (seen > 0).sum((0, 2, 3)).tolist() == [16, 32, 16]
    flat = torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1).expand(1, 3, 9, 8)
    for method in ("edge_aware", "bilinear"):
        guessed = create_degradation("mosaic", demosaic=method)(flat, generator_for(0))
        assert (guessed - flat).abs().max() < 1e-4
        kept = create_degradation("mosaic", demosaic=method)(image, generator_for(0))
        assert (kept - image).abs()[seen > 0].max() < 1e-4


def test_rings_remove_the_share_of_rings_that_each_image_draws():
    image = torch.rand(3, 3, 64, 64, generator=generator_for(0)) * 0.01 + 0.5  # so faint that nothing is clamped
    powers = spectrum(Rings((0.2, 0.8))(image, generator_for(0))).abs().mean(1)
    counts = [(power[32, 33:] < 1e-4).sum().item() for power in powers]
    assert len(set(counts)) == 3
    assert all(0.2 * 32 - 1 <= count <= 0.8 * 32 for count in counts)
    assert powers[:, 32, 32] == pytest.approx(spectrum(image).abs().mean(1)[:, 32, 32], rel=1e-4)


def test_compose_runs_in_order():
    image = grey(0.5, side=16)
    dark_noise = Compose((LowLight(exposure=0.1, gamma=1, shot=0, read=0), GaussianNoise(5)))
    noise_dark = Compose(dark_noise.steps[::-1])
    assert dark_noise(image, generator_for(0)).std() > 5 * noise_dark(image, generator_for(0)).std()


def test_mix_draws_one_for_each_image_and_can_say_which():
    image = grey(0.5, batch=60, side=8)
    mix = Mix((Compose(()), Inpainting(thickness=20, colour="white"), Inpainting(thickness=20, colour="black")))
    degraded, label = mix.labelled(image, generator_for(0))
    assert torch.equal(degraded, mix(image, generator_for(0)))
    assert degraded.mean((1, 2, 3)).tolist() == pytest.approx(torch.tensor([0.5, 1.0, 0.0])[label].tolist(), abs=0.3)
    assert torch.bincount(label).min() >= 10


def test_mix_draws_by_weight():
    image = grey(0.5, batch=400, side=8)
    mix = parse_degradation({"name": "mix", "choices": [[], "rain", "haze"], "weights": [3, 0, 1]})
    counts = torch.bincount(mix.labelled(image, generator_for(0))[1], minlength=3)
    assert counts[1] == 0
    assert 260 <= counts[0] <= 340


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, math.inf], [1, math.nan], ["a", "b"], 2, {"a": 1}])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(
        ValueError,
        match=r"mix\.weights: expected (as many numbers from 0 as there are choices \(2\)|finite numbers|a list)",
    ):
        parse_degradation({"name": "mix", "choices": ["rain", "haze"], "weights": weights})


HALVE = LowLight(exposure=0.5, gamma=1, shot=0, read=0)
PAINT = Inpainting(lines=1, thickness=20, colour="white")


def test_random_order_draws_which_and_in_which_order_for_each_image():
    plans = RandomOrder((HALVE, PAINT, GaussianNoise(5)), prob=(1.0, 0.5, 0.0)).drawn(grey(0.5, 800), generator_for(0))
    orders = [tuple(plan) for plan in plans]
    assert set(orders) == {(0,), (0, 1), (1, 0)}
    assert orders.count((0,)) == pytest.approx(400, abs=60)
    assert orders.count((0, 1)) == pytest.approx(200, abs=50)


def test_random_order_does_what_it_has_drawn_one_after_the_other():
    image, order = grey(1.0, batch=40, side=16), RandomOrder((HALVE, PAINT), prob=1)
    degraded, plans = order(image, generator_for(0)), order.drawn(image, generator_for(0))
    for one, plan in zip(degraded, plans, strict=True):  # white painted before the light is halved is grey
        assert one.max().item() == pytest.approx(0.5 if plan == [1, 0] else 1.0)
    assert len({tuple(plan) for plan in plans}) == 2


def test_random_order_uses_every_degradation_once_at_most():
    plans = RandomOrder((HALVE, PAINT, GaussianNoise(5)), prob=0.7).drawn(grey(0.5, 100), generator_for(0))
    assert all(len(plan) == len(set(plan)) for plan in plans)


@pytest.mark.parametrize("prob", [-0.1, 1.1, math.nan, [0.5], [0.5, 2], ["a", 0.5], "often", {"rain": 0.5}])
def test_probabilities_that_do_not_fit_are_refused(prob):
    with pytest.raises(
        ValueError,
        match=r"random_order\.prob: expected (a number in \[0, 1\], or one for each|finite|a number or a list)",
    ):
        parse_degradation({"name": "random_order", "choices": ["rain", "haze"], "prob": prob})


@pytest.mark.parametrize("name", ["mix", "random_order"])
def test_images_of_one_batch_keep_one_size(name):
    smaller = {"name": "bicubic", "scale": 2, "up": False}
    degradation = create_degradation(name, choices=[smaller, []], **({"prob": 1} if name == "random_order" else {}))
    with pytest.raises(ValueError, match="keep the size, which one batch shares; 32 x 32 to 16 x 16 by Bicubic"):
        degradation(grey(0.5, batch=8, side=32), generator_for(0))


def test_photons_are_counted_of_images_that_noise_has_taken_below_black():
    unclipped = Compose((GaussianNoise(50, clip=False), PoissonNoise(1000)))
    assert unclipped(grey(0.0), generator_for(0)).min() == 0
