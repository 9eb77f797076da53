"""Pre-train a network by a pretext, from one noise image, procedural images or a folder of photos."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from gesso._specs import FilePath, OptimizerName, PretextSpec, ScheduleSpec, SourceSpec
from gesso._values import UNNAMED, BelowOne, IfUnnamed, LearningRate, NonNegativeInt, Pixels, PositiveInt
from gesso.options import as_function, options
from gesso.options._fields import Machine, Place
from gesso.options.network import Network
from gesso.options.run import TrainingRun


@options
class Pretrain(Network, TrainingRun):
    """Pre-trains a network and saves it to OUT/backbone.safetensors; returns this path.

    The defaults are IFP's (section 4.1 of the paper): one N(0, 1) image of 224 x 224, batch 1, 30,000 steps of Adam at
    2e-4 with betas (0.9, 0.99). The paper names no learning-rate schedule, so it is constant.

    Raises:
        ValueError: for unknown names and options, values out of range, or a folder that already contains another run.
    """

    title: ClassVar[str] = "pretext and images"
    example: ClassVar[str] = "gesso pretrain --pretext ifp --backbone restormer --out runs/ifp"
    former: ClassVar[Mapping[str, str]] = {**TrainingRun.former, "val_images": ""}

    pretext: PretextSpec = "ifp"
    """name of the pretext; `gesso list pretexts` shows all with their options; or module:Class of your own."""

    pretext_args: dict[str, Any] | None = None
    """options of the pretext, such as `--pretext_args.mask_ratio 0.5`."""

    init: Place[FilePath | None] = None
    """file whose weights to begin with, last convolution included where it fits, or "primed:TASK", a network that comes
    with the package; none: random weights."""

    images: SourceSpec | list[dict[str, Any]] | None = None
    """where images come from: a source, that is noise or procedural images (`gesso list sources`), a folder of photos,
    or for a pretext that classifies degradations the data of each class, a list of {task, data, repeats, degradation,
    ...}; none: what the pretext prefers."""

    count: PositiveInt | None = None
    """how many different images, of a folder drawn by `seed`; none: 1 for noise, all of a folder, unlimited procedural
    ones."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits: 4095 for 12 bits; none: 65535, or what the files say."""

    layout: Literal["photos"] | None = None
    """"photos": the images of a folder are clean photos, though it looks like one of pairs; none: such folders are
    refused, unless they are the clean side."""

    skip_damaged: Machine[bool] = False
    """leave out damaged images, instead of refusing them."""

    crop_size: Pixels = 224
    """side of the images in pixels."""

    batch_size: PositiveInt = 1
    """images in one batch, which all devices share."""

    steps: Annotated[PositiveInt, IfUnnamed(30_000, small=6_400)] = UNNAMED
    warmup_steps: NonNegativeInt = 0
    optimizer: OptimizerName = "adam"
    lr: LearningRate = 2e-4
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)
    schedule: ScheduleSpec = "constant"


pretrain = as_function(Pretrain)
