"""Learning rates against the released schedulers."""

import pytest

from gesso.training.schedules import cosine, cyclic_cosine, schedule, two_phase
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


def test_an_unknown_schedule_says_what_there_is():
    with pytest.raises(ValueError, match="constant, cosine, two_phase"):
        schedule("linear", 1e-3, steps=10)
