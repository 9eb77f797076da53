"""Learning rates against the released schedulers."""

import pytest
import torch

from gesso.training.schedules import cosine, cyclic_cosine, list_schedules, schedule, step_decay, two_phase
from tests._golden import case_id, cases


@pytest.mark.parametrize("case", cases("schedule"), ids=case_id)
def test_equals_the_published_schedule(case):
    args = case["args"]
    if "periods" in args:
        rate = cyclic_cosine(
            args["base_lr"], periods=args["periods"], weights=args["restart_weights"], minimums=args["eta_mins"]
        )
    else:
        steps = args.get("niter", args.get("nepoch"))
        warmup = args.get("warmup_iter", args.get("warmup_epochs"))
        rate = cosine(args["base_lr"], steps=steps, warmup_steps=warmup, min_lr=args["eta_min"])
    for step, expected in case["points"]:
        assert rate(step - 1) == pytest.approx(expected, rel=1e-9)


def test_two_phase_is_restormers_schedule_at_its_published_length():
    rate = two_phase(3e-4, steps=300_000)
    expected = {1: 3e-4, 92_000: 3e-4, 150_000: 2.4621e-4, 196_001: 1.505e-4, 250_000: 4.164e-5, 300_000: 1.0e-6}
    assert {step: rate(step - 1) for step in expected} == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("gamma", [0.5, 0.4])
def test_steps_fall_where_torchs_do(gamma):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2e-4)
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5, 6], gamma)
    ours = schedule("step", 2e-4, steps=8, milestones=[3, 5, 6], gamma=gamma)
    for step in range(8):
        assert ours(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_steps_may_begin_with_a_warm_up():
    rate = step_decay(1.0, milestones=[4], gamma=0.5, warmup_steps=2)
    assert [rate(step) for step in range(6)] == [0.5, 1.0, 1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "linear"}, "constant, cosine, two_phase, step"),
        ({"name": "step"}, "milestones: expected steps in rising order, .* got none"),
        ({"name": "step", "milestones": [5, 3]}, r"milestones: .*got \[5, 3\]"),
        ({"name": "step", "milestones": [3, 3]}, "rising order"),
        ({"name": "step", "milestones": [0, 3]}, "rising order"),
        ({"name": "step", "milestones": [3], "gamma": 0}, r"gamma: expected a factor in \(0, 1\], got 0"),
        ({"name": "step", "milestones": [3], "gamma": 2.0}, "gamma"),
        ({"name": "cosine", "milestones": [3]}, "milestones: they are for schedule step, got schedule cosine"),
    ],
)
def test_what_is_no_schedule_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        schedule(lr=1e-3, steps=10, **options)


def linear(lr, *, steps, min_lr=0.0):
    return lambda step: lr + (min_lr - lr) * step / steps


@pytest.mark.parametrize("make", [linear, f"{__name__}:linear"])
def test_a_function_of_the_users_makes_a_schedule_of_the_options_that_it_takes(make):
    rate = schedule(make, 1.0, steps=4, warmup_steps=2, min_lr=0.2)
    assert [rate(step) for step in range(4)] == pytest.approx([1.0, 0.8, 0.6, 0.4])
    assert list_schedules() == ["constant", "cosine", "step", "two_phase"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (f"{__name__}:linnear", "has no 'linnear'; did you mean linear"),
        (f"{__name__}:__name__", "expected a function .*, got a str"),
        (lambda: None, "it says"),
        (lambda lr: lr, "it says"),
        (lambda lr: lambda step: -lr, "a number from 0; it gives -1.0 at the first step"),
        (lambda lr: lambda step: float("nan"), "a number from 0; it gives nan"),
        (lambda lr: lambda step: "much", "a number from 0; it gives 'much'"),
    ],
)
def test_what_makes_no_schedule_is_refused_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        schedule(make, 1.0, steps=4)
