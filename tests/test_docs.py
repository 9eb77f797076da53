"""Every `gesso` command in README and docs is one that the command line takes; the Python of the tutorials runs."""

import re
import shlex
from pathlib import Path

import pytest

from gesso import cli
from gesso.commands._parser import parser_for

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_of(page: Path) -> list[str]:
    """The `gesso VERB ...` lines of a page's shell blocks, continued lines joined, comments left out."""
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.split(r"&&|\|\|?|;", line)]
    return [part for part in parts if re.match(r"gesso [a-z]", part)]


def python_of(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


TUTORIALS = [page for page in sorted((ROOT / "docs" / "tutorials").glob("*.md")) if python_of(page)]
FOUND = [(page, command) for page in PAGES for command in commands_of(page)]


def test_commands_are_found():
    assert len(FOUND) > 40
    assert TUTORIALS


@pytest.mark.parametrize(
    ("page", "command"), FOUND, ids=[f"{page.stem}-{number}" for number, (page, _) in enumerate(FOUND)]
)
def test_command_is_understood(page, command):
    """What stands for a file (FILE, PAIRS) is a path like any other; nothing is run."""
    verb, *words = shlex.split(command, comments=True)[1:]
    if verb == "help" or "--help" in words or "--version" in words:
        return
    function = cli.command(verb)
    cli.read_options(verb, function, parser_for(verb, function), words)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_python_of_a_tutorial_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(python_of(page), {"__name__": "tutorial"})
