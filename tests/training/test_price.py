"""What a run takes is said before it begins, and a budget is kept; measuring changes nothing."""

from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import gesso
from gesso import _discovery, _values, cli
from gesso._recipes import read_recipe
from gesso.commands import _defaults
from gesso.commands._defaults import settle
from gesso.commands.finetune import Finetune
from gesso.training import run as running
from gesso.training.price import RESERVE, Cost, Length, advise, fit_into, lay_out, seconds_of, spell_budget
from tests._runs import write_pairs

NETWORK = {"backbone": "nafnet_tiny", "backbone_args": {"width": 4, "enc_blk_nums": [1], "dec_blk_nums": [1]}}
RUN = {"task": "derain", "crop_size": 16, "batch_size": 1, "precision": "float32", "sample_every": 0, "holdout": 1}
COST = Cost(once=10, step=0.5, measurement=4, sheet=1, saving=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), 4)


@pytest.fixture
def timed(monkeypatch):
    """Has the parts of every run take as long as is said."""

    def say(cost: Cost) -> None:
        monkeypatch.setattr(running, "measure_cost", lambda *_: cost)

    say(COST)
    return say


def finetune(out, data, **options):
    return gesso.finetune(**{"out": out, "data": data, **NETWORK, **RUN, **options})


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ------------------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45m", 2700), ("1h", 3600), ("1h30m", 5400), ("90s", 90), ("1h 30m", 5400), ("1.5h", 5400), ("2d", 172_800),
     ("1d2h3m4s", 93_784), ("0h5m", 300)],
)  # fmt: skip
def test_times_are_read_as_people_write_them(text, seconds):
    assert _values.seconds_in(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "45", "m", "-5m", "5 apples", "30m1h", "1h1h", "0m", "0h0m0s", "1:30", "1e3s", "٣m"]
)
def test_what_is_no_time_is_refused_before_anything_is_done(text, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"^budget: expected a time such as 45m, 1h30m or 90s or null, got "):
        gesso.finetune(task="derain", out=tmp_path / "run", budget=text)
    assert cli.main(["finetune", "--task", "derain", "--out", str(tmp_path / "run"), f"--budget={text}"]) == 2
    assert "a time such as 45m" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@given(st.floats(1, 1e6))
def test_a_spelled_budget_is_at_least_the_time_and_hardly_more(seconds):
    read = _values.seconds_in(spell_budget(seconds))
    assert seconds <= read <= seconds + 61


# --------------------------------------------------------------------------------------------------------- deciding


def test_what_is_due_is_counted_as_it_falls_due():
    def counts(length: Length) -> dict[str, int]:
        return {part.what: part.times for part in lay_out(COST, length)}

    assert counts(Length(100, val_every=40, sample_every=50, save_every=0)) == {
        "data and network": 1, "steps": 100, "measurements": 3, "sample sheets": 2, "saved states": 1,
    }  # fmt: skip
    assert counts(Length(100, done=60, val_every=40))["measurements"] == 2  # at 80 and at the end
    assert counts(Length(100, val_every=0, val_at_start=True))["measurements"] == 2
    assert counts(Length(100, done=100, val_every=10))["measurements"] == 0


@given(
    st.builds(Cost, *(st.floats(0, 50) for _ in range(5))),
    st.integers(1, 10**6),
    st.integers(0, 1000),
    st.floats(30, 1e6),
    st.booleans(),
)
def test_the_length_that_is_chosen_fits_and_a_longer_one_does_not(cost, most, every, seconds, choose):
    length = Length(most, val_every=every, sample_every=500, save_every=500)
    try:
        chosen = fit_into(seconds, cost, length, choose_measuring=choose)
    except ValueError as error:
        assert "too short" in str(error)  # noqa: PT017
        return
    room = (1 - RESERVE) * seconds
    assert seconds_of(lay_out(cost, chosen)) <= room * (1 + 1e-9)
    assert 1 <= chosen.steps <= most
    if chosen.steps < most and not choose:
        longer = Length(chosen.steps + 501, val_every=every, sample_every=500, save_every=500)
        assert cost.step == 0 or seconds_of(lay_out(cost, longer)) > room or longer.steps > most


