"""What a comparison takes is said before anything runs, of what is left of it; a budget is kept, tuning included."""

import csv
import io
import json
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import gesso
from gesso import cli
from gesso.commands.finetune import Finetune
from gesso.comparison import _plan as _comparison_plan
from gesso.comparison import jobs
from gesso.comparison.compare import compare
from gesso.comparison.jobs import Job
from gesso.comparison.price import Size
from gesso.comparison.time_left import TimeLeft
from gesso.report.console import console
from gesso.training.callbacks import Samples
from gesso.training.price import Cost
from tests._runs import write_pairs

NETWORK = {"backbone": "nafnet_tiny"}
SMALL = {"width": 4, "enc_blk_nums": [1], "dec_blk_nums": [1], "middle_blk_num": 1}
RUNS = {"task": "derain", "steps": 2, "crop_size": 16, "batch_size": 1, "lr": 1e-3, "folds": 2, "seeds": "0"}
TINY = {**NETWORK, **RUNS, "backbone_args": SMALL, "finetune_args": {"precision": "float32"}, "devices": 1}
IFP = {"starts": "random,ifp", "pretrain_args": {"crop_size": 16, "batch_size": 1}}
TUNED = {"starts": "random,mimetic", "tune": "lr=1e-4,1e-3", "tune_folds": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), 5)


@pytest.fixture(autouse=True)
def seconds(monkeypatch):
    """Has the parts of every run take as long as is said, whatever the machine does."""
    monkeypatch.setattr(_comparison_plan, "price", lambda _: Cost(once=10, step=0.5, measurement=4))
    monkeypatch.setattr(console, "_width", 80)


def numbers(said):
    """How many of each part a printed plan has."""
    begin = max(said.find(word) for word in ("plan  ", "what is left  "))
    lines = said[begin : said.index("the whole", begin)].splitlines()[1:]
    return {line.split("  ")[0]: int(line.split("  ", 1)[1].split()[0]) for line in lines}


def fine_tuning(said):
    """How many runs of fine-tuning a printed plan has, and the seconds that they take."""
    line = next(line for line in said.splitlines() if line.startswith("fine-tuning runs"))
    *_, number, unit = line.split()
    return int(line.split()[2]), float(number) * {"s": 1, "min": 60}[unit]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_counts_every_run_and_tuning_and_writes_nothing(tmp_path, data, capsys):
    compare(out=tmp_path / "out", data=data, dry_run=True, **{**TINY, **TUNED, "seeds": "0,1,2"})
    said = capsys.readouterr().out
    assert numbers(said) == {
        "data and network": 1,
        "tuning runs": 2 * 2 * 2 * 2,  # arms, values, folds, parts
        "fine-tuning runs": 2 * 2 * 3,
        "pictures and page": 1,
    }
    assert max(map(len, said[said.index("plan ") :].splitlines())) <= 80
    assert not list(tmp_path.iterdir())


def test_an_arm_that_fixes_a_value_is_not_tuned_in_the_price(tmp_path, data, capsys):
    arms = {"random": {}, "fixed": {"lr": 1e-4}}
    compare(out=tmp_path / "out", data=data, arms=arms, dry_run=True, **{**TINY, **TUNED, "starts": None})
    assert numbers(capsys.readouterr().out)["tuning runs"] == 2 * 2 * 2


