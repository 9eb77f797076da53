"""Networks whose features are compiled for training."""

import importlib.util
import os
import shutil
from typing import Any

import torch
from torch import Tensor

from gesso._specs import CompileMode as Mode
from gesso.backbones import Backbone, Features


class CompiledFeatures:
    """Features of a network under `torch.compile`, see `Backbone.feature_hook`.

    Only while gradients are recorded: images to measure on have many sizes, each of which would be compiled anew.
    Copies of the network are as they were without.
    """

    def __init__(self, mode: Mode | None) -> None:
        self.mode, self.compiled = mode, dict[str, Features]()

    def __call__(self, features: Features, image: Tensor) -> list[Tensor]:
        """What the method returns."""
        if not torch.is_grad_enabled():
            return features(image)
        name = getattr(features, "__name__", "features")
        if name not in self.compiled:
            self.compiled[name] = torch.compile(features, mode=self.mode, dynamic=False)
        return self.compiled[name](image)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None


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
    network.feature_hook = CompiledFeatures(mode)
