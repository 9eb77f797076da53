"""Networks cut up over the devices (FSDP): each keeps its share of weights, averages, gradients and Adam's moments.

Whatever computes with a part of a network first gathers the part's weights from all devices, and lets go of them
afterwards. So all devices have to call the same parts in the same order. What they do each for itself, as measuring
images of different sizes, they do with a copy that is whole (`Outline`).
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.parallel import ParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gesso.backbones._base import Backbone

State = dict[str, Tensor]


def shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """Cuts a module up over the devices of `mesh`: each block of a network by itself, and what is left in one piece."""
    for block in reversed(list(blocks(module))):  # those within others first; those of an average are cut up already
        if not isinstance(block, FSDPModule):
            fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks that the networks in a module have in rows, one after the other; outer ones first.

    Ours compute with their weights in their own `forward` alone, as cutting up requires. Of a user's network nobody
    knows that; and single convolutions are left whole, for some blocks compute with the weights of theirs.
    """
    for part in module.modules():
        if isinstance(part, nn.ModuleList | nn.Sequential):
            yield from (block for block in part if type(block).__module__.startswith("gesso.backbones."))


@contextlib.contextmanager
def complete(part: nn.Module | None) -> Iterator[None]:
    """Gathers, for a while, the weights of a part that was cut up by itself; its blocks gather theirs as ever."""
    if isinstance(part, FSDPModule):
        part.unshard()
    yield
    if isinstance(part, FSDPModule):
        part.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the shares of all devices, which have to ask for it together; others as they are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(state: Mapping[str, Tensor]) -> State:
    """Tensors with the shares of all devices, which have to ask for them together."""
    return {name: whole(tensor) for name, tensor in state.items()}


def cut_like(tensor: Tensor, pattern: Tensor | None) -> Tensor:
    """This device's share of a tensor, if `pattern` is cut up and has its shape."""
    if not isinstance(pattern, DTensor) or tensor.shape != pattern.shape:
        return tensor
    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)


class Outline:
    """A network without its weights, made before it is cut up: given them, it is whole."""

    def __init__(self, network: Backbone) -> None:
        bare = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), False) for p in network.parameters()}
        self.network = copy.deepcopy(network, bare)

    def filled(self, state: State) -> Backbone:
        """A copy of the network with these weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(state, assign=True)
        return network.to(next(iter(state.values())).device)  # buffers that no state has


class Sharded(ModelParallelStrategy):
    """Lightning's FSDP2, but that a saved state is that of a single device, with which any strategy goes on."""

    def __init__(self, devices: int) -> None:
        super().__init__(data_parallel_size=devices, tensor_parallel_size=1, save_distributed_checkpoint=False)

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Moments come from the saved state, as anywhere else."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights, on the CPU of rank 0."""
        assert self.lightning_module is not None
        return self.collected(self.lightning_module.state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """All that the optimiser remembers, on the CPU of rank 0."""
        state: dict[str, Any] = ParallelStrategy.optimizer_state(self, optimizer)
        return {**state, "state": {key: self.collected(memory) for key, memory in state["state"].items()}}

    def collected(self, state: Mapping[str, Tensor]) -> State:
        """Tensors with the shares of all devices, one after the other, on the CPU of rank 0; nothing on the others."""
        tensors = ((name, whole(tensor)) for name, tensor in state.items())
        return {name: tensor.cpu() for name, tensor in tensors if self.is_global_zero}

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """The saved state, whole."""
        return ParallelStrategy.load_checkpoint(self, checkpoint_path, weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Takes this device's share of the weights."""
        assert self.lightning_module is not None
        patterns = self.lightning_module.state_dict()
        state = {name: cut_like(tensor, patterns.get(name)) for name, tensor in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(state, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes this device's share of what the optimiser remembered."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            keys = [key for group in state["param_groups"] for key in group["params"]]
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            patterns = dict(zip(keys, parameters, strict=True))
            memories = {
                key: {name: cut_like(value, patterns[key]) for name, value in memory.items()}
                for key, memory in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": memories})
