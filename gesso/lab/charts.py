"""Pictures of what pre-training did to a network: feature maps, weights, bands of the spectrum, embeddings, sweeps."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gesso.data.io import atomic_path
from gesso.report.figures import REFERENCE, describe, draw_level, draw_line, line_style, mark_values
from gesso.report.svg import HEIGHT, WIDTH, colour, make_figure, number, printable, standalone, styled
from gesso.report.viewers import WORSE_TO_BETTER, coloured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 24  # height of a line of `weight_chart`
CELL = 44  # height of a line of a table
MARKS = "os^DPv*"  # of classes: each has a shape of its own, for there are fewer tones


def write(path: Path, figure: "Figure") -> None:
    """Writes a chart as a file of its own."""
    with atomic_path(path) as temporary:
        temporary.write_text(standalone(figure), encoding="utf-8")


# ------------------------------------------------------------------------------------------------------- features


@styled
def feature_charts(found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> "Figure":
    """Scale, channel correlation and effective rank of every feature map: a row for each, a column for kind of image.

    Args:
        found: statistics of the maps, coarse to fine, by kind of image and by network, the random start first.
    """
    metrics = {
        "scale": ("scale (root mean square)", lambda one: max(one["scale"], 1e-12)),
        "correlation": ("correlation of channels", lambda one: one["correlation"]),
        "effective_rank": ("effective rank / channels", lambda one: one["effective_rank"] / one["channels"]),
    }
    figure, rows = make_figure("Feature maps on each kind of image", len(metrics), len(found), sharey="row")
    for (metric, (words, value_of)), row in zip(metrics.items(), rows, strict=True):
        for (kind, by_name), panel in zip(found.items(), row, strict=True):
            for order, (name, maps) in enumerate(by_name.items()):
                draw_line(panel, name, range(1, len(maps) + 1), [value_of(one) for one in maps], **line_style(order))
            describe(panel, "feature map, coarse to fine", words, kind if metric == "scale" else "")
            mark_values(panel, range(1, max(len(maps) for maps in by_name.values()) + 1))
            if metric != "scale":
                panel.set_ylim(0, 1)
    mark_decades(rows[0][0])
    return figure


def mark_decades(panel: "Axes") -> None:
    """Makes the vertical axis logarithmic, with marks at powers of ten, and at 2 and 5 where there is room."""
    from matplotlib.ticker import LogLocator

    panel.set_yscale("log")
    low, high = panel.get_ylim()
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,), numticks=8))
    panel.yaxis.set_major_formatter(number)
    panel.minorticks_off()


# ---------------------------------------------------------------------------------------------------------- tables


def draw_table(panel: "Axes", values: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> None:
    """A table of numbers in [-1, 1], the darker the larger, blue above 0 and orange below."""
    from matplotlib.patches import Rectangle

    for i, row in enumerate(values):
        for j, value in enumerate(row):
            strength = min(1.0, abs(value))
            fill = {"facecolor": colour("tone-1" if value >= 0 else "tone-2"), "alpha": strength}
            panel.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, **fill))
            ink = colour("paper" if strength > 0.55 else "ink")
            shown = f"{value:z.2f}".replace("-", "−")
            panel.text(j, i, shown, color=ink, horizontalalignment="center", verticalalignment="center_baseline")
    panel.set_xticks(range(len(columns)), [printable(name) for name in columns])
    panel.set_yticks(range(len(rows)), [printable(name) for name in rows])
    panel.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    panel.spines.bottom.set_visible(False)
    panel.grid(visible=False)


@styled
def similarity_table(title: str, values: Sequence[Sequence[float]], names: Sequence[str], across: str) -> "Figure":
    """How alike things are: a table of numbers in [-1, 1], with a row and a column for each of these names."""
    figure, ((panel,),) = make_figure(title, height=CELL * len(names) + 90)
    draw_table(panel, values, names, names)
    describe(panel, across, "")
    return figure


@styled
def alignment_tables(found: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], name: str) -> "Figure":
    """Alignment of the maps of a network with those of others: a row for each other, a column for kind of image.

    Args:
        found: tables by kind of image and by what the network is compared with.
        name: of the network.
    """
    others = list(next(iter(found.values())))
    height = CELL * max(len(table) for tables in found.values() for table in tables.values()) + 110
    title = f"Linear centred-kernel alignment of {name}"
    figure, rows = make_figure(title, len(others), len(found), height=height)
    for other, row in zip(others, rows, strict=True):
        for (kind, tables), panel in zip(found.items(), row, strict=True):
            mine, theirs = ([str(i + 1) for i in range(count)] for count in (len(tables[other]), len(tables[other][0])))
            draw_table(panel, tables[other], mine, theirs)
            describe(panel, f"feature map of {other}, coarse to fine", f"of {name}", kind)
    return figure


# --------------------------------------------------------------------------------------------------------- weights


@styled
def weight_chart(found: Mapping[str, Mapping[str, float | None]]) -> "Figure":
    """Relative distances of the parts of a network, a line for each part, a dot for each thing they are far from.

    Args:
        found: distances by what they are from, then by part, in the order of the network.
    """
    parts = list(dict.fromkeys(part for distances in found.values() for part in distances))
    figure, ((panel,),) = make_figure("Distances of the weights", height=ROW * len(parts) + 72)
    for order, (name, distances) in enumerate(found.items(), 1):
        known = {part: value for part, value in distances.items() if value is not None}
        x, y, tone = list(known.values()), [parts.index(part) for part in known], line_style(order)["color"]
        if order == 1:
            panel.hlines(y, 0, x, color=tone)
        dots = panel.scatter(x, y, color=tone, alpha=0.75, label=f"from {name}" if len(found) > 1 else None)
        dots.set_urls([f"{part}: {value:.3g}" for part, value in known.items()])
    panel.spines.left.set_visible(True)
    panel.set_yticks(range(len(parts)), [printable(part if len(part) <= 24 else f"…{part[-23:]}") for part in parts])
    panel.tick_params(axis="y", labelcolor=colour("ink"))
    where = f"from {next(iter(found))}" if len(found) == 1 else "of the weights"
    panel.set(xlabel=f"relative distance {where}", ylim=(len(parts) - 0.5, -0.5))
    panel.margins(x=0.06)
    panel.set_xlim(left=0)
    panel.grid(axis="x")
    return figure


# ----------------------------------------------------------------------------------------------------------- rings


ACROSS = "frequency of the missing band (cycles per pixel)"


@styled
def ring_charts(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> "Figure":
    """What comes back of each band of the spectrum with the best last convolution, and how features answer to it.

    Args:
        found: responses by kind of image and by network, the random start first.
    """
    figure, (shares, answers) = make_figure("Bands of the spectrum", 2, len(found), height=HEIGHT + 26)
    limits = limited([value for by_name in found.values() for one in by_name.values() for value in one["restored"]])
    for (kind, by_name), share, answer in zip(found.items(), shares, answers, strict=True):
        draw_level(share, 0, **REFERENCE)
        for order, (name, one) in enumerate(by_name.items()):
            restored = np.maximum(one["restored"], limits[0])  # which then runs along the end of the axis
            draw_line(share, name, one["frequency"], restored, **line_style(order))
            draw_line(answer, name, one["frequency"], one["gain"], **line_style(order))
        describe(share, ACROSS, "share restored", f"{kind}: by the best last convolution")
        describe(answer, ACROSS, "relative change, features / image", f"{kind}: answer of the features")
        share.set_ylim(limits)
    return figure


@styled
def own_chart(found: Mapping[str, Mapping[str, Any]], name: str) -> "Figure":
    """What a network restores of each band by itself: a line for each kind of image.

    Args:
        found: responses by kind of image.
        name: of the network.
    """
    figure, ((panel,),) = make_figure(f"Share of each band that {name} restores by itself")
    limits = limited([value for one in found.values() for value in one["restored"]])
    draw_level(panel, 0, **REFERENCE)
    for order, (kind, one) in enumerate(found.items(), 1):
        style = line_style(order) | ({"linestyle": "--"} if order > 1 else {})
        draw_line(panel, kind, one["frequency"], np.maximum(one["restored"], limits[0]), **style)
    describe(panel, ACROSS, "share restored" + (" (cut off at −1)" if limits[0] < -1 else ""))
    panel.set_ylim(limits)
    return figure


def limited(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis of shares: down to the lowest, but hardly below -1, and up to a little above the highest."""
    low, high = max(min(0.0, *values), -1.0), max(0.0, *values)
    return low - 0.04 * (high - low) - 1e-3, high + 0.08 * (high - low) + 1e-3


