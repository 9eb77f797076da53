"""The terminal, once: lines, tables and progress bars look the same in every command."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")
console = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Prints one line; `[bold]` and friends are rich markup."""
    console.print(text)


def warn(text: str) -> None:
    """Prints one line that begins with `warning:`."""
    console.print(f"[yellow]warning:[/yellow] {text}")


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Prints a table; the first column is left-aligned, the others right."""
    table = Table(*header, title=title, title_justify="left", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console.print(table)


def track(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Yields `items` under a progress bar with the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, description=what)
