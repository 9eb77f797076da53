"""The answer of `gesso compare`: a Markdown table and one HTML page that needs no network, from a results folder."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from gesso.data.io import atomic_text
from gesso.report import figures, tables
from gesso.report.comparison import Comparison
from gesso.report.results import file_stem, label
from gesso.report.svg import LARGER, STYLE, standalone, to_svg


def write_report(folder: Path) -> Path:
    """Writes `comparison.md`, `comparison.html` and `figures/*.svg` from what lies in the folder; returns the page.

    Raises:
        FileNotFoundError: if there is no comparison in the folder.
        ValueError: if there is nothing to compare, because every run of the reference or of all starts failed.
    """
    comparison = Comparison.read(folder)
    if not comparison.verdicts:
        why = "; ".join(f"{label(start)}: {reason}" for start, reason in comparison.facts.failures.items())
        raise ValueError(
            f"{folder}: nothing to compare, no start has a seed in common with {comparison.reference_words}. {why}"
        )
    texts: Mapping[str, str] = {
        "comparison.md": markdown(comparison),
        "comparison.html": page(comparison),
        **{f"figures/{name}.svg": standalone(figure) for name, figure in comparison.figures.items()},
    }
    for name, text in texts.items():
        with atomic_text(folder / name) as file:
            file.write(text)
    return folder / "comparison.html"


def markdown(comparison: Comparison) -> str:
    """The text of `comparison.md`."""
    facts = comparison.facts
    parts = [f"# {facts.title}", *(f"**{plain_markdown(str(verdict))}**" for verdict in comparison.verdicts)]
    parts += map(plain_markdown, comparison.doubts)
    parts += [plain_markdown(f"{label(start)} failed: {why}") for start, why in facts.failures.items()]
    parts += [plain_markdown(f"Left out of the gains: {runs}: {why}") for runs, why in comparison.left_out.items()]
    sentence, command = comparison.next_step
    if command:
        parts += ["## Next", plain_markdown(sentence), f"```sh\n{command}\n```"]
    parts += ["## In numbers", markdown_table(tables.gain_table(comparison))]
    parts += [f"{facts.protocol}. Unrestored input: {facts.input_words}.", *comparison.tests]
    if len(choices := tables.choice_table(comparison)) > 1:
        parts += ["## Chosen on the training pairs", markdown_table(choices)]
    parts += ["## Costs", markdown_table(tables.cost_table(comparison))]
    if len(equal := tables.equal_table(comparison)) > 1:
        parts += ["## At equal total compute", markdown_table(equal)]
    parts += ["## Again", f"```sh\n{facts.command}\n```"]
    return "\n\n".join(parts) + "\n"


def plain_markdown(text: str) -> str:
    r"""A text, such as the name of an arm, so that Markdown shows it as it is.

    Example:
        >>> print(plain_markdown("a|b <i>, p < 0.001, x_2"))
        a\|b \<i>, p < 0.001, x_2
    """
    return re.sub(r"([\\`*|]|<(?=[A-Za-z/!]))", r"\\\1", text)


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the header, columns but the first are right-aligned."""
    rule = ["---", *["--:"] * (len(rows[0]) - 1)]
    header, *others = ([plain_markdown(cell) for cell in row] for row in rows)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *others))


def page(comparison: Comparison) -> str:
    """The text of `comparison.html`: it holds everything it shows and asks no network."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.get_template("comparison.html.j2")
    recipe = yaml.safe_dump(comparison.recipe, sort_keys=False, allow_unicode=True)
    return template.render(
        c=comparison,
        tables=tables,
        style=STYLE + LARGER,
        recipe=recipe,
        label=label,
        file_stem=file_stem,
        flags_whole=flags_whole,
        tone=figures.tone,
        is_dashed=figures.is_dashed,
        svg=to_svg,
    )


def flags_whole(command: str) -> str:
    """A command line as HTML whose lines break before an option, not within its dashes."""
    return re.sub(r"(--[\w.]+)", r'<span class="flag">\1</span>', html.escape(command))