def test_how_often_to_measure_is_chosen_where_nobody_says_and_takes_no_more_than_its_share():
    often = fit_into(1000, COST, Length(10**6), choose_measuring=True)
    assert often.times(often.val_every) == 5
    rarely = fit_into(1000, Cost(step=0.5, measurement=150), Length(10**6), choose_measuring=True)
    assert rarely.times(rarely.val_every) == 1
    assert fit_into(1000, COST, Length(10**6, val_every=70), choose_measuring=False).val_every == 70


def test_a_budget_that_has_room_for_no_steps_says_the_least_that_has():
    with pytest.raises(ValueError, match="budget: 20 s is too short") as error:
        fit_into(20, COST, Length(1000), choose_measuring=False)
    least = str(error.value).rpartition(" ")[2]
    assert fit_into(_values.seconds_in(least), COST, Length(1000), choose_measuring=False).steps >= 20


def test_beyond_an_hour_it_is_said_how_to_be_shorter():
    length = Length(100_000)
    told = advise(seconds_of(lay_out(COST, length)), COST, length, "--backbone nafnet_tiny")
    assert told == "longer than an hour; shorter: --budget 1h or --steps 6400 or --backbone nafnet_tiny"
    assert seconds_of(lay_out(COST, Length(6400))) < 3600
    assert advise(3000, COST, Length(5000)) == ""


# ------------------------------------------------------------------------------------------------------------- runs


def test_the_plan_is_printed_before_the_first_step_within_80_columns(tmp_path, data, timed, capsys):
    finetune(tmp_path / "run", data, steps=2, val_every=1)
    said = capsys.readouterr().out
    plan = said[said.index("plan ") : said.index("disk:")].splitlines()
    rows = {line.rsplit(maxsplit=5)[0]: line for line in plan}
    assert "the whole" in said
    assert "memory: " in said
    assert said.index("the whole") < said.index("step 1: ")
    assert max(map(len, plan)) <= 80, rows


VERBS = {
    "pretrain": ["--backbone", "nafnet_tiny"],
    "finetune": ["--backbone", "nafnet_tiny", "--task", "derain", "--holdout", "1"],
    "refine": ["--checkpoint", "nafnet_tiny", "--prior", "none", "--task", "derain", "--holdout", "1"],
}


def words_of(verb, data, *more):
    words = [verb, *VERBS[verb], "--crop_size", "16", "--batch_size", "1", "--precision", "float32", *more]
    return [*words, "--out", "run", *(["--data", str(data)] if verb != "pretrain" else [])]


