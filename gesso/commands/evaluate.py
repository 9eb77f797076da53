"""Measure PSNR and SSIM of restored images by the protocol of their task."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gesso._specs import FilePath, SourceSpec, TaskSpec, TrainingPrecision
from gesso._values import Devices, Overlap, Seed, TileSide
from gesso.options import Command, as_function, options
from gesso.options._fields import Place
from gesso.options.data import TaskPairs
from gesso.options.network import NetworkFile
from gesso.options.run import Measuring

if TYPE_CHECKING:
    from gesso.commands._scores import Scores  # noqa: F401, in the name of what comes back


@options
class Evaluate(TaskPairs, NetworkFile, Measuring, Command["Scores"]):
    """Prints PSNR and SSIM of each set and returns them with those of each image; `out` gets CSV, JSON and Markdown.

    Beside them stands what papers report for the same test sets, which are known by the names of their folders.

    Raises:
        FileNotFoundError: if a folder or the checkpoint does not exist.
        FileExistsError: if `out` holds scores and `overwrite` is False; nothing is measured then.
        ValueError: for unknown names, options out of range, a folder without pairs, or no measurable image.
    """

    title: ClassVar[str] = "how"
    example: ClassVar[str] = "gesso evaluate --task derain --data Rain100L --checkpoint runs/derain/best.safetensors"

    task: TaskSpec
    """name of the task, which brings its protocol, or "all-in-one" with `mix`; `gesso list tasks`."""

    data: Place[SourceSpec | list[str] | list[Path] | None] = None  # pyright: ignore[reportIncompatibleVariableOverride]
    """root of a data set in a published layout, or a list of them, each a set of its own, as are the published test
    sets below a root; or a source of procedural images (`gesso list sources`) that the task's degradation degrades."""

    skip_damaged: bool = False
    """leave out damaged images, and pairs whose sides do not fit, with a warning; else the others are measured, and the
    exit code is 1."""

    split: Literal["train", "val", "test"] = "test"
    """which split of `data`, where it is divided: "train", "val" or "test"."""

    mix: list[dict[str, Any]] | None = None
    """for the task "all-in-one": a list of {name, task, data, degradation, protocol, split, ...}, each measured by the
    protocol of its task; the mix that `finetune` was given will do."""

    protocol: dict[str, Any] | None = None
    """what to measure otherwise, such as `--protocol.ssim matlab3d` or `--protocol.channel y`."""

    checkpoint: FilePath | None = None
    """file of the network, of gesso or of the authors; none: the input is measured unrestored, enlarged bicubically for
    super-resolution."""

    prior_cost: bool = False
    """of a refined network, measure also with the stored mean feature in place of its prior, and the restorer alone,
    and say what each costs in dB."""

    tile: TileSide | None = None
    """side of the tiles in pixels that are restored at a time; none: whole images. Never chosen automatically, for
    tiles change numbers; the protocol says them."""

    overlap: Overlap = 32
    """pixels that neighbouring tiles share; half a tile at most."""

    ensemble: bool = False
    """average over eight flips and rotations, at eight times the cost."""

    precision: TrainingPrecision = "float32"
    """"float32", "bf16", "float64", or "auto": bf16 where the processor computes in it."""

    device: str = "auto"
    """"auto" (a GPU where there is one), or a device of torch such as "cuda:1"."""

    devices: Devices = 1
    """GPUs, or processes on a CPU, that share the images; torchrun and srun set it themselves."""

    seed: Seed = 0
    """the draws of `degradation` follow from it."""

    out: FilePath | None = None
    """folder for `scores.csv`, `scores.json` and `scores.md`; none: nothing is written."""

    save_images: bool = False
    """write the restored images into `out` too, as PNG of 8 bits."""

    overwrite: bool = False
    """replace scores and images that `out` already contains."""


evaluate = as_function(Evaluate)
