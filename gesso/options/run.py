"""Options of a training run: what it leaves, what it is measured on, and the machine that it runs on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from gesso._specs import CompileMode, FilePath, Strategy, TrainingPrecision
from gesso._values import UNNAMED, Duration, IfUnnamed, NonNegativeInt, PositiveInt, TileSide, Workers
from gesso._values import Devices as DeviceCount
from gesso._values import Seed as SeedNumber
from gesso.options._command import Command, options
from gesso.options._fields import Extent, Folder, Machine, Numerics, Place, Planning, Record, Repetition
from gesso.options.data import TrainingPairs
from gesso.options.optim import Optim, Stages


@options
class Measuring:
    """What a network is measured by."""

    title: ClassVar[str] = "measuring"

    metrics: str | list[str] = "psnr,ssim"
    """what is measured, separated by commas: "psnr" and "ssim", always and as the task defines them; "lpips",
    "lpips_vgg", "dists", and names of pyiqa such as "niqe" (pip install 'gesso[perceptual]')."""

    metric_weights: Place[FilePath | None] = None
    """folder of the files that such metrics need; none: where torch keeps them. Nothing is downloaded."""


@options
class Validation(Measuring):
    """When a network is measured while it trains."""

    val_every: Annotated[NonNegativeInt, IfUnnamed(4_000, small=300)] = UNNAMED
    """steps between two measurements on the validation images; 0: only at the end."""

    val_at_start: Machine[bool | None] = None
    """measure before the first step as well: what the start restores with no pair at all; none: where it restores the
    task already, and then it may be what best.safetensors holds."""

    val_images: Machine[NonNegativeInt] = 0
    """images of each validation set that every measurement writes into `val_images`, at full size: input, restored and
    ground truth side by side, with their PSNR."""

    best_by: str = "psnr"
    """what says which state is the best, `best.safetensors`, and what `patience` waits for: "psnr", "ssim", "loss" (of
    whole validation images), "lpips", "dists", or another of `metrics`; the mean over the validation sets. Which
    direction is better, the metric knows."""

    patience: Extent[PositiveInt | None] = None
    """end the run after so many measurements in a row without a better one; a stopped run is resumed with more; none:
    run all steps."""

    tile: Machine[TileSide | None] = None
    """side in pixels of the tiles that validation images are restored in; none: whole images. Tiles change the numbers,
    so they are taken only where they are asked for."""


@options
class Output:
    """What a run leaves in its folder."""

    title: ClassVar[str] = "run"

    out: Folder[FilePath]
    """folder of the run."""

    seed: Repetition[SeedNumber] = 0
    """every random draw of the run follows from it."""

    logger: Machine[str | list[str] | None] = None
    """what shows the numbers of `metrics.csv`, which is always written: "tensorboard", "wandb", "mlflow" or "csv" (that
    alone), separated by commas; none: TensorBoard where it is installed. Each is an extra of its name; W&B and MLflow
    read their own variables (WANDB_PROJECT, WANDB_MODE, MLFLOW_TRACKING_URI ...)."""

    log_every: Record[PositiveInt] = 10
    """steps between two lines of metrics.csv."""

    sample_every: Record[NonNegativeInt] = 500
    """steps between two sample sheets; 0: only at the end."""

    save_every: Machine[NonNegativeInt] = 500
    """steps between two saved states; 0: only at the end."""

    snapshot_every: Machine[NonNegativeInt] = 0
    """steps between two networks that are kept, `snapshots/STEP.safetensors`; 0: none."""

    resume: Folder[bool] = False
    """continue the run in `out`; its recipe and its images must be the same, but for devices and other things that do
    not change its result, and for more steps where the schedule allows them."""

    overwrite: Folder[bool] = False
    """replace a run that lies in `out`."""


@options
class Devices:
    """What computes."""

    title: ClassVar[str] = "machine"

    precision: Numerics[TrainingPrecision] = "auto"
    """"float32", "bf16" (mixed), "float64" (to compare runs), or "auto": bf16 where the CPU or GPU computes in it and,
    on a CPU, a few steps at the start are faster in it; a run keeps what it began with."""

    devices: Machine[DeviceCount] = 1
    """devices (GPUs or CPU processes) on each node, which share every batch; torchrun and srun set it themselves."""

    num_nodes: Machine[DeviceCount] = 1
    """machines."""

    accelerator: Machine[str] = "auto"
    """"auto", "cpu" or "gpu"."""

    strategy: Machine[Strategy] = "auto"
    """how several devices work together: "auto" or "ddp", every device holds the whole network."""

    workers: Machine[Workers | None] = None
    """processes that load samples; none: 0 on the CPU, up to 8 with a GPU. Results do not depend on it."""

    compile: Machine[CompileMode | None] = None
    """"default" compiles the network's features by torch.compile, which takes minutes once; on a GPU,
    "reduce-overhead" records them as CUDA graphs, too; none: no compilation."""


@options
class Budget:
    """How long a command may take, and what it would take."""

    title: ClassVar[str] = "time"

    budget: Planning[Duration | None] = None
    """how long all of it may take, such as 45m, 1h30m or 90s: a step and a measurement are timed first, and as many
    steps are chosen as fit, at most those that are named; what was chosen is in `config.yaml`, and a resumed run keeps
    it; none: no limit."""

    dry_run: Planning[bool] = False
    """print what would be run, and its time, memory and disk space; write nothing."""


@options
class TrainingRun(Optim, Devices, Output, Budget, Command[Path]):
    """A command that trains, see `gesso.training.run.fit`; it returns the file of the network."""

    former: ClassVar[Mapping[str, str]] = {"decay_vectors": "decay_norm_bias"}


@options
class SupervisedRun(TrainingPairs, Stages, Validation, TrainingRun):
    """A command that trains on pairs."""