# ------------------------------------------------------------------------------------------------------ embeddings


@styled
def class_maps(title: str, maps: Mapping[str, NDArray[Any]], labels: NDArray[Any], names: Sequence[str]) -> "Figure":
    """Maps of the same points side by side, without axes, their classes told apart by colour and by shape.

    Args:
        title: says what is seen, for those who cannot see it.
        maps: places (N, 2) by heading.
        labels: class of each point, (N,).
        names: of the classes.
    """
    figure, (row,) = make_figure(title, columns=len(maps), height=WIDTH)
    for (heading, places), panel in zip(maps.items(), row, strict=True):
        for number_of, name in enumerate(names):
            mark, tone = MARKS[number_of % len(MARKS)], line_style(number_of + 1)["color"]
            panel.scatter(*places[labels == number_of].T, marker=mark, color=tone, alpha=0.75, label=name)
        panel.set_title(heading)
        panel.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        panel.margins(0.06)
        panel.spines[:].set(visible=True, color=colour("rule"))
    return figure


# ---------------------------------------------------------------------------------------------------------- tokens


@styled
def position_picture(similarities: Tensor) -> "Figure":
    """For every token of a square image, how alike its position embedding is to all others: a map in its place.

    IPT, Figure 7.

    Args:
        similarities: cosines (N, N), N a square number, tokens row by row.
    """
    side = math.isqrt(len(similarities))
    maps = similarities.float().view(side, side, side, side)  # (row, column) of the token, then of the other
    pixels = torch.full((side, side + 1, side, side + 1), math.nan)  # white lines between the maps
    pixels[:, 1:, :, 1:] = maps.permute(0, 2, 1, 3)
    figure, ((picture,), (scale,)) = make_figure("Similarities of position embeddings", 2, height=WIDTH / 2 + 30,
                                                 height_ratios=(24, 1))  # fmt: skip
    for panel, values in ((picture, pixels.flatten(2).flatten(0, 1)), (scale, torch.linspace(-1, 1, 11)[None])):
        shown = coloured(0.5 + values.nan_to_num(0.0) / 2, WORSE_TO_BETTER)
        shown[:, values.isnan()] = 1.0
        panel.imshow(shown.permute(1, 2, 0).numpy())
        panel.set(xticks=[], yticks=[])
        panel.spines.bottom.set_visible(False)
    scale.set_xticks([0, 10], [number(-1), number(1)])
    scale.set_xlabel("cosine with the token in the map's own place")
    return figure


