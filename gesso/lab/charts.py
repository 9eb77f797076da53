"""Pictures of what pre-training did to a network: feature maps, weights, bands of the spectrum, embeddings, sweeps."""

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gesso.data.io import atomic_path
from gesso.report import figures
from gesso.report.figures import RIGHT, WIDTH, Series, chart, number, panels, style_of, svg
from gesso.report.viewers import WORSE_TO_BETTER, coloured

ROW = 24  # height of a line of bars
CLASSES = 5  # tones that tell classes apart; every class has a shape of its own besides
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",  # disc
    "M-3.6-3.6h7.2v7.2h-7.2Z",  # square
    "M0-4.6L4.4 3.4H-4.4Z",  # triangle
    "M0-5L5 0L0 5L-5 0Z",  # diamond
    "M-1.4-4.6h2.8v3.2h3.2v2.8h-3.2v3.2h-2.8v-3.2h-3.2v-2.8h3.2Z",  # cross
    "M0 4.6L4.4-3.4H-4.4Z",  # triangle upside down
    "M-4.6-1.6h9.2v3.2h-9.2Z",  # bar
)


def write(path: Path, drawing: str) -> None:
    """Writes a drawing as a file of its own."""
    with atomic_path(path) as temporary:
        temporary.write_text(figures.standalone(drawing), encoding="utf-8", errors="backslashreplace")


# ------------------------------------------------------------------------------------------------------- features


def feature_charts(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> str:
    """Scale, channel correlation and effective rank of every feature map: a row for each, a column for kind of image.

    Args:
        found: statistics of the maps, coarse to fine, by kind of image and by network, the random start first.
    """
    names = list(next(iter(found.values())))
    metrics = {
        "scale": "scale (root mean square)",
        "correlation": "correlation of channels",
        "effective_rank": "effective rank / channels",
    }
    rows = []
    for metric, y_label in metrics.items():
        row = []
        values = {kind: [map_series(metric, by_name[name], name, i) for i, name in enumerate(names)]
                  for kind, by_name in found.items()}  # fmt: skip
        everything = np.concatenate([np.asarray(s.y, float) for each in values.values() for s in each])
        options: dict[str, Any] = {"y_range": (0.0, 1.0)}
        if metric == "scale":
            options = decades(everything)
        for kind, each in values.items():
            ticks = {float(i): str(i + 1) for i in range(max(len(np.ravel(s.x)) for s in each))}
            drawing = chart(
                f"{y_label} on {kind}", each, "feature map, coarse to fine", y_label, x_ticks=ticks, **options
            )
            row.append((kind if metric == "scale" else "", drawing))
        rows.append(row)
    key = [Series(name, x=[], y=[], **style_of(i)) for i, name in enumerate(names)]
    return panels("Feature maps on each kind of image", rows, key)


def map_series(metric: str, maps: Sequence[Mapping[str, float]], name: str, order: int) -> Series:
    """One metric over the maps of a network."""
    values = [one[metric] for one in maps]
    if metric == "scale":
        values = [math.log10(max(value, 1e-12)) for value in values]
    if metric == "effective_rank":
        values = [value / one["channels"] for value, one in zip(values, maps, strict=True)]
    return Series(name, x=list(range(len(values))), y=values, **style_of(order))


def decades(logarithms: NDArray[Any]) -> dict[str, Any]:
    """Range and labels of a logarithmic axis from 1, 2, 5 and powers of ten that holds all of these logarithms."""
    low, high = figures.padded(logarithms, 0.06)
    marks = [m * 10.0**e for e in range(math.floor(low) - 1, math.ceil(high) + 1) for m in (1, 2, 5)]
    inside = [mark for mark in marks if low <= math.log10(mark) <= high]
    if len(inside) > 7:
        inside = [mark for mark in inside if math.isclose(math.log10(mark) % 1, 0, abs_tol=1e-9)] or inside
    return {"y_range": (low, high), "y_ticks": {math.log10(mark): number(mark) for mark in inside}}


# ---------------------------------------------------------------------------------------------------------- tables


def heatmap(title: str, values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], across: str,
            down: str) -> str:  # fmt: skip
    """A table of numbers in [-1, 1], the darker the larger, blue above 0 and orange below.

    Args:
        title: says what is seen, for those who cannot see it.
        values: the numbers, row by row.
        rows: labels of the rows.
        columns: labels of the columns.
        across: what the columns are.
        down: what the rows are.
    """
    left, cell = 96, min(64.0, (WIDTH - 96 - RIGHT) / len(columns))
    high = min(cell, 44.0)
    parts = []
    for i, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = 4 + i * high
        parts.append(f'<text x="{left - 8}" y="{y + high / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for j, value in enumerate(row):
            x, strength = left + j * cell, min(1.0, abs(value))
            box = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{cell - 2:.1f}" height="{high - 2:.1f}"'
            fill = f'style="fill: var(--tone-{1 if value >= 0 else 2})" fill-opacity="{strength:.3f}"'
            ink = "--paper" if strength > 0.55 else "--ink"
            text = f'<text x="{x + cell / 2:.1f}" y="{y + high / 2 + 4:.1f}" text-anchor="middle"'
            shown = f"{value:.2f}".replace("-", "−").replace("−0.00", "0.00")
            parts.append(f'<rect {box} rx="2" {fill}/>{text} style="fill: var({ink})">{shown}</text>')
    bottom = 4 + len(rows) * high
    for j, name in enumerate(columns):
        parts.append(
            f'<text x="{left + (j + 0.5) * cell:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{escape(name)}</text>'
        )
    middle = left + len(columns) * cell / 2
    parts.append(f'<text x="{middle:.1f}" y="{bottom + 40:.1f}" text-anchor="middle">{escape(across)}</text>')
    turned = f'transform="translate(14 {bottom / 2 + 2:.1f}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(down)}</text>')
    return svg(title, parts, height=max(bottom + 50, 150.0))


