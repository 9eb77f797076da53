"""What commands that write many files share: that nothing is in their way, and what became of each."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Written:
    """What a command wrote.

    Attributes:
        written: the files, in the order of the images that they were made of.
        failed: why an image could not be done, by its path.
    """

    written: tuple[Path, ...]
    failed: dict[Path, str]

    @property
    def exit_code(self) -> int:
        """1 if an image failed, else 0."""
        return int(bool(self.failed))


def check_free(paths: list[Path]) -> None:
    """Checks that no file is in the way.

    Raises:
        FileExistsError: naming the first that is.
    """
    taken = [path for path in paths if path.exists()]
    if taken:
        others = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise FileExistsError(f"{taken[0]} exists already{others}; --overwrite replaces what is there")
