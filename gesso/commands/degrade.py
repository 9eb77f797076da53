"""Make pairs for training or testing from clean photos."""

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from gesso._specs import DegradationSpec, FilePath
from gesso._values import PositiveInt, Seed
from gesso.options import Command, as_function, options

if TYPE_CHECKING:
    from gesso.commands._written import Written  # noqa: F401, in the name of what comes back


Channels = Literal[1, 3, 4]


@options
class Degrade(Command["Written"]):
    """Writes degraded photos into `out/input` and the clean ones into `out/target`; returns what was done.

    Names and folders below `input` are kept; JPEG and PGM become PNG, so that nothing else degrades them. Each photo
    draws from (seed, name): adding photos does not change the others.

    Raises:
        FileNotFoundError: if `input` does not exist.
        FileExistsError: if files would be replaced and `overwrite` is False; nothing is written then.
        ValueError: for an unknown degradation or option, no photos, or two photos that would get one name.
    """

    title: ClassVar[str] = "photos and how they are degraded"
    example: ClassVar[str] = "gesso degrade PHOTOS pairs --degradation.name rain --degradation.density 0.3"

    input: FilePath = field(kw_only=False)
    """a photo, or a folder of photos with its subfolders."""

    out: FilePath = field(kw_only=False)
    """folder to write into."""

    degradation: DegradationSpec = "rain"
    """a name, `{name: rain, density: 0.3}`, or a list of these in order; `gesso list degradations`."""

    image_channels: Channels = 3
    """of the pairs: 3; 1 makes photos grey; 4 takes PNG and TIFF files with a fourth channel of data, which else is
    left out as alpha."""

    white_level: PositiveInt | None = None
    """the value of white in files of 16 bits, in the pairs, too: 4095 for 12 bits; none: 65535, or what the files
    say."""

    seed: Seed = 0
    """same seed, same pixels."""

    pairs: bool = True
    """false writes only the degraded photos, straight into `out`."""

    overwrite: bool = False
    """replace files that exist."""


degrade = as_function(Degrade)
