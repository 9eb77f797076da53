"""What every degradation of the folder owes, tested the moment its file exists."""

import dataclasses
import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gesso._discovery import UnknownNameError
from gesso.degradations import (
    Degradation,
    create_degradation,
    degradation_classes,
    list_degradations,
    parse_degradation,
)
from gesso.functional.random import ImageGenerators, generator_for
from tests._streaks import rainy_pairs

NAMES = list_degradations()
OPTIONS = {"rain_streaks": {"folder": rainy_pairs()}}  # it lies in files

# Options at which a degradation does nothing, and how near to nothing it then comes.
NOTHING = {
    "bicubic": ({"scale": 1}, 0),
    "camera_noise": ({"photons": 1e9, "read": 0, "jpeg_prob": 0}, 5e-3),  # where every photon counts for a billionth
    "compose": ({"steps": []}, 0),
    "defocus": ({"radius": 0}, 1e-6),
    "degae": ({"clean_prob": 1.0}, 0),
    "gaussian_blur": ({"sigma": 0}, 1e-6),
    "gaussian_noise": ({"sigma": 0}, 0),
    "haze": ({"beta": 0}, 1e-6),
    "haze_scene": ({"beta": 0}, 1e-5),
    "inpainting": ({"lines": 0}, 0),
    "jpeg": ({"quality": 100}, 0.15),  # colour at half the resolution
    "low_light": ({"exposure": 1, "gamma": 1, "shot": 0, "read": 0}, 0),
    "mix": ({"choices": [[]]}, 0),
    "motion_blur": ({"length": 0}, 1e-6),
    "poisson_noise": ({"photons": 1e9}, 1e-3),
    "rain": ({"density": 0}, 0),
    "rain_scene": ({"density": 0, "distance": 0, "softness": 0}, 1e-5),
    "rain_streaks": ({"folder": rainy_pairs(), "strength": 0}, 0),
    "random_order": ({"choices": ["rain", "haze"], "prob": 0}, 0),
    "rings": ({"mask_ratio": 0}, 1e-6),
    "snow": ({"density": 0, "veil": 0}, 0),
    "speckle_noise": ({"sigma": 0}, 0),
}


def make(name: str) -> Degradation:
    return create_degradation(name, **OPTIONS.get(name, degradation_classes()[name].example))


