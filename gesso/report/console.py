"""The terminal, once: lines, tables and progress bars look the same in every command.

Where there is no terminal, long work says every minute how far it is.
"""

import contextlib
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gesso._names import in_one_line, readable
from gesso.functional.processes import rank_info

Item = TypeVar("Item")
whole: ContextVar[Callable[[float], str] | None] = ContextVar("whole", default=None)
"""Says how long all takes of which a run is a part, in words, when such a share of the run is done; see `part_of`."""

MINUTE = 60.0  # seconds between two signs of life
PLAIN = {"–": "-", "−": "-", "≥": ">=", "≤": "<=", "±": "+-", "×": "x", "→": "->", "…": "..."}
"""What stands for characters that a stream lacks."""

NARROW, LINES = 36, 3  # a column of prose has so many letters at least, and a cell so many lines at most


class Terminal(Console):
    """Rich's console, which asks the stream that it writes to for its encoding, and so draws in ASCII where need be."""

    @property
    def encoding(self) -> str:
        """In lower case: `utf-8`, or what else the stream takes, such as `cp1252` of a pipe on Windows."""
        return (getattr(self.file, "encoding", None) or "utf-8").lower()

    def shown(self, text: str) -> str:
        """A text with others, or else an escape, for characters that the stream lacks: none ends a measurement."""
        return text if self._takes(text) else "".join(map(self._shown, text))

    def _takes(self, text: str) -> bool:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    def _shown(self, char: str) -> str:
        return char if self._takes(char) else PLAIN.get(char) or char.encode("ascii", "backslashreplace").decode()


console = Terminal(highlight=False, soft_wrap=True, quiet=rank_info().rank > 0)  # of several ranks, the first speaks


def say(text: str, style: str = "") -> None:
    """Prints one line as it is, brackets and all, in a style of rich's such as "bold"."""
    console.print(Text(console.shown(readable(text)), style))


def warn(text: str) -> None:
    """Prints one line that begins with `warning:`."""
    console.print(Text.assemble(("warning:", "yellow"), f" {console.shown(readable(text))}"))


def complain(text: str) -> None:
    """Prints one line that begins with `error:`."""
    console.print(Text.assemble(("error:", "red"), f" {console.shown(readable(text))}"))


def show_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None, words: int = 1
) -> None:
    """Prints a table; the first columns, `words` of them, are left-aligned, the others right."""
    table = Table(
        title=None if title is None else Text(console.shown(title)), title_justify="left", box=None, pad_edge=False
    )
    for number, name in enumerate(header):
        table.add_column(Text(console.shown(in_one_line(name))), justify="left" if number < words else "right")
    for row in rows:
        table.add_row(*(Text(console.shown(in_one_line(str(cell)))) for cell in row))
    console.print(table)


def show_entries(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints entries whose last cell is prose: as a table where that leaves it room, else each as a paragraph."""
    cells = [[in_one_line(str(cell)) for cell in row] for row in rows]
    before = sum(max(map(len, column)) + 2 for column in list(zip(header, *cells, strict=True))[:-1])
    room = console.width - before
    if room >= NARROW and all(len(row[-1]) <= LINES * room for row in cells):
        return show_table(header, cells, words=len(header))
    for *names, prose in cells:
        say("  ".join(names), "bold")
        say(textwrap.fill(prose, console.width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False))


def duration(seconds: float) -> str:
    """A time in words.

    Example:
        >>> duration(40), duration(150), duration(1500), duration(12_600)
        ('40 s', '2.5 min', '25 min', '3.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.2g} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def progress_bar(**options: Any) -> Progress:
    """A progress bar with the time left and room for a note (`fields[note]`), not yet started."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=console, refresh_per_second=2, **options)


@contextlib.contextmanager
def part_of(left: Callable[[float], str]) -> Iterator[None]:
    """Has runs show, beside their own time, how long all of it takes of which they are a part.

    Args:
        left: says it in words, such as `14 min left`, when such a share of the run is done; "" where it is unknown.
    """
    token = whole.set(left)
    try:
        yield
    finally:
        whole.reset(token)


def left_of_the_whole(done: float) -> str:
    """How long all takes of which a run is a part, `the whole: 14 min left`, or ""; `done` is the share of the run."""
    words = left(done) if (left := whole.get()) else ""
    return f"the whole: {words}" if words else ""


class Pulse:
    """When it is time for a sign of life."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def __call__(self) -> bool:
        """Whether a minute has passed since it was last so."""
        now = time.monotonic()
        due = now - self.last >= MINUTE
        self.last = now if due else self.last
        return due

    def left(self, done: int, total: int) -> str:
        """The time that is left, in words, when so much has been done since the beginning."""
        return f"{duration((time.monotonic() - self.began) / max(done, 1) * (total - done))} left"


def track(items: Sequence[Item], what: str, *, transient: bool = False) -> Iterable[Item]:
    """Yields `items` under a progress bar with the time left, which goes away in the end if it is `transient`."""
    pulse = Pulse()
    with progress_bar(transient=transient, disable=transient and not console.is_terminal) as progress:
        task = progress.add_task(console.shown(in_one_line(what)), total=len(items), note="")
        for done, item in enumerate(items, start=1):
            yield item
            progress.advance(task)
            if pulse() and not console.is_terminal:
                say(f"{what}: {done} of {len(items)}, {pulse.left(done, len(items))}")
