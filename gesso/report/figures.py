"""The charts of a comparison: learning curves with bands, scatter, intervals, spectra."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from gesso.functional.spectrum import radial_profile
from gesso.metrics import mean_psnr
from gesso.report.statistics import BASELINE, Estimate, Floats, Gains, Score, Verdict, estimate, paired_gains
from gesso.report.svg import TONES, colour, make_figure, number, printable, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BANDS = 50  # points of a spectrum up to 0.5 cycles per pixel
ROW = 46  # height of an interval with the name above it
REFERENCE = {"color": colour("soft"), "linestyle": (0, (5, 4)), "linewidth": 1}  # what the rest is held against


def tone(order: int) -> int:
    """The tone of the reference (0) and of other starts 1, 2, ...; after `TONES` of them again from the first."""
    return order and 1 + (order - 1) % TONES


def is_dashed(order: int) -> bool:
    """Whether the reference (0) or another start 1, 2, ... has a dashed line: the reference, and all beyond `TONES`."""
    return order == 0 or order > TONES


def line_style(order: int) -> dict[str, Any]:
    """Colour and dashes of the reference (0) and of other starts 1, 2, ..."""
    return {"color": colour(f"tone-{tone(order)}"), "linestyle": "--" if is_dashed(order) else "-"}


def describe(panel: "Axes", across: str, up: str, heading: str = "") -> None:
    """Names both axes of a panel, the vertical one level above it, for letters that lie are hard to read."""
    panel.set_xlabel(across)
    panel.annotate(up, (0, 1), (0, 8), xycoords="axes fraction", textcoords="offset points")
    panel.set_title(heading, pad=32)


def draw_line(
    panel: "Axes", label: str, x: ArrayLike, y: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None,
    **style: Any,
) -> None:  # fmt: skip
    """A line, with a band around it where there are edges of one."""
    if low is not None and high is not None:
        panel.fill_between(x, low, high, color=style["color"], alpha=0.16)
    panel.plot(x, y, label=label, **style)


@styled
def intervals(verdicts: Sequence[Verdict], orders: Mapping[str, int], reference: str = "random weights") -> "Figure":
    """Mean gains with their intervals, one line for each start below its name, zero marked.

    Args:
        verdicts: what was found for each start.
        orders: by start, 1, 2, ...
        reference: what the gains are over.
    """
    title = "Mean gain of each start with its 95 % interval"
    figure, ((panel,),) = make_figure(title, height=ROW * len(verdicts) + 72)
    panel.spines.left.set(visible=True, position="zero")
    panel.update_datalim([(0, 0)], updatey=False)
    for i, verdict in enumerate(verdicts):
        found, tone_of = verdict.estimate, line_style(orders[verdict.gains.start])["color"]
        style = {"color": tone_of, "url": str(verdict)}
        panel.plot([found.low, found.high], [i, i], **style)
        panel.plot(found.mean, i, "o", markersize=12, **style)
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        panel.annotate(verdict.label, (0, i), (0, 14), color=colour("ink"), gid="name", **place)
    panel.set(xlabel=f"gain over {reference} (dB), 95 %", ylim=(len(verdicts) - 0.7, -0.9), yticks=[])
    panel.margins(x=0.08)
    panel.grid(axis="x")
    return figure


@styled
def learning_curves(scores: Sequence[Score], labels: Mapping[str, str]) -> "Figure":
    """PSNR over the steps, mean of all images, for each start; bands reach from seed to seed."""
    figure, ((panel,),) = make_figure("PSNR over training steps")
    for order, start in enumerate(labels):
        table: dict[int, dict[int, list[float]]] = {}
        for score in scores:
            if score.start == start:
                table.setdefault(score.step, {}).setdefault(score.seed, []).append(score.psnr)
        steps = sorted(table)
        of_seeds = [[mean_psnr(values) for values in table[step].values()] for step in steps]
        if steps:
            low, high = [min(each) for each in of_seeds], [max(each) for each in of_seeds]
            mean = [mean_psnr(each) for each in of_seeds]
            draw_line(panel, labels[start], steps, mean, low, high, **line_style(order))
    describe(panel, "fine-tuning step", "PSNR (dB)")
    return figure


@styled
def gain_curves(scores: Sequence[Score], labels: Mapping[str, str]) -> "Figure":
    """Gain over the first start over the steps for each other, with 95 % intervals, each step on its own."""
    figure, ((panel,),) = make_figure("Gain over training steps")
    reference, *others = labels
    draw_level(panel, 0, labels[reference], **REFERENCE)
    for order, start in enumerate(others, 1):
        steps = sorted({s.step for s in scores if s.start == start} & {s.step for s in scores if s.start == reference})
        found = [estimate(paired_gains(scores, start, step=step, baseline=reference)) for step in steps]
        draw_estimates(panel, labels[start], steps, found, order)
    describe(panel, "fine-tuning step", "gain (dB)")
    return figure


@styled
def pairs_curves(by_pairs: Mapping[int, Sequence[Score]], labels: Mapping[str, str]) -> "Figure":
    """Gain over the first start over the number of training pairs for each other, with 95 % intervals."""
    figure, ((panel,),) = make_figure("Gain over the number of training pairs")
    reference, *others = labels
    draw_level(panel, 0, labels[reference], **REFERENCE)
    for order, start in enumerate(others, 1):
        measured = [n for n in sorted(by_pairs) if any(score.start == start for score in by_pairs[n])]
        found = [estimate(paired_gains(by_pairs[n], start, baseline=reference)) for n in measured]
        draw_estimates(panel, labels[start], measured, found, order)
    describe(panel, "training pairs", "gain (dB)")
    mark_values(panel, sorted(by_pairs), scale="log")
    return figure


def draw_estimates(panel: "Axes", label: str, x: ArrayLike, found: Sequence[Estimate], order: int) -> None:
    """Means with their 95 % intervals."""
    if found:
        y, low, high = zip(*((each.mean, each.low, each.high) for each in found), strict=True)
        draw_line(panel, label, x, y, low, high, **line_style(order))


def draw_level(panel: "Axes", value: float, label: str = "_child", **style: Any) -> None:
    """A level line across a panel, whose axis then holds the value, exactly: `axhline` is off by its rounding."""
    from matplotlib.lines import Line2D

    panel.add_artist(Line2D([0, 1], [value, value], transform=panel.get_yaxis_transform(), label=label, **style))
    panel.update_datalim([(0, value)], updatex=False)


def mark_values(
    panel: "Axes", values: Sequence[float], *, names: Sequence[object] = (), scale: Literal["linear", "log"] = "linear"
) -> None:
    """Marks exactly these values on the horizontal axis, by their names where they have some."""
    panel.set_xscale(scale)
    panel.set_xticks(values, [printable(str(name)) for name in names] or [number(value) for value in values])
    panel.minorticks_off()
    panel.margins(x=0.04)


@styled
def scatter(gains: Gains, theirs: Mapping[str, float], order: int, label: str, reference: str = BASELINE) -> "Figure":
    """Each test image as a point: PSNR from the reference against PSNR from start 1, 2, ..., means over seeds."""
    means = gains.table.mean(0)
    x = np.array([theirs[image] for image in gains.images])
    titles = [f"{image}: {a:.2f} dB, {label} {g:+.2f} dB" for image, a, g in zip(gains.images, x, means, strict=True)]
    words = "random weights" if reference == BASELINE else reference
    figure, ((panel,),) = make_figure(f"PSNR of each image from {words} and from {label}")
    ends = [min(*x, *(x + means)), max(*x, *(x + means))]
    panel.plot(ends, ends, **REFERENCE)
    panel.scatter(x, x + means, color=line_style(order)["color"], alpha=0.75).set_urls(titles)
    panel.margins(0.06)
    describe(panel, f"{reference} (dB)", f"{label} (dB)")
    return figure


# ---------------------------------------------------------------------------------------------------------- spectra


def frequencies() -> Floats:
    """Where spectra are drawn, in cycles per pixel; not at 0, the mean brightness, which dwarfs the rest."""
    return np.linspace(0.5 / BANDS, 0.5, BANDS)


def spectrum_of(image: Tensor) -> Floats:
    """Power of an image (C, H, W) at `frequencies`, mean over its channels."""
    profile = radial_profile(image[None].float())[0].numpy()
    return np.interp(frequencies(), np.arange(len(profile)) / min(image.shape[-2:]), profile)


@styled
def spectra(pictures: Sequence[Mapping[str, Tensor]], labels: Mapping[str, str]) -> "tuple[Figure, Figure]":
    """Two charts over frequency: the power of input, outputs and truth, and how much less error each start leaves.

    Args:
        pictures: for each image the pictures (C, H, W) by "input", "truth" and start; all of one size but the input of
            super-resolution, which is then left out.
        labels: what starts are called, the reference first.
    """
    of_kind: dict[str, list[Floats]] = {}
    of_error: dict[str, list[Floats]] = {}
    for row in pictures:
        for kind, picture in row.items():
            if picture.shape == row["truth"].shape:
                of_kind.setdefault(kind, []).append(spectrum_of(picture))
                of_error.setdefault(kind, []).append(spectrum_of(picture - row["truth"]))
    decibels = {kind: 10 * np.log10(np.mean(rows, axis=0) + 1e-12) for kind, rows in of_kind.items()}
    errors = {kind: 10 * np.log10(np.mean(rows, axis=0) + 1e-12) for kind, rows in of_error.items()}
    styles = {start: line_style(order) for order, start in enumerate(labels)}
    ends = {"color": colour("tone-input")}, {"color": colour("tone-truth"), "linestyle": "--"}
    reference, *others = labels

    power, ((panel,),) = make_figure("Power spectra of input, outputs and truth")
    names = {"input": "input"} | dict(labels) | {"truth": "ground truth"}
    for kind, style in ({"input": ends[0]} | styles | {"truth": ends[1]}).items():
        if kind in decibels:
            draw_line(panel, names[kind], frequencies(), decibels[kind], **style)
    describe(panel, "frequency (cycles per pixel)", "power (dB)")

    less, ((panel,),) = make_figure("Error removed by frequency")
    draw_level(panel, 0, labels[reference], **REFERENCE)
    for start in (start for start in others if start in errors):
        draw_line(panel, labels[start], frequencies(), errors[reference] - errors[start], **styles[start])
    describe(panel, "frequency (cycles per pixel)", f"less error than {labels[reference]} (dB)")
    return power, less
