"""What papers report for a task and a test set: `published.yaml`, read, and found by what was measured.

The numbers are quoted, never measured by gesso; each names its paper and table.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gesso.metrics import Protocol
from gesso.tasks import find_task

FILE = Path(__file__).with_suffix(".yaml")
SHORT = 4  # letters below which a name of a set must be the whole name of the folder


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a number was measured on.

    Attributes:
        task: name of the task.
        set: name of the test set, as in `published.yaml`.
        channel: "rgb", "y" or "grey".
        sigma: of Gaussian noise, where a paper sets it.
        scale: of super-resolution.
    """

    task: str
    set: str
    channel: str = "rgb"
    sigma: float | None = None
    scale: int = 1


@dataclasses.dataclass(frozen=True)
class Score:
    """PSNR in dB and, where it is reported, SSIM."""

    psnr: float
    ssim: float | None = None

    def __str__(self) -> str:
        return f"{self.psnr:.2f}" if self.ssim is None else f"{self.psnr:.2f} / {self.ssim:.3f}"


@dataclasses.dataclass(frozen=True)
class Quoted:
    """A table of a paper, or a part of one.

    Attributes:
        paper: who published it, where.
        table: its number, or what it shows.
        note: what has to be known to compare.
        whole: whether it says something only where all of its sets are measured.
        protocol: where it was measured otherwise than its task is, options of `gesso.metrics.Protocol`.
        rows: by method, the scores by what they were measured on.
    """

    paper: str
    table: str
    note: str
    whole: bool
    protocol: dict[str, Any]
    rows: dict[str, dict[Measured, Score]]

    @property
    def source(self) -> str:
        """Paper and table in words."""
        table = f"table {self.table}" if self.table[0].isdigit() else self.table
        return f"{self.paper}, {table}" + (f" ({self.note})" if self.note else "")

    def measured_otherwise(self, protocols: Mapping[Measured, Protocol]) -> str:
        """How its numbers were measured where this is not how those beside them were, in words; "" where it is.

        Args:
            protocols: how each set that it is compared on was measured.
        """
        found = dict.fromkeys(
            words
            for key, protocol in protocols.items()
            for option, words in in_words(self.procedure(key)).items()
            if words != in_words(protocol)[option]
        )
        return ", ".join(found)

    def procedure(self, key: Measured) -> Protocol:
        """How its number of one set was measured."""
        own = find_task(key.task, key.scale).protocol
        return dataclasses.replace(own, channel=key.channel, **self.protocol)


def in_words(protocol: Protocol) -> dict[str, str]:
    """What of a protocol moves PSNR, by option."""
    luma = "luma rounded to 8 bits" if protocol.round_y else "luma not rounded"
    return {
        "round_y": luma if protocol.channel == "y" else "",
        "border": f"without {protocol.border} pixels at each border",
        "quantise": "8-bit images" if protocol.quantise else "images not rounded to 8 bits",
        "align": "aligned to the ground truth" if protocol.align else "not aligned",
    }


@functools.cache
def content() -> dict[str, Any]:
    """What `published.yaml` holds."""
    import yaml

    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


@functools.cache
def quoted_tables() -> tuple[Quoted, ...]:
    """All tables."""
    tables = []
    for block in content()["tables"]:
        shared = {key: block[key] for key in ("task", "channel", "sigma", "scale") if key in block}
        columns = [Measured(**shared | (s if isinstance(s, dict) else {"set": s})) for s in block["sets"]]
        rows = {
            method: {column: Score(*cell) for column, cell in zip(columns, cells, strict=True) if cell is not None}
            for method, cells in block["rows"].items()
        }
        protocol = block.get("protocol", {})
        tables.append(
            Quoted(block["paper"], str(block["table"]), block.get("note", ""), "whole" in block, protocol, rows)
        )
    return tuple(tables)


def published_probe(network: str) -> str:
    """How well DCPT's authors told degradations by the features of a network with random weights, in percent."""
    return next((value for name, value in content()["probes"].items() if network.startswith(name)), "")


def find_published(measured: Sequence[Measured]) -> list[Quoted]:
    """The tables that report something of what was measured, with those numbers alone."""
    found = []
    for table in quoted_tables():
        rows = {
            method: {key: score for key, score in scores.items() if key in measured}
            for method, scores in table.rows.items()
        }
        rows = {method: scores for method, scores in rows.items() if scores}
        if rows and not (table.whole and rows != table.rows):
            found.append(dataclasses.replace(table, rows=rows))
    return found


def known_set(task: str, *names: str) -> str | None:
    """The published test set of a task that a folder seems to hold, by its name, or by those of the folders above it.

    Example:
        >>> known_set("derain", "my_rain-100L"), known_set("dehaze", "outdoor", "SOTS"), known_set("deblur", "holidays")
        ('Rain100L', 'SOTS_outdoor', None)
    """
    sets = {
        key.set for table in quoted_tables() for scores in table.rows.values() for key in scores if key.task == task
    }
    aliases = {plain(alias): name for name in sets for alias in (name, *content()["names"].get(name, ()))}
    for name in names:
        folder = re.sub(r"x[2348]$", "", plain(name))
        if folder in aliases:
            return aliases[folder]
        endings = [alias for alias in aliases if len(alias) >= SHORT and folder.endswith(alias)]
        if endings:
            return aliases[max(endings, key=len)]
    return None


def published_images(name: str) -> int | None:
    """How many images a published test set has, where that is known."""
    return content()["images"].get(name)


def plain(name: str) -> str:
    """A name in lower case without what separates its parts."""
    return re.sub(r"[\s_\-]", "", name.lower())
