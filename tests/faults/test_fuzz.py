"""A part of `python -m tests.faults.fuzz` that is the same every time."""

import mmap
import signal
from itertools import pairwise

import pytest

from gesso import cli
from tests.faults import fuzz

CASES = {"images": 300, "checkpoints": 100, "recipes": 50}


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, _, case in fuzz.kinds()])
def test_damaged_files_are_refused_or_read_rightly(name, case):
    tally = fuzz.run(case, range(CASES[name]), seed=0)
    assert not tally.wrong
    assert tally.verdicts["refused"] > 10
    assert tally.verdicts.total() == CASES[name]


def test_crashes_hangs_and_greed_are_seen(monkeypatch):
    def case(number, seed, folder):
        if number == 2:
            signal.raise_signal(signal.SIGSEGV)
        if number == 4:
            signal.raise_signal(signal.SIGPROF)  # as the limit of time does
        if number == 6:
            mmap.mmap(-1, 80 << 20).write(bytes(80 << 20))  # new pages, whatever the process has lying free
        if number == 8:
            raise KeyError("unexpected")
        return "refused"

    monkeypatch.setattr(fuzz, "MOST_RESIDENT", 50 << 20)
    tally = fuzz.run(case, range(10), seed=0)
    assert sorted(tally.wrong) == [2, 4, 6, 8]
    assert "SIGSEGV" in tally.wrong[2]
    assert "too long" in tally.wrong[4]
    assert "took" in tally.wrong[6]
    assert "KeyError" in tally.wrong[8]
    assert tally.verdicts == {"refused": 6, "wrong": 4}


def test_a_recipe_that_unfolds_without_end_is_refused(tmp_path):
    def case(number, seed, folder):
        lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
        lines += [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in pairwise("abcdefghij")]
        texts = ["\n".join(lines), f"stages: {'[' * 5000}{']' * 5000}", "out: " + "9" * 100_000, "stages: &a [*a]"]
        (folder / "bomb.yaml").write_text(texts[number])
        code = cli.main(["finetune", "--config", str(folder / "bomb.yaml"), "--out", str(folder / "run")])
        return "refused" if code == 2 else f"WRONG: exit code {code}"

    assert fuzz.run(case, range(4), seed=0).verdicts == {"refused": 4}
