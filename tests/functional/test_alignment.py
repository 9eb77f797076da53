import pytest
import torch

from gesso.degradations import create_degradation
from gesso.functional.alignment import find_shift
from gesso.sources.leaves import leaves

SCENE = leaves(0, 3, 192)
DEGRADED = ["rain_heavy", "gaussian_noise", "haze", "low_light", "jpeg", "gaussian_blur"]


def cropped(image, down, right):
    """160 x 152 pixels of the scene, seen from elsewhere."""
    return image[:, 16 - down : 176 - down, 20 - right : 172 - right]


@pytest.mark.parametrize("name", DEGRADED)
@pytest.mark.parametrize(("down", "right"), [(0, 0), (5, 0), (-3, 7), (0, -12)])
def test_the_shift_of_a_degraded_image_is_found(name, down, right):
    degraded = create_degradation(name)(SCENE[None], torch.Generator().manual_seed(0))[0]
    shift = find_shift(cropped(degraded, -down, -right), cropped(SCENE, 0, 0))
    assert (shift.down, shift.right) == (down, right)
    assert shift.there >= shift.here
    if (down, right) == (0, 0):
        assert shift.there == shift.here > 0.1
    else:
        assert shift.here < 0.7 * shift.there


def test_shifts_of_large_images_are_in_their_pixels():
    large = torch.nn.functional.interpolate(SCENE[None], scale_factor=8, mode="bilinear")[0]
    shift = find_shift(large[:, :, 24:], large[:, :, :-24])
    assert (shift.down, shift.right) == (0, 24)


def test_unrelated_images_have_nothing_in_common():
    shift = find_shift(SCENE, leaves(0, 4, 192))
    assert shift.there < 0.15


def test_featureless_and_tiny_images_are_not_shifted():
    for image in (torch.zeros(3, 40, 40), torch.rand(3, 3, 2), torch.rand(3, 1, 1)):
        shift = find_shift(image, image)
        assert (shift.down, shift.right) == (0, 0)
