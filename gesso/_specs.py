"""What options name: choices, and parts of a run by name, as `package.module:Class`, or in Python the part itself.

Types alone, for annotations: they import no torch, so that `--help` can read them. `gesso.backbones.open_backbone`,
`gesso.pretext.open_pretext` and the like turn such a value into the part.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from gesso._values import InPython

if TYPE_CHECKING:
    from torch import nn

    from gesso.data.augment import Augment
    from gesso.data.layouts import Layout
    from gesso.degradations import Degradation
    from gesso.losses import FeatureLoss, Loss
    from gesso.pretext import Pretext
    from gesso.refiner import Refiner
    from gesso.sources import Source
    from gesso.tasks import Task
    from gesso.training.schedules import MakeSchedule

    BackboneSpec = str | nn.Module | type[nn.Module]
    PretextSpec = str | type[Pretext] | Callable[..., Pretext]
    DegradationSpec = str | dict[str, Any] | list[Any] | Degradation | Callable[..., Any]
    SourceSpec = str | Path | Source
    LayoutSpec = str | Layout
    TaskSpec = str | Task
    LossSpec = str | dict[str, Any] | Loss
    FeatureLossSpec = str | Path | dict[str, Any] | FeatureLoss
    ScheduleSpec = str | MakeSchedule
    RefinerSpec = str | Refiner | type[Refiner]
    PriorSpec = str | Path | nn.Module
    AugmentSpec = str | Augment
else:
    CALLABLE = "collections.abc:Callable"

    BackboneSpec = Annotated[str, InPython("torch.nn:Module", "an nn.Module"), InPython(type, "a class")]
    """A network: a name of `gesso.list_backbones()`, `module:Class`, or a module (see `gesso.wrap`) or its class."""

    PretextSpec = Annotated[str, InPython(CALLABLE, "a subclass of gesso.Pretext")]
    """A pretext: a name of `gesso.list_pretexts()`, `module:Class`, or the class."""

    DegradationSpec = Annotated[str | dict[str, Any] | list[Any], InPython(CALLABLE, "a Degradation or a function")]
    """A degradation as YAML writes it: a name, `{name: ..., option: ...}`, or a list of these in order; or the value.

    The name may be `module:Class`, or `module:function` of a function (image, generator) -> image.
    """

    SourceSpec = Annotated[str | Path, InPython(CALLABLE, "a function (seed, index, size) -> image")]
    """Images: a name of `gesso.list_sources()`, a folder of photos, `module:function`, or the function."""

    LayoutSpec = Annotated[str, InPython(CALLABLE, "a function (root, split) -> pairs")]
    """Where a data set keeps its pairs: a name of `gesso.list_layouts()`, `module:function`, or the function."""

    TaskSpec = Annotated[str, InPython("gesso.tasks:Task", "a Task")]
    """A task: a name of `gesso.list_tasks()`, `module:NAME` of a `gesso.Task`, or the task."""

    LossSpec = Annotated[str | dict[str, Any], InPython(CALLABLE, "a function (restored, gt) -> scalar")]
    """A loss: a name of `gesso.list_losses()`, one with options, `module:function`, or the function."""

    FeatureLossSpec = Annotated[str | Path | dict[str, Any], InPython("gesso.losses:FeatureLoss", "a FeatureLoss")]
    """A loss on feature maps: DCPT's file of a classifier, `module:Class`, one with options, or the module."""

    ScheduleSpec = Annotated[str, InPython(CALLABLE, "a function (lr, *, steps) -> (step -> rate)")]
    """A learning rate over a run: a name of `gesso.list_schedules()`, `module:function`, or the function."""

    RefinerSpec = Annotated[str, InPython("gesso.refiner:Refiner", "a gesso.Refiner"), InPython(type, "its class")]
    """A refiner: a name of `gesso.list_refiners()`, `module:Class`, or a refiner or its class."""

    PriorSpec = Annotated[str | Path, InPython("torch.nn:Module", "an nn.Module")]
    """A prior of `gesso refine`: a word, see `gesso.refiner`, or a module images -> vectors."""

    AugmentSpec = Annotated[str, InPython(CALLABLE, "a function (lq, gt, generator) -> (lq, gt)")]
    """An augmentation: a name of `gesso.list_augmentations()`, `module:function`, or the function."""

FilePath = str | Path

OptimizerName = Literal["adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "two_phase", "step"]
Sampling = Literal["repeats", "balanced"]
Transfer = Literal["network", "paper"]
CompileMode = Literal["default", "reduce-overhead"]
Strategy = Literal["auto", "ddp"]
TrainingPrecision = Literal["auto", "float32", "bf16", "float64"]
LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
Blend = Literal["smooth", "uniform"]
FileFormat = Literal["official", "basicsr", "encoder", "degae", "onnx", "pt2", "safetensors"]
PriorView = Literal["crop", "image"]
RefinedLevel = Literal["image", "feature"]
