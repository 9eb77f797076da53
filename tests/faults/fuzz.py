"""Damaged files through every reader: an error message or a right answer, never a crash, a hang or a silent mistake.

    python -m tests.faults.fuzz                              10,000 images, 2,000 checkpoints, 2,000 recipes
    python -m tests.faults.fuzz --images 1000 --seed 7       some of it
    python -m tests.faults.fuzz --images 1 --first 3094      one case again, in this process

A case is a pure function of (seed, number). Cases run in child processes with limits of time and memory, so that a
native decoder that crashes, hangs or swallows memory is seen, counted and named; the run then goes on behind it.
"""

import argparse
import faulthandler
import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests._processes import HANGS, wait_for_child

BATCH = 500  # cases of one child
SECONDS = 20  # of the processor that a case may take, so that a busy machine changes nothing
LIMITS = (signal.SIGPROF, signal.SIGALRM)  # what ends a case that takes longer, or hangs
MEMORY = 1 << 30  # bytes of address space that a child may add to what it has
MOST_RESIDENT = 512 << 20  # bytes that a child may really use on top; no honest case comes near

Case = Callable[[int, int, Path], str]


@dataclass
class Tally:
    """What came of the cases: how often each verdict, those that are wrong by number, and the memory it took."""

    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: dict[int, str] = field(default_factory=dict)
    resident: int = 0

    def note(self, number: int, verdict: str) -> None:
        """Counts a verdict."""
        self.verdicts["wrong" if verdict.startswith("WRONG") else verdict] += 1
        if verdict.startswith("WRONG"):
            self.wrong[number] = verdict

    def __str__(self) -> str:
        """One line."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.most_common())
        return f"{counts}; at most {self.resident / 2**20:.0f} MiB on top of what the process had"


def run(case: Case, numbers: range, seed: int) -> Tally:
    """The verdicts on cases, run in children."""
    tally = Tally()
    at = mmap.mmap(-1, 8)  # the case that the child is at
    first = numbers.start
    while first < numbers.stop:
        batch = range(first, min(first + BATCH, numbers.stop))
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
            child = os.fork()
            if not child:
                in_child(case, batch, seed, Path(folder), at, log.fileno())
            status = wait_for_child(child)
            log.seek(0)
            for line in log.read().decode().splitlines():
                number, verdict, resident = json.loads(line)
                tally.note(number, verdict)
                tally.resident = max(tally.resident, resident)
        first = batch.stop
        if status:
            first = int.from_bytes(at[:8], "little")
            name = signal.Signals(status).name if os.WIFSIGNALED(status) else f"exit status {status >> 8}"
            tally.note(
                first, f"WRONG: ended by {'taking too long' if name in {limit.name for limit in LIMITS} else name}"
            )
            first += 1
    return tally


def in_child(case: Case, batch: range, seed: int, folder: Path, at: mmap.mmap, log: int) -> None:
    """Runs a batch and ends the process."""
    faulthandler.disable()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (space + MEMORY, space + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for limit in LIMITS:
        signal.signal(limit, signal.SIG_DFL)
    status = 1
    try:
        before = peak_resident()
        for number in batch:
            at[:8] = number.to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            signal.alarm(HANGS)
            verdict = judged(case, number, seed, folder)
            grown = peak_resident() - before
            if grown > MOST_RESIDENT:
                verdict = f"WRONG: took {grown >> 20} MiB; {verdict}"
            os.write(log, f"{json.dumps([number, verdict, grown])}\n".encode())
            if grown > MOST_RESIDENT:
                before += grown
        status = 0
    finally:
        os._exit(status)


def judged(case: Case, number: int, seed: int, folder: Path) -> str:
    """The verdict on a case; an error that no reader announces is wrong."""
    try:
        return case(number, seed, folder)
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"


def peak_resident() -> int:
    """The most bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def kinds() -> Iterator[tuple[str, int, Case]]:
    """What is fuzzed, how many cases belong to a whole run, and what makes and judges one."""
    from tests.faults import _checkpoints, _images, _recipes

    for name in {verb for verb, _ in _recipes.corpus()}:
        _recipes.verb(name)  # its imports shall not count
    yield "images", 10_000, _images.case
    yield "checkpoints", 2_000, _checkpoints.case
    yield "recipes", 2_000, _recipes.case


def say(line: str) -> None:
    """Shows a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    for name, count, _ in kinds():
        parser.add_argument(f"--{name}", type=int, help=f"cases; {count} if none is given for any kind")
    options = vars(parser.parse_args())
    some = any(options[name] is not None for name, _, _ in kinds())
    bad = 0
    for name, count, case in kinds():
        count = (options[name] or 0) if some else count
        numbers = range(options["first"], options["first"] + count)
        if count == 1:
            with tempfile.TemporaryDirectory() as folder:
                say(case(numbers.start, options["seed"], Path(folder)))
        elif count:
            begin = time.perf_counter()
            tally = run(case, numbers, options["seed"])
            say(f"{name}: {tally}; {time.perf_counter() - begin:.0f} s")
            for number, verdict in sorted(tally.wrong.items()):
                say(f"  {name} {number}: {verdict[:400]}")
            bad += len(tally.wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
