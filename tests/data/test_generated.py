"""Images of a source as samples: by index and crop size, several in a sample, a few that take turns."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gesso.data.generated import GeneratedImages, GeneratedPairs, Rehearsal
from gesso.degradations import parse_degradation
from gesso.sources import count_of, list_sources, open_source

ENDLESS = [name for name in list_sources() if count_of(open_source(name)) is None]


@pytest.mark.parametrize("name", ENDLESS)
def test_datasets_are_keyed_by_index_and_crop_size(name):
    source = open_source(name)
    endless = GeneratedImages(name, seed=3)
    assert endless[(7, 16)]["name"] == f"{name} 7"
    assert torch.equal(endless[(7, 16)]["image"], source(3, 7, 16))
    assert endless[(7, 24)]["image"].shape == (3, 24, 24)
    assert len(endless) > 10**12
    few = GeneratedImages(name, seed=3, count=2)
    assert len(few) == 2
    assert torch.equal(few[(5, 16)]["image"], few[(1, 16)]["image"])


def test_a_sample_can_hold_several_images_none_twice():
    pairs = GeneratedImages("leaves", per_sample=2)
    images = torch.cat([pairs[(index, 16)]["image"] for index in range(5)])
    assert images.shape == (10, 3, 16, 16)
    assert len({image.numpy().tobytes() for image in images}) == 10
    with pytest.raises(ValueError, match="at least 2 images"):
        GeneratedImages("leaves", count=1, per_sample=2)


def test_one_noise_image_is_the_same_at_every_index():
    dataset = GeneratedImages("noise", seed=0)
    image = dataset[0, 64]["image"]
    assert torch.equal(dataset[7, 64]["image"], image)
    assert abs(float(image.mean())) < 0.03
    assert abs(float(image.std()) - 1) < 0.03
    assert not torch.equal(GeneratedImages("noise", seed=1)[0, 64]["image"], image)


def test_several_noise_images_take_turns():
    dataset = GeneratedImages("noise", 0, count=3)
    images = {dataset[index, 4]["name"]: dataset[index, 4]["image"] for index in range(9)}
    assert sorted(images) == ["noise 0", "noise 1", "noise 2"]
    assert len({float(image[0, 0, 0]) for image in images.values()}) == 3
    assert torch.equal(images["noise 0"], GeneratedImages("noise", 0)[0, 4]["image"])
    with pytest.raises(ValueError, match="at least 1 image, got 0 of noise"):
        GeneratedImages("noise", count=0)


class Numbered:
    """Samples that say which they are."""

    def __len__(self):
        return 5

    def __getitem__(self, key):
        return {"name": f"own {key[0]}"}


@given(share=st.fractions(0, 1, max_denominator=1000).filter(lambda share: share < 1), first=st.integers(0, 10**12))
def test_rehearsal_has_its_share_in_every_stretch_and_leaves_out_no_sample(share, first):
    procedural = GeneratedPairs("leaves", parse_degradation("rain"), seed=1)
    among = Rehearsal(Numbered(), procedural, float(share))
    names = [among[index, 1]["name"].split() for index in range(first, first + 24)]
    own, others = ([int(number) for kind, number in names if kind == this] for this in ("own", "leaves"))
    assert abs(len(others) - 24 * share) < 1
    assert own == list(range(own[0], own[0] + len(own))) if own else share > 0.9
    assert others == list(range(others[0], others[0] + len(others))) if others else share < 0.1


def test_rehearsal_of_no_share_is_the_samples_alone():
    among = Rehearsal(Numbered(), GeneratedPairs("leaves", parse_degradation("rain")), 0.0)
    assert [among[index, 8]["name"] for index in range(7)] == [f"own {index}" for index in range(7)]
    assert len(among) == 5
