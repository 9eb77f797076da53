"""Charts by matplotlib, all in one style, as SVG that reads in dark and light, on desktops and phones.

A chart is a `matplotlib.figure.Figure`, drawn with the colours of light mode (`charts.mplstyle`). In its SVG they are
CSS variables, so one drawing serves the page, where it takes the page's colours, and a file of its own
(`standalone`), which brings `STYLE` along.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gesso._extras import check_extra
from gesso._names import in_one_line, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

P = ParamSpec("P")
T = TypeVar("T")

WIDTH, HEIGHT = 480, 316  # of one panel, in pixels
TICKS = 6  # at most so many steps along an axis
INCH = 72  # pixels, as matplotlib counts in SVG
SHEET = Path(__file__).with_name("charts.mplstyle")
SPACE = "http://www.w3.org/2000/svg"
NO_XML = {0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD}  # characters that it cannot hold, and what is shown for them
LOCK = threading.RLock()  # matplotlib's settings are global

TONES = 8  # of starts
COLOURS = {  # in light and in dark mode; those of light mode all differ, for they become the names
    "ink": ("#2b2823", "#ece7dc"),
    "soft": ("#6d675d", "#a8a193"),
    "rule": ("#e2dccf", "#3a3731"),
    "paper": ("#fdfbf6", "#1b1a17"),
    "tone-0": ("#847d72", "#9d968a"),
    "tone-1": ("#33588f", "#8fb3ea"),
    "tone-2": ("#b05a2c", "#e59a6b"),
    "tone-3": ("#2b7a68", "#74c4ae"),
    "tone-4": ("#93456f", "#d893b9"),
    "tone-5": ("#92751b", "#d6b754"),
    "tone-6": ("#2f8fb3", "#6fc3e0"),
    "tone-7": ("#c0392f", "#f08a80"),
    "tone-8": ("#6b4fa0", "#b39ddb"),
    "tone-input": ("#a0805a", "#a98f68"),
    "tone-truth": ("#2b2824", "#ece7dc"),
}
NAMES = {light: name for name, (light, _) in COLOURS.items()}
LIGHT, DARK = ("; ".join(f"--{name}: {pair[mode]}" for name, pair in COLOURS.items()) for mode in (0, 1))

STYLE = f"""
:root {{ {LIGHT}; }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK}; }} }}
.chart {{ width: 100%; height: auto; font: 13px system-ui, sans-serif; stroke-linejoin: round; }}
.chart .name {{ paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }}
""" + "\n".join(f".{name} {{ --tone: var(--{name}); }}" for name in COLOURS if name.startswith("tone"))

LARGER = "@media (max-width: 34rem) { .chart { font-size: 18px; } }"
"""For the page alone: letters of a file that stands by itself grow and shrink with it."""


def colour(name: str) -> str:
    """What a colour is drawn with."""
    return COLOURS[name][0]


def number(value: float, _: object = None) -> str:
    """A tick's label.

    Example:
        >>> number(30000.0), number(0.25), number(-1.0)
        ('30k', '0.25', '−1')
    """
    text = f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
    return text.replace("-", "−")


def printable(name: str) -> str:
    """A name as one line that fonts and XML can hold."""
    return in_one_line(name).translate(NO_XML)


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """A function that draws in gesso's style, whatever matplotlib is set to elsewhere; threads take turns."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        check_extra("matplotlib", "compare", "a chart")
        import matplotlib

        with LOCK, matplotlib.rc_context(fname=SHEET), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the reader's fonts will have it
            return draw(*args, **kwargs)

    return in_style


