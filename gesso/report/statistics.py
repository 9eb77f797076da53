"""Whether one start beats another: paired differences, an interval, a test, and a sentence.

An experiment is a table of gains in dB: one row for each seed, one column for each test image, each cell the score from
a start minus the score from random weights under the same seed. Seeds and images are both samples: the answer is wanted
for other trainings and other images. They are crossed, every seed meets every image. Where the pairs are few, they are
split into folds, each image is tested by the run that did not train on it, and a row is made of as many runs as folds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Metric = Literal["psnr", "ssim"]
BASELINE = "random"
LEVEL, POWER = 0.95, 0.8
UNITS = {"psnr": (" dB", 2), "ssim": ("", 4)}  # unit and decimals
MAX_ENUMERATED = 12  # runs; beyond 2^12 sign patterns, a sample of them does


class Score(NamedTuple):
    """One line of `comparison.csv`: what a run reached on one image after some steps."""

    seed: int
    fold: int
    start: str
    step: int
    image: str
    psnr: float
    ssim: float


@dataclass(frozen=True)
class Gains:
    """Per-image gains of a start over the one that it is compared with, paired by seed and image.

    Attributes:
        start: whose gains these are.
        metric: "psnr" or "ssim".
        table: start minus the other, (seeds, images), dB for "psnr".
        seeds: the row names.
        images: the column names.
        folds: the fold that tests each image, (images,); all 0 where one test set serves every run.
        identical: images left out because a run restored them pixel for pixel, which no difference in dB says.
    """

    start: str
    metric: Metric
    table: Floats
    seeds: tuple[int, ...]
    images: tuple[str, ...]
    folds: NDArray[np.intp]
    identical: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """A mean gain and what is known about it.

    Attributes:
        mean: mean over seeds and images.
        low: lower end of the interval.
        high: upper end of the interval.
        p: two-sided p-value; below 1 - level just where the interval leaves 0 out.
        error: standard error of the mean over other seeds and images.
        freedom: its degrees of freedom.
    """

    mean: float
    low: float
    high: float
    p: float
    error: float
    freedom: float

    def detectable(self, level: float = LEVEL, power: float = POWER) -> float:
        """The smallest true gain that such an experiment finds with probability `power`."""
        quantiles = stats.t.ppf([(1 + level) / 2, power], self.freedom)
        return float(self.error * quantiles.sum())


@dataclass(frozen=True)
class Verdict:
    """What an experiment says about one start; `str()` is the sentence.

    Attributes:
        gains: the paired differences.
        estimate: their mean with its interval.
        p_corrected: the estimate's p-value after Holm's correction over all starts.
        p_flip: p-value of the sign-flip test, not corrected.
        p_flip_floor: the smallest p-value that this number of runs can give.
        starts: how many starts the correction is for.
        label: what the start is called.
        note: what else the sentence calls it: "400 of 30,000 steps".
    """

    gains: Gains
    estimate: Estimate
    p_corrected: float
    p_flip: float
    p_flip_floor: float
    starts: int
    label: str
    note: str = ""

    @property
    def title(self) -> str:
        """The beginning of the sentence: what was compared."""
        return f"{self.label}, {self.note}" if self.note else self.label

    @property
    def outcome(self) -> Literal["helps", "hurts", "open"]:
        """Whether the start helps, hurts, or no difference was found."""
        if self.p_corrected >= 1 - LEVEL:
            return "open"
        return "helps" if self.estimate.mean > 0 else "hurts"

    @property
    def detectable(self) -> float:
        """The gain that the experiment would have found with probability 0.8, the number of starts considered."""
        return self.estimate.detectable(1 - (1 - LEVEL) / self.starts)

    @property
    def conclusion(self) -> str:
        """The end of the sentence."""
        if self.outcome != "open":
            return self.outcome
        if not self.gains.table.any():
            return "the same results"
        corrected = f" after correction for {self.starts} starts" if self.estimate.p < 1 - LEVEL else ""
        seen = f"{self.detectable:.{1 if self.detectable < 1 else 2}g}{UNITS[self.gains.metric][0]}"
        return f"no difference found{corrected}; this experiment could have seen {seen}"

    @property
    def finding(self) -> str:
        """The middle of the sentence: mean, interval, and what they rest on."""
        unit, decimals = UNITS[self.gains.metric]
        mean, low, high = (f"{x:+z.{decimals}f}" for x in (self.estimate.mean, self.estimate.low, self.estimate.high))
        seeds, images = len(self.gains.seeds), len(self.gains.images)
        runs = (
            f"{seeds} seeds, {images} images" if seeds > 1 else f"{images} images, 1 seed (interval over images only)"
        )
        if same := len(self.gains.identical):
            runs += f", {same} of {images + same} identical and left out"
        return f"{mean}{unit} [{low}, {high}], {runs}"

    def __str__(self) -> str:
        return f"{self.title}: {self.finding}: {self.conclusion}"


def judge(
    scores: Sequence[Score],
    labels: dict[str, str] | None = None,
    metric: Metric = "psnr",
    *,
    baseline: str = BASELINE,
    notes: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """A verdict for every start in `scores` but the one that they are compared with, in their order, at the last step.

    `labels` are what starts are called, `notes` what their sentences say besides.

    Raises:
        ValueError: if there is nothing to compare, see `paired_gains`.
    """
    starts = [start for start in dict.fromkeys(score.start for score in scores) if start != baseline]
    gains = [paired_gains(scores, start, metric, baseline=baseline) for start in starts]
    estimates = [estimate(each) for each in gains]
    corrected = holm([each.p for each in estimates])
    named = [((labels or {}).get(start, start), (notes or {}).get(start, "")) for start in starts]
    return [
        Verdict(g, e, p, *sign_flip_test(g), len(starts), *names)
        for g, e, p, names in zip(gains, estimates, corrected, named, strict=True)
    ]


def paired_gains(
    scores: Sequence[Score], start: str, metric: Metric = "psnr", *, step: int | None = None, baseline: str = BASELINE
) -> Gains:
    """Gains of `start` over `baseline` at `step` (none: the last one that both were measured at).

    Seeds for which a run of either is missing are left out, so that every seed meets every image; likewise images whose
    PSNR is infinite in a run of either, which are counted.

    Raises:
        ValueError: if no seed is complete for both, there are fewer than two images, a score is not a number, or an
            image lies in different folds for different seeds.
    """
    cells: dict[str, dict[int, dict[tuple[int, str], float]]] = {start: {}, baseline: {}}
    folds: dict[str, int] = {}
    for score in scores:
        if score.start not in cells:
            continue
        if folds.setdefault(score.image, score.fold) != score.fold:
            raise ValueError(f"image {score.image} is tested in fold {folds[score.image]} and in fold {score.fold}")
        cells[score.start].setdefault(score.step, {})[score.seed, score.image] = getattr(score, metric)
    common = cells[start].keys() & cells[baseline].keys()
    if step is None and not common:
        raise ValueError(f"{start} and {baseline} were never measured at the same step")
    step = max(common) if step is None else step
    ours, theirs = cells[start].get(step, {}), cells[baseline].get(step, {})
    images = tuple(folds)
    seeds = tuple(
        seed
        for seed in sorted({seed for seed, _ in ours})
        if all((seed, image) in ours and (seed, image) in theirs for image in images)
    )
    if not seeds:
        raise ValueError(f"no seed has a score of every image for both {start} and {baseline} at step {step}")
    same = tuple(i for i in images if any(math.inf in (ours[seed, i], theirs[seed, i]) for seed in seeds))
    images = tuple(image for image in images if image not in same)
    table = np.array([[ours[seed, image] - theirs[seed, image] for image in images] for seed in seeds])
    if len(images) < 2 or not np.isfinite(table).all():
        others = f" beside {len(same)} identical to their ground truth" if same else ""
        raise ValueError(f"{start}: expected finite scores of at least 2 images, got {len(images)} images{others}")
    return Gains(start, metric, table, seeds, images, np.array([folds[image] for image in images]), same)


def mean_squares(table: Floats, folds: NDArray[np.intp]) -> list[tuple[Floats, int]]:
    """Mean squares of gains (..., seeds, images) and their degrees of freedom: folds, images, runs, residual.

    Analysis of variance of runs crossed with images, images nested in folds (Searle, Casella, McCulloch, "Variance
    Components", 1992, section 4.3). A mean square without degrees of freedom is 0.
    """
    seeds, images = table.shape[-2:]
    _, fold, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    member = np.eye(len(sizes))[fold] / sizes  # (images, folds): averages over a fold
    run, image = table @ member, table.mean(-2)  # (..., seeds, folds), (..., images)
    of_fold = run.mean(-2)
    residual = table - run[..., fold] - image[..., None, :] + of_fold[..., None, fold]
    squares = [
        seeds * (sizes * (of_fold - table.mean((-2, -1))[..., None]) ** 2).sum(-1),
        seeds * ((image - of_fold[..., fold]) ** 2).sum(-1),
        (sizes * (run - of_fold[..., None, :]) ** 2).sum((-2, -1)),
        (residual**2).sum((-2, -1)),
    ]
    folds_in_all = len(sizes)
    freedom = [
        folds_in_all - 1,
        images - folds_in_all,
        folds_in_all * (seeds - 1),
        (seeds - 1) * (images - folds_in_all),
    ]
    return [(square / max(free, 1), free) for square, free in zip(squares, freedom, strict=True)]


def spread(table: Floats, folds: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Variance of the mean of gains (..., seeds, images) over other seeds and images, and its degrees of freedom.

    A cell is mean + run + image + residual. The mean squares of images and of runs both contain the residual, so it is
    taken off once; Satterthwaite (1946) gives the degrees of freedom of such a sum. The estimate is never less than
    what images alone or runs alone demand. With one seed it is over images only.
    """
    seeds, images = table.shape[-2:]
    (of_folds, free_folds), (of_images, free_images), of_runs, residual = mean_squares(table, folds)
    within = free_images / (images - 1)  # the share of the image variance that no difference of runs has entered
    parts = [
        (of_folds * free_folds / (images - 1), free_folds),
        (of_images * within, free_images),
        (of_runs[0] * within, of_runs[1]),
        (-residual[0] * within, residual[1]),
    ]
    total = sum(part for part, _ in parts)
    noise = sum(part**2 / free for part, free in parts if free)
    lowest = min(images - 1, of_runs[1] or images - 1)
    freedom = np.maximum(total**2 / np.where(noise > 0, noise, 1), lowest)
    least = np.maximum(parts[0][0] + parts[1][0], parts[2][0])
    return np.maximum(total, least) / (seeds * images), freedom


def bootstrap(table: Floats, folds: NDArray[np.intp], *, draws: int = 10_000, seed: int = 0) -> Floats:
    """Means (..., draws) that gains (..., seeds, images) could have had with other seeds and other images.

    Hierarchical: each draw resamples seeds and, independently, images (Owen, "The pigeonhole bootstrap", 2007).
    Resampling alone is far too narrow for the few seeds one can afford: the mean of resampled seeds never leaves the
    range of the seeds, which for three of them holds the truth three times out of four. So the draws keep their shape,
    while `spread` gives their variance, and each is divided by its own chi, as Student's deviations are.
    """
    random = np.random.default_rng(seed)
    mean, (variance, freedom) = table.mean((-2, -1))[..., None], spread(table, folds)
    of_seeds, of_images = (random.multinomial(n, np.full(n, 1 / n), draws) / n for n in table.shape[-2:])
    resampled = ((of_seeds @ table) * of_images).sum(-1) - mean
    width = resampled.std(-1)
    scale = np.sqrt(variance) / np.where(width > 0, width, 1)
    chi = np.sqrt(random.chisquare(freedom[..., None], resampled.shape) / freedom[..., None])
    return mean + resampled * scale[..., None] / chi


def estimate(gains: Gains, *, level: float = LEVEL) -> Estimate:
    """The mean gain with its interval from a hierarchical bootstrap over seeds and images.

    In simulation the interval holds the true gain in 93 to 97 % of experiments of 3 to 10 seeds and 12 images or more
    whose gains differ between runs and between images, in 91 to 95 % where images are exponentially skewed, and in
    97 to 100 % where neither runs nor images differ and all is residual (`benchmarks/coverage.py`).
    """
    means = bootstrap(gains.table, gains.folds)
    variance, freedom = spread(gains.table, gains.folds)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    p = min(1.0, 2 * min((means <= 0).mean(), (means >= 0).mean()))
    return Estimate(float(gains.table.mean()), float(low), float(high), float(p), float(variance**0.5), float(freedom))


def sign_flip_test(gains: Gains, *, draws: int = 9_999, seed: int = 0) -> tuple[float, float]:
    """Two-sided p-value of "the start changes nothing", and the smallest that so many runs can give.

    If it changes nothing, the two runs of one seed and fold could as well have been named the other way round: all
    their gains change sign together. The p-value is the share of such sign patterns whose mean is as far from 0 as the
    one seen. The test is exact and assumes nothing about distributions, but 3 runs cannot go below 0.25. With one seed
    the signs of single images are flipped.
    """
    table = gains.table
    if len(table) == 1:
        totals = table[0]
    else:
        totals = np.stack([table[:, gains.folds == fold].sum(1) for fold in np.unique(gains.folds)]).ravel()
    if len(totals) <= MAX_ENUMERATED:
        signs = 1 - 2 * (np.arange(2 ** len(totals))[:, None] >> np.arange(len(totals)) & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1, 1], (draws + 1, len(totals)))
        signs[0] = 1  # the experiment itself is one of the patterns
    sums = np.abs(signs @ totals)
    seen = np.abs(totals.sum())
    return float((sums >= seen * (1 - 1e-9)).mean()), max(2.0 ** (1 - len(totals)), 1 / len(signs))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: reject those below 0.05, and one false alarm or more has probability 0.05.

    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    sorted_corrected = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values)[order] * factors))
    corrected = np.empty(len(p_values))
    corrected[order] = sorted_corrected
    return corrected.tolist()
