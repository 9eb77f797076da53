"""What a training step takes; without Lightning, which a process that only times steps would import for two seconds."""

import time

import torch

from gesso.backbones import Backbone


def time_step(network: Backbone, images: torch.Tensor, *, autocast: bool) -> float:
    """Seconds of one forward and backward pass, which leave no gradient behind."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    began = time.perf_counter()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        loss = network(images).float().square().mean()
    if parameters:
        torch.autograd.grad(loss, parameters, allow_unused=True)
    return time.perf_counter() - began
