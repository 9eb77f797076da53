"""Does pre-training help on your pairs? Trains from several starts, all else equal, and says what it found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from gesso._specs import FilePath, Transfer
from gesso._values import UNNAMED, AtLeastTwo, IfUnnamed, LearningRate, Pixels, PositiveInt, TileSide
from gesso._values import Devices as DeviceCount
from gesso.options import Command, as_function, options
from gesso.options._fields import Extent, Folder, Machine
from gesso.options.data import TaskPairs
from gesso.options.network import Network
from gesso.options.run import Budget, Measuring

if TYPE_CHECKING:
    from gesso.comparison._compare import Outcome  # noqa: F401, in the name of what comes back


@options
class Compare(TaskPairs, Network, Measuring, Budget, Command["Outcome"]):
    """Writes `comparison.html`, `comparison.md` and `comparison.csv` into `out`: does a start beat random weights?

    For one seed, every arm sees the same batches, crops, augmentations, new last layer, schedule and number of steps;
    only what the arm changes differs: for a start, the weights of the body, and of the last layer where it restores the
    task already; with `tune`, what each has chosen for itself. Given again, the command does only what is
    missing: after an interruption, or for more seeds, arms or numbers of pairs.

    Raises:
        ValueError: for unknown names and options, fewer than 4 pairs or photos, files of another network, or a folder
            that contains another comparison; if nothing could be compared, because random weights or all arms failed.
    """

    title: ClassVar[str] = "what is compared"
    example: ClassVar[str] = "gesso compare --budget 1h --task derain --data MY_PAIRS --out comparison"
    former: ClassVar[Mapping[str, str]] = {}

    out: Folder[FilePath]
    """folder of the comparison."""

    arms: Extent[dict[str, dict[str, Any]] | None] = None
    """what is compared, by name: what each arm changes of `gesso finetune`, such as `{random: {}, ours: {init: FILE},
    warm: {lr: 3.0e-4, warmup_steps: 200}}`; the first is the reference. `init` may be any of `starts`, and `pretrain`
    holds options of its pre-training."""

    starts: Extent[str | list[str] | None] = None
    """the short form of arms that differ in what they start from, separated by commas: "random", a pretext or a recipe
    of `gesso pretrain` (by name or YAML file), one of these after the images it is trained on ("leaves-mfm",
    "noise-ifp") or before the seed of its pre-training ("ifp@1"), a file of weights, "mimetic" (see `gesso finetune`).
    Random weights are the reference; none: random,ifp where there are no arms."""

    start_args: dict[str, dict[str, Any]] | None = None
    """options of `gesso pretrain` for single starts, by name; `finetune` among them holds how this start is
    transferred: keep_last, shrink, rescale, features_lr or freeze_features."""

    pretrain_args: dict[str, Any] | None = None
    """options of `gesso pretrain` for every start, such as `--pretrain_args.steps 2000`."""

    finetune_args: dict[str, Any] | None = None
    """further options of `gesso finetune` for every run, such as `--finetune_args.warmup_steps 20`."""

    tune: str | dict[str, list[Any]] | None = None
    """options that each arm chooses for itself among these values, such as `lr=1e-4,3e-4,1e-3`, with semicolons between
    options: by the mean PSNR on parts of the training pairs, never on test images; what an arm fixes itself stays."""

    tune_folds: AtLeastTwo = 3
    """parts of the training pairs, each of which is left out once to try values."""

    seeds: Extent[int | str | list[int]] = "0,1,2"
    """numbers separated by commas, one repetition each; with one, intervals are over images only."""

    folds: int | None = None
    """parts of the pairs, each of which is tested by runs that train on the others; none: the test or validation split
    of `data` where there is one, else 4."""

    pairs: Extent[int | str | list[int] | None] = None
    """numbers of training pairs separated by commas, for a curve over them; none: all there are."""

    backbone: Annotated[str, IfUnnamed("restormer", small="nafnet_tiny")] = UNNAMED
    """name of the network; `gesso list backbones` shows all. A comparison is small where neither network nor steps are
    named, and there is no GPU, or there are fewer than 200 pairs."""

    skip_damaged: bool = False
    """leave out damaged images, and pairs whose sides do not fit, instead of refusing them."""

    transfer: Transfer = "network"
    """"network" or "paper", see `gesso finetune`."""

    steps: Annotated[PositiveInt, IfUnnamed(20_000, small=600)] = UNNAMED
    """optimiser steps of every fine-tuning run."""

    pretrain_steps: Annotated[PositiveInt | None, IfUnnamed(None, small=6_400)] = UNNAMED
    """most optimiser steps of a pre-training: longer ones are cut to it."""

    crop_size: Annotated[Pixels, IfUnnamed(128, small=64)] = UNNAMED
    """side of the training crops in pixels (of the degraded image)."""

    batch_size: Annotated[PositiveInt, IfUnnamed(8, small=4)] = UNNAMED
    """crops in one batch."""

    lr: Annotated[LearningRate, IfUnnamed(3e-4, small=1e-3)] = UNNAMED
    """peak learning rate of fine-tuning."""

    restoring_lr: Annotated[LearningRate | None, IfUnnamed(None, small=1e-4)] = UNNAMED
    """peak learning rate of arms that restore the task already, whose last layer is kept, where they name, or choose,
    none of their own: a rate that is right for random weights makes a network forget. Where `lr` is named, it is for
    all."""

    schedule: Literal["constant", "cosine", "two_phase"] = "cosine"
    """learning rate over a fine-tuning run: "constant", "cosine", or Restormer's "two_phase"."""

    val_every: PositiveInt | None = None
    """steps between two measurements on the test images; none: ten in a run."""

    tile: TileSide | None = None
    """side in pixels of the tiles that test images are restored in; none: whole images. Tiles change the numbers, so
    they are taken only where they are asked for."""

    cache: Machine[FilePath | None] = None
    """folder of pre-trained starts, by recipe, which comparisons can share; none: `starts` in `out`."""

    devices: Machine[DeviceCount | None] = None
    """runs side by side, each on a GPU of its own or on its share of the processor; none: one on a GPU, and as many on
    a processor as a few steps, timed at the start, find to be fastest; a comparison that is given again keeps it."""


compare = as_function(Compare)
