"""Where an image is stored: in a file, in a block of a MATLAB file, or in two files of a dual-pixel camera.

SIDD publishes its test images as MATLAB files: a variable called like the file, (40, 32, 256, 256, 3), holds 32 blocks
of each of 40 photos. DPDD publishes what the left and the right halves of the camera's pixels saw as two files.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gesso.data.metadata import ImageError


@dataclass(frozen=True)
class Block:
    """One image out of a MATLAB file.

    Attributes:
        file: the file; its variable of the same name holds the images.
        index: where in that variable, as (photo, block).
    """

    file: Path
    index: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.file} {list(self.index)}"


@dataclass(frozen=True)
class Views:
    """What the left and the right halves of a dual-pixel camera's pixels saw: one image of six channels."""

    left: Path
    right: Path

    def __str__(self) -> str:
        return f"{self.left} with {self.right.name}"


ImageRef = Path | Block | Views


def files_of(ref: ImageRef) -> tuple[Path, ...]:
    """The files that an image is read from."""
    if isinstance(ref, Views):
        return ref.left, ref.right
    return (ref,) if isinstance(ref, Path) else (ref.file,)


def find_blocks(file: Path) -> list[Block]:
    """The images of a MATLAB file, in order; only its headers are read.

    Raises:
        FileNotFoundError: if there is no such file.
        ImageError: if it is no MATLAB file of version 5 to 7.2, or has no variable of images with the file's name.
    """
    import scipy.io

    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    try:
        found = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(file))}
    except NotImplementedError:
        raise ImageError(f"{file}: a MATLAB file of version 7.3 (HDF5); expected 5 to 7.2: save(..., '-v7')") from None
    except Exception as error:  # SciPy raises whatever the bytes lead it to
        raise ImageError(f"{file}: expected a MATLAB file, it cannot be read as one ({error})") from None
    expected = f"{file}: expected a variable {file.stem}, uint8 (photos, blocks, height, width, 3)"
    if file.stem not in found:
        seen = ", ".join(f"{name} {shape}" for name, (shape, _) in found.items()) or "none"
        raise ImageError(f"{expected}; found {seen}; name the file like its variable")
    shape, kind = found[file.stem]
    if len(shape) not in (4, 5) or shape[-1] != 3 or kind not in ("uint8", "uint16"):
        raise ImageError(f"{expected} or (images, height, width, 3); found {kind} {shape}")
    return [Block(file, tuple(map(int, index))) for index in np.ndindex(*shape[:-3])]


@functools.lru_cache(maxsize=2)  # the two sides of a set; SIDD's take 250 MB each
def read_variable(file: Path) -> np.ndarray:
    """All images of a MATLAB file, as `find_blocks` counts them."""
    import scipy.io

    try:
        return scipy.io.loadmat(str(file), variable_names=[file.stem])[file.stem]
    except Exception as error:
        raise ImageError(f"{file}: the MATLAB file is cut short or damaged ({error})") from None
