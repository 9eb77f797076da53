"""What `evaluate` found out: shown as a table, beside what papers report, and written down."""

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from gesso._names import in_one_line
from gesso.commands._test_sets import TestSet
from gesso.data.io import atomic_text
from gesso.metrics import beside, mean_psnr
from gesso.published import Measured, Score, find_published, published_images
from gesso.report.console import say, show_table, warn


@dataclasses.dataclass(frozen=True)
class Row:
    """The measurement of an image, or a mean: PSNR in dB, SSIM at most 1.

    Attributes:
        set: name of the test set.
        name: name of the image, or "mean".
        psnr: infinite for an image that is its ground truth; such images do not count in a mean, unless all are.
        ssim: of a mean that of all images.
        beside: what is to be said beside the PSNR of a mean: " (1 of 3 identical)", or nothing.
    """

    set: str
    name: str
    psnr: float
    ssim: float
    beside: str = ""
    others: dict[str, float] = dataclasses.field(default_factory=dict)  # perceptual metrics, by name

    @property
    def decibels(self) -> str:
        """The PSNR in words."""
        return f"{self.psnr:.2f}{self.beside}"


@dataclasses.dataclass(frozen=True)
class Published:
    """What a paper reports for a method on the same sets.

    Attributes:
        method: the method.
        source: paper and table.
        scores: PSNR in dB and SSIM by set.
    """

    method: str
    source: str
    scores: dict[str, Score]


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `evaluate` measured.

    Attributes:
        task: name of the task.
        protocol: how it was measured, in words; for several tasks of each set.
        restored_by: what made the images.
        rows: one measurement an image.
        failed: why images could not be measured.
        published: what papers report for the same sets.
        instead: of a refined network, what is measured with something else in place of its prior.
        whole: how many images each set has as published, else as it was found.
    """

    task: str
    protocol: str
    restored_by: str
    rows: tuple[Row, ...]
    failed: tuple[str, ...]
    published: tuple[Published, ...] = ()
    instead: dict[str, Row] = dataclasses.field(default_factory=dict)
    whole: dict[str, int] = dataclasses.field(default_factory=dict)

    def images_of(self, *sets: str) -> str:
        """How many images of some sets were measured, and of how many: "5", or "1 of 5"."""
        count = sum(row.set in sets for row in self.rows)
        whole = sum(self.whole.get(name, sum(row.set == name for row in self.rows)) for name in sets)
        if count > whole:
            return f"{count} (published: {whole})"
        return f"{count}" if count == whole else f"{count} of {whole}"

    @property
    def sets(self) -> list[Row]:
        """The mean over the images of each set."""
        names = dict.fromkeys(row.set for row in self.rows)
        return [_mean(name, [row for row in self.rows if row.set == name]) for name in names]

    @property
    def mean(self) -> Row:
        """The mean over the sets, which count alike however many images they have, as papers do."""
        whole = _mean("all", self.sets)
        return dataclasses.replace(whole, beside=beside([row.psnr for row in self.rows]))

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB."""
        return self.mean.psnr

    @property
    def ssim(self) -> float:
        """Mean SSIM."""
        return self.mean.ssim

    @property
    def exit_code(self) -> int:
        """1 if an image failed, else 0."""
        return int(bool(self.failed))


def _mean(name: str, rows: Sequence[Row]) -> Row:
    psnrs = [row.psnr for row in rows]
    others = {key: fmean(row.others[key] for row in rows) for key in rows[0].others}
    return Row(name, "mean", mean_psnr(psnrs), fmean(row.ssim for row in rows), beside(psnrs), others)


# ------------------------------------------------------------------------------------------------------------- tables

Table = list[tuple[str, ...]]


def measured_table(scores: Scores) -> Table:
    """A header, a row for each set, and their mean where there are several."""
    rows = [(row.set, scores.images_of(row.set), row.decibels, f"{row.ssim:.4f}") for row in scores.sets]
    if len(rows) > 1:
        mean, images = scores.mean, scores.images_of(*(row.set for row in scores.sets))
        rows.append(("mean of sets", images, mean.decibels, f"{mean.ssim:.4f}"))
    return [("set", "images", "PSNR (dB)", "SSIM"), *rows]


def published_table(scores: Scores) -> Table:
    """A header and a row for each published method: PSNR / SSIM on each set; numbers stand for `sources`."""
    sets = [row.set for row in scores.sets if any(row.set in one.scores for one in scores.published)]
    numbers = sources(scores)
    rows = [
        (f"{one.method} [{numbers[one.source]}]", *(str(one.scores.get(name, "-")) for name in sets))
        for one in scores.published
    ]
    return [("published: PSNR / SSIM", *sets), *rows]


