"""The rank of this process among those of its run, what all of them gather, and the threads of each.

Ranks are read from the variables that torchrun sets, or else from those of SLURM's srun.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")

PARALLEL_RUNS = "GESSO_PARALLEL_RUNS"  # variable: how many runs share this machine


@dataclass(frozen=True)
class RankInfo:
    """This process among those of its run, in the words of torch.distributed.

    Attributes:
        rank: its number, from 0.
        world_size: processes in all.
        local_rank: its number on this machine.
        local_world_size: processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def nodes(self) -> int:
        """Machines."""
        return self.world_size // self.local_world_size


def rank_info() -> RankInfo:
    """The rank of this process; 0 of 1 where no launcher says otherwise."""
    seen = os.environ
    if "RANK" in seen and "WORLD_SIZE" in seen:
        world_size = int(seen["WORLD_SIZE"])
        return RankInfo(
            int(seen["RANK"]),
            world_size,
            int(seen.get("LOCAL_RANK", "0")),
            int(seen.get("LOCAL_WORLD_SIZE", world_size)),
        )
    if under_slurm():
        world_size, nodes = int(seen["SLURM_NTASKS"]), int(seen.get("SLURM_NNODES", "1"))
        return RankInfo(int(seen["SLURM_PROCID"]), world_size, int(seen["SLURM_LOCALID"]), world_size // nodes)
    return RankInfo()


def local_processes() -> int:
    """How many processes share this machine's memory and cores: those of the run on it, times the parallel runs."""
    return rank_info().local_world_size * int(os.environ.get(PARALLEL_RUNS, "1"))


def in_comparison() -> bool:
    """Whether this run is one of a comparison, which decides, measures and says for all of its runs what they share."""
    return PARALLEL_RUNS in os.environ


def under_slurm() -> bool:
    """Whether srun has started this process; a shell inside an allocation has not been."""
    told = all(name in os.environ for name in ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID"))
    return told and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def shard(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's items of a list: every `world_size`-th, beginning with its own number."""
    here = rank_info()
    return items[here.rank :: here.world_size]


def gather_in_order(done: list[Item], count: int) -> list[Item]:
    """The results for the `count` items of a list, in its order, from what each rank has made of its shard.

    Raises:
        ValueError: if the ranks have not made one result of each item.
    """
    parts = all_gather(done)
    if sum(map(len, parts)) != count:
        raise ValueError(f"expected {count} results of {len(parts)} processes, got {[len(part) for part in parts]}")
    return [parts[position % len(parts)][position // len(parts)] for position in range(count)]


def all_gather(value: Item) -> list[Item]:
    """The `value` of every rank, by rank; all of them must call this."""
    if not has_process_group():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def has_process_group() -> bool:
    """Whether this process can communicate with the others."""
    return distributed.is_available() and distributed.is_initialized()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all ranks, without gradient; all of them must call this."""
    value = value.detach()
    if not has_process_group():
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


@contextmanager
def computing_with(threads: int | None) -> Iterator[None]:
    """Computes on the CPU meanwhile with so many threads, of those that there are; None: with all."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads or before, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
