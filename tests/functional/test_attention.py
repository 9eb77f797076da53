"""Attention is the formula, whichever way it is computed."""

import pytest
import torch

from gesso.functional.attention import attention


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("bias_shape", [None, (1, 2, 4, 6), (3, 1, 4, 6)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.05)])
def test_attention_is_the_formula(trained, bias_shape, dtype, tolerance):
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 2, n, 5, dtype=torch.float64) for n in (4, 6, 6))
    bias = None if bias_shape is None else torch.randn(bias_shape, dtype=torch.float64)
    inputs = [None if t is None else t.to(dtype).requires_grad_(trained) for t in (q, k, v, bias)]
    for scale in (None, 0.3):
        expected = (q @ k.mT * (scale or 5**-0.5) + (0 if bias is None else bias)).softmax(-1) @ v
        torch.testing.assert_close(attention(*inputs, scale).double(), expected, rtol=0, atol=tolerance)


def test_gradients_do_not_depend_on_the_way():
    q, k, v, bias = (torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True) for _ in range(4))
    ours = torch.autograd.grad(attention(q, k, v, bias).square().sum(), (q, k, v, bias))
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, bias)
    for gradient, expected in zip(ours, torch.autograd.grad(fused.square().sum(), (q, k, v, bias)), strict=True):
        torch.testing.assert_close(gradient, expected)
