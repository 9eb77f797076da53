"""What a run takes, from what its parts take (`gesso.training.timing`), and how long it may be in a given time.

All of it is arithmetic: for the same measured seconds the same plan.
"""

import math
from dataclasses import dataclass, replace

from gesso.options.run import TrainingRun
from gesso.report.console import duration, say, show_table
from gesso.training.needs import gib

RESERVE = 0.15  # share of a budget that is not laid out: machines are not alike from minute to minute
LONG = 3600.0  # seconds of a run that is told how to be shorter
MEASUREMENTS = 5  # over a run, where nobody says how many
MEASURING_SHARE = 0.3  # of a run at most, where nobody says how often
LEAST_STEPS = 20  # of a run that a budget has room for
GOOD_SHARE = 0.9  # of a budget that a suggestion uses


@dataclass(frozen=True)
class Cost:
    """What the parts of a run take, as measured.

    Attributes:
        once: seconds before the first step, and behind the last.
        step: seconds of an optimiser step.
        measurement: seconds of a measurement of all validation images.
        sheet: seconds of a sample sheet.
        saving: seconds of a saved state.
        state: bytes of weights, gradients, moments and averages.
        peak: the most bytes of memory in use.
        disk: bytes of what a run leaves.
        snapshot: bytes of a network that is kept.
    """

    once: float = 0.0
    step: float = 0.0
    measurement: float = 0.0
    sheet: float = 0.0
    saving: float = 0.0
    state: int = 0
    peak: int = 0
    disk: int = 0
    snapshot: int = 0


@dataclass(frozen=True)
class Length:
    """How long a run is, and how often what is due on the way.

    Attributes:
        steps: of the whole run.
        done: steps that are behind it.
        val_every: steps between two measurements; 0: only at the end.
        val_at_start: whether to measure before the first step.
        sample_every: steps between two sheets; 0: only at the end.
        save_every: steps between two saved states; 0: only at the end.
        snapshot_every: steps between two networks that are kept; 0: none.
    """

    steps: int
    done: int = 0
    val_every: int = 0
    val_at_start: bool = False
    sample_every: int = 0
    save_every: int = 0
    snapshot_every: int = 0

    @classmethod
    def of(cls, run: TrainingRun, done: int = 0) -> "Length":
        """The length of a command's run."""
        return cls(
            run.steps,
            done,
            getattr(run, "val_every", 0) or 0,
            bool(getattr(run, "val_at_start", False)) and done == 0,
            run.sample_every,
            run.save_every,
            run.snapshot_every,
        )

    @property
    def kept(self) -> int:
        """Networks that will be kept."""
        return self.steps // self.snapshot_every - self.done // self.snapshot_every if self.snapshot_every else 0

    def times(self, every: int) -> int:
        """How often something is due that comes every so many steps, and at the end."""
        if self.done >= self.steps:
            return 0
        between = self.steps // every - self.done // every if every else 0
        return between + (not every or self.steps % every > 0)


@dataclass(frozen=True)
class Part:
    """A row of a plan: so many times something that takes so long each."""

    what: str
    times: int
    each: float

    @property
    def seconds(self) -> float:
        """How long they take together."""
        return self.times * self.each


def lay_out(cost: Cost, length: Length) -> list[Part]:
    """The parts of a run that take time.

    Example:
        >>> parts = lay_out(Cost(once=2, step=0.1, measurement=3), Length(100, val_every=40))
        >>> [(part.what, part.times) for part in parts], seconds_of(parts)
        ([('data and network', 1), ('steps', 100), ('measurements', 3)], 21.0)
    """
    parts = [
        Part("data and network", 1, cost.once),
        Part("steps", length.steps - length.done, cost.step),
        Part("measurements", length.times(length.val_every) + length.val_at_start, cost.measurement),
        Part("sample sheets", length.times(length.sample_every), cost.sheet),
        Part("saved states", length.times(length.save_every), cost.saving),
    ]
    return [part for part in parts if part.each > 0]


