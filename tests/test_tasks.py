import pytest
import torch

from gesso.losses import LOSSES
from gesso.tasks import TASKS, find_task


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_measure_train_and_imitate(name):
    task = find_task(name, scale=TASKS[name].scale)
    gt = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    lq = task.degradation(gt, torch.Generator().manual_seed(0))
    assert lq.shape[-2:] == (32 // task.scale, 48 // task.scale)
    assert task.loss in LOSSES
    assert task.protocol(gt, gt) == {"psnr": float("inf"), "ssim": pytest.approx(1.0)}
    assert str(task.protocol) in str(task)
    assert repr(task.degradation) in str(task)


def test_protocols_are_those_of_the_published_numbers():
    assert (TASKS["derain"].protocol.channel, TASKS["derain"].protocol.round_y) == ("y", True)
    assert all(TASKS[name].protocol.channel == "rgb" for name in TASKS if name not in ("derain", "sr"))
    assert {name: TASKS[name].protocol.ssim for name in ("deblur", "realnoise", "defocus", "lowlight")} == {
        "deblur": "matlab3d",
        "realnoise": "matlab3d",
        "defocus": "skimage7",
        "lowlight": "gaussian",
    }
    for scale in (2, 3, 4, 8):
        task = find_task("sr", scale=scale)
        assert (task.protocol.border, task.protocol.channel, task.scale) == (scale, "y", scale)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("drain", 1, "unknown task 'drain'; did you mean derain"),
        ("sr", 1, "sr enlarges 2, 3, 4 or more times, got 1"),
        ("derain", 2, "derain keeps the size of the image, expected 1, got 2"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(name, scale, message):
    with pytest.raises(ValueError, match=message):
        find_task(name, scale=scale)
