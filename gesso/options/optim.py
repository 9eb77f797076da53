"""Options of the optimiser and of what it is fed with."""

from typing import Annotated, Any, ClassVar

from gesso._specs import OptimizerName, ScheduleSpec
from gesso._values import (
    UNNAMED,
    BelowOne,
    IfUnnamed,
    LearningRate,
    LeastRate,
    NonNegativeFloat,
    NonNegativeInt,
    Norm,
    Pixels,
    PositiveInt,
    Share,
)
from gesso.options._command import options


@options
class Optim:
    """How weights are changed."""

    title: ClassVar[str] = "optimiser"

    steps: Annotated[PositiveInt, IfUnnamed(300_000, small=600)] = UNNAMED
    """optimiser steps."""

    crop_size: Annotated[Pixels, IfUnnamed(128, small=64)] = UNNAMED
    """side of the training crops in pixels (of the degraded image)."""

    batch_size: Annotated[PositiveInt, IfUnnamed(8, small=4)] = UNNAMED
    """crops in one batch, which all devices share."""

    accumulate: PositiveInt = 1
    """batches whose gradients are averaged into one optimiser step."""

    optimizer: OptimizerName = "adamw"
    """"adam" or "adamw"."""

    lr: Annotated[LearningRate, IfUnnamed(3e-4, small=1e-3)] = UNNAMED
    """peak learning rate."""

    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    """running-average coefficients of Adam."""

    weight_decay: NonNegativeFloat = 0.0
    """decoupled for "adamw"."""

    decay_norm_bias: bool = True
    """apply weight decay to biases and norms as well; MFM and IFP's code do not."""

    schedule: ScheduleSpec = "cosine"
    """learning rate over the run: "constant", "cosine", Restormer's "two_phase", or "step", which falls at each of
    `milestones`; or module:function of your own."""

    warmup_steps: Annotated[NonNegativeInt, IfUnnamed(0, small=20)] = UNNAMED
    """steps of linear warm-up."""

    min_lr: LeastRate = 1e-6
    """learning rate at the end of "cosine" and "two_phase"."""

    milestones: list[PositiveInt] | None = None
    """steps at which "step" multiplies the learning rate by `gamma`, in rising order."""

    gamma: Share = 0.5
    """factor of "step" at each milestone, in (0, 1]."""

    clip_norm: Norm | None = None
    """largest global norm of the gradient; none: no clipping."""

    ema_decay: BelowOne | None = None
    """decay of an exponential moving average of the weights, which is then what is saved and measured; none: no
    average."""


@options
class Stages:
    """Progressive learning."""

    title: ClassVar[str] = "optimiser"

    stages: list[dict[str, Any]] | None = None
    """progressive crops as a list of {share, crop_size, batch_size}; replaces crop_size and batch_size."""
