"""What is restored, how it is measured, and how it is imitated: one table."""

import dataclasses
from typing import Any

from gesso._discovery import CODE, UnknownNameError, load_object, suggest_part
from gesso._specs import LossSpec, TaskSpec
from gesso.degradations import Degradation, parse_degradation
from gesso.degradations.bicubic import Bicubic
from gesso.degradations.blur import Defocus, MotionBlur
from gesso.degradations.compose import Compose, Mix
from gesso.degradations.haze import Haze
from gesso.degradations.inpainting import Inpainting
from gesso.degradations.jpeg import Jpeg
from gesso.degradations.low_light import LowLight
from gesso.degradations.mosaic import Mosaic
from gesso.degradations.noise import GaussianNoise, PoissonNoise
from gesso.degradations.rain import Rain
from gesso.degradations.snow import Snow
from gesso.formats import RGB, PixelFormat
from gesso.metrics import Protocol


@dataclasses.dataclass(frozen=True)
class Task:
    """A restoration task.

    Attributes:
        name: what the command line calls it.
        goal: what it does, in a few words.
        protocol: how its published numbers are measured.
        degradation: makes degraded images where only clean photos are given.
        loss: what networks are trained with, see `gesso.losses.open_loss`.
        scale: side of the output divided by that of the input.
        format: how images are read, stored, shown and measured.
    """

    name: str
    goal: str
    protocol: Protocol
    degradation: Degradation
    loss: LossSpec = "l1"
    scale: int = 1
    format: PixelFormat = RGB

    @property
    def channels(self) -> int:
        """Channels that the network takes."""
        return self.format.channels

    def with_channels(self, channels: int, white_level: int | None = None) -> "Task":
        """A task on RGB images as that of a network that takes grey ones or four channels; else the task itself.

        It is measured on the channels that there are, all together.

        Args:
            channels: that the network takes.
            white_level: of the files, see `PixelFormat`.

        Example:
            >>> find_task("derain").with_channels(1).protocol.channel
            'grey'
        """
        format = dataclasses.replace(self.format, white_level=white_level)
        if format.name != "rgb" or channels not in (1, 4):
            return dataclasses.replace(self, format=format)
        format = PixelFormat.of_channels(channels, white_level)
        return dataclasses.replace(
            self, format=format, protocol=dataclasses.replace(self.protocol, channel=format.measured)
        )

    def __str__(self) -> str:
        return f"{self.goal}; {self.protocol}; {self.loss} loss; clean photos are degraded by {self.degradation}"


def super_resolution(scale: int) -> Task:
    """Enlargement of what MATLAB's bicubic shrank; luma without `scale` pixels at each border, as SwinIR measures."""
    protocol = Protocol(channel="y", round_y=False, border=scale)
    return Task("sr", f"enlarge {scale} times", protocol, Bicubic(scale=scale, up=False), scale=scale)


# Shot noise, which grows with the light, and read noise, which does not.
CAMERA_NOISE = Compose((PoissonNoise(photons=(100, 10_000)), GaussianNoise(sigma=(0, 10))))

# The eleven combinations of CDD-11: low light, haze, and rain or snow; in the order in which light meets them.
MIXED: dict[str, Degradation] = {
    "l": LowLight(),
    "h": Haze(),
    "r": Rain(),
    "s": Snow(),
    "l+h": Compose((LowLight(), Haze())),
    "l+r": Compose((LowLight(), Rain())),
    "l+s": Compose((LowLight(), Snow())),
    "h+r": Compose((Rain(), Haze())),
    "h+s": Compose((Snow(), Haze())),
    "l+h+r": Compose((LowLight(), Rain(), Haze())),
    "l+h+s": Compose((LowLight(), Snow(), Haze())),
}

GAUSSIAN_NOISE = GaussianNoise(sigma=(0, 50), clip=False)

# SSIM of deblurring and of camera noise is MATLAB's over three channels, defocus deblurring's that of scikit-image, and
# what is restored on SIDD is not rounded to 8 bits: so Restormer and what it compares with are measured.
TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("derain", "remove rain", Protocol(channel="y"), Rain()),
        Task("deblur", "remove motion blur", Protocol(ssim="matlab3d"), MotionBlur()),
        Task("realblur", "remove the shake of a real camera", Protocol(align=True), MotionBlur()),
        Task("defocus", "sharpen what is out of focus", Protocol(ssim="skimage7"), Defocus()),
        Task(
            "defocus_dual",
            "sharpen from both views of a dual-pixel camera",
            Protocol(ssim="skimage7"),
            Defocus(),
            format=PixelFormat("dual_pixel"),
        ),
        Task("lowlight", "brighten", Protocol(), LowLight()),
        Task("dehaze", "remove haze", Protocol(), Haze()),
        Task("desnow", "remove snow", Protocol(), Snow()),
        Task("denoise", "remove Gaussian noise", Protocol(), GAUSSIAN_NOISE),
        Task(
            "denoise_grey",
            "remove Gaussian noise from grey images",
            Protocol(channel="grey"),
            GAUSSIAN_NOISE,
            format=PixelFormat("grey"),
        ),
        Task("realnoise", "remove camera noise", Protocol(ssim="matlab3d", quantise=False), CAMERA_NOISE),
        Task("jpeg", "remove what JPEG left", Protocol(), Jpeg(quality=(10, 50))),
        Task("demosaic", "colours from a Bayer pattern", Protocol(), Mosaic()),
        Task("inpainting", "fill scratches", Protocol(), Inpainting()),
        Task("mixed", "remove low light, haze, rain, snow, or several at once", Protocol(), Mix(tuple(MIXED.values()))),
        super_resolution(4),
    )
}


