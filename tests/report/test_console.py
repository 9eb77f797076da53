"""What is printed is what was given: names of files and numbers in brackets are no markup."""

import pytest

from gesso.report.console import complain, console, say, show_entries, show_table, track, warn

NAME = "photos [x] [/y] [bold]"


def test_brackets_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for tell in (say, warn, complain):
        tell(NAME)
    say(NAME, "bold")
    show_table([NAME, "value"], [[NAME, "[0.1, 0.2]"]], title=NAME)
    list(track([1], NAME))
    printed = capfd.readouterr().out
    assert printed.count(NAME) == 8, printed
    assert all(part in printed for part in ("warning: photos", "error: photos", "[0.1, 0.2]")), printed


@pytest.mark.parametrize(
    ("names", "prose", "expected"),
    [
        (["rain"], "A rainy image.", ["name  what it is", "rain  A rainy image."]),
        (["a" * 60], "A rainy image.", ["a" * 60, "  A rainy image."]),  # a column of 20 letters would be a sliver
        (["rain"], "drops " * 60, ["rain"]),  # a cell of more than three lines
    ],
)
def test_entries_are_a_table_where_their_prose_has_room_and_paragraphs_else(
    names, prose, expected, capsys, monkeypatch
):
    monkeypatch.setattr(console, "_width", 80)
    show_entries([*["name"] * len(names), "what it is"], [[*names, prose]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[: len(expected)] == expected
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 6