def test_the_command_line_prints_the_plan_alone(tmp_path, data, capsys):
    words = "compare --task derain --backbone nafnet_tiny --steps 9 --starts random,mimetic --tune lr=1,2 --devices 1"
    assert cli.main([*words.split(), "--data", str(data), "--out", str(tmp_path / "out"), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert numbers(said)["tuning runs"] == 2 * 2 * 4 * 3
    assert "written to" not in said
    assert not list(tmp_path.iterdir())


def chosen(said):
    """The options that a budget has chosen."""
    words = said[said.index("budget ") :].splitlines()[0].split(": ", 1)[1].replace(",", " ,").split(" , ")
    return {word.split()[0].removeprefix("--"): word.split()[1] for word in words}


def budgeted(out, data, capsys, budget, **options):
    compare(out=out, data=data, dry_run=True, budget=budget, **{**TINY, "steps": None, **options})
    return chosen(capsys.readouterr().out)


def test_a_budget_has_fewer_steps_where_values_are_tuned(tmp_path, data, capsys):
    plain = budgeted(tmp_path / "a", data, capsys, "1h", starts="random,mimetic")
    tuned = budgeted(tmp_path / "b", data, capsys, "1h", **TUNED)
    assert int(plain["steps"]) > 3 * int(tuned["steps"]) > 100
    assert not list(tmp_path.iterdir())


def test_a_budget_divides_the_time_between_pretraining_and_the_rest(tmp_path, data, capsys):
    found = budgeted(tmp_path / "a", data, capsys, "1h", **IFP)
    assert {"steps", "seeds", "val_every", "pretrain_steps"} == found.keys()
    assert 20 < int(found["pretrain_steps"]) < 30_000


def test_a_budget_that_is_too_small_says_the_least_that_is_sensible(tmp_path, data):
    with pytest.raises(ValueError, match=r"budget: 60 s is too short; one seed .* is --budget (\d+)m"):
        compare(out=tmp_path / "out", data=data, budget="60s", **{**TINY, **TUNED, "steps": None})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, ""),
        ({"seeds": "0,1,2"}, "1 of 3 seeds, without 1, 2"),
        ({"seeds": "7,5"}, "1 of 2 seeds, without 5"),
        ({"steps": 400}, "20 of 400 steps"),
        ({"steps": 5_000, "seeds": [0, 1]}, "20 of 5,000 steps; 1 of 2 seeds, without 1"),
        ({"pretrain_steps": 900, "steps": 20}, "30 of 900 pretrain_steps"),
    ],
)
def test_what_a_budget_leaves_out_of_what_was_asked_for_is_said(tmp_path, data, monkeypatch, capsys, asked, told):
    monkeypatch.setattr(_comparison_plan, "fit_into", lambda seconds, plan, most, **_: Size(20, 1, 20, 30))
    options = {**TINY, "steps": None, "seeds": "0", **(IFP if "pretrain_steps" in asked else {}), **asked}
    compare(out=tmp_path / "out", data=data, dry_run=True, budget="1h", **options)
    said = " ".join(capsys.readouterr().out.split())
    rest = "; the same command without --budget runs the rest"
    assert (f"leaves out some of what was asked for: {told}{rest}" in said) if told else (rest not in said)


def test_a_tuned_comparison_within_a_budget_goes_on_with_what_it_chose_and_is_finished_once(
    tmp_path, data, monkeypatch, capsys
):
    given = {"out": tmp_path / "out", "data": data, "budget": "10h", **TINY, **TUNED, "seeds": "0"}
    run, begun = Job.run, []

    def stopped(job):
        begun.append(job.name)
        if len(begun) == 18:  # the second run of fine-tuning
            raise KeyboardInterrupt
        run(job)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            compare(**given)
    said = capsys.readouterr().out
    assert "budget 10h: --steps 2, " in said
    assert "the whole comparison: " in said
    recipe = yaml.safe_load((tmp_path / "out/config.yaml").read_text())
    assert recipe["steps"] == 2
    assert "budget" not in recipe

    before = files(tmp_path)
    compare(dry_run=True, **given)
    said = capsys.readouterr().out
    assert "17 of 20 runs are done already" in said
    assert numbers(said) == {"data and network": 1, "fine-tuning runs": 3, "pictures and page": 1}
    assert files(tmp_path) == before
    assert compare(**given).failures == {}

    capsys.readouterr()
    monkeypatch.setattr(_comparison_plan, "price", lambda _: pytest.fail("a finished comparison has no price"))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    outcome = compare(dry_run=True, **given)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    again = compare(**given)
    said = capsys.readouterr().out
    assert again == outcome
    assert said.count("finished already: all 20 runs are done") == 2
    assert "plan " not in said
    assert all(said.count(sentence) == 2 for sentence in outcome.verdicts)
    assert str(outcome.page) in said