# The five tasks that all-in-one networks are measured on, and what stands for them where images are degraded. Noise is
# not clipped, as it is not in DCPT's released code and in the recipes that fine-tune.
ALL_IN_ONE: dict[str, Any] = {
    "derain": "rain",
    "denoise": {
        "name": "mix",
        "choices": [{"name": "gaussian_noise", "sigma": s, "clip": False} for s in (15, 25, 50)],
    },
    "dehaze": "haze",
    "lowlight": "low_light",
    "deblur": "motion_blur",
}


def list_tasks() -> list[str]:
    """Names that `--task` takes, beside all-in-one."""
    return sorted(TASKS)


def spell_task(spec: TaskSpec) -> str:
    """What a task is called in lines for people."""
    return spec.name if isinstance(spec, Task) else spec


def find_task(spec: TaskSpec, scale: int = 1) -> Task:
    """The task of this name; super-resolution for this scale; or the one that `module:NAME` names, or is given.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if `sr` is asked for without a scale, or another task with one; if `module:NAME` is no task.

    Example:
        >>> find_task("sr", scale=2).protocol.border
        2
    """
    task = own_task(spec)
    if task is not None:
        if scale not in (1, task.scale):
            raise ValueError(f"scale: {task.name} enlarges {task.scale} times, got {scale}")
        return task
    name = str(spec)
    if name not in TASKS:
        raise UnknownNameError(f"unknown task {name!r}; {suggest_part(name, TASKS)}")
    if name == "sr":
        if scale < 2:
            raise ValueError(f"scale: sr enlarges 2, 3, 4 or more times, got {scale}")
        return super_resolution(scale)
    if scale != 1:
        raise ValueError(f"scale: {name} keeps the size of the image, expected 1, got {scale}; sr enlarges")
    return TASKS[name]


def own_task(spec: TaskSpec) -> Task | None:
    """A task of the user's, given as it is or as `module:NAME`; None for a name.

    Raises:
        ValueError: if there is no such module or name, or it is no task.
    """
    task = load_object(spec, "task", TASKS) if isinstance(spec, str) and CODE.fullmatch(spec) else spec
    if isinstance(task, str):
        return None
    if not isinstance(task, Task):
        raise ValueError(f"task {spec}: expected a gesso.Task, got a {type(task).__name__}")
    return task


def degradation_in(task: Task, value: Any) -> Degradation:
    """The degradation that a YAML value means within a task: what it leaves open is as in the task's own degradation.

    So noise is not clipped where the benchmarks of denoising do not clip it, `bicubic` shrinks by the scale, and `jpeg`
    has the qualities of the task. That holds for the degradation itself, for the choices of a mix, and for the last of
    several steps; earlier steps and `Degradation` objects are as they say.

    Raises:
        UnknownNameError, ValueError: as `parse_degradation`.

    Example:
        >>> degradation_in(find_task("denoise"), {"name": "gaussian_noise", "sigma": 25}).clip
        False
    """
    return parse_degradation(_filled(value, _settings(task.degradation)))


def _settings(own: Degradation) -> dict[str, dict[str, Any]]:
    """What a task's degradation and its parts have set, by name; names that occur twice are left open."""
    parts = own.steps if isinstance(own, Compose) else own.choices if isinstance(own, Mix) else (own,)
    names = [part.name for part in parts]
    return {part.name: _changed(part) for part in parts if names.count(part.name) == 1}


def _changed(part: Degradation) -> dict[str, Any]:
    """Fields of a degradation that differ from their defaults."""
    fields = [field for field in dataclasses.fields(part) if field.default is not dataclasses.MISSING]
    return {field.name: now for field in fields if (now := getattr(part, field.name)) != field.default}


def _filled(value: Any, settings: dict[str, dict[str, Any]]) -> Any:
    """A YAML value with the settings for what it leaves open."""
    if isinstance(value, str) and value in settings:
        return {"name": value, **settings[value]}
    if isinstance(value, list | tuple) and value:
        return [*value[:-1], _filled(value[-1], settings)]
    if isinstance(value, dict):
        name = value.get("name")
        if name == "mix" and isinstance(value.get("choices"), list | tuple):
            return value | {"choices": [_filled(choice, settings) for choice in value["choices"]]}
        if name == "compose" and isinstance(value.get("steps"), list | tuple):
            return value | {"steps": _filled(value["steps"], settings)}
        return settings[name] | value if isinstance(name, str) and name in settings else value
    return value
