"""The best last convolution is found where there is one."""

import pytest
import torch
from torch.nn import functional as F

from gesso.functional.random import generator_for
from gesso.lab.readout import least_squares_conv


def test_a_convolution_is_found_again_batch_by_batch():
    generator = generator_for(0)
    weight, bias = torch.randn(2, 5, 3, 3, generator=generator), torch.randn(2, generator=generator)
    features = [torch.randn(2, 5, 16, 12, generator=generator) * torch.tensor([1, 10, 0.1, 1, 1]).view(5, 1, 1)
                for _ in range(4)]  # fmt: skip
    found = least_squares_conv((one, F.conv2d(one, weight, bias, padding=1)) for one in features)
    assert found[0].shape == weight.shape
    assert torch.allclose(found[0], weight, atol=2e-2)
    assert torch.allclose(found[1], bias, atol=2e-2)


def test_channels_that_are_always_zero_do_no_harm():
    feature = torch.randn(1, 3, 16, 16, generator=generator_for(1))
    feature[:, 1] = 0
    weight, _ = least_squares_conv([(feature, 2 * feature[:, :1])], kernel=1)
    assert weight.flatten().tolist() == pytest.approx([2, 0, 0], abs=1e-2)


def test_nothing_to_fit_is_an_error():
    with pytest.raises(ValueError, match="got none"):
        least_squares_conv([])
