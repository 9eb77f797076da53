"""Gradients written by hand equal those of the plain formulas, in every precision that training uses."""

import pytest
import torch
from torch.nn import functional as F

from gesso.functional import gradients
from gesso.functional.gradients import channel_attention, gelu_gate, projections


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def fold(products, q_square, k_square, temperature):
    cosine = products * q_square.rsqrt().unsqueeze(2) * k_square.rsqrt().unsqueeze(1)
    return (cosine * temperature).softmax(-1)


CASES = {
    "projections": (lambda x, *weights: tuple(projections(x, weights)), [(2, 3, 4, 3), (5, 3), (2, 3)]),
    "gelu_gate": (gelu_gate, [(2, 3, 4), (2, 3, 4)]),
    "channel_attention": (
        lambda q, k, v, temperature: channel_attention(q, k, v, fold, temperature),
        [(2, 6, 3), (2, 6, 3), (2, 6, 3), (1,)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_right(name):
    torch.manual_seed(0)
    function, shapes = CASES[name]
    assert torch.autograd.gradcheck(function, [numbers(*shape) for shape in shapes])


@pytest.mark.parametrize("name", CASES)
def test_without_gradients_it_is_the_plain_formula(name, monkeypatch):
    torch.manual_seed(0)
    function, shapes = CASES[name]
    inputs = [numbers(*shape) for shape in shapes]
    by_hand = function(*inputs)
    monkeypatch.setattr(gradients, "by_hand", lambda *inputs: False)
    torch.testing.assert_close(function(*inputs), by_hand)


@pytest.mark.parametrize("name", CASES)
def test_only_what_is_wanted_gets_a_gradient(name):
    torch.manual_seed(0)
    function, shapes = CASES[name]
    inputs = [numbers(*shape) for shape in shapes]
    inputs[-1].requires_grad_(False)
    outputs = function(*inputs)
    sum(y.sum() for y in outputs).backward()
    assert [x.grad is not None for x in inputs] == [True] * (len(inputs) - 1) + [False]


@pytest.mark.parametrize("name", CASES)
def test_a_second_derivative_is_refused(name):
    function, shapes = CASES[name]
    inputs = [numbers(*shape) for shape in shapes]
    first = torch.autograd.grad(sum(y.square().sum() for y in function(*inputs)), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(gradient.sum() for gradient in first).backward()


def test_mixed_precision_computes_as_the_plain_formula_does():
    torch.manual_seed(0)
    x, *weights = (numbers(*shape).detach().float().requires_grad_() for shape in [(2, 3, 16), (8, 16), (4, 16)])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = projections(x, weights)
        expected = [F.linear(x, weight) for weight in weights]
    for ours, plain in zip(outputs, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours, plain)
    ours, plain = (
        torch.autograd.grad(sum(y.float().sum() for y in maps), [x, *weights]) for maps in (outputs, expected)
    )
    for one, other in zip(ours, plain, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)
