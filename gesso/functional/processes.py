"""Which of several processes this one is, and what all of them have together.

Processes are told apart by the variables that torchrun sets, or else by those of SLURM's srun.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, distributed

Item = TypeVar("Item")

RUNS_BESIDE = "GESSO_RUNS_BESIDE"  # variable: how many runs are side by side on this machine


@dataclass(frozen=True)
class Place:
    """This process among those of its run.

    Attributes:
        rank: its number, from 0.
        world: processes in all.
        local_rank: its number on this machine.
        local_world: processes on this machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.world // self.local_world


def place() -> Place:
    """Where this process stands; alone where no launcher says otherwise."""
    seen = os.environ
    if "RANK" in seen and "WORLD_SIZE" in seen:
        world = int(seen["WORLD_SIZE"])
        return Place(
            int(seen["RANK"]), world, int(seen.get("LOCAL_RANK", "0")), int(seen.get("LOCAL_WORLD_SIZE", world))
        )
    if under_slurm():
        world, nodes = int(seen["SLURM_NTASKS"]), int(seen.get("SLURM_NNODES", "1"))
        return Place(int(seen["SLURM_PROCID"]), world, int(seen["SLURM_LOCALID"]), world // nodes)
    return Place()


def sharers() -> int:
    """How many processes share this machine's memory and cores: those of the run on it, times runs side by side."""
    return place().local_world * int(os.environ.get(RUNS_BESIDE, "1"))


def under_slurm() -> bool:
    """Whether srun has started this process; a shell inside an allocation has not been."""
    told = all(name in os.environ for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"))
    return told and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def share_of(items: Sequence[Item]) -> Sequence[Item]:
    """What this process does of a list of things: every `world`-th, from its own number on."""
    here = place()
    return items[here.rank :: here.world]


def all_shares(done: list[Item], count: int) -> list[Item]:
    """What all processes have made of the `count` things of a list, in its order, from what each made of its share.

    Raises:
        ValueError: if they have not made one thing of each.
    """
    parts = from_all(done)
    if sum(map(len, parts)) != count:
        raise ValueError(f"expected {count} results of {len(parts)} processes, got {[len(part) for part in parts]}")
    return [parts[position % len(parts)][position // len(parts)] for position in range(count)]


def from_all(value: Item) -> list[Item]:
    """What each process has for `value`, by rank; all of them must ask for it."""
    if not is_joined():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def is_joined() -> bool:
    """Whether this process speaks with others."""
    return distributed.is_available() and distributed.is_initialized()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes that train together, without gradient; all of them must ask for it."""
    value = value.detach()
    if not is_joined():
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
