"""Charts: well-formed, true to the numbers, and readable in dark and light."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gesso.functional.random import generator_for
from gesso.report import figures
from gesso.report.figures import Series, chart, round_ticks, spectra, standalone
from gesso.report.statistics import judge
from tests.report.test_statistics import noisy, scores

SPACE = "{http://www.w3.org/2000/svg}"


def points_of(drawing, kind):
    """Coordinates of every path or circle of a kind in an SVG."""
    found = []
    for element in ElementTree.fromstring(drawing).iter():
        if element.get("class", "").split(" ")[0] == kind:
            text = element.get("d") or f"M{element.get('cx')} {element.get('cy')}"
            text = re.sub(r"M([\d.]+) ([\d.]+)H([\d.]+)", r"M\1 \2L\3 \2", text)
            found.append(
                np.array([[float(x) for x in pair.split()] for pair in re.split("[ML]", text.rstrip("Z"))[1:]])
            )
    return found


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5))
def test_ticks_are_round_and_few_and_inside(low, width):
    ticks = round_ticks(low, low + width)
    assert 2 <= len(ticks) <= 9
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)
    assert len({f"{b - a:.6g}" for a, b in pairwise(ticks)}) == 1


def test_a_higher_value_is_drawn_higher_and_bands_enclose_their_line():
    drawing = chart("t", [Series("a", 1, [0, 1, 2], [1, 3, 2], [0, 2, 1], [2, 4, 3])], "x", "y")
    (line,), (band,) = points_of(drawing, "line"), points_of(drawing, "band")
    assert line[1, 1] < line[2, 1] < line[0, 1]  # SVG counts downwards
    upper, lower = band[:3], band[3:][::-1]
    assert (upper[:, 1] < line[:, 1]).all()
    assert (lower[:, 1] > line[:, 1]).all()


@pytest.mark.parametrize("values", [[5.0, 5.0], [float("nan"), 1.0], [1e-9, 2e-9]], ids=str)
def test_flat_missing_and_tiny_values_are_drawn(values):
    ElementTree.fromstring(chart("t", [Series("a", 0, [0, 1], values)], "x", "y", reference="zero"))


def test_names_cannot_break_out_of_the_drawing():
    evil = '"><script>alert(1)</script>'
    drawing = chart(evil, [Series(evil, 1, [0, 1], [0, 1], titles=[evil, evil])], evil, evil)
    assert not list(ElementTree.fromstring(drawing).iter(f"{SPACE}script"))


def test_a_file_of_its_own_brings_colours_for_dark_and_light():
    text = standalone(chart("t", [Series("a", 1, [0, 1], [0, 1])], "x", "y"))
    (style,) = ElementTree.fromstring(text).iter(f"{SPACE}style")
    assert "prefers-color-scheme: dark" in style.text
    assert {"--tone-1", "--ink"} <= set(re.findall(r"--[a-z0-9-]+", style.text))


def test_every_start_has_an_interval_around_its_mean():
    rows = scores(noisy(0.3)) + [row for row in scores(noisy(-0.2), start="mfm") if row.start != "random"]
    drawing = figures.intervals(judge(rows))
    (first, second), (helps, hurts) = points_of(drawing, "point"), points_of(drawing, "line")
    assert helps[0, 0] < first[0, 0]
    assert second[0, 0] < first[0, 0]
    assert hurts[0, 1] > helps[0, 1]


def test_curves_over_steps_and_pairs_have_a_line_for_each_start():
    labels = {"random": "random", "ifp": "IFP"}
    rows = [row for step in (0, 50, 100) for row in scores(noisy(step / 100), step=step)]
    assert [len(line) for line in points_of(figures.learning_curves(rows, labels), "line")] == [3, 3]
    (gain,) = points_of(figures.gain_curves(rows, labels), "line")
    assert gain[0, 1] > gain[1, 1] > gain[2, 1]
    (pairs,) = points_of(figures.pairs_curves({5: scores(noisy(0.5)), 20: scores(noisy(0.1))}, labels), "line")
    assert pairs[0, 1] < pairs[1, 1]


def test_spectra_show_at_which_frequencies_a_start_leaves_less_error():
    truth = torch.rand(3, 64, 64, generator=generator_for(0))
    coarse = torch.cos(torch.arange(64) * 2 * torch.pi * 3 / 64).expand(3, 64, 64)
    fine = torch.cos(torch.arange(64) * 2 * torch.pi * 29 / 64).expand(3, 64, 64)
    rows = [{
        "input": truth + 0.2 * coarse + 0.2 * fine, "truth": truth,
        "random": truth + 0.1 * coarse + 0.1 * fine, "ifp": truth + 0.01 * coarse + 0.1 * fine,
    }]  # fmt: skip
    power, less = spectra(rows, {"random": "random", "ifp": "IFP"})
    assert len(points_of(power, "line")) == 4
    (line,) = points_of(less, "line")
    height = {round(f, 2): y for f, y in zip(figures.frequencies(), line[:, 1], strict=True)}
    zero = points_of(less, "axis")[-1][0, 1]
    assert height[0.05] < zero - 50  # 20 dB better at 3 cycles in 64 pixels
    assert height[0.45] == pytest.approx(zero, abs=1)


def test_an_enlarged_input_of_another_size_is_left_out_of_the_spectra():
    truth = torch.rand(3, 32, 32, generator=generator_for(1))
    row = {"input": truth[:, ::2, ::2], "truth": truth, "random": truth * 0.9, "ifp": truth * 0.95}
    power, _ = spectra([row], {"random": "random", "ifp": "IFP"})
    assert len(points_of(power, "line")) == 3
