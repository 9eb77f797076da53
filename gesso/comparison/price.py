"""What a comparison takes, and how many steps and seeds a budget has room for: arithmetic over measured seconds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gesso.report.console import duration
from gesso.training.price import RESERVE, Cost, Part, seconds_of, spell_budget

PAGE = 30.0  # seconds for charts and the page
PRETRAINING_SHARE = 0.3  # of the time for runs that pre-training may take
MEASURING_SHARE = 0.3  # of a run that its measurements may take
GOOD_STEPS, LEAST_STEPS = 100, 20  # of fine-tuning: below the first, fewer seeds are run; below the second, nothing
MEASUREMENTS = 10  # in a run, where nobody says how many


@dataclass(frozen=True)
class Pretraining:
    """A pre-training: what it takes, and its own number of steps."""

    cost: Cost
    steps: int


@dataclass(frozen=True)
class Prices:
    """What the parts of a comparison take.

    Attributes:
        spent: seconds that are behind.
        run: a run of fine-tuning.
        runs: of them for each seed: arms times folds times numbers of pairs.
        pictures: measurements whose pictures are kept: arms times folds.
        pretrainings: of the arms that have one.
        devices: runs side by side.
    """

    spent: float
    run: Cost
    runs: int
    pictures: int
    pretrainings: Sequence[Pretraining] = ()
    devices: int = 1


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


def lay_out(prices: Prices, size: Size) -> list[Part]:
    """The parts of a comparison.

    Example:
        >>> prices = Prices(5, Cost(once=1, step=0.1, measurement=2), 8, 4, [Pretraining(Cost(once=1, step=0.1), 300)])
        >>> parts = lay_out(prices, Size(100, seeds=2, val_every=50, pretrain_steps=90))
        >>> [(part.what, part.times, part.seconds) for part in parts][1:3]
        [('pre-training', 1, 10.0), ('fine-tuning runs', 16, 272.0)]
    """
    run, side_by_side = prices.run, max(1, prices.devices)
    pretraining = sum(one.cost.once + one.cost.step * capped(one.steps, size) for one in prices.pretrainings)
    count = len(prices.pretrainings)
    one_run = run.once + run.step * size.steps + run.measurement * (1 + math.ceil(size.steps / size.val_every))
    parts = [
        Part("data and network", 1, prices.spent),
        Part("pre-training", count, pretraining / count / side_by_side if count else 0.0),
        Part("fine-tuning runs", prices.runs * size.seeds, one_run / side_by_side),
        Part("pictures and page", 1, PAGE + prices.pictures * run.measurement),
    ]
    return [part for part in parts if part.times]


def capped(steps: int, size: Size) -> int:
    """The steps of a pre-training in a comparison of a size."""
    return steps if size.pretrain_steps is None else min(steps, size.pretrain_steps)


def fit_into(seconds: float, prices: Prices, most: Size, *, choose_measuring: bool) -> Size:
    """The size of a comparison that takes so many seconds at most: all seeds if runs are long enough, else fewer.

    Args:
        seconds: for all of it.
        prices: of its parts.
        most: the size that it may have at most.
        choose_measuring: whether to choose how often runs are measured.

    Raises:
        ValueError: if there is no room for one seed; it says the least that is sensible.
    """
    room = (1 - RESERVE) * seconds

    def total(size: Size) -> float:
        return seconds_of(lay_out(prices, size))

    def sized(steps: int, seeds: int, times: int, pretrain: int | None) -> Size:
        val_every = max(1, math.ceil(steps / times)) if choose_measuring else most.val_every
        return Size(steps, seeds, val_every, pretrain)

    longest = max((capped(one.steps, most) for one in prices.pretrainings), default=0)
    least = sized(min(LEAST_STEPS, most.steps), 1, 1, min(LEAST_STEPS, longest) or None)
    if total(least) > room:
        needed = total(least) / (1 - RESERVE)
        raise ValueError(
            f"budget: {duration(seconds)} is too short; one seed of {least.steps} steps takes about {duration(needed)} "
            f"here, so the least that is sensible is --budget {spell_budget(needed)}"
        )
    for seeds in range(most.seeds, 0, -1):
        for times in range(MEASUREMENTS, 0, -1):
            each = room / (prices.runs * seeds) * prices.devices
            if times > 1 and choose_measuring and prices.run.measurement * (times + 1) > MEASURING_SHARE * each:
                continue
            base = sized(least.steps, seeds, times, least.pretrain_steps)
            if total(base) > room:
                continue
            spare = room - total(base)
            limit = total(base) + PRETRAINING_SHARE * spare
            pretrain = (
                largest(
                    least.pretrain_steps or 0,
                    longest,
                    lambda n, base=base, limit=limit: total(replace(base, pretrain_steps=n)) <= limit,
                )
                or None
            )
            steps = largest(
                least.steps, most.steps, lambda n, s=seeds, t=times, p=pretrain: total(sized(n, s, t, p)) <= room
            )
            if steps >= min(GOOD_STEPS, most.steps) or seeds == 1:
                return sized(steps, seeds, times, pretrain)
    return least


def largest(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """The largest number between two for which something holds that holds for the smaller, and for `low`."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
