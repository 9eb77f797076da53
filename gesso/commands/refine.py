"""Train a light refiner behind a restorer, guided by a frozen pre-trained model."""

from typing import Annotated, Any, ClassVar

from gesso._specs import FilePath, LossSpec, OptimizerName, PriorSpec, PriorView, RefinedLevel, RefinerSpec
from gesso._values import UNNAMED, BelowOne, IfUnnamed, LearningRate, NonNegativeFloat, PositiveInt
from gesso.options import as_function, options
from gesso.options._fields import Machine
from gesso.options.network import NetworkFile
from gesso.options.run import SupervisedRun


@options
class Refine(SupervisedRun, NetworkFile):
    """Writes `backbone.safetensors`, restorer and refiner in one, and `best.safetensors`; returns the former's path.

    Both are files that `evaluate`, `restore` and `export` take. They name the prior, which is needed wherever they are
    used; `--backbone_args.prior mean` does without it, with the mean feature of the training images in its place.

    Raises:
        FileNotFoundError: if there is no restorer, or no weights of the prior.
        ValueError: for unknown names and options, values out of range, data that cannot be trained on, a prior that is
            not the refiner's, or a folder that already contains another run.
    """

    title: ClassVar[str] = "restorer, prior and refiner"
    example: ClassVar[str] = (
        "gesso refine --checkpoint restorer.pth --prior clip:FOLDER --task derain --data Rain13K --out runs/refined"
    )

    checkpoint: FilePath
    """file of the restorer, of gesso or of its authors; or a refined one, to train it further; or the name of a
    network, as "snr_net", which begins with random weights."""

    prior: PriorSpec
    """the frozen model: a file that gesso opens (from `pretrain`, say), "clip:FOLDER" (transformers), "clip:NAME@FILE"
    (open_clip), "sd:FOLDER" (the image encoder of Stable Diffusion, diffusers), "MODULE:CLASS" (yours), in
    Python also an nn.Module, images in [0, 1] to vectors, or "none" (a refiner without prior); of a refined checkpoint
    also "mean", its stored mean feature."""

    backbone_args: dict[str, Any] | None = None
    """options that the restorer's file does not tell, such as `--backbone_args.img_size 256`. Images have as many
    channels as the restorer takes; `--backbone_args.image_channels 4` adapts one for RGB."""

    prior_view: PriorView | None = None
    """what the prior sees: the "crop" that is trained on and the tile that is restored, or the whole "image" that it is
    cut from, whose features are computed once and kept; the latter for pairs, not for photos that are degraded on the
    fly; none: "crop", or what a refined checkpoint was trained with."""

    prior_cache: Machine[FilePath | None] = None
    """folder for the prior features of whole images, to be shared between runs; none: `out`."""

    refiner: RefinerSpec | None = None
    """name of the refiner; `gesso list refiners` shows all with their options; or module:Class of your own; none:
    "ptg_rm", or what a refined checkpoint has."""

    refiner_args: dict[str, Any] | None = None
    """options of the refiner, such as `--refiner_args.image_mask true`."""

    ablation: str = "full"
    """a set of such options by name: "full"; of "ptg_rm" also a row of its paper's table 3: without spatial-varying
    enhancement ("no_sve"), channel-spatial attention ("no_csa", or either: "no_channel", "no_spatial") or position
    ("no_position"); with the map of signal and noise as the mask ("snr_mask"), or a prior of one or two dimensions that
    is merely concatenated ("concat_1d", "concat_2d"); or "larger", which nothing guides, with the prior "none"."""

    level: RefinedLevel | None = None
    """what is refined: the restored "image", or the last "feature" map of the restorer (-f in the paper's table 1);
    none: "image", or what a refined checkpoint was trained with."""

    freeze_restorer: bool = False
    """train the refiner only."""

    restored_weight: NonNegativeFloat = 1.0
    """factor of the loss of the restorer's own output, added to that of the refined image."""

    loss: LossSpec | None = None
    """"l1", "charbonnier", "charbonnier_sum", "mse", "psnr" or "ssim" (and l1); with the distance of VGG-19 features
    added, {name: charbonnier_sum, vgg: FILE, vgg_weight: 0.1}; none: that of the task."""

    steps: Annotated[PositiveInt, IfUnnamed(200_000, small=600)] = UNNAMED
    optimizer: OptimizerName = "adam"
    lr: LearningRate = 1e-4
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)


refine = as_function(Refine)
