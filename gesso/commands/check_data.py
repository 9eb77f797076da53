"""Check a data set before training: counts, sizes, damage, copies across splits, misaligned pairs."""

from dataclasses import field
from typing import TYPE_CHECKING, ClassVar

from gesso._specs import FilePath
from gesso._values import Enlargement
from gesso.options import Command, as_function, options
from gesso.options._fields import Place
from gesso.options.data import Pairs

if TYPE_CHECKING:
    from gesso.commands._check_data import DataReport  # noqa: F401, in the name of what comes back


@options
class CheckData(Pairs, Command["DataReport"]):
    """Prints what a data set holds and what is wrong with it; the exit code is 1 if that would harm training.

    Every file is decoded. Errors are: no pairs, files that cannot be read, sides of different size, a scale that is not
    the task's, the same pixels in two splits, and pairs that are clearly shifted. Unpaired files, possible shifts,
    mixed bit depths, and copies within a split are warnings.

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if neither `data` nor `lq` and `gt` are given, or for an unknown task.
    """

    example: ClassVar[str] = "gesso check-data Rain13K --val Rain100H"

    data: Place[FilePath | None] = field(default=None, kw_only=False)
    """root of a data set in a published layout, which is detected automatically, or a folder of clean photos."""

    val: Place[FilePath | None] = None
    """root of another set that must not share an image with the first, such as your test images."""

    task: str | None = None
    """name of the task the data is for, to check the scale; none: any."""

    scale: Enlargement | None = None
    """enlargement for super-resolution, which chooses among folders named after it; none: the one they name."""


check_data = as_function(CheckData)
