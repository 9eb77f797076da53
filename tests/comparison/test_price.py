"""What a comparison takes is arithmetic over measured seconds: what is left, within a budget, and while it runs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gesso.comparison import time_left
from gesso.comparison.price import LEAST_STEPS, Item, Plan, Size, fit_into, lay_out, makespan, resize
from gesso.comparison.time_left import TimeLeft
from gesso.training.price import RESERVE, Cost, Length, Part, seconds_of

STEP = Cost(once=2, step=0.1, measurement=1)


def runs(seeds=2, folds=2, arms=3, steps=100, cost=STEP):
    length = Length(steps, val_every=50, val_at_start=True)
    return [
        Item(f"arm {arm}, seed {seed}, fold {fold}", "fine-tuning runs", cost, length, seed, has_pictures=seed == 0)
        for seed in range(seeds)
        for fold in range(folds)
        for arm in range(arms)
    ]


def trials(count=6, steps=100):
    return [Item(f"trial {number}", "tuning runs", STEP, Length(steps)) for number in range(count)]


def pretrainings(*steps):
    return [
        Item(f"pre-training {n}", "pre-training", Cost(once=1, step=0.2), Length(each)) for n, each in enumerate(steps)
    ]


def counted(plan):
    return {part.what: (part.times, round(part.seconds, 6)) for part in lay_out(plan)}


def test_every_kind_of_run_is_counted_with_what_it_takes():
    found = counted(Plan(5, [*pretrainings(10, 20), *trials(), *runs()]))
    assert found == {
        "data and network": (1, 5),
        "pre-training": (2, 1 + 2 + 1 + 4),
        "tuning runs": (6, 6 * (2 + 10 + 1)),
        "fine-tuning runs": (12, 12 * (2 + 10 + 3)),
        "pictures and page": (1, 30 + 6),
    }


def test_of_a_run_that_was_stopped_only_what_is_left_is_counted():
    stopped = replace(runs()[0], length=Length(100, done=80, val_every=50))
    assert stopped.seconds == pytest.approx(2 + 20 * 0.1 + 1)


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(1, 5))
def test_side_by_side_takes_no_less_than_its_share_and_no_more_than_in_turn(seconds, devices):
    together = makespan(seconds, devices)
    assert max([sum(seconds) / devices, *seconds]) <= together + 1e-6
    assert together <= sum(seconds) + 1e-6


def test_one_pretraining_does_not_get_faster_on_two_devices():
    assert counted(Plan(0, pretrainings(10), devices=2))["pre-training"] == (1, 3)
    assert counted(Plan(0, pretrainings(10, 10, 10), devices=2))["pre-training"] == (3, 6)


@given(
    st.floats(60, 20_000), st.integers(0, 30), st.lists(st.integers(1, 5000), max_size=3), st.integers(1, 4),
    st.booleans(),
)  # fmt: skip
def test_what_a_budget_chooses_fits_with_tuning_counted(seconds, tuned, steps, devices, choose):
    plan = Plan(3, [*pretrainings(*steps), *trials(tuned, 5000), *runs(seeds=3, steps=5000)], devices)
    most = Size(5000, 3, 500)
    room = (1 - RESERVE) * seconds
    try:
        size = fit_into(seconds, plan, most, choose_measuring=choose)
    except ValueError as error:
        assert "the least that is sensible is --budget" in str(error)  # noqa: PT017
        least = Size(LEAST_STEPS, 1, LEAST_STEPS if choose else 500, min(LEAST_STEPS, max(steps, default=0)) or None)
        assert seconds_of(lay_out(resize(plan, least))) > room
        return
    assert seconds_of(lay_out(resize(plan, size))) <= room * (1 + 1e-9)
    assert LEAST_STEPS <= size.steps <= 5000
    assert 1 <= size.seeds <= 3
    assert size.pretrain_steps is None or size.pretrain_steps <= max(steps)


def test_tuning_takes_its_time_from_the_steps_of_a_budget():
    def chosen(tuned):
        plan = Plan(0, [*trials(tuned, 5000), *runs(seeds=1, steps=5000)])
        return fit_into(1800, plan, Size(5000, 1, 500), choose_measuring=True).steps

    assert chosen(0) > chosen(6) > chosen(24) >= LEAST_STEPS


# ------------------------------------------------------------------------------------------------------- while it runs


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])

    def go(seconds):
        now[0] += seconds

    return go


def test_before_a_run_has_ended_the_price_says_what_is_left():
    items = [*pretrainings(10), *runs()]
    left = TimeLeft(Plan(5, items))
    assert left.seconds() == pytest.approx(sum(item.seconds for item in items) + 36)
    assert str(left).endswith(" left")


def test_what_runs_took_corrects_the_price_of_their_kind_first(clock):
    first, second = runs(seeds=1, folds=1, arms=2)
    left = TimeLeft(Plan(0, [*pretrainings(10), first, second]))
    left.begin("pre-training 0")
    clock(6)
    left.end("pre-training 0", well=True)  # it was to take 3: all else is taken for as slow
    page = 30 + 2
    assert left.seconds() == pytest.approx(2 * (15 + 15 + page))
    left.begin(first.name)
    clock(60)
    left.end(first.name, well=True)  # it was to take 15: now the other run's price is known better
    assert left.seconds() == pytest.approx(4 * 15 + (66 / 18) * page)


def test_a_run_under_way_counts_with_what_is_left_of_it(clock):
    first, second = runs(seeds=1, folds=1, arms=2)
    left = TimeLeft(Plan(0, [first, second]))
    left.begin(first.name)
    clock(6)
    assert left.seconds() == pytest.approx(9 + 15 + 32)
    left.after(first.name, 0.4)  # as fast as planned
    assert left.seconds() == pytest.approx(9 + 15 + 32)
    left.after(first.name, 0.1)  # slower: the less of it is done, the less that says
    assert 9 < left.seconds() - 15 - 32 < 54


def test_side_by_side_the_last_one_decides(clock):
    items = runs(seeds=1, folds=1, arms=3)
    left = TimeLeft(Plan(0, items, devices=2))
    for item in items[:2]:
        left.begin(item.name)
    clock(10)
    assert left.seconds() == pytest.approx(5 + 15 + 33)


def test_pre_training_is_waited_for_by_all_others(clock):
    items = runs(seeds=1, folds=1, arms=2)
    left = TimeLeft(Plan(0, [*pretrainings(10), *items], devices=2))
    assert left.seconds() == pytest.approx(3 + 15 + 32)
    left.begin("pre-training 0")
    clock(2)
    assert left.seconds() == pytest.approx(1 + 15 + 32)
    assert left.seconds_for(item.name for item in items) == pytest.approx(15 + 32)
    assert TimeLeft(None).seconds_for(["a"]) == 0


def test_a_run_that_failed_says_nothing_of_the_others_and_what_will_not_run_is_not_waited_for(clock):
    items = runs(seeds=1, folds=1, arms=3)
    left = TimeLeft(Plan(0, [*pretrainings(10), *items]))
    left.begin("pre-training 0")
    clock(0.5)
    left.end("pre-training 0", well=False)
    assert left.pace(items[0]) == 1
    left.expect([items[0].name, items[2].name])  # the arm whose pre-training failed has no runs
    assert left.seconds() == pytest.approx(2 * 15 + 33)
    left.expect([])
    assert left.seconds() == pytest.approx(2 * 15 + 33)  # of no kind: nothing is said


def test_where_nothing_could_be_measured_nothing_is_said():
    left = TimeLeft(None)
    left.expect(["a"])
    left.begin("a")
    left.end("a", well=True)
    assert str(left) == ""


def test_a_plan_names_no_part_that_there_is_none_of():
    assert lay_out(Plan(1, [])) == [Part("data and network", 1, 1), Part("pictures and page", 1, 30)]
