"""A results folder of `gesso compare`, as it is written and read.

It holds

    config.yaml                  the recipe
    comparison.csv               seed, fold, start, step, image, psnr, ssim
    comparison.json              costs, failures, and how it was measured, see `Facts`
    pairs/<count>/comparison.csv likewise for fewer training pairs
    images/<image>/<kind>.png    pictures of the first seed: input, truth, and each start

and gets `comparison.md`, `comparison.html` and `figures/*.svg` (`gesso.report.page`).
"""

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gesso._names import portable
from gesso.data.io import atomic_text
from gesso.pretext import title_of
from gesso.report.statistics import BASELINE, Score


@dataclass(frozen=True)
class Cost:
    """What a start took.

    Attributes:
        pretraining: seconds of pre-training; None where it happened elsewhere.
        pretraining_steps: its optimiser steps.
        finetuning: seconds of one fine-tuning run without measurements on test images, mean over runs.
        recipe_steps: optimiser steps of pre-training in the recipe that it is named after.
    """

    pretraining: float | None
    pretraining_steps: int | None
    finetuning: float
    recipe_steps: int | None = None

    @property
    def share(self) -> str:
        """How much of its recipe's pre-training was done, where it was another number of steps."""
        if None in (self.pretraining_steps, self.recipe_steps) or self.pretraining_steps == self.recipe_steps:
            return ""
        return f"{self.pretraining_steps:,} of {self.recipe_steps:,} steps"


@dataclass(frozen=True)
class Facts:
    """What `comparison.json` says.

    Attributes:
        command: the command line that repeats the comparison.
        title: what was compared, in a few words.
        protocol: how it was measured, in words.
        pairs: training pairs of a run.
        input_psnr: mean PSNR in dB of the unrestored test images.
        costs: by start.
        failures: why runs of a start failed, by start.
        left_out: why runs do not enter the gains, by the names of the runs.
        machine: what it ran on.
        channels: of the images that are compared; four are data in every one of their files.
        perceptual: means of what is measured beside PSNR and SSIM after the last step, by start and metric.
        input_identical: what is to be said beside the mean PSNR, of inputs that are their ground truth.
        reference: the start that all others are compared with.
        arms: what each start changes, in words.
        choices: what starts have chosen for themselves on training pairs, see `gesso.comparison.tuning.Choice`.
        next_commands: by start, the command line that trains from it on all pairs.
        restoring_commands: by start, the command line that restores with it as it is.
    """

    command: str
    title: str
    protocol: str
    pairs: int
    input_psnr: float
    costs: dict[str, Cost] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    channels: int = 3
    perceptual: dict[str, dict[str, float]] = field(default_factory=dict)
    input_identical: str = ""
    reference: str = BASELINE
    arms: dict[str, str] = field(default_factory=dict)
    choices: list[dict[str, Any]] = field(default_factory=list)
    next_commands: dict[str, str] = field(default_factory=dict)
    restoring_commands: dict[str, str] = field(default_factory=dict)

    @property
    def input_words(self) -> str:
        """The mean PSNR of the unrestored images in words."""
        return f"{self.input_psnr:.2f} dB{self.input_identical}"

    def write(self, folder: Path) -> None:
        """Writes `comparison.json`."""
        with atomic_text(folder / "comparison.json") as file:
            facts = asdict(self)
            facts["input_psnr"] = self.input_psnr if math.isfinite(self.input_psnr) else str(self.input_psnr)
            file.write(json.dumps(facts, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Facts":
        """The facts of a results folder."""
        stored = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
        costs = {start: Cost(**cost) for start, cost in stored["costs"].items()}
        return cls(**stored | {"costs": costs, "input_psnr": float(stored["input_psnr"])})


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes `comparison.csv`."""
    with atomic_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Score._fields)
        for score in scores:
            writer.writerow((*score[:-2], f"{score.psnr:.4f}", f"{score.ssim:.5f}"))


def read_scores(path: Path) -> list[Score]:
    """The rows of `comparison.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Score(
                int(r["seed"]),
                int(r["fold"]),
                r["start"],
                int(r["step"]),
                r["image"],
                float(r["psnr"]),
                float(r["ssim"]),
            )
            for r in csv.DictReader(file)
        ]


def label(start: str) -> str:
    """What a start is called in tables and sentences.

    Example:
        >>> label("ifp"), label("leaves-mfm"), label("runs/mine/backbone.safetensors")
        ('IFP', 'leaves-MFM', 'mine/backbone')
    """
    path = Path(start)
    if path.suffix:
        return (Path(path.parent.name) / path.stem).as_posix()
    return "-".join(title_of(word) or word for word in start.split("-"))


def file_stem(start: str) -> str:
    """A start's name as that of a file: `runs/mine/backbone.safetensors` is `mine-backbone`.

    Example:
        >>> file_stem("ifp"), file_stem("runs/mine/backbone.safetensors"), file_stem("primed:derain/nafnet_tiny")
        ('ifp', 'mine-backbone', 'primed-derain-nafnet_tiny')
    """
    return portable(label(start) if Path(start).suffix else start)
