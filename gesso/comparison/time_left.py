"""How long a comparison still takes, while it runs: the price of what is to come, corrected by what runs took."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from gesso.comparison.price import KINDS, Item, Kind, Plan, makespan
from gesso.report.console import duration


@dataclass
class Running:
    """A run that is under way.

    Attributes:
        item: what it was planned as.
        since: when it began, by `time.monotonic`.
        done: share of it that is done, where that is known.
    """

    item: Item
    since: float
    done: float = 0.0


class TimeLeft:
    """How long a comparison still takes.

    A run is taken to last as long as its price, times what the runs of its kind that have ended took of theirs; before
    one has, what runs of any kind took. Many threads may tell and ask.

    Args:
        plan: what was to come when the comparison was given; None where it could not be measured, and then nothing is
            known.
    """

    def __init__(self, plan: Plan | None) -> None:
        self.waiting = {} if plan is None else {item.name: item for item in plan.items}
        self.page = 0.0 if plan is None else plan.pictures
        self.devices = 1 if plan is None else plan.devices
        self.running: dict[str, Running] = {}
        self.ended: list[tuple[Item, float]] = []
        self.lock = threading.Lock()

    def expect(self, names: Iterable[str]) -> None:
        """Notes which runs are next: others of their kind, and of kinds before it, fail before they begin."""
        wanted = set(names)
        with self.lock:
            stage = max((KINDS.index(item.kind) for name, item in self.waiting.items() if name in wanted), default=-1)
            self.waiting = {n: i for n, i in self.waiting.items() if n in wanted or KINDS.index(i.kind) > stage}

    def begin(self, name: str) -> None:
        """Notes that a run begins."""
        with self.lock:
            if item := self.waiting.pop(name, None):
                self.running[name] = Running(item, time.monotonic())

    def after(self, name: str, done: float) -> str:
        """What is left of the whole, in words, when such a share is done of a run that is under way."""
        with self.lock:
            if name in self.running:
                self.running[name].done = done
        return str(self)

    def end(self, name: str, *, well: bool) -> None:
        """Notes that a run has ended; one that failed says nothing of the others."""
        with self.lock:
            run = self.running.pop(name, None)
            if run and well:
                self.ended.append((run.item, time.monotonic() - run.since))

    def seconds(self) -> float | None:
        """The seconds that are left; None where they are unknown."""
        with self.lock:
            if not (self.waiting or self.running):
                return None
            return sum(map(self.stage, KINDS)) + self.pace(None) * self.page

    def seconds_for(self, names: Iterable[str]) -> float:
        """The seconds that some runs take which have not begun, and the page; 0 where nothing is known."""
        with self.lock:
            items = [self.waiting[name] for name in names if name in self.waiting]
            runs = makespan([self.pace(item) * item.seconds for item in items], self.devices)
            return runs + self.pace(None) * self.page

    def stage(self, kind: Kind) -> float:
        """The seconds that are left of the runs of a kind, which all end before others begin."""
        under_way = [self.rest(run) for run in self.running.values() if run.item.kind == kind]
        to_come = [self.pace(item) * item.seconds for item in self.waiting.values() if item.kind == kind]
        return makespan([*under_way, *to_come], self.devices)

    def pace(self, like: Item | None) -> float:
        """What ended runs took of their price: those of a kind where there are such, else all."""
        alike = [pair for pair in self.ended if like is not None and pair[0].kind == like.kind] or self.ended
        planned = sum(item.seconds for item, _ in alike)
        return sum(took for _, took in alike) / planned if planned else 1.0

    def rest(self, run: Running) -> float:
        """The seconds that are left of a run: the more of it is done, the more its own pace counts."""
        took, planned = time.monotonic() - run.since, self.pace(run.item) * run.item.seconds
        projected = took / run.done if run.done else planned
        return max(0.0, (1 - run.done) * planned + run.done * projected - took)

    def __str__(self) -> str:
        """In words, `14 min left`; "" where it is unknown."""
        seconds = self.seconds()
        return "" if seconds is None else f"{duration(seconds)} left"
