"""Restore an image, or a folder of them, with a trained network."""

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from gesso._specs import Blend, FilePath, TrainingPrecision
from gesso._values import Devices, Overlap, PositiveInt, TileSide
from gesso.options import Command, as_function, options
from gesso.options.network import NetworkFile

if TYPE_CHECKING:
    from gesso.commands._written import Written  # noqa: F401, in the name of what comes back


@options
class Restore(NetworkFile, Command["Written"]):
    """Writes restored images into `out` under their names; returns what was done.

    Bit depth, alpha, greyness, colour profile, resolution and EXIF are kept, and a rotation that EXIF asks for is done.
    Every page of a TIFF is restored; of an animation the first frame. A network of four channels takes the fourth of a
    PNG or TIFF for data. A file that cannot be read is reported, and the rest is done.

    Raises:
        FileNotFoundError: if `input` or `checkpoint` does not exist.
        FileExistsError: if files would be replaced and `overwrite` is False; nothing is written then.
        ValueError: for a file that is no checkpoint, options out of range, no images, a format that cannot hold one of
            them, or an `out` that would replace the images themselves.
    """

    title: ClassVar[str] = "images and how they are restored"
    example: ClassVar[str] = "gesso restore photo.jpg restored.png --checkpoint runs/derain/best.safetensors"

    input: FilePath = field(kw_only=False)
    """an image, or a folder of images with its subfolders."""

    out: FilePath = field(kw_only=False)
    """folder to write into; for a single image also a file, whose suffix is the format."""

    checkpoint: FilePath = "primed"
    """file of the network, of gesso or of the authors; "primed:TASK/NETWORK" for one that comes with the package;
    "primed": the one for `task`."""

    task: str | None = None
    """what to restore without a checkpoint, such as "derain"; `gesso list primed` shows for what there is one."""

    tile: Literal["auto"] | TileSide | None = "auto"
    """side of the tiles in pixels that are restored at a time; "auto": what the image costs least in; none:
    whole images."""

    overlap: Literal["auto"] | Overlap = "auto"
    """pixels that neighbouring tiles share, half a tile at most; "auto": as few as show no seam of this network where
    the tile is "auto", too, else 32."""

    blend: Blend = "smooth"
    """how they are joined: "smooth", or "uniform" as in the demo of Restormer's authors."""

    ensemble: bool = False
    """average over eight flips and rotations, at eight times the cost."""

    precision: TrainingPrecision = "auto"
    """"float32", "bf16", or "auto": bf16 where the processor computes in it."""

    device: str = "auto"
    """"auto" (a GPU where there is one), or a device of torch such as "cuda:1"."""

    devices: Devices = 1
    """GPUs, or processes on a CPU, that share the images; torchrun and srun set it themselves."""

    format: str | None = None
    """format to write, such as png, jpg or tif; none: that of each image."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits, in the restored ones, too: 4095 for a camera of 12 bits; none: 65535, or
    what the file says."""

    overwrite: bool = False
    """replace files that exist."""


restore = as_function(Restore)
