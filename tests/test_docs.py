"""Every `gesso` command in README and docs is one that the command line takes; the Python of the tutorials runs."""

import importlib.util
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gesso import cli

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
    cli.read_options(cli.command(verb), words)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_python_of_a_tutorial_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(python_of(page), {"__name__": "tutorial"})


def names_of(page: Path) -> list[tuple[str, bool]]:
    """The dotted names of a page, as `gesso.checkpoint.load`, and whether the reference documents them."""
    found = re.findall(r"^(::: )?|(?<![\w./-])(gesso(?:\.[A-Za-z_]\w*)+)", page.read_text(), re.MULTILINE)
    names, documented = [], False
    for mark, name in found:
        documented = bool(mark) if not name else documented
        if name and not name.endswith((".md", ".yaml")):
            names.append((name, documented))
    return names


def test_pictures_are_small_and_fetch_nothing():
    pictures = [path for path in (ROOT / "docs" / "figures").rglob("*") if path.is_file()]
    assert len(pictures) > 8
    assert all(path.stat().st_size < 250_000 for path in pictures)
    for path in pictures:
        if path.suffix == ".svg":
            assert not re.search(r"url\((?!#)|<image|@import|href=\"http", path.read_text()), path


def test_screens_of_the_tutorial_are_of_its_own_commands():
    """Each is drawn from a command of the page, and shown on it."""
    spec = importlib.util.spec_from_file_location("screens", ROOT / "docs" / "screens.py")
    screens = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(screens)
    commands = screens.commands_of(screens.TUTORIAL)
    assert commands == commands_of(screens.TUTORIAL)
    for begin in screens.TERMINALS.values():
        assert any(command.startswith(begin) for command in commands)
    names = {f"{name}.svg" for name in screens.TERMINALS} | {f"{name}.webp" for name in screens.PAGES}
    assert {path.name for path in screens.SCREENS.iterdir()} == names
    assert all(f"../figures/screens/{name}" in screens.TUTORIAL.read_text() for name in names)
    drawn = screens.draw_terminal("gesso list tasks", "derain <remove rain>\nx\r50 %\rdone\n")
    assert "remove" in drawn
    assert "&lt;" in drawn
    assert "done" in drawn
    assert "50" not in re.sub(r"<style>.*?</style>|<(rect|clipPath|text|svg)[^>]*>", "", drawn, flags=re.DOTALL)


def messages_of(page: Path) -> list[str]:
    """The fixed parts of the messages that a page explains, which its paragraphs begin with."""
    heads = re.findall(r"^\*\*(.*?)\*\*", page.read_text(), re.MULTILINE)
    quoted = [quote for head in heads for quote in re.findall(r"`([^`]*)`", head)]
    parts = [part.strip(" .;,") for quote in quoted for part in re.split(r"\b[AB]\b|[\d.]+", quote)]
    return [part for part in parts if len(part) > 5]


def test_messages_that_are_explained_are_said_somewhere():
    said = "\n".join(path.read_text() for path in sorted((ROOT / "gesso").rglob("*.py")))
    said = re.sub(r'"\s*\n\s*f?"', "", said)  # texts that go on in the next line
    said = re.sub(r"\{[^{}]*\}", "", said) + said
    messages = messages_of(ROOT / "docs" / "troubleshooting.md")
    assert len(messages) > 15
    for message in messages:
        assert message in said, message


NAMES = sorted({found for page in PAGES for found in names_of(page)})


def test_what_the_reference_documents_can_be_imported():
    documented = [name for name, documented in NAMES if documented]
    assert len(documented) > 20
    for name in documented:
        assert pkgutil.resolve_name(name) is not None


def test_every_dotted_name_is_reached_after_import_gesso():
    """In a process of its own: here, tests have imported the whole package already."""
    names = [name for name, documented in NAMES if not documented]
    assert "gesso.checkpoint.recognise" in names
    code = "import gesso, functools; [functools.reduce(getattr, n.split('.')[1:], gesso) for n in {}]"
    subprocess.run([sys.executable, "-c", code.format(names)], check=True, cwd=ROOT)
