"""docs/papers.md: every table of the papers with the command that runs it, each understood by the command line."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from gesso import cli
from tests._data import ROOT as DATA

PAGE = Path(__file__).parents[1] / "docs/papers.md"
ROWS = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
ROWS = [row for row in ROWS if row[0] != "table"]
COMMANDS = [command for row in ROWS for command in re.findall(r"`(gesso [^`]+)`", " ".join(row[2:]))]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_of_a_table_is_understood(command):
    verb, *words = shlex.split(command)[1:]
    options = cli.read_options(cli.command(verb), words)
    assert "--config" not in words or len(options) > 3


def test_each_row_has_a_command_and_a_state_or_says_why_not():
    assert len(ROWS) > 60
    for row in ROWS:
        assert len(row) == 4 or row[0] in ("ablations", "4"), row
        if len(row) == 4:
            assert row[2].startswith("`gesso "), row
            assert row[3].startswith("not run"), row


@pytest.mark.parametrize(
    ("paper", "tables"),
    [
        ("IFP", ["1", "2", "3", "4", "5", "6", "figure 7"]),
        ("DCPT", ["1", "five tasks", "ten tasks", "mixed (CDD-11)", "DC-guided"]),
        ("MaskDCPT", ["five tasks", "5"]),
        ("IPT", ["1", "2", "3", "4", "5", "6", "figure 6"]),
        ("PTG-RM", [*"123456789", "10"]),
    ],
)
def test_no_table_of_a_paper_is_left_out(paper, tables):
    (section,) = re.findall(rf"^## {paper} \(.*?(?=^## |\Z)", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    found = {
        name.strip()
        for line in section.splitlines()
        if line.startswith("| ")
        for name in line[2:].split(" | ")[0].split(",")
    }
    assert set(tables) <= found


def test_every_published_table_that_we_know_has_its_paper_here():
    path = DATA.parent / "specs" / "published_results_dcpt_ipt_ptgrm.csv"
    if not path.exists():
        pytest.skip(f"no {path}")
    with path.open() as file:
        papers = {row["paper"] for row in csv.DictReader(file)}
    assert all(f"## {paper} (" in PAGE.read_text() for paper in papers)