@styled
def make_figure(
    title: str, rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float = HEIGHT, **options: Any
) -> "tuple[Figure, list[list[Axes]]]":
    """A figure without anything drawn, and its panels, row by row.

    Args:
        title: says what is seen, for those who cannot see it.
        rows: of panels.
        columns: panels in a row.
        width: of a panel in pixels.
        height: of a panel in pixels.
        options: of `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure((columns * width / INCH, rows * height / INCH))
    figure.set_label(printable(title))
    panels = figure.subplots(rows, columns, squeeze=False, **options).tolist()
    figure.patch.set_visible(False)
    for panel in (panel for row in panels for panel in row):
        panel.patch.set_visible(False)
        panel.locator_params(nbins=TICKS)
        panel.xaxis.set_major_formatter(number)
        panel.yaxis.set_major_formatter(number)
    return figure, panels


@styled
def to_svg(figure: "Figure", *, legend: bool = False) -> str:
    """An SVG element, the same bytes for the same figure.

    What links say (`Artist.set_url`) appears when one points at what is linked; ids (`Artist.set_gid`) become classes.

    Args:
        figure: drawn in functions that are `styled`.
        legend: whether labels are explained above the panels, for which the drawing then is higher.
    """
    import matplotlib
    from matplotlib.text import Text

    matplotlib.rcParams["svg.hashsalt"] = figure.get_label()  # ids differ from those of other drawings in a page
    for artist in figure.findobj():
        artist.set_clip_on(False)  # nothing lies outside, and a line along the edge keeps its width
        if isinstance(artist, Text):
            artist.set_text(printable(artist.get_text()))
    height, written = figure.get_figheight(), io.StringIO()
    key = add_legend(figure) if legend else None
    figure.savefig(written, format="svg", metadata={"Date": None, "Title": str(figure.get_label())})
    if key:
        key.remove()
        figure.set_figheight(height)
    (root,) = simplify(ElementTree.fromstring(readable(written.getvalue()).translate(NO_XML)))
    root.attrib = {"class": "chart", "xmlns": SPACE, "role": "img", "viewBox": root.attrib["viewBox"]}
    return ElementTree.tostring(root, encoding="unicode")


def add_legend(figure: "Figure") -> "Legend | None":
    """A legend of everything that has a label, in as many lines as it takes; the figure grows by them."""
    found = ({one: str(one.get_label()) for one in (*panel.lines, *panel.collections)} for panel in figure.axes)
    named = ({one: printable(name) for one, name in each.items() if not name.startswith("_child")} for each in found)
    names = max(named, key=len)  # one panel has all
    for columns in range(len(names), 0, -1):
        order = [one for column in range(columns) for one in list(names)[column::columns]]  # to be read along lines
        labels = [names[one] for one in order]
        legend = figure.legend(order, labels, loc="outside upper left", ncols=columns)
        box = legend.get_window_extent()
        if columns == 1 or box.width < 0.94 * figure.bbox.width:
            figure.set_figheight(figure.get_figheight() + box.height / INCH)
            return legend
        legend.remove()
    return None


def simplify(element: Element) -> list[Element]:
    """What goes into the page of an element of matplotlib's SVG: none of its fonts, names and groups, round numbers."""
    element.tag = re.sub(r"{.*}", "", element.tag)
    found = {re.sub(r"{.*}", "", key): value for key, value in element.attrib.items()}
    inside = [kept for child in element for kept in simplify(child)]
    if element.tag in ("metadata", "style") or (element.tag == "defs" and not inside):
        return []
    if element.tag == "a":
        element.tag, title = "g", Element("title")
        title.text = found["href"]
        found, inside = {}, [title, *inside]
    elif element.tag == "g":
        found = {"class": name} if (name := found.get("id", "_")).isalpha() else {}
        if not found or not inside:
            return inside
    elif element.tag == "text":
        found.pop("transform")  # turned by nothing
        found["style"] = re.sub(r"font[^;]*;\s*", "", found["style"])
    for key in {"d", "x", "y", "style"} & set(found):
        text = " ".join(found[key].split())
        found[key] = re.sub(r"-?\d+\.\d+", lambda exact: f"{round(float(exact[0]), 2):g}", text)
    if "style" in found:
        found["style"] = re.sub("#[0-9a-f]{6}", lambda drawn: f"var(--{NAMES[drawn[0]]})", found["style"])
    element.attrib, element[:] = found, inside
    element.text, element.tail = (element.text if element.tag in ("text", "title") else None), None
    return [element]


def standalone(figure: "Figure") -> str:
    """The text of an SVG file: a chart with its legend and its own colours."""
    head, rest = to_svg(figure, legend=True).split(">", 1)
    return f'{head} style="background: var(--paper)"><style>{STYLE}</style>{rest}\n'
