"""Networks whose features are compiled for training."""

import importlib.util
import os
import shutil
from typing import Any

import torch
from torch import Tensor

from gesso._specs import CompileMode as Mode
from gesso.backbones import Backbone


class CompiledFeatures:
    """`features` or `stage_features` of a network under `torch.compile`, in its place.

    Only while gradients are recorded: images to measure on have many sizes, each of which would be compiled anew.
    Copies of the network are as they were without.
    """

    def __init__(self, network: Backbone, name: str, mode: Mode) -> None:
        self.network, self.name, self.plain = network, name, getattr(network, name)
        self.compiled = torch.compile(self.plain, mode=mode, dynamic=False)

    def __call__(self, image: Tensor) -> list[Tensor]:
        """What the method returns."""
        return (self.compiled if torch.is_grad_enabled() else self.plain)(image)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return getattr(type(self.network), self.name).__get__(memo[id(self.network)])


def compile_features(network: Backbone, mode: Mode, device: torch.device) -> None:
    """Has the features of a network compiled when they are first computed.

    Args:
        network: what is trained.
        mode: "default", or "reduce-overhead", which records CUDA graphs on a GPU.
        device: where it is trained.

    Raises:
        ValueError: if what compiles for the device is not installed.
    """
    if device.type == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ValueError("compile: needs triton to compile for a GPU, found none; install it, or leave compile out")
    elif not any(shutil.which(name) for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name):
        raise ValueError("compile: needs a C++ compiler, found none; install g++ or clang, or leave compile out")
    if type(network).stage_features is not Backbone.stage_features:  # which calls `features`
        network.stage_features = CompiledFeatures(network, "stage_features", mode)
    network.features = CompiledFeatures(network, "features", mode)
