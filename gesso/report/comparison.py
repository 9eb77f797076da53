"""The answer of `gesso compare`: a Markdown table and one HTML page that needs no network, from a results folder.

A results folder holds

    config.yaml                  the recipe
    comparison.csv               seed, fold, start, step, image, psnr, ssim
    comparison.json              costs, failures, and how it was measured, see `Facts`
    pairs/<count>/comparison.csv likewise for fewer training pairs
    images/<image>/<kind>.png    pictures of the first seed: input, truth, and each start

and gets `comparison.md`, `comparison.html` and `figures/*.svg`.
"""

import contextlib
import csv
import html
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import Tensor

from gesso._recipes import read_recipe
from gesso.data.io import atomic_text, read_picture
from gesso.metrics import beside, mean_psnr
from gesso.pretext import title_of
from gesso.report import figures
from gesso.report.advice import (
    Peak,
    find_best,
    find_falling,
    find_rising,
    reconcile_tests,
    say_untrained,
    warn_of_falling,
    warn_of_few_seeds,
    warn_of_input,
    warn_of_rising,
)
from gesso.report.console import duration
from gesso.report.statistics import (
    BASELINE,
    Estimate,
    Score,
    Verdict,
    estimate,
    judge,
    paired_gains,
)
from gesso.report.svg import LARGER, STYLE, standalone, to_svg
from gesso.report.viewers import Role, Subject, Viewer, make_viewers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SPECTRA = 40  # images whose spectra are averaged


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
        stored = json.loads((folder / "comparison.json").read_text())
        costs = {start: Cost(**cost) for start, cost in stored["costs"].items()}
        return cls(**stored | {"costs": costs, "input_psnr": float(stored["input_psnr"])})


@dataclass(frozen=True)
class EqualCompute:
    """A start after so many steps that its pre-training and they take as long as the reference's whole run.

    Attributes:
        label: what the start is called.
        budget: fine-tuning steps that its pre-training leaves it.
        step: the last measured step within the budget; None if there is none.
        gain: then over the reference after its whole run.
    """

    label: str
    budget: int
    step: int | None
    gain: Estimate | None


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
        return str(Path(path.parent.name) / path.stem)
    return "-".join(title_of(word) or word for word in start.split("-"))


def comparable(scores: Sequence[Score], reference: str = BASELINE) -> list[Score]:
    """`scores` without the starts that share no complete seed with the reference, because runs failed."""
    starts = []
    for start in dict.fromkeys(score.start for score in scores):
        with contextlib.suppress(ValueError):
            paired_gains(scores, start, baseline=reference)
            starts.append(start)
    return [score for score in scores if score.start in starts]


