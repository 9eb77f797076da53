"""What is restored, how it is measured, and how it is imitated: one table."""

import dataclasses

from gesso._discovery import UnknownNameError, suggest
from gesso.degradations import Degradation
from gesso.degradations.bicubic import Bicubic
from gesso.degradations.blur import Defocus, MotionBlur
from gesso.degradations.compose import Compose
from gesso.degradations.haze import Haze
from gesso.degradations.low_light import LowLight
from gesso.degradations.noise import GaussianNoise, PoissonNoise
from gesso.degradations.rain import Rain
from gesso.metrics import Protocol


@dataclasses.dataclass(frozen=True)
class Task:
    """A restoration task.

    Attributes:
        name: what the command line calls it.
        goal: what it does, in a few words.
        protocol: how its published numbers are measured.
        degradation: makes degraded images where only clean photos are given.
        loss: what networks are trained with, a name of `gesso.losses.LOSSES`.
        scale: side of the output divided by that of the input.
    """

    name: str
    goal: str
    protocol: Protocol
    degradation: Degradation
    loss: str = "l1"
    scale: int = 1

    def __str__(self) -> str:
        return f"{self.goal}; {self.protocol}; {self.loss} loss; clean photos are degraded by {self.degradation}"


def super_resolution(scale: int) -> Task:
    """Enlargement of what MATLAB's bicubic shrank; luma without `scale` pixels at each border, as SwinIR measures."""
    protocol = Protocol(channel="y", round_y=False, border=scale)
    return Task("sr", f"enlarge {scale} times", protocol, Bicubic(scale=scale, up=False), scale=scale)


# Shot noise, which grows with the light, and read noise, which does not.
CAMERA_NOISE = Compose((PoissonNoise(photons=(100, 10_000)), GaussianNoise(sigma=(0, 10))))

# SSIM of deblurring and of camera noise is MATLAB's over three channels, defocus deblurring's that of scikit-image:
# so Restormer and what it compares with are measured.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("derain", "remove rain", Protocol(channel="y"), Rain()),
        Task("deblur", "remove motion blur", Protocol(ssim="matlab3d"), MotionBlur()),
        Task("defocus", "sharpen what is out of focus", Protocol(ssim="skimage7"), Defocus()),
        Task("lowlight", "brighten", Protocol(), LowLight()),
        Task("dehaze", "remove haze", Protocol(), Haze()),
        Task("denoise", "remove Gaussian noise", Protocol(), GaussianNoise(sigma=(0, 50), clip=False)),
        Task("realnoise", "remove camera noise", Protocol(ssim="matlab3d"), CAMERA_NOISE),
        super_resolution(4),
    )
}


def find_task(name: str, scale: int = 1) -> Task:
    """The task of this name; super-resolution for this scale.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if `sr` is asked for without a scale, or another task with one.

    Example:
        >>> find_task("sr", scale=2).protocol.border
        2
    """
    if name not in TASKS:
        raise UnknownNameError(f"unknown task {name!r}; {suggest(name, TASKS)}")
    if name == "sr":
        if scale < 2:
            raise ValueError(f"scale: sr enlarges 2, 3, 4 or more times, got {scale}")
        return super_resolution(scale)
    if scale != 1:
        raise ValueError(f"scale: {name} keeps the size of the image, expected 1, got {scale}; sr enlarges")
    return TASKS[name]
