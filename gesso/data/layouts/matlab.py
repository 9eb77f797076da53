"""MATLAB files of many images, as SIDD publishes its test images: `ValidationNoisyBlocksSrgb.mat` and `...Gt...`."""

from pathlib import Path

from gesso.data.image_ref import find_blocks
from gesso.data.layouts._search import Sides, pairs_of
from gesso.data.pairing import Pair

TURN = 3


def matlab(root: Path, split: str, *, scale: int = 1) -> list[Pair]:
    """MATLAB files of many images called alike but for `Noisy` and `Gt`, as SIDD publishes its test images."""
    return pairs_of(root, split, scale, find_sides, pair_blocks)


def find_sides(folder: Path, inside: list[Path]) -> list[Sides]:
    """The MATLAB files of degraded images and of ground truths in a folder, where two are called alike."""
    files = {path.stem.lower(): path for path in sorted(folder.glob("*.mat"))}
    partners = {name: name.replace("noisy", "gt") for name in files if "noisy" in name}
    return [(files[name], files[gt]) for name, gt in partners.items() if gt in files]


def pair_blocks(lq: Path, gt: Path) -> list[Pair]:
    """Pairs of the images of two MATLAB files, called by their place in them: `03_17`.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: if a file does not hold what its name says, or the two do not hold the same number of images.
    """
    sides = [find_blocks(file) for file in (lq, gt)]
    if [block.index for block in sides[0]] != [block.index for block in sides[1]]:
        raise ValueError(f"{lq} holds {len(sides[0])} images and {gt} {len(sides[1])}; expected as many, in one order")
    return [Pair("_".join(f"{i:02d}" for i in one.index), one, other) for one, other in zip(*sides, strict=True)]
