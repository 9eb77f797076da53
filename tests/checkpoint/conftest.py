import pytest
import torch

from gesso.backbones import Backbone, create_backbone

SMALL = {"dim": 8, "num_blocks": (1, 1, 1, 2)}


def small_restormer(**options) -> Backbone:
    """A Restormer that takes no time, with weights of its own."""
    torch.manual_seed(0)
    return create_backbone("restormer_tiny", **SMALL | options)


@pytest.fixture
def net() -> Backbone:
    return small_restormer()


@pytest.fixture
def pretrained() -> Backbone:
    """What IFP leaves: 64 output channels, no image residual."""
    return small_restormer(out_channels=64, image_residual=False)


def same(state, other) -> bool:
    """Whether two states have the same names and the same bits."""
    return list(state) == list(other) and all(torch.equal(state[key], other[key]) for key in state)
