"""Which sample comes when: a pure function of the step, the stage plan and the device's rank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch.utils.data import Sampler

from gesso._values import Pixels, PositiveInt, Share, check_range, check_values, declared, shown
from gesso.options.run import TrainingRun


@dataclass(frozen=True)
class Stage:
    """A part of a run with its own crop and batch (Restormer's progressive learning).

    Attributes:
        share: this part's share of the run, in (0, 1].
        crop_size: training crop in pixels.
        batch_size: images in one batch, over all devices.
    """

    share: Share
    crop_size: Pixels
    batch_size: PositiveInt


def parse_stages(stages: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """The plan of a run from its YAML form, a list of {share, crop_size, batch_size}.

    Raises:
        ValueError: if a stage lacks a key, a share or size is not positive, or the shares do not add up to 1.
    """
    kinds = declared(Stage)
    for number, stage in enumerate(stages, start=1):
        if set(stage) != set(kinds):
            raise ValueError(f"stages: expected {', '.join(sorted(kinds))} in every stage, got {shown(dict(stage))}")
        check_values(kinds, stage, f"stages: stage {number}")
        for name, value in stage.items():
            check_range(kinds[name], name, value, f"stages: stage {number}")
    plan = [Stage(**stage) for stage in stages]
    if abs(sum(s.share for s in plan) - 1) > 1e-3:
        raise ValueError(f"stages: the shares must add up to 1, they add up to {sum(s.share for s in plan):g}")
    return plan


def plan_stages(run: TrainingRun) -> list[Stage]:
    """Crop and batch over a run.

    Raises:
        ValueError: for stages that cannot be.
    """
    stages = getattr(run, "stages", None)
    return parse_stages(stages) if stages else [Stage(1.0, run.crop_size, run.batch_size)]


class Part(NamedTuple):
    """What one device loads of a batch: its samples stand in the batch from position `first` on, of `total`."""

    keys: list[tuple[int, int]]
    first: int
    total: int


class StepSampler(Sampler[list[tuple[int, int]]]):
    """Yields for every batch of a run the keys `(sample index, crop_size)` that this device loads.

    Sample indices count on through the run over all devices, and each device takes an equal part of every batch. So a
    run can start again at any batch, with another number of workers or devices, and sees the same samples.

    Args:
        stages: the plan of the run.
        batches: batches in the whole run (steps times accumulated batches).
        first: the batch to begin with; more than 0 when a run is resumed.
        rank: this device's number.
        world: devices in all.

    Raises:
        ValueError: if a batch cannot be shared out equally.
    """

    def __init__(self, stages: Sequence[Stage], batches: int, *, first: int = 0, rank: int = 0, world: int = 1) -> None:
        self.stages, self.batches, self.first, self.rank, self.world = stages, batches, first, rank, world
        if uneven := [stage.batch_size for stage in stages if stage.batch_size % world]:
            raise ValueError(
                f"batch_size: expected a multiple of the {world} devices, which share every batch, got {uneven[0]}"
            )

    def stage_ends(self) -> list[int]:
        """The batch number at which each stage ends."""
        ends, total = [], 0.0
        for stage in self.stages:
            total += stage.share
            ends.append(round(total * self.batches))
        ends[-1] = self.batches
        return ends

    def part(self, batch: int) -> Part:
        """What this device loads of a batch of the run.

        Raises:
            IndexError: if the run has no such batch.
        """
        begin, base = 0, 0  # first batch and first sample of the stage
        for stage, end in zip(self.stages, self.stage_ends(), strict=True):
            if batch < end:
                size = stage.batch_size // self.world
                first = self.rank * size
                start = base + (batch - begin) * stage.batch_size + first
                return Part([(start + offset, stage.crop_size) for offset in range(size)], first, stage.batch_size)
            base += (end - begin) * stage.batch_size
            begin = end
        raise IndexError(batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in range(self.first, self.batches):
            yield self.part(batch).keys
