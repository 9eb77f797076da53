"""The networks that come with the package, trained without a photo: which there are, where they lie, what they are.

A primed network is a file `TASK/NETWORK.safetensors` of half precision in this folder, in the package `gesso_primed`
(larger ones, a wheel of their own), or in the folder that the variable GESSO_PRIMED names. `primed:TASK/NETWORK` means
it wherever a file of weights is asked for, and `primed:TASK` the best of its task; `gesso list primed` shows all. Its
header says how it was made and what it reaches. `gesso primed verify` makes it again.
"""

import dataclasses
import functools
import importlib.util
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gesso._discovery import UnknownNameError, suggest

PREFIX = "primed:"
FOLDER = "GESSO_PRIMED"  # variable: a folder of one's own
COMPANION = "gesso_primed"  # package with larger networks
ANY = "any"  # the task of networks that were trained for all
SLIP = 0.8  # names so alike are one, mistyped; less alike ones are tasks of which there is no network


@dataclasses.dataclass(frozen=True)
class Primed:
    """A primed network.

    Attributes:
        task: what it restores, or "any".
        network: name of the backbone.
        path: its file.
    """

    task: str
    network: str
    path: Path

    @property
    def name(self) -> str:
        """What `primed:` means it by."""
        return f"{self.task}/{self.network}"

    @functools.cached_property
    def header(self) -> dict[str, Any]:
        """What its file says of itself; {} where it says nothing, which those who load it complain of."""
        try:
            with self.path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                text = json.loads(file.read(size if size < 1 << 24 else 0))
            return json.loads(text["__metadata__"]["gesso"])
        except (ValueError, KeyError, TypeError):
            return {}

    @property
    def measured(self) -> list[dict[str, Any]]:
        """What it reaches on real pairs: {set, images, input_psnr, psnr, ssim, ...} for each set."""
        rows = self.header.get("measured", [])
        return [row for row in rows if isinstance(row, dict) and "psnr" in row] if isinstance(rows, list) else []

    @property
    def gain(self) -> float:
        """By how many dB it is above its inputs, in the mean over the sets; minus infinity if nothing is measured."""
        gains = [row["psnr"] - row["input_psnr"] for row in self.measured if row.get("input_psnr") is not None]
        return sum(gains) / len(gains) if gains else -math.inf

    @property
    def worsens(self) -> bool:
        """Whether it was measured on real pairs and ends below its inputs, in the mean over the sets."""
        return -math.inf < self.gain < 0

    def __str__(self) -> str:
        """One line: what it is, and what it reaches."""
        number = self.header.get("parameters")
        size = f", {number / 1e6:.2f} M parameters" if number else ""
        sets = "; ".join(
            f"{row['set']} {row['psnr']:.2f} dB (input {row['input_psnr']:.2f})"
            if row.get("input_psnr") is not None
            else f"{row['set']} {row['psnr']:.2f} dB"
            for row in self.measured
        )
        below = "; on real pairs BELOW ITS INPUT, a start to fine-tune from" if self.worsens else ""
        return f"{self.network}{size}, trained without a photo or a pair; {sets or 'not measured on real pairs'}{below}"