def alignment_tables(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], name: str) -> str:
    """Alignment of the maps of a network with those of others: a row for each other, a column for kind of image.

    Args:
        found: tables by kind of image and by what the network is compared with.
        name: of the network.
    """
    rows = []
    for other in next(iter(found.values())):
        row = []
        for kind, tables in found.items():
            table = tables[other]
            mine, theirs = ([str(i + 1) for i in range(count)] for count in (len(table), len(table[0])))
            title = f"Alignment of {name} with {other} on {kind}"
            row.append(
                (kind, heatmap(title, table, mine, theirs, f"feature map of {other}, coarse to fine", f"of {name}"))
            )
        rows.append(row)
    return panels(f"Linear centred-kernel alignment of {name}", rows, indent=96)


# --------------------------------------------------------------------------------------------------------- weights


def weight_chart(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Relative distances of the parts of a network, a line for each part, a dot for each thing they are far from.

    Args:
        found: distances by what they are from, then by part, in the order of the network.
    """
    parts_of_network = list(dict.fromkeys(part for distances in found.values() for part in distances))
    known = [value for distances in found.values() for value in distances.values() if value is not None]
    left = min(220.0, 24 + 7.0 * max(len(part) for part in parts_of_network))
    low, high = 0.0, 1.06 * (max(known, default=0.0) or 1.0)

    def place(x: float) -> float:
        return left + (x - low) / (high - low) * (WIDTH - RIGHT - left)

    bottom = 8 + ROW * len(parts_of_network)
    drawn = []
    for tick in figures.round_ticks(low, high):
        drawn.append(f'<path class="grid" d="M{place(tick):.1f} 4V{bottom}"/>')
        drawn.append(f'<text x="{place(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{number(tick)}</text>')
    drawn.append(f'<path class="axis" d="M{place(0):.1f} 4V{bottom}"/>')
    for i, part in enumerate(parts_of_network):
        y = 8 + ROW * (i + 0.5)
        drawn.append(f'<text class="name" x="{left - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(part)}</text>')
        for order, distances in enumerate(found.values()):
            value = distances.get(part)
            if value is not None:
                line = f'<path class="line" d="M{place(0):.1f} {y:.1f}H{place(value):.1f}"/>' if not order else ""
                dot = f'<circle class="point" cx="{place(value):.1f}" cy="{y:.1f}" r="5"/>'
                title = f"<title>{escape(part)}: {value:.3g}</title>"
                drawn.append(f'<g class="tone-{figures.tone(order)}">{line}{dot}{title}</g>')
    middle = (left + WIDTH - RIGHT) / 2
    where = f"from {next(iter(found))}" if len(found) == 1 else "of the weights"
    x_label = f"distance {where} / length of the weights there"
    drawn.append(f'<text x="{middle:.1f}" y="{bottom + 40}" text-anchor="middle">{escape(x_label)}</text>')
    drawing = svg("Distances of the weights", drawn, height=bottom + 48)
    if len(found) == 1:
        return drawing
    key = [Series(f"from {name}", figures.tone(order), [], []) for order, name in enumerate(found)]
    return panels("Distances of the weights", [[("", drawing)]], key)


# ----------------------------------------------------------------------------------------------------------- rings


ACROSS = "frequency of the missing band (cycles per pixel)"


def ring_charts(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """What comes back of each band of the spectrum with the best last convolution, and how features answer to it.

    Args:
        found: responses by kind of image and by network, the random start first.
    """
    names = list(next(iter(found.values())))
    limits = limited([value for by_name in found.values() for one in by_name.values() for value in one["restored"]])
    back, answers = [], []
    for kind, by_name in found.items():
        lines: dict[str, list[Series]] = {"restored": [], "gain": []}
        for i, name in enumerate(names):
            for what, of_what in lines.items():
                values = clipped(by_name[name][what], limits) if what == "restored" else by_name[name][what]
                of_what.append(Series(name, x=by_name[name]["frequency"], y=values, **style_of(i)))
        title = f"Share of each band restored on {kind}"
        shares = chart(title, lines["restored"], ACROSS, "share restored", reference="zero", y_range=limits)
        back.append((f"{kind}: by the best last convolution", shares))
        title = f"Answer of the features to each band on {kind}"
        answers.append(
            (
                f"{kind}: answer of the features",
                chart(title, lines["gain"], ACROSS, "relative change, features / image"),
            )
        )
    return panels(
        "Bands of the spectrum", [back, answers], [Series(n, x=[], y=[], **style_of(i)) for i, n in enumerate(names)]
    )


def own_chart(found: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """What a network restores of each band by itself: a line for each kind of image.

    Args:
        found: responses by kind of image.
        name: of the network.
    """
    limits = limited([value for one in found.values() for value in one["restored"]])
    series = [
        Series(kind, figures.tone(i), one["frequency"], clipped(one["restored"], limits), dashed=i > 0)
        for i, (kind, one) in enumerate(found.items())
    ]
    title = f"Share of each band that {name} restores by itself"
    y_label = "share restored" + (" (cut off at −1)" if limits[0] < -1 else "")
    return panels(title, [[("", chart(title, series, ACROSS, y_label, reference="zero", y_range=limits))]], series)


def limited(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of shares: down to the lowest, but hardly below -1, and up to a little above the highest."""
    low, high = max(min(0.0, *values), -1.0), max(0.0, *values)
    return low - 0.04 * (high - low) - 1e-3, high + 0.08 * (high - low) + 1e-3


def clipped(values: Sequence[float], limits: tuple[float, float]) -> list[float]:
    """Values not below the end of an axis, where they run along it."""
    return [max(value, limits[0]) for value in values]


# ------------------------------------------------------------------------------------------------------ embeddings


def scatter_classes(title: str, places: NDArray[Any], labels: NDArray[Any]) -> str:
    """Points (N, 2) of a map without axes, their classes told apart by colour and by shape."""
    side = WIDTH - 2 * RIGHT
    low, high = places.min(0), places.max(0)
    scaled = (
        RIGHT + 8 + (places - (low + high) / 2) / max(float((high - low).max()), 1e-9) * (side - 16) + (side - 16) / 2
    )
    parts = [f'<rect class="grid" x="{RIGHT}" y="{RIGHT}" width="{side}" height="{side}" rx="4" fill="none"/>']
    for (x, y), label in zip(scaled.tolist(), labels.tolist(), strict=True):
        parts.append(f'<g class="tone-{figures.tone(label)}">{mark_of(label, x, y)}</g>')
    return svg(title, parts, height=WIDTH)


def mark_of(label: int, x: float, y: float) -> str:
    """The mark of a class at a place."""
    return f'<path class="point" transform="translate({x:.1f} {y:.1f})" d="{SHAPES[label % len(SHAPES)]}"/>'


def class_maps(title: str, maps: Mapping[str, NDArray[Any]], labels: NDArray[Any], names: Sequence[str]) -> str:
    """Maps of the same points side by side under one legend of their classes.

    Args:
        title: says what is seen, for those who cannot see it.
        maps: places (N, 2) by heading.
        labels: class of each point, (N,).
        names: of the classes.
    """
    row = [(heading, scatter_classes(heading, places, labels)) for heading, places in maps.items()]
    drawing = panels(title, [row], indent=RIGHT)
    width = WIDTH * len(maps)
    parts, x, y = [], float(RIGHT), 18.0
    for label, name in enumerate(names):
        room = 32 + 7.6 * len(name)
        if x > RIGHT and x + room > width:
            x, y = float(RIGHT), y + 20
        text = f'<text class="name" x="{x + 16:.1f}" y="{y:.1f}">{escape(name)}</text>'
        parts.append(f'<g class="tone-{figures.tone(label)}">{mark_of(label, x + 6, y - 4)}{text}</g>')
        x += room
    height = figures.height_of(drawing)
    place = f'x="0" y="{y + 8:.0f}" width="{width}" height="{height:g}"'
    return svg(title, [*parts, drawing.replace('class="chart"', place, 1)], height=height + y + 8, width=width)


# ---------------------------------------------------------------------------------------------------------- tokens


def position_picture(similarities: Tensor) -> str:
    """For every token of a square image, how alike its position embedding is to all others: a map in its place.

    IPT, Figure 7.

    Args:
        similarities: cosines (N, N), N a square number, tokens row by row.
    """
    import cv2

    side = math.isqrt(len(similarities))
    maps = similarities.float().view(side, side, side, side)  # (row, column) of the token, then of the other
    pixels = torch.full((side * (side + 1) + 1, side * (side + 1) + 1), math.nan)
    for row in range(side):
        for column in range(side):
            top, left = row * (side + 1) + 1, column * (side + 1) + 1
            pixels[top : top + side, left : left + side] = maps[row, column]
    picture = coloured(0.5 + pixels.nan_to_num(0.0) / 2, WORSE_TO_BETTER)
    picture[:, pixels.isnan()] = 1.0
    stored = (picture.permute(1, 2, 0).flip(-1).numpy() * 255).round().astype(np.uint8)
    data = base64.b64encode(cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()).decode()
    size = WIDTH - 2 * RIGHT
    image = (f'<image x="{RIGHT}" y="{RIGHT}" width="{size}" height="{size}" style="image-rendering: pixelated" '
             f'href="data:image/png;base64,{data}"/>')  # fmt: skip
    scale = [
        f'<rect x="{RIGHT + i * 12}" y="{WIDTH + 6}" width="12" height="12" fill="{colour(i / 10)}"/>'
        for i in range(11)
    ]
    y = WIDTH + 34
    scale.append(f'<text x="{RIGHT}" y="{y}">−1</text><text x="{RIGHT + 132}" y="{y}" text-anchor="end">1</text>')
    words = "cosine with the token in the map's own place"
    scale.append(f'<text x="{RIGHT + 146}" y="{WIDTH + 17}">{words}</text>')
    return svg("Similarities of position embeddings", [image, *scale], height=WIDTH + 44)


def colour(value: float) -> str:
    """The colour of a value in [0, 1] on the scale of `position_picture`."""
    red, green, blue = (round(255 * float(c)) for c in coloured(torch.tensor([[value]]), WORSE_TO_BETTER)[:, 0, 0])
    return f"rgb({red} {green} {blue})"


# ----------------------------------------------------------------------------------------------------------- sweeps


def sweep_chart(
    x_label: str, lines: Mapping[str, Mapping[Any, tuple[float, float, float]]], y_label: str, *, baseline: float | None
) -> str:
    """A value over an option: a line with its band for each group of runs that agree in all other options.

    Args:
        x_label: which option varies.
        lines: (value, low, high) by the option's value, by group.
        y_label: what the value is.
        baseline: the value of random weights; 0 where the value is a gain.

    Of more than two lines only the first has a band.
    """
    values = list(dict.fromkeys(value for line in lines.values() for value in line))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    values = sorted(values) if numeric else values
    wide = numeric and min(values) > 0 and max(values) / min(values) >= 8  # doublings are then evenly spaced
    where = {v: (math.log(v) if wide else float(v)) if numeric else float(i) for i, v in enumerate(values)}
    ticks = {where[v]: number(v) if numeric else str(v) for v in values}
    series = []
    for i, (name, line) in enumerate(lines.items()):
        found = [(where[v], *line[v]) for v in values if v in line]
        x, y, low, high = (list(column) for column in zip(*found, strict=True))
        band = (low, high) if i == 0 or len(lines) < 3 else (None, None)
        series.append(Series(name, figures.tone(i), x, y, *band, dashed=i > 0))
        series.append(Series(name, figures.tone(i), x, y, titles=[f"{name} {v}: {line[v][0]:.2f}" for v in line]))
    ends = [where[values[0]], where[values[-1]]]
    random = [] if baseline is None else [Series("random weights", 0, ends, [baseline, baseline], dashed=True)]
    drawing = chart(f"{y_label} over {x_label}", [*random, *series], x_label, y_label, x_ticks=ticks)
    return panels(f"{y_label} over {x_label}", [[("", drawing)]], [*random, *series[::2]])
