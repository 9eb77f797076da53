import pytest
import torch

from gesso.functional.color import rgb_to_y


def test_black_white_and_the_primaries_have_the_luma_of_matlab():
    colours = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1)
    torch.testing.assert_close(
        255 * rgb_to_y(colours).flatten(), torch.tensor([81.481, 144.553, 40.966], dtype=torch.float64)
    )
    assert rgb_to_y(torch.zeros(3, 1, 1)).item() == pytest.approx(16 / 255)


def test_keeps_leading_axes_and_dtype():
    assert rgb_to_y(torch.rand(2, 5, 3, 4, 6, dtype=torch.float64)).shape == (2, 5, 1, 4, 6)
    assert rgb_to_y(torch.rand(3, 4, 6)).dtype == torch.float32