def find_folders() -> list[Path]:
    """Where primed networks lie, those that count first."""
    own = [Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else []
    companion = importlib.util.find_spec(COMPANION)
    places = list(companion.submodule_search_locations or []) if companion else []
    return [*own, Path(__file__).parent, *map(Path, places)]


def list_primed() -> dict[str, Primed]:
    """All primed networks by name."""
    found: dict[str, Primed] = {}
    for folder in find_folders():
        for path in folder.glob("*/*.safetensors"):
            one = Primed(path.parent.name, path.stem, path)
            found.setdefault(one.name, one)
    return dict(sorted(found.items()))


def find_primed(name: str, network: str | None = None) -> Primed:
    """The primed network that `TASK/NETWORK` means; or `TASK` with `network`, or else the best of the task.

    The best is the one that gains most on real pairs (`Primed.gain`). Where there is none of the task, one of "any"
    that knows the task stands in.

    Raises:
        UnknownNameError: if there is none; the message says which there are, and how to make one.
    """
    name = name.removeprefix(PREFIX)
    task, slash, asked = name.partition("/")
    network = asked if slash else network
    known = list_primed()
    of_task = [one for one in known.values() if one.task == task]
    of_task = of_task or [one for one in known.values() if one.task == ANY and task in one.header.get("tasks", [])]
    fitting = [one for one in of_task if network in (None, one.network)]
    if fitting:
        return max(fitting, key=lambda one: one.gain)
    if not known:
        there = "this installation has none"
    elif not of_task:
        there = suggest(task, {one.task for one in known.values()}, cutoff=SLIP)
        if there.endswith("?"):
            raise UnknownNameError(f"no primed network {PREFIX}{name}; {there}")
    else:
        there = f"for {task} there are {', '.join(one.network for one in of_task)}"
    make = f"gesso pretrain --config restore_leaves_small --pretext_args.task {task or 'TASK'}"
    make += f" --backbone {network} --out RUN" if network else " --out RUN"
    raise UnknownNameError(f"no primed network {PREFIX}{name}{f' for {network}' if network and not slash else ''}; "
                           f"{there}; make one by `{make}` and give RUN/backbone.safetensors")  # fmt: skip


def find_restorer(name: str) -> Primed:
    """The primed network that restores: as `find_primed`, but one that ends below its input has to be named in full.

    Raises:
        UnknownNameError: if there is none.
        ValueError: if the best of the task makes real images worse, and only the task was given.
    """
    one = find_primed(name)
    if one.worsens and "/" not in name:
        raise ValueError(
            f"{PREFIX}{one.name}: on real pairs it ends {-one.gain:.2f} dB below its input, so it is a start "
            f"to fine-tune from (--init {PREFIX}{one.task}); to restore with it: --checkpoint {PREFIX}{one.name}"
        )
    return one


def is_primed(name: object) -> bool:
    """Whether what stands for a file is the name of a primed network."""
    return str(name).startswith(PREFIX)


def resolve_file(name: str | Path, network: str | None = None) -> Path:
    """The file that a name of a primed network means; any other path as it is.

    Raises:
        UnknownNameError: if there is no such network.
    """
    return find_primed(str(name), network).path if is_primed(name) else Path(name)


def for_task(name: str, task: str) -> str:
    """`primed`, which names no task, as `primed:TASK`; anything else as it is.

    Example:
        >>> for_task("primed", "derain"), for_task("primed:any", "derain"), for_task("random", "derain")
        ('primed:derain', 'primed:any', 'random')
    """
    return f"{PREFIX}{task}" if name == PREFIX.rstrip(":") else name


def resolve_name(name: str, network: str) -> str:
    """`primed:TASK` as `primed:TASK/NETWORK`; anything else as it is.

    Raises:
        UnknownNameError: if there is no such network.
    """
    return f"{PREFIX}{find_primed(name, network).name}" if is_primed(name) else name


def spell_file(file: str | Path) -> str:
    """What lines for people call a file of weights: a primed network by its name, wherever it is installed."""
    path = Path(file)
    primed = path.suffix == ".safetensors" and any(path.parent.parent == folder for folder in find_folders())
    return f"{PREFIX}{path.parent.name}/{path.stem}" if primed else str(file)


def restores(header: Mapping[str, Any], task: str) -> bool:
    """Whether the network of a file, by what its header says, restores images of a task already.

    So does one that was fine-tuned for the task, one that was pre-trained on the task's own degradation, and one that
    was trained for several with this among them.
    """
    told = header.get("pretext_args") or {}
    own = told.get("task") if header.get("pretext") == "restore" and isinstance(told, dict) else None
    several = header.get("tasks")
    return task in (header.get("task"), own, *(several if isinstance(several, list) else []))