# ----------------------------------------------------------------------------------------------------------- sweeps


@styled
def sweep_chart(
    x_label: str, lines: Mapping[str, Mapping[Any, tuple[float, float, float]]], y_label: str, *, baseline: float | None
) -> "Figure":
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
    figure, ((panel,),) = make_figure(f"{y_label} over {x_label}")
    if baseline is not None:
        draw_level(panel, baseline, "random weights", **line_style(0))
    for order, (name, line) in enumerate(lines.items(), 1):
        known = [value for value in values if value in line]
        x = known if numeric else [values.index(value) for value in known]
        y, low, high = zip(*(line[value] for value in known), strict=True)
        style = line_style(order) | ({"linestyle": "--"} if order > 1 else {})
        draw_line(panel, name, x, y, *((low, high) if order == 1 or len(lines) < 3 else ()), **style)
        dots = panel.scatter(x, y, color=style["color"], alpha=0.75)
        dots.set_urls([f"{name} {value}: {line[value][0]:.2f}" for value in known])
    describe(panel, x_label, y_label)
    if numeric:
        wide = min(values) > 0 and max(values) / min(values) >= 8  # doublings are then evenly spaced
        mark_values(panel, values, scale="log" if wide else "linear")
    else:
        mark_values(panel, range(len(values)), names=values)
    return figure
