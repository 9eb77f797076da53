"""Layers by oneDNN are those of PyTorch up to rounding, with their gradients, wherever oneDNN is called."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gesso.functional import onednn
from gesso.functional.onednn import Linear, by_onednn, computes, depthwise_gelu, linear

SIZES = [((3, 5, 8), 4), ((7, 180), 33), ((1, 1, 1), 1), ((2, 64, 127), 48)]

DTYPES = [dtype for dtype in (torch.float32, torch.bfloat16) if computes(by_onednn, dtype)]

pytestmark = pytest.mark.skipif(not DTYPES, reason="PyTorch is built without oneDNN here")
in_each = pytest.mark.parametrize("dtype", DTYPES or [torch.float32])


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Has products of every size computed by oneDNN, whatever the processor, and counts them."""
    counted = []
    compute = onednn.by_onednn
    monkeypatch.setattr(onednn, "LARGE", {torch.float32: 0, torch.bfloat16: 0})
    monkeypatch.setattr(onednn, "prefers_onednn", lambda dtype: True)
    monkeypatch.setattr(onednn, "by_onednn", lambda *args: counted.append(args) or compute(*args))
    return counted


def layer(shape, outputs, dtype=torch.float32):
    generator = torch.Generator().manual_seed(len(shape) + outputs)
    x, weight, bias = (
        torch.randn(size, generator=generator).to(dtype) for size in (shape, (outputs, shape[-1]), (outputs,))
    )
    return x, weight, bias


@pytest.mark.parametrize(("shape", "outputs"), SIZES)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
@in_each
def test_a_layer_is_the_same(shape, outputs, biased, gelu, dtype, asked):
    x, weight, bias = layer(shape, outputs, dtype)
    bias = bias if biased else None
    computed = linear(x, weight, bias, gelu=gelu)
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    expected = F.gelu(expected) if gelu else expected
    assert len(asked) == 1
    assert (computed.dtype, computed.shape) == (dtype, expected.shape)
    scale = expected.abs().max().clamp(min=1)
    assert (computed - expected).abs().max() <= scale * 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize(("shape", "outputs"), SIZES)
@pytest.mark.parametrize("gelu", [True, False])
def test_gradients_are_the_same(shape, outputs, gelu, asked):
    inputs = [part.requires_grad_() for part in layer(shape, outputs)]
    wide = [part.detach().double().requires_grad_() for part in inputs]
    result, expected = linear(*inputs, gelu=gelu), F.linear(*wide)
    expected = F.gelu(expected) if gelu else expected
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    found = torch.autograd.grad((result * pull).sum(), inputs)
    wanted = torch.autograd.grad((expected * pull).sum(), wide)
    assert len(asked) == 2
    for own, true in zip(found, wanted, strict=True):
        assert (own - true).abs().max() <= 1e-5 * true.abs().max().clamp(min=1)


def test_only_the_gradients_that_are_wanted_are_computed(asked):
    x, weight, bias = layer((6, 8), 4)
    weight.requires_grad_()
    (gradient,) = torch.autograd.grad(linear(x, weight, bias).sum(), [weight])
    assert torch.allclose(gradient, x.sum(0).expand(4, -1), atol=1e-5)
    assert len(asked) == 1


def test_parts_of_a_weight_need_no_copy(asked):
    """IPT takes queries, keys and values from thirds of one matrix, and SwinIR widens a transposed one."""
    x, weight, _ = layer((5, 8), 12)
    for part in (*weight.chunk(3), torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).T):
        assert torch.allclose(linear(x, part), F.linear(x, part), atol=1e-5)
    assert len(asked) == 4


@pytest.mark.skipif(torch.bfloat16 not in DTYPES, reason="oneDNN multiplies no bf16 here")
def test_autocast_computes_in_its_own_precision(asked):
    x, weight, bias = layer((5, 8), 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
        assert linear(x, weight.requires_grad_(), bias).dtype == torch.bfloat16
    assert len(asked) == 1


def test_what_cannot_be_computed_is_left_to_pytorch(asked, monkeypatch):
    """A processor, or a limit set for oneDNN, that has no bf16."""
    monkeypatch.undo()
    assert not computes(lambda x, weight: by_onednn(x, weight.double()), torch.float32)
    assert not computes(lambda x, weight: torch.ops.mkldnn.no_such_operation(x, weight), torch.float32)
    monkeypatch.setattr(onednn, "LARGE", {torch.float32: 0, torch.bfloat16: 0})
    monkeypatch.setattr(onednn, "computes", lambda layer, dtype: False)
    onednn.prefers_onednn.cache_clear()
    x, weight, bias = layer((5, 8), 4, torch.bfloat16)
    assert torch.equal(linear(x, weight, bias, gelu=True), F.gelu(F.linear(x, weight, bias)))
    image, kernel = x.reshape(1, 5, 8, 1), torch.ones(5, 1, 3, 3, dtype=torch.bfloat16)
    assert depthwise_gelu(image, kernel, None).dtype == torch.bfloat16
    onednn.prefers_onednn.cache_clear()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_are_left_to_pytorch(dtype, asked):
    x, weight, bias = layer((5, 8), 4, dtype)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert not asked


def test_small_products_are_left_to_pytorch(asked, monkeypatch):
    monkeypatch.undo()
    x, weight, bias = layer((5, 8), 4)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert not asked


def test_a_layer_has_the_name_and_the_start_of_pytorchs():
    torch.manual_seed(0)
    ours = Linear(8, 4)
    torch.manual_seed(0)
    theirs = nn.Linear(8, 4)
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours, nn.Linear)
    assert torch.equal(ours.weight, theirs.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("learns", [True, False])
def test_a_depthwise_convolution_and_gelu(dtype, kernel, learns):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 16, 9, 7, generator=generator).to(dtype).contiguous(memory_format=torch.channels_last)
    weight = (torch.randn(16, 1, kernel, kernel, generator=generator) / kernel).to(dtype)
    bias = torch.randn(16, generator=generator).to(dtype)
    with torch.set_grad_enabled(learns):
        computed = depthwise_gelu(x, weight, bias)
    wide = F.conv2d(x.double(), weight.double(), bias.double(), padding=kernel // 2, groups=16)
    assert computed.dtype == dtype
    assert computed.is_contiguous(memory_format=torch.channels_last)
    assert (computed - F.gelu(wide)).abs().max() <= 16 * torch.finfo(dtype).eps * wide.abs().max()
