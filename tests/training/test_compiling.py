"""Compiled features: the same gradients, for training only, and never in a copy."""

import copy
import functools

import pytest
import torch

from gesso.training.compiling import CompiledFeatures, compile_features
from tests._networks import convolutional

IMAGE = torch.rand(1, 3, 8, 12)


@pytest.fixture
def compiled(monkeypatch):
    """A network compiled by tracing alone, and how often its features were traced."""
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    network = convolutional()
    network.feature_hook = CompiledFeatures(mode=None)
    return network, traced


def test_gradients_are_those_of_the_network(compiled):
    network, traced = compiled
    plain = convolutional()
    for net in (network, plain):
        net(IMAGE).square().sum().backward()
    assert len(traced) == 1
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_images_to_measure_on_are_not_compiled_for(compiled):
    network, traced = compiled
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGE), convolutional()(IMAGE))
    assert not traced


def test_a_copy_has_its_own_weights_and_is_not_compiled(compiled):
    network, traced = compiled
    twin = copy.deepcopy(network)
    before = twin(IMAGE)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    torch.testing.assert_close(twin(IMAGE), before)
    assert not traced


def test_a_machine_without_compiler_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"compile: needs a C\+\+ compiler"):
        compile_features(convolutional(), "default", torch.device("cpu"))