def test_a_run_that_was_stopped_costs_what_is_left_of_it(tmp_path, data, monkeypatch, capsys):
    given = {"out": tmp_path / "out", "data": data, **TINY, "steps": 6, "starts": "random,mimetic"}

    def stop(self, trainer, module, *_):
        if module.step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Samples, "on_train_batch_end", stop)
        patch.setattr("gesso.comparison._runs.pretraining_job", pytest.fail)  # there is none
        given["finetune_args"] = {"precision": "float32", "save_every": 4}
        with pytest.raises(KeyboardInterrupt):
            compare(**given)
    capsys.readouterr()
    compare(dry_run=True, **given)
    count, seconds = fine_tuning(capsys.readouterr().out)
    whole = 10 + 6 * 0.5 + 7 * 4  # with a measurement before each step, and at the end
    left = 10 + 2 * 0.5 + 2 * 4
    assert count == 4
    assert seconds == pytest.approx(3 * whole + left, rel=0.1)


def test_another_comparison_is_refused_before_it_is_priced(tmp_path, data, monkeypatch):
    compare(out=tmp_path / "out", data=data, starts="random,mimetic", **TINY)
    monkeypatch.setattr(_comparison_plan, "price", lambda _: pytest.fail("priced"))
    with pytest.raises(ValueError, match="contains another run"):
        compare(out=tmp_path / "out", data=data, starts="random,mimetic", **{**TINY, "crop_size": 24})


@pytest.mark.parametrize("devices", [1, 2])
def test_side_by_side_the_time_is_shared(devices, tmp_path, data, capsys):
    compare(out=tmp_path / "out", data=data, dry_run=True, starts="random,mimetic", **{**TINY, "devices": devices})
    count, seconds = fine_tuning(capsys.readouterr().out)
    assert count == 4
    assert seconds == pytest.approx(4 * (10 + 1 + 3 * 4) / devices, rel=0.1)


class InThisProcess:
    """A process of a job that is none: the job runs here, one at a time. `test_compare` has real ones."""

    lock = threading.Lock()

    def __init__(self, words, **_):
        self.folder, self.stdin = Path(words[-1]), io.BytesIO()

    def wait(self):
        with self.lock, jobs.mark_as_comparison():
            Job.read(self.folder).run()
        return 0