def sources(scores: Scores) -> dict[str, int]:
    """Papers and tables that are quoted, numbered from 1."""
    return {source: i for i, source in enumerate(dict.fromkeys(one.source for one in scores.published), 1)}


def instead_table(scores: Scores) -> Table:
    """A header and a row for each thing that took the prior's place, with what it costs."""
    rows = [("its prior", scores.mean.decibels, f"{scores.ssim:.4f}", "")]
    rows += [
        (what, row.decibels, f"{row.ssim:.4f}", f"{row.psnr - scores.psnr:+.2f}")
        for what, row in scores.instead.items()
    ]
    return [("refined with", "PSNR (dB)", "SSIM", "difference (dB)"), *rows]


def others_table(scores: Scores) -> Table:
    """A header, a row for each set, and their mean: what was measured beside PSNR and SSIM."""
    rows = scores.sets
    if len(rows) > 1:
        rows.append(dataclasses.replace(scores.mean, set="mean of sets"))
    found = [(row.set, *(f"{number:.4f}" for number in row.others.values())) for row in rows]
    return [("set", *(name.upper() for name in scores.mean.others)), *found]


def tables(scores: Scores) -> list[Table]:
    """All that there are."""
    found = [measured_table(scores)]
    if scores.mean.others:
        found.append(others_table(scores))
    if scores.instead:
        found.append(instead_table(scores))
    if scores.published:
        found.append(published_table(scores))
    return found


def find_beside(sets: Sequence[TestSet]) -> tuple[Published, ...]:
    """What papers report for these sets: the methods of each table, with its source."""
    by_key: dict[Measured, TestSet] = {measured: one for one in sets for measured in one.measured}
    published = []
    for quoted in find_published(list(by_key)):
        for method, found in quoted.rows.items():
            otherwise = quoted.measured_otherwise({key: by_key[key].task.protocol for key in found})
            name = f"{method} ({otherwise})" if otherwise else method
            published.append(Published(name, quoted.source, {by_key[key].name: score for key, score in found.items()}))
    return tuple(published)


def count_whole(sets: Sequence[TestSet]) -> dict[str, int]:
    """How many images each set has: as published, where numbers of papers will stand beside, else as it was found."""
    published = {name for one in find_beside(sets) for name in one.scores}
    known = {
        one.name: next((count for name in one.known if (count := published_images(name))), None)
        for one in sets
        if one.name in published
    }
    return {one.name: known.get(one.name) or len(one.images) for one in sets}


def show(scores: Scores, sets: Sequence[TestSet]) -> None:
    """Prints the tables, and warns where published numbers are means of other images."""
    for number, (header, *rows) in enumerate(tables(scores)):
        if number:
            say("")
        show_table(header, rows)
    for source, number in sources(scores).items():
        say(f"[{number}] {source}")
    for one in sets:
        count = sum(row.set == one.name for row in scores.rows)
        expected = {published_images(known) for known in one.known} - {None, count}
        if expected and any(one.name in other.scores for other in scores.published):
            warn(f"{one.name}: published numbers are means of {expected.pop()} images, these of {count}")


# -------------------------------------------------------------------------------------------------------------- files


def write(scores: Scores, out: Path) -> None:
    """Writes `scores.csv` (a line for each image), `scores.json` (everything) and `scores.md` (to paste)."""
    with atomic_text(out / "scores.csv") as file:
        lines = csv.writer(file)
        lines.writerow(["set", "name", "psnr", "ssim", *scores.mean.others])
        for row in scores.rows:
            others = [f"{number:.6f}" for number in row.others.values()]
            lines.writerow([row.set, row.name, f"{row.psnr:.4f}", f"{row.ssim:.6f}", *others])
    means = {"sets": [dataclasses.asdict(row) for row in scores.sets], "mean": dataclasses.asdict(scores.mean)}
    with atomic_text(out / "scores.json") as file:
        file.write(json.dumps(strict(dataclasses.asdict(scores) | means), indent=1))
    how = f"{scores.task}, {scores.protocol}. Restored by {scores.restored_by}."
    quoted = [f"[{number}] {source}" for source, number in sources(scores).items()]
    with atomic_text(out / "scores.md") as file:
        file.write("\n\n".join([markdown(table) for table in tables(scores)] + [*quoted, how]) + "\n")


def strict(value: Any) -> Any:
    """A value as JSON has it, which has no infinity: that is text there, "inf"."""
    if isinstance(value, dict):
        return {name: strict(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def markdown(table: Table) -> str:
    """A table in Markdown; its first column is left-aligned."""
    header, *rows = table
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    cells = [[in_one_line(cell).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
