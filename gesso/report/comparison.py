"""What a comparison found: verdicts, doubts, what to do next, pictures and charts, from its results folder."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gesso._recipes import read_recipe
from gesso.data.io import read_picture
from gesso.metrics import mean_psnr
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
from gesso.report.results import Facts, file_stem, label, read_scores
from gesso.report.statistics import BASELINE, Estimate, Score, Verdict, estimate, judge, paired_gains
from gesso.report.viewers import Role, Subject, Viewer, make_viewers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SPECTRA = 40  # images whose spectra are averaged


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
