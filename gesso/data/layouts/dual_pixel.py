"""Both views of a dual-pixel camera: DPDD, as published and as Restormer prepares it.

| data | layout |
|---|---|
| DPDD as published | `{train,val,test}_{c,l,r}/{source,target}` |
| DPDD with both views, as Restormer prepares it | `{train,val,test}/<set>/{inputL,inputR,target}` |
"""

import re
from pathlib import Path

from gesso.data.folders import examples
from gesso.data.image_ref import Views
from gesso.data.layouts._search import Sides, pairs_of
from gesso.data.pairing import Pair, PairBy, find_partners
from gesso.data.sides import SPLITS, side_of

TURN = None  # DPDD has the combined view as well, which other tasks take
VIEW_FOLDERS = ({"inputl", "inputl_crops"}, {"inputr", "inputr_crops"})


def dual_pixel(root: Path, split: str, *, pair_by: PairBy = "stem", scale: int = 1) -> list[Pair]:
    """Both views of a dual-pixel camera: folders `inputL`, `inputR` and `target`, or DPDD's as published.

    Raises:
        ValueError: if an image lacks one of its views.
    """

    def pair_views(left: Path, right: Path, gt: Path) -> list[Pair]:
        lefts, rights = (
            {re.sub("(?i)_[lr]$", "", name): files for name, files in find_partners(view, gt, pair_by).items()}
            for view in (left, right)
        )
        if alone := sorted(lefts.keys() ^ rights.keys()):
            raise ValueError(f"{left} and {right}: expected both views of every image; only one of {examples(alone)}")
        return [Pair(name, Views(view, rights[name][0]), target) for name, (view, target) in lefts.items()]

    return pairs_of(root, split, scale, find_sides, pair_views)


def find_sides(folder: Path, inside: list[Path]) -> list[Sides]:
    """The folders of the left view, the right view and the ground truths in a folder, if it holds all three."""
    called = {child.name.lower(): child for child in inside}
    views = [next((called[name] for name in sorted(names) if name in called), None) for names in VIEW_FOLDERS]
    gts = [child for child in called.values() if (side := side_of(child.name)) and side.role == "gt"]
    if all(views) and gts:
        return [(*(view for view in views if view), gts[0])]
    raw = [
        (called[f"{split}_l"] / "source", called[f"{split}_r"] / "source", called[f"{split}_c"] / "target")
        for split in SPLITS
        if {f"{split}_l", f"{split}_r", f"{split}_c"} <= called.keys()
    ]
    return [sides for sides in raw if all(side.is_dir() for side in sides)]
