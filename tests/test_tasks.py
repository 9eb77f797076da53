import pytest
import torch

from gesso.losses import LOSSES
from gesso.metrics import Protocol
from gesso.tasks import GAUSSIAN_NOISE, MIXED, TASKS, Task, degradation_in, find_task, list_tasks, spell_task
from tests._networks import photo_like


@pytest.mark.parametrize("name", TASKS)
def test_every_task_can_measure_train_and_imitate(name):
    task = find_task(name, scale=TASKS[name].scale)
    gt = photo_like(3, 32, 48)[None]
    lq = task.degradation(gt, torch.Generator().manual_seed(0))
    assert lq.shape[-2:] == (32 // task.scale, 48 // task.scale)
    assert task.loss in LOSSES
    gt = task.format.from_stored(gt)
    assert task.protocol(gt, gt) == {"psnr": float("inf"), "ssim": pytest.approx(1.0)}
    assert task.channels == {"denoise_grey": 1, "defocus_dual": 6}.get(name, 3)
    assert str(task.protocol) in str(task)
    assert repr(task.degradation) in str(task)


def test_protocols_are_those_of_the_published_numbers():
    assert (TASKS["derain"].protocol.channel, TASKS["derain"].protocol.round_y) == ("y", True)
    others = ("derain", "sr", "denoise_grey")
    assert all(TASKS[name].protocol.channel == "rgb" for name in TASKS if name not in others)
    assert [name for name in TASKS if TASKS[name].protocol.align] == ["realblur"]
    assert [name for name in TASKS if not TASKS[name].protocol.quantise] == ["realnoise"]
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


def test_mixed_degradations_are_the_eleven_combinations():
    assert list(MIXED) == ["l", "h", "r", "s", "l+h", "l+r", "l+s", "h+r", "h+s", "l+h+r", "l+h+s"]
    assert TASKS["mixed"].degradation.choices == tuple(MIXED.values())
    gt = photo_like(3, 32, 32)[None]
    degraded = [degradation(gt, torch.Generator().manual_seed(0)) for degradation in MIXED.values()]
    assert all(not torch.equal(one, other) for i, one in enumerate(degraded) for other in degraded[:i])


NOISE = {"name": "gaussian_noise", "sigma": 25}


@pytest.mark.parametrize(
    ("task", "given", "expected"),
    [
        ("denoise", NOISE, "GaussianNoise(sigma=25, clip=False"),
        ("denoise_grey", NOISE, "GaussianNoise(sigma=25, clip=False"),
        ("denoise", "gaussian_noise", "GaussianNoise(sigma=(0, 50), clip=False"),
        ("denoise", NOISE | {"clip": True}, "GaussianNoise(sigma=25, clip=True"),
        ("denoise", {"name": "mix", "choices": [NOISE, "rain"]}, "Mix(choices=(GaussianNoise(sigma=25, clip=False"),
        ("denoise", ["gaussian_blur", NOISE], "GaussianNoise(sigma=25, clip=False, numpy_seed=None)))"),
        ("denoise", [NOISE, "gaussian_blur"], "Compose(steps=(GaussianNoise(sigma=25, clip=True"),
        ("denoise", {"name": "compose", "steps": ["rain", NOISE]}, "GaussianNoise(sigma=25, clip=False"),
        ("derain", NOISE, "GaussianNoise(sigma=25, clip=True"),
        ("realnoise", "gaussian_noise", "GaussianNoise(sigma=(0, 10), clip=True"),
        ("jpeg", "jpeg", "Jpeg(quality=(10, 50))"),
        ("jpeg", {"name": "jpeg", "quality": 95}, "Jpeg(quality=95)"),
        ("sr", "bicubic", "Bicubic(scale=3, up=False"),
        ("sr", {"name": "bicubic", "quantise": False}, "Bicubic(scale=3, up=False, quantise=False"),
    ],
)  # fmt: skip
def test_what_a_degradation_leaves_open_is_that_of_the_task(task, given, expected):
    assert expected in str(degradation_in(find_task(task, scale=3 if task == "sr" else 1), given))


# --------------------------------------------------------------------------------------------------- a user's own task

DEHALFTONE = Task("dehalftone", "continuous tones from dots", Protocol(channel="y"), GAUSSIAN_NOISE, loss="psnr")


@pytest.mark.parametrize("spec", [DEHALFTONE, f"{__name__}:DEHALFTONE"])
def test_an_object_is_a_task(spec):
    assert find_task(spec) is DEHALFTONE
    assert spell_task(find_task(spec)) == "dehalftone"
    assert "derain" in list_tasks()
    with pytest.raises(ValueError, match="scale: dehalftone enlarges 1 times, got 2"):
        find_task(spec, scale=2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"{__name__}:DEHALFTON", "has no 'DEHALFTON'; did you mean DEHALFTONE"),
        (f"{__name__}:pytest", "expected a gesso.Task, got a module"),
        (3, "expected a gesso.Task, got a int"),
        ("nowhere_at_all:TASK", "cannot import nowhere_at_all"),
    ],
)
def test_what_is_no_task_is_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        find_task(spec)