@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_prints_the_plan_and_writes_nothing(verb, tmp_path, data, timed, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words_of(verb, data, "--steps", "50"), "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "the whole" in said
    assert "written to" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_trains_keeps_to_a_budget_and_is_finished_once(
    verb, tmp_path, data, timed, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    timed(Cost(once=1, step=3, measurement=1, sheet=1, saving=1))  # 90 s less the reserve have room for 24 or less
    words = words_of(verb, data, "--budget", "90s", "--sample_every", "0", "--steps", "40", "--schedule", "constant")
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    steps = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["steps"]
    assert 20 <= steps <= 24
    assert f"budget 90s: --steps {steps}" in said
    assert cli.main([*words, "--resume"]) == 0
    said = capsys.readouterr().out
    assert f"finished already: all {steps} steps are done" in said
    assert "the whole" not in said


def test_a_dry_run_of_a_run_that_has_begun_prints_what_is_left_and_leaves_it_alone(tmp_path, data, capsys):
    finetune(tmp_path / "run", data, steps=4, schedule="constant")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="already contains a run"):
        finetune(tmp_path / "run", data, steps=4, schedule="constant", dry_run=True)
    capsys.readouterr()
    finetune(tmp_path / "run", data, steps=9, schedule="constant", dry_run=True, resume=True)
    assert next(line for line in capsys.readouterr().out.splitlines() if line.startswith("steps ")).split()[1] == "5"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_budgeted_run_is_the_run_of_the_steps_that_it_chose_and_goes_on_with_them(tmp_path, data, timed, monkeypatch):
    budget = {"budget": "1m", "steps": None, "val_every": None, "save_every": 10}
    path = finetune(tmp_path / "budget", data, **budget)
    recipe = yaml.safe_load((tmp_path / "budget/config.yaml").read_text())
    assert {"budget", "dry_run"}.isdisjoint(recipe)
    steps, val_every = recipe["steps"], recipe["val_every"]
    assert (steps, val_every) == (40, 14)
    named = finetune(tmp_path / "named", data, steps=steps, val_every=val_every, save_every=10)
    assert same(path, named)

    def stop(self, trainer, module, *args):
        if module.step == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gesso.training.callbacks.Samples.on_train_batch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(tmp_path / "stopped", data, **budget)
    timed(Cost(once=1, step=0.001))  # the machine is fast today: the run stays as it was chosen
    assert same(path, finetune(tmp_path / "stopped", data, **budget, resume=True))


def test_measuring_changes_no_step_of_a_run(tmp_path, data, monkeypatch):
    measured = finetune(tmp_path / "measured", data, steps=3, schedule="constant")
    monkeypatch.setattr(running, "measure_cost", lambda *_: Cost())
    assert same(measured, finetune(tmp_path / "not", data, steps=3, schedule="constant"))


def test_a_budget_takes_named_steps_for_the_most_and_a_recipe_too(tmp_path, data, timed, capsys):
    finetune(tmp_path / "few", data, budget="10h", steps=3)
    assert yaml.safe_load((tmp_path / "few/config.yaml").read_text())["steps"] == 3
    assert "budget 10h: --steps 3" in capsys.readouterr().out


def test_a_budget_that_is_too_small_leaves_what_lies_there(tmp_path, data, timed):
    finetune(tmp_path / "run", data, steps=2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="the least that is sensible is --budget "):
        finetune(tmp_path / "run", data, steps=None, budget="5s", overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


# --------------------------------------------------------------------------------------------------------- defaults


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"task": "dehaze"}, {"backbone": "nafnet_tiny", "steps": 600, "crop_size": 64, "batch_size": 4, "lr": 1e-4,
                              "val_every": 300, "warmup_steps": 20, "init": "primed:dehaze/nafnet_tiny"}),
        ({}, {"backbone": "restormer_tiny", "init": "primed:derain/restormer_tiny"}),  # the best that there is
        ({"init": "primed"}, {"backbone": "restormer_tiny", "init": "primed:derain", "lr": 1e-4}),
        ({"init": "primed:derain/nafnet_tiny"}, {"backbone": "nafnet_tiny", "steps": 600}),
        ({"init": "primed", "steps": 7}, {"backbone": "restormer_tiny", "steps": 7, "lr": 3e-4}),
        ({"init": "primed", "backbone": "nafnet_tiny"}, {"init": "primed:derain", "steps": 300_000}),
        ({"init": "random"}, {"backbone": "nafnet_tiny", "init": "random", "lr": 1e-3}),
        ({"lr": 0.5, "crop_size": 32}, {"lr": 0.5, "crop_size": 32, "steps": 600}),
        ({"steps": 7}, {"backbone": "restormer", "steps": 7, "crop_size": 128, "lr": 3e-4, "init": "random"}),
        ({"backbone": "nafnet_tiny"}, {"steps": 300_000, "batch_size": 8, "val_every": 4000, "warmup_steps": 0}),
        ({"task": "sr", "scale": 2}, {"init": "random", "lr": 1e-3}),
    ],
)  # fmt: skip
def test_what_nobody_names_is_chosen_by_what_there_is(named, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settled = settle(Finetune(**{"out": tmp_path, "task": "derain", "data": tmp_path, **named}))
    assert {name: getattr(settled, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (
            {},
            {
                "init": "primed:derain/restormer_tiny",
                "steps": 60,
                "val_every": 10,
                "loss": "ssim",
                "ema_decay": 0.95,
                "rehearse": 0.5,
            },
        ),
        ({"loss": "l1", "lr": 0.5, "rehearse": 0.0}, {"loss": "l1", "lr": 0.5, "rehearse": 0.0, "steps": 60}),
        ({"budget": "45m"}, {"steps": 60, "val_every": 10}),  # more would forget
        ({"steps": 7}, {"steps": 7, "loss": None, "ema_decay": None, "rehearse": 0.0}),
        ({"init": "random"}, {"steps": 600, "loss": None, "lr": 1e-3}),
        ({"init": "primed:derain/nafnet_tiny"}, {"backbone": "nafnet_tiny", "steps": 60, "loss": "ssim"}),
        ({"task": "desnow"}, {"init": "random", "steps": 600}),  # no network comes with the package
        (
            {"task": "dehaze", "init": "primed:derain/nafnet_tiny"},
            {"steps": 600, "lr": 1e-3, "loss": None},
        ),  # another's
        ({"init": "primed", "keep_last": False}, {"backbone": "restormer_tiny", "steps": 600, "lr": 1e-3}),
        ({"init": "primed", "transfer": "paper"}, {"backbone": "restormer_tiny", "steps": 600, "lr": 1e-3}),
    ],
)
def test_few_pairs_take_the_recipe_that_is_made_for_them(named, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_defaults, "count_pairs", lambda command: 30)
    settled = settle(Finetune(**{"out": tmp_path, "task": "derain", "data": tmp_path, "accelerator": "cpu", **named}))
    assert {name: getattr(settled, name) for name in expected} == expected
    said = capsys.readouterr().out
    assert ("the recipe few_pairs for 30 pairs" in said) == (settled.steps == 60)
    assert ("chosen: --init" in said) == (
        str(settled.init).startswith("primed") and not {"init", "steps"} & named.keys()
    )


def test_the_recipe_for_few_pairs_is_what_they_are_trained_by(tmp_path, monkeypatch):
    """A run that names nothing, and one that names the recipe, are the same."""
    monkeypatch.setattr(_defaults, "count_pairs", lambda command: 30)
    recipe = read_recipe(_discovery.recipe_file("finetune", "few_pairs"))
    common = {"out": tmp_path, "task": "derain", "data": tmp_path}
    named, unnamed = settle(Finetune(**common, **recipe)), settle(Finetune(**common, accelerator="cpu"))
    differing = {option: value for option, value in vars(named).items() if value != vars(unnamed)[option]}
    assert differing.keys() <= {"accelerator", "betas", "init"}  # betas: a list there, and here the same as a tuple
    assert (tuple(named.betas), named.init) == (unnamed.betas, "primed:derain")
    assert unnamed.init == "primed:derain/restormer_tiny"  # which is the same file


@pytest.mark.parametrize(("pairs", "backbone"), [(4, "restormer_tiny"), (200, "restormer")])
def test_with_a_gpu_the_number_of_pairs_decides(pairs, backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(_defaults, "count_pairs", lambda command: pairs)
    assert _defaults.settle(Finetune(out=tmp_path, task="derain", data=tmp_path)).backbone == backbone
    on_cpu = Finetune(out=tmp_path, task="derain", data=tmp_path, accelerator="cpu")
    assert _defaults.settle(on_cpu).backbone == "restormer_tiny"


def test_a_resumed_run_keeps_what_was_chosen_when_it_began(tmp_path, data, monkeypatch, capsys):
    recipe = "# gesso finetune --config THIS_FILE --out FOLDER\nbackbone: uformer_tiny\nsteps: 9\nlr: 0.25\n"
    (tmp_path / "config.yaml").write_text(recipe)
    resumed = Finetune(out=tmp_path, task="derain", data=data, resume=True)
    settled = settle(resumed)
    assert (settled.backbone, settled.steps, settled.lr, settled.crop_size) == ("uformer_tiny", 9, 0.25, 128)
    assert "chosen" not in capsys.readouterr().out
