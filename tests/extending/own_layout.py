"""Where one's own data keep their pairs: `train/3.dim.png` and `train/3.bright.png`."""

from pathlib import Path

from gesso import Pair


def lamps(root: Path, split: str) -> list[Pair]:
    """The pairs of a split; none where there is no such folder."""
    inputs = sorted((root / split).glob("*.dim.png"))
    return [Pair(path.stem, path, path.with_name(path.name.replace(".dim.", ".bright."))) for path in inputs]
