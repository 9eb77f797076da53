"""What every file of `gesso/sources` owes: a new one is tested the moment it is there."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gesso
from gesso import sources
from gesso.sources import batch_of, count_of, draw_image, is_source, open_source

SOURCES = sources.list_sources()
LARGE = st.integers(0, 2**40)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=15, deadline=None)
@given(seed=LARGE, index=LARGE, size=st.integers(1, 70))
def test_images_are_pure_functions_of_seed_index_and_size(name, seed, index, size):
    source = open_source(name)
    image = source(seed, index, size)
    assert image.shape == (3, size, size)
    assert image.dtype == torch.float32
    assert image.isfinite().all()
    assert torch.equal(image, source(seed, index, size))


@pytest.mark.parametrize("name", SOURCES)
def test_every_index_and_seed_is_another_image(name):
    source = open_source(name)
    images = batch_of(source, 0, range(20), 24)
    assert images.shape == (20, 3, 24, 24)
    assert len({image.numpy().tobytes() for image in images}) == 20
    assert not torch.equal(source(0, 1, 24), source(1, 0, 24))


@pytest.mark.parametrize("name", SOURCES)
def test_images_stand_in_for_photos_or_say_that_they_do_not(name):
    images = batch_of(open_source(name), 1, range(20), 24)
    if ((images >= 0) & (images <= 1)).all():
        assert open_source(name, unit_range=True) is open_source(name)
    else:
        with pytest.raises(ValueError, match=rf"{name} has no values in \[0, 1\]; take leaves, "):
            open_source(name, unit_range=True)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("name", SOURCES)
def test_any_number_of_channels_can_be_drawn(name, channels):
    image = draw_image(open_source(name), 0, 1, 24, channels)
    assert image.shape == (channels, 24, 24)
    assert torch.equal(image, draw_image(open_source(name), 0, 1, 24, channels))


@pytest.mark.parametrize("name", SOURCES)
def test_it_is_named_and_documented(name):
    assert is_source(name)
    assert gesso.list_sources() == SOURCES
    first = (inspect.getdoc(open_source(name)) or "").split("\n")[0]
    assert len(first) > 20
    assert count_of(open_source(name)) in (None, 1)


# ------------------------------------------------------------------------------------------------ a user's own source


def grey(seed, index, size):
    return torch.rand(1, size, size, generator=torch.Generator().manual_seed(seed + index))


class Stripes:
    """A source with a number of its own."""

    def __init__(self, width=2):
        self.width = width

    def __call__(self, seed, index, size):
        return ((torch.arange(size) + seed + index) // self.width % 2).float().expand(3, size, size).clone()


@pytest.mark.parametrize("spec", [grey, Stripes(3), f"{__name__}:grey", f"{__name__}:Stripes"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_functions_and_objects_are_sources(spec, channels):
    assert is_source(spec)
    assert draw_image(open_source(spec, unit_range=True), 0, 1, 8, channels).shape == (channels, 8, 8)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("leafs", "unknown source 'leafs'; did you mean leaves?"),
        ("nowhere_at_all:grey", "source nowhere_at_all:grey: cannot import nowhere_at_all"),
        (f"{__name__}:gray", "has no 'gray'; did you mean grey?"),
        (f"{__name__}:SOURCES", r"expected a function \(seed, index, size\) -> image .* is a list"),
        (lambda seed: grey(seed, 0, 8), r"expected a function \(seed, index, size\)"),
        (lambda seed, index, size: torch.rand(1, size, size), "returned another image for the same"),
        (lambda seed, index, size: grey(seed, index, size)[0], r"returned \(16, 16\)"),
        (lambda seed, index, size: grey(seed, index, size).double(), "float64"),
        (lambda seed, index, size: grey(seed, index, 8), r"returned \(1, 8, 8\) of torch.float32 for size 16"),
        (lambda seed, index, size: None, "returned a NoneType"),
        (lambda seed, index, size: 3 * grey(seed, index, size), r"has no values in \[0, 1\]; take leaves, pink"),
    ],
)
def test_what_is_no_source_is_refused_at_once(spec, message):
    with pytest.raises(ValueError, match=message):
        open_source(spec, unit_range=True)


# ------------------------------------------------------------------------------------------------- a folder of photos


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        gesso.write_image(tmp_path / f"{number}.png", open_source("leaves")(0, number, 40))
    return tmp_path


@pytest.mark.parametrize("as_given", [str, lambda path: path], ids=["text", "path"])
def test_a_folder_of_photos_is_a_source_of_the_images_that_a_run_sees(folder, as_given):
    from gesso.data.training_data import open_images

    source, samples = open_source(as_given(folder), unit_range=True), open_images(str(folder), seed=5)
    for index in (0, 1, 7):
        assert torch.equal(source(5, index, 16), samples[index, 16]["image"])
    assert draw_image(source, 5, 0, 16, channels=1).shape == (1, 16, 16)
    with pytest.raises(ValueError, match="four channels of data"):
        draw_image(source, 5, 0, 16, channels=4)


def test_photos_are_no_name_by_themselves(tmp_path):
    assert "photos" not in SOURCES
    with pytest.raises(ValueError, match="source photos: needs folder; give a folder of photos itself"):
        open_source("photos")
    with pytest.raises(ValueError, match="no images"):
        open_source(tmp_path)
