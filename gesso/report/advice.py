"""What to know before acting on a comparison: curves that still rise, too few seeds, two tests, and who is best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gesso.metrics import mean_psnr
from gesso.report.statistics import LEVEL, Score, Verdict

LAST_PART = 0.25  # of the steps, over which a curve is asked whether it rises
RISE = 0.1  # dB
FEWEST = 2  # degrees of freedom between runs, below which the interval holds the truth in 90 % of cases, not 95 %


def find_rising(scores: Sequence[Score], starts: Sequence[str]) -> dict[str, float]:
    """By how many dB the mean PSNR of starts rose in the last quarter of their steps, of those with `RISE` and more.

    The mean is over the seeds and images that are not identical to their ground truth at both ends. A start is left out
    where nothing was measured between its first step and that quarter.
    """
    rises = {}
    for start in starts:
        by_step: dict[int, dict[tuple[int, str], float]] = {}
        for score in scores:
            if score.start == start:
                by_step.setdefault(score.step, {})[score.seed, score.image] = score.psnr
        last = max(by_step, default=0)
        earlier = [step for step in by_step if 0 < step <= (1 - LAST_PART) * last]
        if not earlier:
            continue
        before, after = by_step[max(earlier)], by_step[last]
        gains = [after[key] - before[key] for key in after.keys() & before.keys()]
        finite = [gain for gain in gains if math.isfinite(gain)]
        if finite and np.mean(finite) >= RISE:
            rises[start] = float(np.mean(finite))
    return rises


def warn_of_rising(rises: Mapping[str, float], labels: Mapping[str, str]) -> str:
    """A sentence about curves that still rise; "" where none does.

    Example:
        >>> warn_of_rising({"ifp": 0.314}, {"random": "random", "ifp": "IFP"})[:62]
        'Still rising at the end: IFP (+0.31 dB in the last quarter of '
    """
    if not rises:
        return ""
    told = ", ".join(f"{labels[start]} (+{rise:.2f} dB)" for start, rise in rises.items())
    told = told.replace(" dB)", " dB in the last quarter of the steps)", 1)
    return f"Still rising at the end: {told}. A longer run may end otherwise."


class Peak(NamedTuple):
    """Where a start was best.

    Attributes:
        step: after which its mean PSNR was highest; 0: before it was trained.
        psnr: this mean.
        lost: dB of it that were lost until the last step.
    """

    step: int
    psnr: float
    lost: float

    @property
    def when(self) -> str:
        """When it was best, in words."""
        return f"after {self.step:,} steps" if self.step else "with no pair"


def find_falling(scores: Sequence[Score], starts: Sequence[str]) -> dict[str, Peak]:
    """Starts whose mean PSNR was highest before their last step, by `RISE` and more above that after it."""
    peaks = {}
    for start in starts:
        by_step: dict[int, list[float]] = {}
        for score in scores:
            if score.start == start:
                by_step.setdefault(score.step, []).append(score.psnr)
        means = {step: mean_psnr(values) for step, values in by_step.items()}
        if not means or not all(map(math.isfinite, means.values())):
            continue
        best = max(means, key=lambda step: means[step])
        lost = means[best] - means[max(means)]
        if lost >= RISE:
            peaks[start] = Peak(best, means[best], lost)
    return peaks


def warn_of_falling(peaks: Mapping[str, Peak], labels: Mapping[str, str], last: int) -> str:
    """A sentence about curves that were higher before their end; "" where none was.

    Example:
        >>> warn_of_falling({"ifp": Peak(50, 24.134, 1.03)}, {"ifp": "IFP"}, 200)[:69]
        'Past the best at the end: IFP (24.13 dB after 50 steps, 1.03 dB more '
    """
    told = ", ".join(
        f"{labels[start]} ({peak.psnr:.2f} dB {peak.when}, {peak.lost:.2f} dB more than after {last:,} steps)"
        for start, peak in peaks.items()
    )
    return f"Past the best at the end: {told}. Fewer steps, or a lower learning rate, may end higher." if told else ""


def say_untrained(name: str, before: float, last: int, peaks: Iterable[Peak]) -> str:
    """What to do where a start restores better with no pair than any start after its last step.

    Args:
        name: of the start.
        before: its mean PSNR in dB with no pair.
        last: the last step.
        peaks: where starts were best.
    """
    best = max(peaks, key=lambda peak: peak.psnr, default=None)
    shorter = f"--steps {best.step}" if best and best.step and best.psnr > before else "a lower learning rate"
    return (
        f"Pairs added nothing in the end: {name} has {before:.2f} dB with no pair at all, and no start has more after "
        f"{last:,} steps. Ask again, in another folder, with {shorter}, or train by the recipe for few pairs, gesso "
        "finetune --config few_pairs. Until then, restore with it as it is:"
    )


def warn_of_input(best: float, unrestored: float, name: str) -> str:
    """A sentence where what was restored best is no better than what it was restored from; "" where it is better.

    Args:
        best: mean PSNR in dB after the last step.
        unrestored: mean PSNR in dB of the input.
        name: of what restored best.

    Example:
        >>> warn_of_input(34.2, 35.0, "IFP")
        'No start restores yet: IFP ends at 34.20 dB, the unrestored input has 35.00 dB. Train for more steps.'
        >>> warn_of_input(36.1, 35.0, "IFP")
        ''
    """
    if not best <= unrestored:
        return ""
    ends = f"{name} ends at {best:.2f} dB, the unrestored input has {unrestored:.2f} dB"
    return f"No start restores yet: {ends}. Train for more steps."


def warn_of_few_seeds(verdicts: Sequence[Verdict]) -> str:
    """A sentence where the seeds are too few to know how much another one would change; "" where they are not.

    What counts are differences between runs of one fold: folds x (seeds - 1) of them. With one, two seeds and one test
    set, the interval held the truth in 90 % of simulated experiments instead of 95 %; with two, in 94 %
    (`benchmarks/coverage.py`).
    """
    few = [v for v in verdicts if len(np.unique(v.gains.folds)) * (len(v.gains.seeds) - 1) < FEWEST]
    if not few:
        return ""
    count = min(len(verdict.gains.seeds) for verdict in few)
    why = {
        1: "One seed is too few: nothing says how much another would change, for the interval is over images only",
        2: "Two seeds are too few here: the interval may be too narrow (in simulation it holds the true gain in "
        "90 % of experiments, not 95 %)",
    }[min(count, 2)]
    return f"{why}. Give the same command with more --seeds: only the new runs are trained."


def reconcile_tests(verdicts: Sequence[Verdict]) -> list[str]:
    """How p and the sign flips of the starts go together: a sentence for those of which the same can be said."""
    said: dict[str, list[str]] = {}
    for verdict in verdicts:
        said.setdefault(_reconcile(verdict), []).append(verdict.label)
    return [f"{', '.join(labels)}: {told}." for told, labels in said.items()]


def _reconcile(verdict: Verdict) -> str:
    unit = "images" if len(verdict.gains.seeds) == 1 else "runs"
    found, flips = verdict.p_corrected < 1 - LEVEL, verdict.p_flip < 1 - LEVEL
    if found and flips:
        return "both tests find the difference"
    if not found and not flips:
        return "neither test finds a difference"
    if flips:
        corrected = f", corrected for {verdict.starts} starts," if verdict.starts > 1 else ""
        return (
            f"sign flips find a difference for these {unit}; p{corrected} also asks about other seeds and images, does "
            "not find one there, and decides"
        )
    if verdict.p_flip_floor >= 1 - LEVEL:
        return (
            f"p finds a difference; sign flips cannot, for with so few {unit} they never fall below "
            f"{verdict.p_flip_floor:.2g}: they neither confirm nor contradict it"
        )
    return f"p finds a difference that sign flips do not confirm, for the gains of single {unit} point both ways"


def find_best(verdicts: Sequence[Verdict], reference: str) -> str:
    """The start that helps most; the one that all are compared with where none is found to help."""
    helping = [verdict for verdict in verdicts if verdict.outcome == "helps"]
    return max(helping, key=lambda verdict: verdict.estimate.mean).gains.start if helping else reference