def smooth(batch: int = 2, height: int = 32, width: int = 40) -> torch.Tensor:
    small = torch.rand(batch, 3, 4, 5, generator=generator_for(3))
    return torch.nn.functional.interpolate(small, (height, width), mode="bilinear")


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_the_same_pixels_in_range_and_leaves_its_input_alone(name):
    image = smooth()
    before = image.clone()
    first, again = (make(name)(image, generator_for(7)) for _ in range(2))
    assert first.shape == image.shape
    assert first.dtype == image.dtype
    assert first.isfinite().all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert torch.equal(image, before)


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_gives_other_pixels_where_it_draws_at_all(name):
    image, generators = smooth(batch=8), [generator_for(seed) for seed in (1, 2)]
    before = generators[0].get_state()
    images = [make(name)(image, generator) for generator in generators]
    assert torch.equal(*images) == torch.equal(generators[0].get_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_batch_do_not_see_each_other(name):
    image = smooth()
    other = image.clone()
    other[1] = other[1].flip(-1)
    own = [[generator_for(7, number) for number in range(2)] for _ in range(2)]
    first, second = (
        make(name)(batch, ImageGenerators(each, generator_for(7)))
        for batch, each in zip((image, other), own, strict=True)
    )
    assert torch.allclose(first[0], second[0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_with_a_generator_for_each_image_a_batch_may_be_cut_anywhere(name):
    image, numbers = smooth(3), (5, 6, 7)

    def degraded(rows: slice) -> torch.Tensor:
        own = [generator_for(number) for number in numbers[rows]]
        return make(name)(image[rows], ImageGenerators(own, generator_for(0)))

    parts = torch.cat([degraded(slice(0, 2)), degraded(slice(2, 3))])
    assert torch.allclose(degraded(slice(0, 3)), parts, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 99))
def test_any_size_will_do(name, height, width, seed):
    image = torch.rand(2, 3, height, width, generator=generator_for(seed))
    degraded = make(name)(image, generator_for(seed))
    assert degraded.shape == image.shape
    assert degraded.isfinite().all()
    assert ((degraded >= 0) & (degraded <= 1)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu_too_the_same_seed_gives_the_same_pixels(name):
    image = smooth().cuda()
    first, again = (make(name)(image, generator_for(7, device="cuda")) for _ in range(2))
    assert first.is_cuda
    assert torch.equal(first, again)
    assert ((first >= 0) & (first <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_double_precision_stays_double(name):
    assert make(name)(smooth().double(), generator_for(7)).dtype == torch.float64


@pytest.mark.parametrize("name", sorted(NOTHING))
def test_at_zero_strength_nothing_happens(name):
    options, tolerance = NOTHING[name]
    image = smooth()
    degraded = create_degradation(name, **options)(image, generator_for(7))
    assert (degraded - image).abs().max() <= tolerance


def test_what_is_tested_at_zero_is_there():
    assert set(NOTHING) < set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_degradation_is_a_value(name):
    one, same = make(name), make(name)
    assert one == same
    assert hash(one) == hash(same)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "other"
    names = {kind.__name__: kind for kind in degradation_classes().values()}
    assert eval(repr(one), names) == one


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_batch_of_images_is_refused(name):
    for image in (torch.rand(3, 16, 16), torch.rand(1, 2, 16, 16), torch.zeros(1, 3, 16, 16, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"expected a floating-point image \(B, 3, H, W\)"):
            make(name)(image, generator_for(0))


@pytest.mark.parametrize("name", NAMES)
def test_a_grey_image_is_degraded_as_the_first_channel_of_a_coloured_one(name):
    grey = torch.rand(2, 1, 32, 32, generator=generator_for(1))
    colour = make(name)(grey.expand(-1, 3, -1, -1), generator_for(0))
    assert torch.equal(make(name)(grey, generator_for(0)), colour[:, :1])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bicubic", {"scale": 0}),
        ("bicubic", {"scale": 2.5}),
        ("camera_noise", {"photons": 0}),
        ("camera_noise", {"jpeg_prob": 2}),
        ("defocus", {"radius": -1}),
        ("degae", {"jpeg_prob": 1.5}),
        ("gaussian_blur", {"ratio": 0}),
        ("gaussian_noise", {"sigma": 256}),
        ("gaussian_noise", {"sigma": [50, 0]}),
        ("gaussian_noise", {"sigma": [1, 2, 3]}),
        ("gaussian_noise", {"sigma": "25"}),
        ("haze", {"beta": -0.1}),
        ("haze_scene", {"reach": 0.5}),
        ("haze_scene", {"patches": [0, 2]}),
        ("inpainting", {"colour": "green"}),
        ("jpeg", {"quality": 0}),
        ("low_light", {"exposure": 0}),
        ("mix", {"choices": []}),
        ("mosaic", {"demosaic": "best"}),
        ("motion_blur", {"length": [5, 300]}),
        ("poisson_noise", {"photons": 0}),
        ("rain", {"density": 1}),
        ("rain_scene", {"density": 1}),
        ("rain_scene", {"exposure": 0}),
        ("rain_scene", {"rainfall": [1, 400]}),
        ("random_order", {"choices": []}),
        ("rings", {"mask_ratio": 1.1}),
        ("snow", {"size": 0}),
        ("speckle_noise", {"sigma": -1}),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, options):
    with pytest.raises(ValueError, match=rf"^{name}\.{next(iter(options))}: expected .*, got "):
        create_degradation(name, **options)


def test_unknown_names_and_options_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean haze"):
        create_degradation("hase")
    with pytest.raises(UnknownNameError, match="rain has no option 'densty'; did you mean density"):
        create_degradation("rain", densty=0.3)


def test_variants_are_settings_under_a_name_of_their_own():
    heavy = create_degradation("rain_heavy", width=1.0)
    assert heavy.density == (0.55, 0.97)
    assert heavy.width == 1.0
    assert create_degradation("degae_test").jpeg_prob == 0


def test_yaml_values_become_degradations():
    blur = create_degradation("gaussian_blur", sigma=2)
    assert parse_degradation("gaussian_blur") == create_degradation("gaussian_blur")
    assert parse_degradation({"name": "gaussian_blur", "sigma": 2}) == blur
    assert parse_degradation(blur) is blur
    nested = parse_degradation(
        {"name": "mix", "choices": ["jpeg", [{"name": "gaussian_blur", "sigma": 2}, "jpeg"], []]}
    )
    assert nested.choices[1].steps == (blur, create_degradation("jpeg"))
    assert nested.choices[2].steps == ()


@pytest.mark.parametrize("value", [None, 3, {"density": 0.3}, {"name": 3}])
def test_other_yaml_values_are_refused(value):
    with pytest.raises(ValueError, match="degradation: expected a name"):
        parse_degradation(value)


def test_listing_imports_every_module_of_the_folder_and_nothing_heavy():
    assert {"rain", "rain_light", "rain_heavy", "gaussian_noise", "degae", "compose", "mix", "random_order"} <= set(
        list_degradations()
    )
    assert importlib.import_module("gesso.degradations.jpeg").Jpeg.name == "jpeg"
