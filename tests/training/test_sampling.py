"""Which sample comes when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gesso.training.sampling import Stage, StepSampler, parse_stages

PLAN = [Stage(0.5, 64, 4), Stage(0.3, 96, 2), Stage(0.2, 128, 1)]


@given(first=st.integers(0, 20))
def test_a_resumed_run_sees_what_an_unbroken_one_sees(first):
    assert list(StepSampler(PLAN, 20, first=first)) == list(StepSampler(PLAN, 20))[first:]


def test_devices_share_the_batches_of_one_device():
    stages = [Stage(0.5, 64, 4), Stage(0.5, 96, 2)]
    ranks = [StepSampler(stages, 10, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == list(StepSampler(stages, 10))
    assert [sampler.part(7)[1:] for sampler in ranks] == [(0, 2), (1, 2)]


def test_a_batch_that_cannot_be_shared_out_is_refused():
    with pytest.raises(ValueError, match="a multiple of the 3 devices, which share every batch, got 4"):
        StepSampler(PLAN, 20, world=3)


def test_stages_change_crop_and_batch_at_their_share_of_the_run():
    batches = list(StepSampler(PLAN, 20))
    assert [(len(b), b[0][1]) for b in (batches[9], batches[10], batches[15], batches[16])] == [
        (4, 64), (2, 96), (2, 96), (1, 128),
    ]  # fmt: skip
    indices = [index for batch in batches for index, _ in batch]
    assert indices == list(range(len(indices)))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"share": 1.0, "crop_size": 64}], "batch_size"),
        ([{"share": 0.5, "crop_size": 64, "batch_size": 4}], "add up to 0.5"),
        ([{"share": 1.0, "crop_size": 0, "batch_size": 4}], "positive"),
    ],
)
def test_a_wrong_plan_is_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        parse_stages(stages)
