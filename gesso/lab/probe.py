"""How well frozen features tell degradations apart: nearest neighbours, random weights against checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gesso._specs import BackboneSpec, FilePath, SourceSpec
from gesso._values import Pixels, PositiveInt, Seed
from gesso.options import Command, as_function, options

if TYPE_CHECKING:
    from gesso.lab._probe import Accuracy  # noqa: F401, in the name of what comes back


@options
class Probe(Command["list[Accuracy]"]):
    """Prints and returns how well the last feature map tells degradations apart, for random weights and checkpoints.

    The preliminary experiment of DCPT (section 3): `count` images in each of five degradations, centre crops of 128,
    the tensor before the last convolution, flattened as it is; the five nearest neighbours of two thirds decide about
    the other third, for five splits. Random weights are Kaiming-uniform with a = 2 and zero biases, as there. The paper
    takes each class from another benchmark (`classes`), whose content may give it away; here all come from one set.

    Raises:
        ValueError: if there is nothing to probe, or fewer than two classes, three images or the neighbours.
        FileNotFoundError: if a folder or file does not exist.
        FileExistsError: if `out` holds results and `overwrite` is False.
    """

    title: ClassVar[str] = "networks and images"
    example: ClassVar[str] = (
        "gesso probe --backbone restormer_tiny --images PHOTOS --checkpoint runs/dcpt/backbone.safetensors"
    )

    backbone: BackboneSpec | None = None
    """network to probe with random weights; none: checkpoints only."""

    backbone_args: dict[str, Any] | None = None
    """options of the network. With `--backbone_args.image_channels 1` images are grey, with 4 they are PNG or TIFF
    files with a fourth channel of data, or generated so."""

    checkpoint: FilePath | list[str] | list[Path] | None = None
    """file whose features are probed, of gesso or of the authors, a list of such files, or a folder of them (the
    `snapshots` of a run); weights for other channels than the images have are adapted."""

    images: SourceSpec | None = None
    """folder of clean photos, or procedural ones (`gesso list sources`), as module:NAME of your own; none: "leaves"."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits: 4095 for 12 bits; none: 65535, or what the files say."""

    degradations: list[Any] | None = None
    """classes to tell apart: names, or names with options; none: rain, noise, haze, low light, blur."""

    classes: dict[str, str] | None = None
    """instead of `images` and `degradations`, a folder of degraded images for each class, `{haze: FOLDER, blur:
    FOLDER}`. Of a data set in a published layout these are its degraded images, of its test split where it is
    divided."""

    count: PositiveInt = 100
    """images in each class, of a folder drawn by `seed`."""

    own_images: bool = False
    """give each class images of its own, as in the paper; else every image is degraded in all ways, and its other
    versions, which look most alike, vote for the wrong classes."""

    pixels: bool = False
    """probe the degraded images themselves as well: what no feature is needed for."""

    crop_size: Pixels = 128
    """side of the images in pixels."""

    neighbours: PositiveInt = 5
    """how many neighbours vote."""

    seed: Seed = 0
    """random weights and degradations follow from it."""

    out: FilePath | None = None
    """folder for `probe.csv` and `probe.svg` (t-SNE of the features); none: nothing is written."""

    overwrite: bool = False
    """replace results that `out` already contains."""


probe = as_function(Probe)