def seconds_of(parts: list[Part]) -> float:
    """How long parts take together."""
    return sum(part.seconds for part in parts)


def fit_into(seconds: float, cost: Cost, most: Length, *, choose_measuring: bool) -> Length:
    """The length of a run that takes so many seconds at most, with as many steps as fit; a reserve is kept.

    Args:
        seconds: for the run.
        cost: of its parts.
        most: the length that it may have at most.
        choose_measuring: whether to choose how often to measure, too: five times, or less often where that would take
            more than three tenths of the time.

    Raises:
        ValueError: if not even a few steps fit; it says the least that is sensible.
    """
    room = (1 - RESERVE) * seconds

    def with_steps(steps: int) -> Length:
        if not choose_measuring:
            return replace(most, steps=steps)
        times = MEASUREMENTS
        while times > 1 and times * cost.measurement > MEASURING_SHARE * room:
            times -= 1
        return replace(most, steps=steps, val_every=math.ceil(steps / times))

    least = with_steps(min(LEAST_STEPS, most.steps))
    if seconds_of(lay_out(cost, least)) > room:
        needed = seconds_of(lay_out(cost, least)) / (1 - RESERVE)
        raise ValueError(
            f"budget: {duration(seconds)} is too short; {least.steps} steps and what goes with them take about "
            f"{duration(needed)} here, so the least that is sensible is --budget {spell_budget(needed)}"
        )
    low, high = least.steps, most.steps
    while low < high:
        middle = (low + high + 1) // 2
        fits = seconds_of(lay_out(cost, with_steps(middle))) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return with_steps(low)


def spell_budget(seconds: float) -> str:
    """A time as the option `budget` spells it, rounded up.

    Example:
        >>> spell_budget(42), spell_budget(600), spell_budget(5000)
        ('42s', '10m', '1h24m')
    """
    if seconds < 120:
        return f"{math.ceil(seconds)}s"
    minutes = math.ceil(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{rest}m" if rest or not hours else "")


# ---------------------------------------------------------------------------------------------------------- saying


def show_plan(title: str, parts: list[Part], cost: Cost, disk: int) -> None:
    """Prints what will be run and what it takes, in less than 80 columns."""
    rows = [(part.what, f"{part.times:,}", spell(part.each), spell(part.seconds)) for part in parts]
    rows.append(("the whole", "", "", spell(seconds_of(parts))))
    show_table((title, "number", "each", "time"), rows)
    say(f"memory: {size(cost.state)} for the state of training, {size(cost.peak)} at the peak; disk: {size(disk)}")


def spell(seconds: float) -> str:
    """A time in words, of parts of a second, too.

    Example:
        >>> spell(0.0123), spell(1.234), spell(75)
        ('12 ms', '1.2 s', '75 s')
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)


def size(count: float) -> str:
    """Bytes in words.

    Example:
        >>> size(3 * 2**20), size(5 * 2**30)
        ('3 MiB', '5.0 GiB')
    """
    return gib(count) if count >= 2**30 else f"{math.ceil(count / 2**20)} MiB"


def advise(seconds: float, cost: Cost, length: Length, network: str = "") -> str:
    """How a run of more than an hour can be shorter, in words; "" if it is not as long.

    Args:
        seconds: that it takes.
        cost: of its parts.
        length: of it.
        network: options that name a smaller network, where there is one.
    """
    if seconds <= LONG:
        return ""
    fixed = seconds - cost.step * (length.steps - length.done)
    steps = int((GOOD_SHARE * LONG - min(fixed, LONG / 2)) / cost.step) + length.done if cost.step else 0
    options = ["--budget 1h"] + ([f"--steps {round_down(steps)}"] if steps >= LEAST_STEPS else [])
    options += [network] if network else []
    return f"longer than an hour; shorter: {' or '.join(options)}"


def round_down(number: int) -> int:
    """A number with two digits that are not zero.

    Example:
        >>> round_down(12_345), round_down(87)
        (12000, 87)
    """
    unit = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit
