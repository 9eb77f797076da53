"""Charts as SVG that reads in dark and light: learning curves with bands, scatter, intervals, spectra.

Colours are CSS variables, so one drawing serves the page, where it takes the page's colours, and a file of its own
(`standalone`), which brings `STYLE` along.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from gesso.functional.spectrum import radial_profile
from gesso.metrics import mean_psnr
from gesso.report.statistics import BASELINE, Floats, Gains, Score, Verdict, estimate, paired_gains

WIDTH, HEIGHT = 480, 316
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 30, 52  # margins in SVG units, wide enough for the letters of narrow screens
HEADING = 26  # height of the line above a panel
TICKS = 6
BANDS = 50  # points of a spectrum up to 0.5 cycles per pixel

Place = Callable[[ArrayLike, ArrayLike], list[tuple[float, float]]]

TONES = 8  # of starts

STYLE = """
:root { --ink: #2b2823; --soft: #6d675d; --rule: #e2dccf; --paper: #fdfbf6;
  --tone-0: #847d72; --tone-1: #33588f; --tone-2: #b05a2c; --tone-3: #2b7a68; --tone-4: #93456f; --tone-5: #92751b;
  --tone-6: #2f8fb3; --tone-7: #c0392f; --tone-8: #6b4fa0; --tone-input: #a0805a; --tone-truth: #2b2823; }
@media (prefers-color-scheme: dark) { :root { --ink: #ece7dc; --soft: #a8a193; --rule: #3a3731; --paper: #1b1a17;
  --tone-0: #9d968a; --tone-1: #8fb3ea; --tone-2: #e59a6b; --tone-3: #74c4ae; --tone-4: #d893b9; --tone-5: #d6b754;
  --tone-6: #6fc3e0; --tone-7: #f08a80; --tone-8: #b39ddb; --tone-input: #a98f68; --tone-truth: #ece7dc; } }
.chart { width: 100%; height: auto; font: 13px system-ui, sans-serif; fill: var(--soft); }
.chart .grid { stroke: var(--rule); stroke-width: 1; }
.chart .axis { stroke: var(--soft); stroke-width: 1; }
.chart .line { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linejoin: round; }
.chart .dashed { stroke-dasharray: 5 4; }
.chart .band { fill: var(--tone); opacity: 0.16; }
.chart .point { fill: var(--tone); fill-opacity: 0.75; }
.chart .name { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
@media (max-width: 34rem) { .chart { font-size: 18px; } }
""" + "\n".join(f".tone-{tone} {{ --tone: var(--tone-{tone}); }}" for tone in (*range(TONES + 1), "input", "truth"))


@dataclass(frozen=True)
class Series:
    """One thing drawn in a chart.

    Attributes:
        label: what the legend calls it.
        tone: its colour: 0 for the reference, 1 and on for other starts, "input" or "truth".
        x: positions.
        y: values, as many.
        low: lower edge of a band around `y`; none: no band.
        high: upper edge of the band.
        titles: where given, points are drawn instead of a line, and these appear when one is pointed at.
        dashed: whether the line is dashed.
    """

    label: str
    tone: int | str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    titles: Sequence[str] = ()
    dashed: bool = False


def tone(number: int) -> int:
    """The colour of start number 0, 1, ...; after `TONES` of them again from the first."""
    return 1 + number % TONES


def style_of(order: int) -> dict[str, Any]:
    """Colour and dashes of the reference (0), dashed, and of other starts 1, 2, ...; dashed beyond `TONES`."""
    return {"tone": order and tone(order - 1), "dashed": order == 0 or order > TONES}


def chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    reference: str | None = None,
    x_ticks: Mapping[float, str] | None = None,
    y_ticks: Mapping[float, str] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """An SVG element with axes, grid and the series.

    Args:
        title: says what is seen, for those who cannot see it.
        series: what is drawn, the first at the back.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        reference: "zero" draws a line at y = 0, "diagonal" one at y = x.
        x_ticks: labels of the horizontal axis by position; none: round numbers.
        y_ticks: likewise of the vertical axis.
        y_range: ends of the vertical axis; none: what the values need.
    """
    xs = np.concatenate([np.ravel(np.asarray(s.x, float)) for s in series])
    ys = np.concatenate([np.ravel(np.asarray(v, float)) for s in series for v in (s.y, s.low, s.high) if v is not None])
    if reference == "diagonal":
        xs = ys = np.concatenate([xs, ys])
    if reference == "zero":
        ys = np.append(ys, 0)
    x_range = padded(xs, 0 if x_ticks is None and reference != "diagonal" else 0.04)
    y_range = y_range or padded(ys, 0.06)
    x_marks = x_ticks or {tick: number(tick) for tick in round_ticks(*x_range)}
    y_marks = y_ticks or {tick: number(tick) for tick in round_ticks(*y_range)}
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: ArrayLike, y: ArrayLike) -> list[tuple[float, float]]:
        across = LEFT + (np.asarray(x, float) - x_range[0]) / (x_range[1] - x_range[0]) * (right - LEFT)
        down = bottom - (np.asarray(y, float) - y_range[0]) / (y_range[1] - y_range[0]) * (bottom - TOP)
        return list(zip(across.ravel().tolist(), down.ravel().tolist(), strict=True))

    parts = []
    for tick, text in y_marks.items():
        ((_, y),) = place([x_range[0]], [tick])
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for tick, text in x_marks.items():
        ((x, _),) = place([tick], [y_range[0]])
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="0" y="16">{escape(y_label)}</text>')  # level: letters that lie are hard to read
    if reference:
        ends = place(x_range, (0, 0) if reference == "zero" else x_range)
        parts.append(f'<path class="axis dashed" d="{path(ends)}"/>')
    for one in series:
        parts.append(draw(one, place))
    return svg(title, parts)


def draw(series: Series, place: Place) -> str:
    """One series: its band, its line or its points."""
    parts = []
    if series.low is not None and series.high is not None:
        edge = place(series.x, series.high) + place(series.x, series.low)[::-1]
        parts.append(f'<path class="band" d="{path(edge)}Z"/>')
    if series.titles:
        for (x, y), title in zip(place(series.x, series.y), series.titles, strict=True):
            parts.append(
                f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(title)}</title></circle>'
            )
    else:
        style = "line dashed" if series.dashed else "line"
        parts.append(f'<path class="{style}" d="{path(place(series.x, series.y))}"/>')
    return f'<g class="tone-{series.tone}">{"".join(parts)}</g>'


def svg(title: str, parts: Sequence[str], height: float = HEIGHT, width: float = WIDTH) -> str:
    """The SVG element around drawn parts."""
    opening = f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
    return f"{opening}><title>{escape(title)}</title>{''.join(parts)}</svg>"


def panels(
    title: str, rows: Sequence[Sequence[tuple[str, str]]], key: Sequence[Series] = (), indent: float = LEFT
) -> str:
    """One SVG element of several drawings with their headings, under a legend.

    Args:
        title: says what is seen, for those who cannot see it.
        rows: headings, possibly empty, and drawings of `chart` or `svg`.
        key: series whose labels, colours and dashes the legend explains.
        indent: where headings begin, in units from the left of their drawing.
    """
    width = WIDTH * max(len(row) for row in rows)
    parts, top = legend(key, width)
    for row in rows:
        heading = HEADING if any(text for text, _ in row) else 0
        for column, (text, drawing) in enumerate(row):
            if text:
                parts.append(f'<text class="name" x="{column * WIDTH + indent:g}" y="{top + 16}">{escape(text)}</text>')
            place = f'x="{column * WIDTH}" y="{top + heading}" width="{WIDTH}" height="{height_of(drawing):g}"'
            parts.append(drawing.replace('class="chart"', place, 1))
        top += heading + max(height_of(drawing) for _, drawing in row)
    return svg(title, parts, height=top, width=width)


def legend(key: Sequence[Series], width: float) -> tuple[list[str], float]:
    """The parts of a legend at the top of a drawing of this width, and how high it is; 0 without series."""
    parts, x, y = [], float(LEFT), 18.0
    for one in key:
        room = 40 + 7.2 * len(one.label)  # about the width of the text
        if x > LEFT and x + room > width:
            x, y = float(LEFT), y + 20
        mark = f'<path class="line{" dashed" if one.dashed else ""}" d="M{x:.1f} {y - 4:.1f}h22"/>'
        text = f'<text class="name" x="{x + 28:.1f}" y="{y:.1f}">{escape(one.label)}</text>'
        parts.append(f'<g class="tone-{one.tone}">{mark}{text}</g>')
        x += room + 12
    return parts, y + 12 if key else 0.0


def height_of(drawing: str) -> float:
    """The height of a drawing in its own units."""
    found = re.search(r'viewBox="0 0 \S+ (\S+)"', drawing)
    return float(found[1]) if found else HEIGHT


def standalone(drawing: str) -> str:
    """The text of an SVG file: a drawing with its own colours."""
    head, rest = drawing.split(">", 1)
    return f'{head} style="background: var(--paper)"><style>{STYLE}</style>{rest}\n'


def path(points: Sequence[tuple[float, float]]) -> str:
    """SVG path data of a polyline."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def padded(values: Floats, share: float) -> tuple[float, float]:
    """The range of finite values, a share wider on both sides, never empty."""
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = share * (high - low) or (0.0 if high > low else 0.5)
    return low - margin, high + margin


def round_ticks(low: float, high: float) -> list[float]:
    """About `TICKS` round numbers in [low, high].

    Example:
        >>> round_ticks(0, 600)
        [0, 100, 200, 300, 400, 500, 600]
    """
    rough = (high - low) / TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def number(value: float) -> str:
    """A tick's label.

    Example:
        >>> number(30000.0), number(0.25), number(-1.0)
        ('30k', '0.25', '−1')
    """
    text = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return text.replace("-", "−")


# ------------------------------------------------------------------------------------------------- what is compared


def intervals(verdicts: Sequence[Verdict], reference: str = "random weights") -> str:
    """Mean gains with their intervals, one line for each start below its name, zero marked."""
    row, left = 46, 14
    ends = np.array([0.0, *(x for v in verdicts for x in (v.estimate.low, v.estimate.high))])
    low, high = padded(ends, 0.08)
    bottom = row * len(verdicts) + 12

    def place(x: float) -> float:
        return left + (x - low) / (high - low) * (WIDTH - RIGHT - left)

    parts = []
    for tick in round_ticks(low, high):
        parts.append(f'<path class="grid" d="M{place(tick):.1f} 6V{bottom}"/>')
        parts.append(f'<text x="{place(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<path class="axis" d="M{place(0):.1f} 6V{bottom}"/>')
    for i, verdict in enumerate(verdicts):
        found, y = verdict.estimate, row * i + 40
        parts.append(f'<text class="name" x="{left}" y="{y - 16}">{escape(verdict.label)}</text>')
        line = f'<path class="line" d="M{place(found.low):.1f} {y}H{place(found.high):.1f}"/>'
        dot = f'<circle class="point" cx="{place(found.mean):.1f}" cy="{y}" r="6"/>'
        parts.append(f'<g class="tone-{tone(i)}">{line}{dot}<title>{escape(str(verdict))}</title></g>')
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{bottom + 42}" text-anchor="middle">gain over {escape(reference)} (dB), 95 %</text>'
    )
    return svg("Mean gain of each start with its 95 % interval", parts, height=bottom + 52)


def learning_curves(scores: Sequence[Score], labels: Mapping[str, str]) -> str:
    """PSNR over the steps, mean of all images, for each start; bands reach from seed to seed."""
    series = []
    for i, start in enumerate(labels):
        table: dict[int, dict[int, list[float]]] = {}
        for score in scores:
            if score.start == start:
                table.setdefault(score.step, {}).setdefault(score.seed, []).append(score.psnr)
        steps = sorted(table)
        of_seeds = [[mean_psnr(values) for values in table[step].values()] for step in steps]
        if steps:
            low, high = [min(each) for each in of_seeds], [max(each) for each in of_seeds]
            mean = [mean_psnr(each) for each in of_seeds]
            series.append(Series(labels[start], x=steps, y=mean, low=low, high=high, **style_of(i)))
    return chart("PSNR over training steps", series, "fine-tuning step", "PSNR (dB)")


def gain_curves(scores: Sequence[Score], labels: Mapping[str, str]) -> str:
    """Gain over the first start over the steps for each other, with 95 % intervals, each step on its own."""
    series, (reference, *others) = [], labels
    for i, start in enumerate(others, 1):
        steps = sorted({s.step for s in scores if s.start == start} & {s.step for s in scores if s.start == reference})
        found = [estimate(paired_gains(scores, start, step=step, baseline=reference)) for step in steps]
        if found:
            means, lows, highs = zip(*((each.mean, each.low, each.high) for each in found), strict=True)
            series.append(Series(labels[start], x=steps, y=means, low=lows, high=highs, **style_of(i)))
    return chart("Gain over training steps", series, "fine-tuning step", "gain (dB)", reference="zero")


def pairs_curves(by_pairs: Mapping[int, Sequence[Score]], labels: Mapping[str, str]) -> str:
    """Gain over the first start over the number of training pairs for each other, with 95 % intervals."""
    counts = sorted(by_pairs)
    series, (reference, *others) = [], labels
    for i, start in enumerate(others, 1):
        measured = [n for n in counts if any(score.start == start for score in by_pairs[n])]
        found = [estimate(paired_gains(by_pairs[n], start, baseline=reference)) for n in measured]
        if found:
            means, lows, highs = zip(*((each.mean, each.low, each.high) for each in found), strict=True)
            series.append(Series(labels[start], x=np.log(measured), y=means, low=lows, high=highs, **style_of(i)))
    ticks = {math.log(n): str(n) for n in counts}
    return chart(
        "Gain over the number of training pairs", series, "training pairs", "gain (dB)", reference="zero", x_ticks=ticks
    )


def scatter(gains: Gains, theirs: Mapping[str, float], tone: int | str, label: str, reference: str = BASELINE) -> str:
    """Each test image as a point: PSNR from the reference against PSNR from a start, means over seeds."""
    means = gains.table.mean(0)
    x = np.array([theirs[image] for image in gains.images])
    titles = [f"{image}: {a:.2f} dB, {label} {g:+.2f} dB" for image, a, g in zip(gains.images, x, means, strict=True)]
    points = Series(label, tone, x, x + means, titles=titles)
    words = "random weights" if reference == BASELINE else reference
    title = f"PSNR of each image from {words} and from {label}"
    return chart(title, [points], f"{reference} (dB)", f"{label} (dB)", reference="diagonal")


# ---------------------------------------------------------------------------------------------------------- spectra


def frequencies() -> Floats:
    """Where spectra are drawn, in cycles per pixel; not at 0, the mean brightness, which dwarfs the rest."""
    return np.linspace(0.5 / BANDS, 0.5, BANDS)


def spectrum_of(image: Tensor) -> Floats:
    """Power of an image (C, H, W) at `frequencies`, mean over its channels."""
    profile = radial_profile(image[None].float())[0].numpy()
    return np.interp(frequencies(), np.arange(len(profile)) / min(image.shape[-2:]), profile)


def spectra(pictures: Sequence[Mapping[str, Tensor]], labels: Mapping[str, str]) -> tuple[str, str]:
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
    names = {"input": "input", "truth": "truth"} | dict(labels)
    styles: dict[str, Any] = {"input": {"tone": "input"}, "truth": {"tone": "truth", "dashed": True}}
    styles |= {start: style_of(i) for i, start in enumerate(labels)}
    decibels = {kind: 10 * np.log10(np.mean(rows, axis=0) + 1e-12) for kind, rows in of_kind.items()}
    errors = {kind: 10 * np.log10(np.mean(rows, axis=0) + 1e-12) for kind, rows in of_error.items()}
    power = [
        Series(names[kind], x=frequencies(), y=decibels[kind], **styles[kind])
        for kind in ("input", *labels, "truth")
        if kind in decibels
    ]
    reference, *others = labels
    less = [
        Series(names[start], x=frequencies(), y=errors[reference] - errors[start], **styles[start])
        for start in others
        if start in errors
    ]
    across = "frequency (cycles per pixel)"
    return (
        chart("Power spectra of input, outputs and truth", power, across, "power (dB)"),
        chart("Error removed by frequency", less, across, f"less error than {names[reference]} (dB)", reference="zero"),
    )
