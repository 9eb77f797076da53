"""Charts as SVG: well-formed, readable in dark and light, always the same bytes, whatever happens elsewhere."""

import re
from concurrent.futures import ThreadPoolExecutor
from xml.etree import ElementTree

import matplotlib
import pytest

from gesso.report.figures import describe, draw_line, line_style
from gesso.report.svg import COLOURS, NAMES, make_figure, standalone, styled, to_svg
from tests.report._drawn import SPACE


@styled
def chart(*labels, title="t", across="x", up="y", url=None):
    figure, ((panel,),) = make_figure(title)
    for order, label in enumerate(labels):
        draw_line(
            panel, label, [0, 1], [order, order + 1], [order - 1, order], [order + 1, order + 2], **line_style(order)
        )
        panel.scatter([0, 1], [order, order + 1], color=line_style(order)["color"]).set_urls([url, url])
    describe(panel, across, up, "heading")
    return figure


def texts_of(drawing):
    return ["".join(one.itertext()) for one in ElementTree.fromstring(drawing).iter(f"{SPACE}text")]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('"><script>alert(1)</script>', '"><script>alert(1)</script>'),
        ("$a_b$ & \\alpha", "$a_b$ & \\alpha"),
        ("_mine", "_mine"),
        ("two\nlines", "two\\nlines"),
        ("rain_\udce9\x1b[2J", "rain_\\udce9\\x1b[2J"),
        ("a\ufffeb", "a\ufffdb"),
        ("雨 дождь", "雨 дождь"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_name_is_text_and_nothing_else(name, shown):
    drawing = standalone(chart("a", name, title=name, across=name, up=name, url=name))
    root = ElementTree.fromstring(drawing)
    assert not list(root.iter(f"{SPACE}script"))
    assert texts_of(drawing).count(shown) == 3  # both axes and the legend
    titles = [one.text.replace("two lines", "two\\nlines") for one in root.iter(f"{SPACE}title")]
    assert titles.count(shown) == 5  # of the drawing and of its points


def test_all_colours_are_those_of_the_page_in_dark_and_in_light():
    assert len(NAMES) == len(COLOURS)
    drawing = standalone(chart("a", "b"))
    (style,) = ElementTree.fromstring(drawing).iter(f"{SPACE}style")
    assert "prefers-color-scheme: dark" in style.text
    rest = drawing.split("</style>")[1]
    assert "#" not in rest.replace('href="#', "")
    assert {"tone-0", "tone-1", "ink", "soft", "rule"} == set(re.findall(r"var\(--([\w-]+)\)", rest))
    assert set(re.findall(r"var\(--([\w-]+)\)", drawing)) <= set(COLOURS)


def test_letters_have_the_size_and_font_of_the_page():
    drawing = to_svg(chart("a"))
    assert "font" not in drawing
    assert "url(" not in drawing


def test_a_drawing_has_always_the_same_bytes_whatever_matplotlib_is_set_to():
    figure = chart("a", "b")
    first = to_svg(figure)
    alone = standalone(figure)
    assert to_svg(figure) == first
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": "other", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert to_svg(chart("a", "b")) == first
        assert standalone(figure) == alone
        assert dict(matplotlib.rcParams) == before
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: to_svg(chart("a", "b")), range(8))) == {first}


def test_drawings_of_one_page_share_no_ids():
    ids = [re.findall(r'id="(\S+)"', to_svg(chart("a", title=title))) for title in ("one", "two")]
    assert all(ids)
    assert not set(ids[0]) & set(ids[1])


def test_a_legend_is_read_along_its_lines_and_makes_room_for_them():
    labels = [f"start number {i}" for i in range(5)]
    plain, keyed = to_svg(chart(*labels)), standalone(chart(*labels))
    assert not set(labels) & set(texts_of(plain))
    places = {
        one.text: (float(one.get("y")), float(one.get("x")))
        for one in ElementTree.fromstring(keyed).iter(f"{SPACE}text")
        if one.text in labels
    }
    assert sorted(places, key=places.get) == labels
    assert len({y for y, _ in places.values()}) > 1
    heights = [float(re.search(r'viewBox="0 0 480 (\S+)"', drawing)[1]) for drawing in (plain, keyed)]
    assert heights[1] > heights[0] + 30