def test_side_by_side_the_time_that_is_left_is_said(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr(jobs, "subprocess", SimpleNamespace(Popen=InThisProcess, PIPE=None, STDOUT=None))
    compare(out=tmp_path / "out", data=data, starts="random,mimetic", **{**TINY, "devices": 2})
    said = capsys.readouterr().out
    assert "2 of 4 runs side by side; the whole comparison: " in said
    assert all(f"{number} of 4 runs; the whole comparison: " in said for number in (1, 2, 3))
    assert all(len(line) <= 80 for line in said.splitlines() if "the whole comparison" in line)


# ---------------------------------------------------------------------------------------------------- the next command


def lines_of(out):
    return json.loads((out / "comparison.json").read_text())["next_commands"]


def option(line, name):
    words = shlex.split(line)
    return words[words.index(f"--{name}") + 1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "backbone.safetensors"
    gesso.save(gesso.create_backbone("nafnet_tiny"), path)
    return path


def test_the_next_command_of_every_kind_of_arm_parses_and_starts(tmp_path, data, weights, capsys):
    arms = {
        "random": {},
        "shaped": {"init": "mimetic"},
        "primed": {"init": "primed:derain"},
        "slower": {"init": "primed:derain/nafnet_tiny", "lr": 3e-4, "features_lr": 0.1},
        "fresh": {"init": "primed:derain", "keep_last": False, "shrink": 0.5, "rescale": True},
        "mine": {"init": str(weights), "freeze_features": True},
        "cut": {"augment": "cutblur", "warmup_steps": 1},
        "ifp": {"pretrain": {"pretext": "ifp", "steps": 1, "crop_size": 16, "batch_size": 1}},
        "again": {"init": "leaves-ifp@1", "pretrain": {"steps": 1, "crop_size": 16, "batch_size": 1}},
        "restoring": {"init": "restore_leaves_small", "pretrain": {"steps": 1, "crop_size": 16, "batch_size": 1}},
    }
    tiny = {**TINY, "backbone_args": None, "steps": 1, "val_every": 1, "lr": None, "restoring_lr": 1e-4}
    assert compare(out=tmp_path / "out", data=data, arms=arms, **tiny).failures == {}
    rates = {name: option(line, "lr") for name, line in lines_of(tmp_path / "out").items()}
    assert {name for name, rate in rates.items() if rate == "0.0001"} == {"primed", "restoring"}
    assert {rate for name, rate in rates.items() if name not in ("primed", "restoring")} == {"0.0003"}
    for name, line in lines_of(tmp_path / "out").items():
        words = shlex.split(line)
        assert words[:2] == ["gesso", "finetune"], name
        Finetune(**cli.read_options(Finetune, words[2:]))
        words[words.index("--out") + 1] = str(tmp_path / f"best-{name}")
        assert cli.main([*words[1:], "--dry_run"]) == 0, line
        assert "the whole" in capsys.readouterr().out
    assert option(lines_of(tmp_path / "out")["primed"], "init") == "primed:derain/nafnet_tiny"


def test_tuned_arms_go_on_with_what_most_of_their_runs_chose(tmp_path, data):
    compare(out=tmp_path / "out", data=data, **TINY, **TUNED)
    facts = json.loads((tmp_path / "out/comparison.json").read_text())
    for name, line in facts["next_commands"].items():
        own = [choice["values"]["lr"] for choice in facts["choices"] if choice["arm"] == name]
        assert float(option(line, "lr")) == max(own, key=own.count)


@pytest.mark.parametrize(
    ("named", "rate"), [({}, 1e-4), ({"lr": 2e-3}, 2e-3), ({"restoring_lr": 5e-5}, 5e-5), ({"tune": "lr=1,2"}, 1e-3)]
)
def test_a_start_that_restores_already_has_its_own_rate_where_nobody_names_one(
    named, rate, tmp_path, data, monkeypatch
):
    from gesso.comparison._compare import design_of
    from gesso.comparison._plan import settle
    from gesso.comparison.compare import Compare

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    design = design_of(settle(Compare(out=tmp_path / "out", data=data, task="derain", **named)))
    rates = {run.arm.name: run.command.lr for run in design.runs([])}
    assert rates == {"random": named.get("lr", 1e-3), "ifp": named.get("lr", 1e-3), "primed:derain": rate}
    assert {run.arm.name: run.command.keep_last for run in design.runs([])}["primed:derain"]


@pytest.mark.parametrize("late", [True, False])
def test_seeds_that_a_budget_has_no_more_time_for_are_left_out_and_come_later(
    tmp_path, data, monkeypatch, capsys, late
):
    """The machine may have more to do than when a step was measured."""
    options = {"data": data, "out": tmp_path / "out", "starts": "random,mimetic", **TINY, "seeds": "0,1"}
    with monkeypatch.context() as patch:
        patch.setattr(TimeLeft, "seconds_for", lambda *_: 4000.0 if late else 0.0)
        compare(budget="1h", **options)
    said = capsys.readouterr().out
    assert ("budget 1h: left out: seed 1" in said.replace("\n", " ")) is late
    assert seeds_of(tmp_path / "out") == ({"0"} if late else {"0", "1"})
    again = compare(budget="1h", **options)
    assert again.exit_code == 0
    assert seeds_of(tmp_path / "out") == {"0", "1"}


def seeds_of(out):
    with (out / "comparison.csv").open(newline="") as file:
        return {row["seed"] for row in csv.DictReader(file)}
