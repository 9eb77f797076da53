"""What is printed is what was given: names of files and numbers in brackets are no markup."""

import pytest

from gesso.report.console import complain, say, show_table, track, warn

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
