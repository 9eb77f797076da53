"""The charts of a comparison: true to the numbers."""

import numpy as np
import pytest
import torch

from gesso.functional.random import generator_for
from gesso.report import figures
from gesso.report.figures import describe, draw_line, line_style, spectra
from gesso.report.statistics import judge
from gesso.report.svg import COLOURS, make_figure, styled, to_svg
from tests.report._drawn import find_drawn
from tests.report.test_statistics import noisy, scores


def lines_of(figure):
    """Places in the drawing of the lines of starts, one array (N, 2) each."""
    return [points for style, points in find_drawn(to_svg(figure)) if "stroke-width: 2" in style and len(points) > 1]


@styled
@pytest.mark.parametrize(
    ("low", "high"), [(0, 600), (0, 30_000), (-7.3, -7.299), (1e-9, 2e-9), (-1e5, 1e5), (23.4, 31.7)]
)
def test_ticks_are_round_and_few_and_inside(low, high):
    figure, ((panel,),) = make_figure("t")
    draw_line(panel, "a", [0, 1], [low, high], **line_style(1))
    describe(panel, "x", "y")
    to_svg(figure)
    ends = panel.get_ylim()
    ticks = [tick for tick in panel.get_yticks() if ends[0] <= tick <= ends[1]]
    assert 2 <= len(ticks) <= 9
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0])
    assert float(f"{steps[0]:.1e}"[:3]) in (1, 2, 2.5, 5)


@styled
def test_a_higher_value_is_drawn_higher_and_bands_enclose_their_line():
    figure, ((panel,),) = make_figure("t")
    draw_line(panel, "a", [0, 1, 2], [1, 3, 2], [0, 2, 1], [2, 4, 3], **line_style(1))
    (line,) = lines_of(figure)
    (band,) = [points for style, points in find_drawn(to_svg(figure)) if "fill-opacity: 0.16" in style]
    assert line[1, 1] < line[2, 1] < line[0, 1]  # SVG counts downwards
    for x, y in line:
        edges = band[np.isclose(band[:, 0], x), 1]
        assert edges.min() < y < edges.max()


@styled
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values", [[5.0, 5.0], [float("nan"), 1.0], [1e-9, 2e-9], [float("nan")] * 2, [0.0, 0.0]], ids=str
)
def test_flat_missing_and_tiny_values_are_drawn(values):
    figure, ((panel,),) = make_figure("t")
    figures.draw_level(panel, 0, "zero", **figures.REFERENCE)
    draw_line(panel, "a", [0, 1], values, **line_style(0))
    describe(panel, "x", "y")
    assert "nan" not in to_svg(figure)
    low, high = panel.get_ylim()
    assert low < 0 < high
    assert high - low > (1e-9 if 1e-9 in values else 0.1)


def test_every_start_has_an_interval_around_its_mean():
    rows = scores(noisy(0.3)) + [row for row in scores(noisy(-0.2), start="mfm") if row.start != "random"]
    verdicts = judge(rows)
    figure = figures.intervals(verdicts, {"ifp": 1, "mfm": 2})
    drawn = find_drawn(to_svg(figure))
    helps, hurts = lines_of(figure)
    first, second = (points.mean(0) for style, points in drawn if "fill: var(--tone" in style)
    assert helps[0, 0] < first[0] < helps[1, 0]
    assert hurts[0, 0] < second[0] < hurts[1, 0]
    assert second[0] < first[0]
    assert hurts[0, 1] > helps[0, 1]
    assert all(to_svg(figure).count(f"<title>{verdict}</title>") == 2 for verdict in verdicts)  # of line and dot


def test_curves_over_steps_and_pairs_have_a_line_for_each_start():
    labels = {"random": "random", "ifp": "IFP"}
    rows = [row for step in (0, 50, 100) for row in scores(noisy(step / 100), step=step)]
    assert [len(line) for line in lines_of(figures.learning_curves(rows, labels))] == [3, 3]
    (gain,) = lines_of(figures.gain_curves(rows, labels))
    assert gain[0, 1] > gain[1, 1] > gain[2, 1]
    (pairs,) = lines_of(figures.pairs_curves({5: scores(noisy(0.5)), 20: scores(noisy(0.1))}, labels))
    assert pairs[0, 1] < pairs[1, 1]


def test_every_image_is_a_point_that_says_its_name():
    (verdict,) = judge(scores(noisy(0.3)))
    images = verdict.gains.images
    figure = figures.scatter(verdict.gains, dict.fromkeys(images, 20.0), 1, "IFP")
    titles = [line for line in to_svg(figure).split("<title>") if "dB, IFP +" in line]
    assert [title.split(":")[0] for title in titles] == list(images)


def test_starts_beyond_the_tones_are_dashed_like_the_reference():
    styles = [line_style(order) for order in range(2 * figures.TONES + 1)]
    assert len({(style["color"], style["linestyle"]) for style in styles}) == len(styles)
    assert [style["color"] for style in styles[1:]] == 2 * [COLOURS[f"tone-{i}"][0] for i in range(1, 9)]


def test_spectra_show_at_which_frequencies_a_start_leaves_less_error():
    truth = torch.rand(3, 64, 64, generator=generator_for(0))
    coarse = torch.cos(torch.arange(64) * 2 * torch.pi * 3 / 64).expand(3, 64, 64)
    fine = torch.cos(torch.arange(64) * 2 * torch.pi * 29 / 64).expand(3, 64, 64)
    rows = [{
        "input": truth + 0.2 * coarse + 0.2 * fine, "truth": truth,
        "random": truth + 0.1 * coarse + 0.1 * fine, "ifp": truth + 0.01 * coarse + 0.1 * fine,
    }]  # fmt: skip
    power, less = spectra(rows, {"random": "random", "ifp": "IFP"})
    assert [line.get_label() for line in power.axes[0].lines] == ["input", "random", "IFP", "ground truth"]
    zero, line = less.axes[0].lines
    decibels = {round(f, 2): y for f, y in zip(figures.frequencies(), line.get_ydata(), strict=True)}
    assert set(zero.get_ydata()) == {0}
    assert decibels[0.05] > 15  # 20 dB better at 3 cycles in 64 pixels
    assert decibels[0.45] == pytest.approx(0, abs=0.1)


def test_an_enlarged_input_of_another_size_is_left_out_of_the_spectra():
    truth = torch.rand(3, 32, 32, generator=generator_for(1))
    row = {"input": truth[:, ::2, ::2], "truth": truth, "random": truth * 0.9, "ifp": truth * 0.95}
    power, _ = spectra([row], {"random": "random", "ifp": "IFP"})
    assert len(lines_of(power)) == 3
