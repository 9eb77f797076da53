"""What a comparison takes, and how many steps and seeds a budget has room for: arithmetic over measured seconds."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gesso.report.console import duration
from gesso.training import price
from gesso.training.price import RESERVE, Cost, Length, Part, seconds_of, spell_budget

Kind = Literal["pre-training", "tuning runs", "fine-tuning runs"]

KINDS: tuple[Kind, ...] = ("pre-training", "tuning runs", "fine-tuning runs")
"""What a comparison runs, in this order."""

PAGE = 30.0  # seconds for charts and the page
PRETRAINING_SHARE = 0.3  # of the time for runs that pre-training may take
MEASURING_SHARE = 0.3  # of a run that its measurements may take
GOOD_STEPS, LEAST_STEPS = 100, 20  # of fine-tuning: below the first, fewer seeds are run; below the second, nothing
MEASUREMENTS = 10  # in a run, where nobody says how many


@dataclass(frozen=True)
class Item:
    """A run that is to come.

    Attributes:
        name: of its job.
        kind: of run.
        cost: what the parts of one take.
        length: of it; what is done of it costs nothing.
        seed: which seed of the comparison it is of, counted from 0; pre-training and tuning are done for the first.
        has_pictures: whether what it makes of the test images is kept.
    """

    name: str
    kind: Kind
    cost: Cost
    length: Length
    seed: int = 0
    has_pictures: bool = False

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return seconds_of(price.lay_out(self.cost, self.length))


@dataclass(frozen=True)
class Plan:
    """What a comparison still has to do.

    Attributes:
        spent: seconds that are behind.
        items: the runs to come.
        devices: runs side by side.
    """

    spent: float
    items: Sequence[Item]
    devices: int = 1

    @property
    def pictures(self) -> float:
        """Seconds for pictures and page."""
        return PAGE + sum(item.cost.measurement for item in self.items if item.has_pictures)


@dataclass(frozen=True)
class Size:
    """How large a comparison is.

    Attributes:
        steps: of a run of fine-tuning.
        seeds: how many there are.
        val_every: steps between two measurements.
        pretrain_steps: most steps of a pre-training; None: as many as they have.
    """

    steps: int
    seeds: int
    val_every: int
    pretrain_steps: int | None = None


def makespan(seconds: Iterable[float], devices: int) -> float:
    """How long runs take that are begun in this order, as many at a time as there are devices.

    Example:
        >>> makespan([5, 1, 1, 1], 1), makespan([5, 1, 1, 1], 2), makespan([], 2)
        (8.0, 5.0, 0.0)
    """
    free = [0.0] * max(1, devices)
    for each in seconds:
        free[free.index(min(free))] += each
    return max(free)


def lay_out(plan: Plan) -> list[Part]:
    """The parts of a comparison.

    Example:
        >>> run = Item("a", "fine-tuning runs", Cost(once=1, step=0.1), Length(100))
        >>> parts = lay_out(Plan(5, [run, run, run], devices=2))
        >>> [(part.what, part.times, part.seconds) for part in parts]
        [('data and network', 1, 5), ('fine-tuning runs', 3, 22.0), ('pictures and page', 1, 30.0)]
    """
    parts = [Part("data and network", 1, plan.spent)]
    for kind in KINDS:
        seconds = [item.seconds for item in plan.items if item.kind == kind]
        if seconds:
            parts.append(Part(kind, len(seconds), makespan(seconds, plan.devices) / len(seconds)))
    return [*parts, Part("pictures and page", 1, plan.pictures)]


def resize(plan: Plan, size: Size) -> Plan:
    """The plan of a comparison of another size, none of whose runs has begun."""

    def sized(item: Item) -> Item:
        if item.kind == "pre-training":
            most = item.length.steps if size.pretrain_steps is None else size.pretrain_steps
            return replace(item, length=replace(item.length, steps=min(item.length.steps, most)))
        every = size.val_every if item.kind == "fine-tuning runs" else 0
        return replace(item, length=replace(item.length, steps=size.steps, val_every=every))

    return replace(plan, items=[sized(item) for item in plan.items if item.seed < size.seeds])


def fit_into(seconds: float, plan: Plan, most: Size, *, choose_measuring: bool) -> Size:
    """The size of a comparison that takes so many seconds at most: all seeds if runs are long enough, else fewer.

    Args:
        seconds: for all of it.
        plan: of the comparison as large as it may be.
        most: this size.
        choose_measuring: whether to choose how often runs are measured.

    Raises:
        ValueError: if there is no room for one seed; it says the least that is sensible.
    """
    room = (1 - RESERVE) * seconds
    longest = max((item.length.steps for item in plan.items if item.kind == "pre-training"), default=0)
    longest = min(longest, longest if most.pretrain_steps is None else most.pretrain_steps)

    def total(size: Size) -> float:
        return seconds_of(lay_out(resize(plan, size)))

    def sized(steps: int, seeds: int, times: int, pretrain: int | None) -> Size:
        val_every = max(1, math.ceil(steps / times)) if choose_measuring else most.val_every
        return Size(steps, seeds, val_every, pretrain)

    def longest_run(seeds: int, times: int) -> Size | None:
        base = sized(least.steps, seeds, times, least.pretrain_steps)
        spare = room - total(base)
        if spare < 0:
            return None
        limit = room - (1 - PRETRAINING_SHARE) * spare
        short = least.pretrain_steps or 0
        pretrain = largest(short, longest, lambda n: total(replace(base, pretrain_steps=n)) <= limit) or None
        steps = largest(least.steps, most.steps, lambda n: total(sized(n, seeds, times, pretrain)) <= room)
        return sized(steps, seeds, times, pretrain)

    least = sized(min(LEAST_STEPS, most.steps), 1, 1, min(LEAST_STEPS, longest) or None)
    if total(least) > room:
        needed = total(least) / (1 - RESERVE)
        raise ValueError(
            f"budget: {duration(seconds)} is too short; one seed of {least.steps} steps takes about {duration(needed)} "
            f"here, so the least that is sensible is --budget {spell_budget(needed)}"
        )
    for seeds in range(most.seeds, 0, -1):
        for times in measuring_times(plan, room, seeds) if choose_measuring else [1]:
            size = longest_run(seeds, times)
            if size and (size.steps >= min(GOOD_STEPS, most.steps) or seeds == 1):
                return size
    return least


def measuring_times(plan: Plan, room: float, seeds: int) -> list[int]:
    """How often a run may be measured, the most first: within its share of the time of a run, or once."""
    items = [item for item in plan.items if item.seed < seeds and item.kind != "pre-training"]
    measured = [item.cost.measurement for item in items if item.kind == "fine-tuning runs"]
    each = MEASURING_SHARE * room / max(1, len(items)) * plan.devices
    return [n for n in range(MEASUREMENTS, 1, -1) if max(measured, default=0.0) * (n + 1) <= each] + [1]


def largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number between two for which something holds that holds for the smaller, and for `low`."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