@dataclass(frozen=True)
class Comparison:
    """A results folder, read.

    Attributes:
        folder: where it lies.
        recipe: the options of the comparison.
        facts: costs, failures, protocol.
        scores: every measurement.
        by_pairs: the measurements by number of training pairs, where a curve over them was asked for.
    """

    folder: Path
    recipe: dict[str, Any]
    facts: Facts
    scores: list[Score]
    by_pairs: dict[int, list[Score]]

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """The comparison in a results folder.

        Raises:
            FileNotFoundError: if it is none.
        """
        fewer = {int(path.parent.name): read_scores(path) for path in (folder / "pairs").glob("*/comparison.csv")}
        scores, facts = read_scores(folder / "comparison.csv"), Facts.read(folder)
        by_pairs = dict(sorted((fewer | {facts.pairs: scores}).items())) if fewer else {}
        return cls(folder, read_recipe(folder / "config.yaml"), facts, scores, by_pairs)

    @property
    def reference(self) -> str:
        """The start that all others are compared with."""
        return self.facts.reference

    @property
    def reference_words(self) -> str:
        """What it is called in sentences."""
        return "random weights" if self.reference == BASELINE else self.labels[self.reference]

    @cached_property
    def labels(self) -> dict[str, str]:
        """What starts are called that were measured, the reference first."""
        starts = dict.fromkeys([self.reference, *(score.start for score in self.scores)])
        return {start: label(start) for start in starts}

    @cached_property
    def orders(self) -> dict[str, int]:
        """The place of each start among `labels`, by which it is known in all charts."""
        return {start: order for order, start in enumerate(self.labels)}

    @cached_property
    def last_step(self) -> int:
        """The last step of a run."""
        return max(score.step for score in self.scores)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """What is found in PSNR for each start that has a complete seed."""
        notes = {start: cost.share for start, cost in self.facts.costs.items()}
        return judge(comparable(self.scores, self.reference), self.labels, baseline=self.reference, notes=notes)

    @property
    def rising(self) -> str:
        """A sentence about curves that still rise at their end; "" where none does."""
        measured = [self.reference, *(verdict.gains.start for verdict in self.verdicts)]
        rising = [start for start in measured if start not in self.falling]
        return warn_of_rising(find_rising(self.scores, rising), self.labels)

    @property
    def falling(self) -> dict[str, Peak]:
        """The starts that were better before their last step, and where."""
        return find_falling(self.scores, [self.reference, *(verdict.gains.start for verdict in self.verdicts)])

    @property
    def untrained(self) -> tuple[str, float] | None:
        """A start and its mean PSNR with no pair, where that is no less than any has after its last step; else None."""
        before = {
            start: mean_psnr([score.psnr for score in self.scores if (score.start, score.step) == (start, 0)])
            for start in dict.fromkeys(score.start for score in self.scores if score.step == 0)
            if start in self.facts.restoring_commands
        }
        best = max(before, key=lambda start: before[start], default=None)
        after = max(self.mean(start, "psnr") for start in self.labels if self.last(start))
        return None if best is None or before[best] < after else (best, before[best])

    @property
    def doubts(self) -> list[str]:
        """Sentences about what to know before anything here is acted on."""
        means = {start: self.mean(start, "psnr") for start in self.labels if self.last(start)}
        best, falling = max(means, key=lambda start: means[start]), self.falling
        unrestored = self.facts.input_psnr
        has_restored = any(peak.psnr > unrestored for peak in falling.values())
        below = "" if has_restored else warn_of_input(means[best], unrestored, self.labels[best])
        fallen = warn_of_falling(falling, self.labels, self.last_step)
        return [told for told in (self.few_seeds, self.rising, fallen, below) if told]

    @property
    def left_out(self) -> dict[str, str]:
        """Why runs do not enter the gains, by their names, those of one reason together."""
        by_why: dict[str, list[str]] = {}
        for run, why in self.facts.left_out.items():
            by_why.setdefault(why, []).append(run)
        return {"; ".join(runs): why for why, runs in by_why.items()}

    @property
    def few_seeds(self) -> str:
        """A sentence where the seeds are too few; "" where they are not."""
        return warn_of_few_seeds(self.verdicts)

    @property
    def tests(self) -> list[str]:
        """Sentences about how the two tests of each start go together."""
        return reconcile_tests(self.verdicts)

    @property
    def next_step(self) -> tuple[str, str]:
        """What follows, in a sentence, and the command line that does it; "" where it is not known."""
        best = find_best(self.verdicts, self.reference)
        command = self.facts.next_commands.get(best, "")
        if untrained := self.untrained:
            start, before = untrained
            told = say_untrained(self.labels[start], before, self.last_step, self.falling.values())
            return told, self.facts.restoring_commands[start]
        if best != self.reference:
            return f"{self.labels[best]} is best. Train it on all pairs, as a run of the comparison was:", command
        hurt = all(verdict.outcome == "hurts" for verdict in self.verdicts)
        why = "nothing else was found to help" if not hurt else "everything else hurts"
        return f"Take {self.reference_words}: {why}. Train on all pairs, as a run of the comparison was:", command

    @cached_property
    def ssim_gains(self) -> dict[str, Estimate]:
        """Gains in SSIM by start."""
        return {
            verdict.gains.start: estimate(
                paired_gains(self.scores, verdict.gains.start, "ssim", baseline=self.reference)
            )
            for verdict in self.verdicts
        }

    def mean(self, start: str, metric: str) -> float:
        """Mean of "psnr" or "ssim" over seeds and images after the last step; identical images do not count in PSNR."""
        return mean_psnr(self.last(start, metric))

    def before(self, start: str) -> str:
        """The mean PSNR of a start before its first step: what it restores with no pair at all."""
        psnrs = [s.psnr for s in self.scores if s.start == start and s.step == 0]
        return f"{mean_psnr(psnrs):.2f}" if psnrs else "–"

    def last(self, start: str, metric: str = "psnr") -> list[float]:
        """A metric of all images and seeds after the last step."""
        return [getattr(s, metric) for s in self.scores if s.start == start and s.step == self.last_step]

    def image_means(self, start: str) -> dict[str, float]:
        """PSNR after the last step by image, mean over seeds."""
        found: dict[str, list[float]] = {}
        for score in self.scores:
            if score.start == start and score.step == self.last_step:
                found.setdefault(score.image, []).append(score.psnr)
        return {image: mean_psnr(values) for image, values in found.items()}

    @cached_property
    def seconds_per_step(self) -> float:
        """Seconds of one fine-tuning step; the same network whatever the start."""
        return self.facts.costs[self.reference].finetuning / self.last_step

    @cached_property
    def equal_compute(self) -> list[EqualCompute]:
        """Starts whose pre-training was timed, at equal total compute."""
        rows = []
        for verdict in self.verdicts:
            start = verdict.gains.start
            cost = self.facts.costs[start].pretraining
            if not cost:
                continue
            more = cost - (self.facts.costs[self.reference].pretraining or 0)
            budget = min(self.last_step, max(0, int(self.last_step - more / self.seconds_per_step)))
            steps = [s.step for s in self.scores if s.start == start and 0 < s.step <= budget]
            found = self.gain_after(start, max(steps)) if steps else (None, None)
            rows.append(EqualCompute(verdict.label, budget, *found))
        return rows

    def gain_after(self, start: str, step: int) -> tuple[int, Estimate]:
        """`step`, and the gain of `start` after it over the reference after its last."""
        ours = [s._replace(step=self.last_step) for s in self.scores if s.start == start and s.step == step]
        theirs = [s for s in self.scores if s.start == self.reference and s.step == self.last_step]
        return step, estimate(paired_gains(ours + theirs, start, baseline=self.reference))

    # ------------------------------------------------------------------------------------------------------ pictures

    @cached_property
    def pictures(self) -> dict[str, dict[str, Path]]:
        """Picture files by image and kind; images without the reference's picture are left out."""
        folder = self.folder / "images"
        images = sorted({score.image for score in self.scores})
        found = {image: {path.stem: path for path in sorted((folder / image).glob("*.png"))} for image in images}
        return {
            image: files
            for image, files in found.items()
            if {"input", "truth", file_stem(self.reference)} <= files.keys()
        }

    def read_pictures(self, image: str) -> dict[str, Tensor]:
        """Pictures of an image by kind, (3, H, W) or (4, H, W); starts go by their names, not those of their files."""
        files, four = self.pictures[image], self.facts.channels == 4
        kinds = {"input": "input", "truth": "truth"} | {start: file_stem(start) for start in self.labels}
        return {kind: read_picture(files[stem], planes=four).pixels for kind, stem in kinds.items() if stem in files}

    @cached_property
    def ranked(self) -> list[Verdict]:
        """Verdicts of the starts that have pictures, the highest mean gain first."""
        kinds = {kind for files in self.pictures.values() for kind in files}
        having = [verdict for verdict in self.verdicts if file_stem(verdict.gains.start) in kinds]
        return sorted(having, key=lambda verdict: -verdict.estimate.mean)

    @cached_property
    def viewers(self) -> list[Viewer]:
        """Sliders for the images that gain most, median and least from each start, the leading start's first."""
        roles: dict[str, list[Role]] = {}
        for verdict in self.ranked:
            for image, role in self.roles(verdict):
                roles.setdefault(image, []).append(role)
        return make_viewers([Subject(image, self.read_pictures(image), roles[image]) for image in roles], self.labels)

    def roles(self, verdict: Verdict) -> list[tuple[str, Role]]:
        """The images that gain most, median and least from a start, among those that have its picture."""
        gains, start, random = verdict.gains, verdict.gains.start, self.image_means(self.reference)
        by_image = dict(zip(gains.images, gains.table.mean(0).tolist(), strict=True))
        images = [image for image in by_image if file_stem(start) in self.pictures.get(image, {})]
        images.sort(key=lambda image: -by_image[image])
        places = {"Largest gain": 0, "Median gain": len(images) // 2, "Smallest gain": len(images) - 1}
        found: dict[str, Role] = {}
        for title, place in places.items():
            image = images[place]
            theirs, gain = f"{self.labels[self.reference]} {random[image]:.2f} dB", f"{by_image[image]:+z.2f} dB"
            note = f"{theirs}, {verdict.label} {gain} (means over seeds)"
            found.setdefault(image, Role(start, title, note, len(found)))
        return list(found.items())

    # ------------------------------------------------------------------------------------------------------- figures

    @cached_property
    def figures(self) -> "dict[str, Figure]":
        """Every chart by name."""
        drawn = {
            "intervals": figures.intervals(self.verdicts, self.orders, self.reference_words),
            "learning-curves": figures.learning_curves(self.scores, self.labels),
            "gain-curves": figures.gain_curves(comparable(self.scores, self.reference), self.labels),
        }
        if self.by_pairs:
            complete = {count: comparable(scores, self.reference) for count, scores in self.by_pairs.items()}
            drawn["pairs"] = figures.pairs_curves(complete, self.labels)
        random = self.image_means(self.reference)
        for verdict in self.verdicts:
            start = verdict.gains.start
            drawn[f"images-{file_stem(start)}"] = figures.scatter(
                verdict.gains, random, self.orders[start], verdict.label, self.labels[self.reference]
            )
        if self.viewers:
            rows = [self.read_pictures(image) for image in list(self.pictures)[:MOST_SPECTRA]]
            drawn["spectra"], drawn["error-by-frequency"] = figures.spectra(rows, self.labels)
        return drawn

    # -------------------------------------------------------------------------------------------------------- tables

    @cached_property
    def table(self) -> list[list[str]]:
        """Header and one row for each start; the gain comes first, for narrow screens show but two columns."""
        header = ["start", "gain (dB), 95 % interval", "PSNR (dB)", "SSIM", "SSIM gain", "p", "p (sign flips)"]
        rows = [
            header,
            [
                self.labels[self.reference],
                "–",
                self.cell(self.reference),
                f"{self.mean(self.reference, 'ssim'):.4f}",
                *"–––",
            ],
        ]
        for verdict in self.verdicts:
            start, found = verdict.gains.start, verdict.estimate
            rows.append(
                [
                    verdict.label,
                    interval(found),
                    self.cell(start),
                    f"{self.mean(start, 'ssim'):.4f}",
                    f"{self.ssim_gains[start].mean:+z.4f}",
                    p_value(verdict.p_corrected),
                    sign_flips(verdict.p_flip, verdict.p_flip_floor),
                ]
            )
        if any(score.step == 0 for score in self.scores):
            starts = [self.reference, *(verdict.gains.start for verdict in self.verdicts)]
            column = ["no pair (dB)", *map(self.before, starts)]
            rows = [[*row[:3], before, *row[3:]] for row, before in zip(rows, column, strict=True)]
        return self.with_perceptual(rows)

    def with_perceptual(self, rows: list[list[str]]) -> list[list[str]]:
        """The rows of a table of starts, with a column for each further metric behind them."""
        metrics = dict.fromkeys(name for means in self.facts.perceptual.values() for name in means)
        starts = (self.reference, *(verdict.gains.start for verdict in self.verdicts))
        means = [self.facts.perceptual.get(start, {}) for start in starts]
        cells = [[f"{mean[name]:.4f}" if name in mean else "–" for name in metrics] for mean in means]
        return [row + more for row, more in zip(rows, [[name.upper() for name in metrics], *cells], strict=True)]

    def cell(self, start: str) -> str:
        """The mean PSNR of a start, with the number of identical images beside it where there are any."""
        return f"{self.mean(start, 'psnr'):.2f}{beside(self.last(start))}"

    @cached_property
    def cost_table(self) -> list[list[str]]:
        """Header and one row for each start: what they took."""
        rows = [["start", "pre-training", "one fine-tuning run", "both"]]
        for start, name in self.labels.items():
            cost = self.facts.costs[start]
            before = cost.pretraining
            total = "–" if before is None else duration(before + cost.finetuning)
            rows.append([name, "elsewhere" if before is None else duration(before), duration(cost.finetuning), total])
        return rows

    @cached_property
    def choice_table(self) -> list[list[str]]:
        """Header and one row for each start that chose values for itself: mean PSNR of what it tried, and the choices.

        Of several numbers of training pairs the largest is shown.
        """
        rows = [["start", "tried (mean dB on training pairs left out)", "chosen"]]
        for start, name in self.labels.items():
            own = [c for c in self.facts.choices if (c["arm"], c["count"]) == (start, self.facts.pairs)]
            if not own:
                continue
            tried = {words: [c["psnrs"][words] for c in own] for words in own[0]["psnrs"]}
            means = {words: "failed" if None in found else f"{mean_psnr(found):.2f}" for words, found in tried.items()}
            count = Counter(c["best"] for c in own)
            times = {words: f" ({n} of {len(own)} folds)" if len(own) > 1 else "" for words, n in count.most_common()}
            edge = "; the best may lie beyond what was tried" if any(c["at_the_edge"] for c in own) else ""
            cells = (
                "; ".join(f"{words}: {mean}" for words, mean in means.items()),
                ", ".join(map("".join, times.items())),
            )
            rows.append([name, cells[0], cells[1] + edge])
        return rows

    @cached_property
    def equal_table(self) -> list[list[str]]:
        """Header and one row for each start at equal total compute."""
        rows = [["start", "steps left", "measured after", "gain (dB), 95 % interval"]]
        for row in self.equal_compute:
            if row.gain is None:
                why = "not measured so early" if row.budget else "pre-training alone takes longer"
                rows.append([row.label, str(row.budget), "–", why])
            else:
                rows.append([row.label, str(row.budget), str(row.step), interval(row.gain)])
        return rows


def interval(found: Estimate) -> str:
    """A gain with its interval: `+0.31 [+0.12, +0.49]`."""
    return f"{found.mean:+z.2f} [{found.low:+z.2f}, {found.high:+z.2f}]"


def p_value(p: float) -> str:
    """A p-value in two digits: `0.031`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def sign_flips(p: float, floor: float) -> str:
    """A p-value of the sign-flip test, with the smallest that so few runs can give where that says something.

    Example:
        >>> sign_flips(0.25, 0.25), sign_flips(0.0017, 0.0001)
        ('0.25 (≥ 0.25)', '0.0017')
    """
    return p_value(p) if floor < 0.001 else f"{p_value(p)} (≥ {p_value(floor)})"


def file_stem(start: str) -> str:
    """A start's name as that of a file: `runs/mine/backbone.safetensors` is `mine-backbone`.

    Example:
        >>> file_stem("ifp"), file_stem("runs/mine/backbone.safetensors"), file_stem("primed:derain/nafnet_tiny")
        ('ifp', 'mine-backbone', 'primed-derain-nafnet_tiny')
    """
    return (label(start) if Path(start).suffix else start.replace(":", "-")).replace("/", "-")


def plain_markdown(text: str) -> str:
    r"""A text, such as the name of an arm, so that Markdown shows it as it is.

    Example:
        >>> print(plain_markdown("a|b <i>, p < 0.001, x_2"))
        a\|b \<i>, p < 0.001, x_2
    """
    return re.sub(r"([\\`*|]|<(?=[A-Za-z/!]))", r"\\\1", text)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header, columns but the first are right-aligned."""
    rule = ["---", *["--:"] * (len(rows[0]) - 1)]
    header, *others = ([plain_markdown(cell) for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *others))


def markdown(comparison: Comparison) -> str:
    """The text of `comparison.md`."""
    facts = comparison.facts
    parts = [f"# {facts.title}", *(f"**{plain_markdown(str(verdict))}**" for verdict in comparison.verdicts)]
    parts += map(plain_markdown, comparison.doubts)
    parts += [plain_markdown(f"{label(start)} failed: {why}") for start, why in facts.failures.items()]
    parts += [plain_markdown(f"Left out of the gains: {runs}: {why}") for runs, why in comparison.left_out.items()]
    sentence, command = comparison.next_step
    if command:
        parts += ["## Next", plain_markdown(sentence), f"```sh\n{command}\n```"]
    parts += ["## In numbers", markdown_table(comparison.table)]
    parts += [f"{facts.protocol}. Unrestored input: {facts.input_words}.", *comparison.tests]
    if len(comparison.choice_table) > 1:
        parts += ["## Chosen on the training pairs", markdown_table(comparison.choice_table)]
    parts += ["## Costs", markdown_table(comparison.cost_table)]
    if len(comparison.equal_table) > 1:
        parts += ["## At equal total compute", markdown_table(comparison.equal_table)]
    parts += ["## Again", f"```sh\n{facts.command}\n```"]
    return "\n\n".join(parts) + "\n"


def page(comparison: Comparison) -> str:
    """The text of `comparison.html`: it holds everything it shows and asks no network."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("comparison.html.j2")
    recipe = yaml.safe_dump(comparison.recipe, sort_keys=False, allow_unicode=True)
    return template.render(
        c=comparison,
        style=STYLE + LARGER,
        recipe=recipe,
        label=label,
        file_stem=file_stem,
        flags_whole=flags_whole,
        tone=figures.tone,
        is_dashed=figures.is_dashed,
        svg=to_svg,
    )


def flags_whole(command: str) -> str:
    """A command line as HTML whose lines break before an option, not within its dashes."""
    return re.sub(r"(--[\w.]+)", r'<span class="flag">\1</span>', html.escape(command))


def write_report(folder: Path) -> Path:
    """Writes `comparison.md`, `comparison.html` and `figures/*.svg` from what lies in the folder; returns the page.

    Raises:
        FileNotFoundError: if there is no comparison in the folder.
        ValueError: if there is nothing to compare, because every run of the reference or of all starts failed.
    """
    comparison = Comparison.read(folder)
    if not comparison.verdicts:
        why = "; ".join(f"{label(start)}: {reason}" for start, reason in comparison.facts.failures.items())
        raise ValueError(
            f"{folder}: nothing to compare, no start has a seed in common with {comparison.reference_words}. {why}"
        )
    texts: Mapping[str, str] = {
        "comparison.md": markdown(comparison),
        "comparison.html": page(comparison),
        **{f"figures/{name}.svg": standalone(figure) for name, figure in comparison.figures.items()},
    }
    for name, text in texts.items():
        with atomic_text(folder / name) as file:
            file.write(text)
    return folder / "comparison.html"
