"""Degradations of the user's own: classes and functions, from Python, YAML and a name."""

import dataclasses

import pytest
import torch

from gesso._discovery import UnknownNameError
from gesso.degradations import Degradation, FromFunction, create_degradation, parse_degradation
from gesso.degradations._base import Range, draw
from gesso.functional.random import ImageGenerators, generator_for


@dataclasses.dataclass(frozen=True)
class Fade(Degradation):
    """Less contrast."""

    share: Range = (0.2, 0.8)
    inner: tuple[Degradation, ...] = ()

    def _apply(self, image, generator):
        for part in self.inner:
            image = part(image, generator)
        return 0.5 + draw(self.share, image, generator) * (image - 0.5)


def grain(image, generator):
    """Noise from a torch.Generator."""
    return image + 0.1 * torch.randn(image.shape, generator=generator)


NAME = f"{__name__}:Fade"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Fade, Fade()),
        (NAME, Fade()),
        ({"name": NAME, "share": [0.1, 0.2]}, Fade((0.1, 0.2))),
        ({"name": NAME, "inner": ["jpeg", NAME]}, Fade(inner=(create_degradation("jpeg"), Fade()))),
        (grain, FromFunction(grain)),
        (f"{__name__}:grain", FromFunction(grain)),
        ({"name": "mix", "choices": [NAME, f"{__name__}:grain"]}, None),
        ([NAME, "jpeg", grain], None),
    ],
)
def test_they_are_values_like_all_others(value, expected):
    degradation = parse_degradation(value)
    assert expected is None or degradation == expected
    assert parse_degradation(degradation.as_yaml()) == degradation, "the record of a run makes it again"
    image = torch.rand(2, 3, 16, 16)
    degraded = [degradation(image, generator_for(1)) for _ in range(2)]
    assert torch.equal(*degraded)
    assert not torch.equal(degraded[0], image)
    assert degraded[0].min() >= 0
    assert degraded[0].max() <= 1


def test_a_function_sees_one_image_at_a_time_whatever_lies_beside_it():
    image, own = torch.rand(3, 1, 8, 8), [generator_for(n) for n in range(3)]
    whole = FromFunction(grain)(image, ImageGenerators(own, generator_for(9)))
    alone = FromFunction(grain)(image[1:2], ImageGenerators([generator_for(1)], generator_for(9)))
    assert torch.equal(whole[1:2], alone)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (f"{__name__}:Fad", "has no 'Fad'; did you mean Fade"),
        ("nowhere_at_all:Rain", "degradation nowhere_at_all:Rain: cannot import nowhere_at_all"),
        (f"{__name__}:NAME", "expected a subclass of gesso.Degradation or a function .*, got a str"),
        ("torch:Tensor", "expected a subclass of gesso.Degradation .*, got the class Tensor"),
        ({"name": NAME, "shares": 0.3}, "has no option 'shares'; did you mean share"),
        ({"name": f"{__name__}:grain", "sigma": 3}, "has no option 'sigma'"),
        (3, "degradation: expected a name, a name with options"),
    ],
)
def test_what_is_no_degradation_is_refused(value, message):
    with pytest.raises((ValueError, UnknownNameError), match=message):
        parse_degradation(value)


@pytest.mark.parametrize("wrong", [lambda image, generator: None, lambda image, generator: image[0]])
def test_a_function_that_returns_no_image_is_named(wrong):
    with pytest.raises(ValueError, match=r"expected an image \(1, 3, 8, 8\) back, got"):
        FromFunction(wrong)(torch.rand(1, 3, 8, 8), generator_for(0))
