"""What pre-training did to a network: its features, its weights, the bands it restores, and the papers' figures."""

from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

from gesso._specs import BackboneSpec, FilePath, PretextSpec, SourceSpec
from gesso._values import Pixels, PositiveInt, Seed, Within
from gesso.options import Command, as_function, options


@options
class Inspect(Command[dict[str, Any]]):
    """Writes `inspection.json` and pictures of a network into `out`, prints tables, returns what the JSON holds.

    Of every feature map on noise N(0, 1), procedural leaves and photos: scale, correlation of channels, effective
    rank, alignment with the random start and with another network; of the weights their distance from where training
    began; of every band of the spectrum how much comes back once it is missing. Images have as many channels as the
    network takes: photos turn grey for one; for four they are PNG or TIFF files with a fourth channel of data.

    Raises:
        ValueError: if there is nothing to look at, or it lacks what is asked for.
        FileNotFoundError: if a file or folder does not exist.
        FileExistsError: if `out` holds results and `overwrite` is False.
    """

    title: ClassVar[str] = "network and pictures"
    example: ClassVar[str] = "gesso inspect runs/ifp --out inspection"

    what: BackboneSpec | FilePath | None = field(default=None, kw_only=False)
    """file of weights, folder of a run, or name of a network, which is then looked at with random weights, also
    module:NAME of your own; in Python also the network itself."""

    out: FilePath
    """folder for the results."""

    images: SourceSpec | None = None
    """folder of clean photos, or other images (`gesso list sources`), as module:NAME of your own; none: noise and
    procedural images alone."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits: 4095 for 12 bits; none: 65535, or what the files say."""

    against: BackboneSpec | FilePath | None = None
    """another file, folder or name to compare with; in Python also a network."""

    pretext: PretextSpec | None = None
    """pretext that the network was pre-trained by, where the run's record is of code, or an object, of your own; none:
    what the record says."""

    backbone_args: dict[str, Any] | None = None
    """options of a named network, or what a file does not tell, such as `--backbone_args.target module:Class`."""

    count: PositiveInt = 16
    """images of each kind."""

    crop_size: Pixels = 64
    """side of the images in pixels, rounded up to what the networks take."""

    seed: Seed | None = None
    """of the random start; none: that of the run, if `config.yaml` in the file's folder says it, else 0."""

    spectra: bool = False
    """draw IFP's Figure 2: a t-SNE of the amplitude spectra of degradations, and an image restored from masked
    rings."""

    embeddings: bool = False
    """draw IFP's Figure 4 and DCPT's t-SNE: features of degraded images, before and after."""

    tokens: bool = False
    """draw IPT's Figures 7 and 9: similarities of its position and of its task embeddings."""

    sweep: FilePath | list[str] | list[Path] | None = None
    """folders of `gesso compare` or `gesso finetune`, separated by commas, or a folder that holds several: draw what
    was reached over each option of pre-training that varies (IFP, Figure 7 and Tables 4 to 6)."""

    degradations: list[Any] | None = None
    """classes for `spectra` and `embeddings`: names, or names with options, module:NAME of your own among them; none:
    rain, noise, haze, low light, blur."""

    mask_ratio: Within = 0.75
    """share of rings that `spectra` takes out of the image, in (0, 1)."""

    overwrite: bool = False
    """replace results that `out` already contains."""


inspect = as_function(Inspect)
