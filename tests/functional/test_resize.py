from fractions import Fraction

import numpy as np
import pytest
import torch

from gesso.functional.resize import imresize
from tests._golden import case_id, cases, check_output, make_input


@pytest.mark.parametrize("case", cases("imresize"), ids=case_id)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_matlab(case, dtype):
    image = make_input(case, dtype)
    resized = imresize(image, float(Fraction(case["args"]["scale"])))[0]
    # Golden float32 numbers come from a float32 computation with its own rounding; ours carries float64 weights.
    check_output(resized, case["out"]["out"])


def test_a_size_means_the_scale_that_leads_to_it():
    image = torch.rand(2, 3, 24, 36)
    torch.testing.assert_close(imresize(image, (12, 18)), imresize(image, 0.5))
    assert imresize(image, (7, 50)).shape == (2, 3, 7, 50)


@pytest.mark.parametrize("scale", [0.25, 1 / 3, 0.9, 1.0, 1.5, 4])
def test_a_constant_stays_constant_and_sides_are_rounded_up(scale):
    image = torch.full((3, 13, 10), 0.7, dtype=torch.float64)
    resized = imresize(image, scale)
    assert resized.shape == (3, int(np.ceil(13 * scale)), int(np.ceil(10 * scale)))
    torch.testing.assert_close(resized, torch.full_like(resized, 0.7))


def test_scale_one_is_the_identity():
    image = torch.rand(3, 9, 11)
    torch.testing.assert_close(imresize(image, 1), image)


def test_a_single_pixel_can_be_enlarged():
    torch.testing.assert_close(imresize(torch.full((1, 1, 1), 0.25), 3), torch.full((1, 3, 3), 0.25))


@pytest.mark.parametrize("scale", [0, -1.0, (0, 4)])
def test_a_size_of_nothing_is_refused(scale):
    with pytest.raises(ValueError, match="expected a positive factor"):
        imresize(torch.rand(3, 4, 4), scale)
