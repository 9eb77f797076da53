"""High resolution, and beside it low resolution named after the scale: DIV2K, Flickr2K, REDS, Set5 and its like.

| data | layout |
|---|---|
| DIV2K, Flickr2K, REDS, Set5 and its like | `<name>_HR` and `<name>_LR_bicubic/X4`, see `SCALED` |
| RealSR, RCAN's test sets | `HR/Set5/x4` and `LR/LRBI/Set5/x4` |
"""

from pathlib import Path

from gesso.data.folders import subfolders
from gesso.data.layouts._search import Find, Sides, find_places, folder_at, pairs_of
from gesso.data.pairing import Pair, PairBy, pair_folders

TURN = 1
SCALES = (2, 3, 4, 6, 8, 16)

# High resolution, and beside it low resolution at the scale {s}, in the order in which they are looked for. What
# stands before HR, such as DIV2K_train_, stands before the other, too.
SCALED = (
    ("HR", "LR_bicubic/X{s}"),
    ("HR", "LR_bicubic_X{s}"),
    ("HR_sub", "LR_bicubic/X{s}_sub"),
    ("HR_sub", "LR_bicubic_X{s}_sub"),
    ("HR", "LRbicx{s}"),
    ("GTmod12", "LRbicx{s}"),
    ("GT", "LRbicx{s}"),
    ("original", "LRbicx{s}"),
    ("HR", "LR/X{s}"),
    ("HR", "LR/{s}"),
    ("HR", "LR_X{s}"),
    ("HR", "LRX{s}"),
    ("HR", "LR_unknown/X{s}"),
    ("sharp", "sharp_bicubic/X{s}"),
    ("HR/X{s}", "LR/X{s}"),
    ("HR/{s}", "LR/{s}"),
)
ONE_SCALE = {4: ("LR_mild", "LR_difficult", "LR_wild"), 8: ("LR_x8",)}  # DIV2K's folders of one scale


def scaled(root: Path, split: str, *, pair_by: PairBy = "stem", scale: int = 1) -> list[Pair]:
    """High resolution, and beside it low resolution named after the scale: `HR` and `LR_bicubic/X4`."""
    if scale == 1:
        return []
    return pairs_of(root, split, scale, scaled_at(scale), lambda lq, gt: pair_folders(lq, gt, pair_by))


def find_sides(folder: Path, inside: list[Path]) -> list[Sides]:
    """The folders of low resolution, at any scale, and of high resolution in a folder."""
    return [sides for scale in SCALES for sides in scaled_sides(folder, inside, scale)]


def scaled_at(scale: int) -> Find:
    """What finds the folders of `SCALED` at a scale."""
    return lambda folder, inside: scaled_sides(folder, inside, scale)


def scaled_sides(folder: Path, inside: list[Path], scale: int) -> list[Sides]:
    """The folders of low resolution at a scale and of high resolution in a folder, both or several such."""
    called = {child.name.lower(): child for child in inside}
    patterns = [(high.lower(), low.format(s=scale).lower()) for high, low in SCALED]
    patterns += [("hr", low.lower()) for low in ONE_SCALE.get(scale, ())]
    found: dict[str, Sides] = {}
    for high, low in patterns:
        top, _, rest = high.partition("/")
        for name in [name for name in called if name.endswith(top)]:
            begin = name.removesuffix(top)
            lq, gt = folder_at(called, begin + low), folder_at(called, f"{name}/{rest}" if rest else name)
            if lq and gt and lq != gt and not any(begin == other for other in found):
                found[begin] = (lq, gt)
    if not found and "hr" in called and "lr" in called:  # RCAN's test sets: HR/Set5/x4, LR/LRBI/Set5/x4
        found = {
            gt.name: (lq, truths)
            for gt in subfolders(called["hr"])
            for lqs in (f"lr/lrbi/{gt.name}/x{scale}", f"lr/{gt.name}/x{scale}")
            if (lq := folder_at(called, lqs.lower()))
            and (truths := folder_at(called, f"hr/{gt.name}/x{scale}".lower()))
        }
    return list(found.values())


def beside_high_resolution(root: Path) -> dict[Path, int]:
    """The folders of low resolution under `root`, as `SCALED` has them, with their scales.

    And, with 1, `original` beside `GTmod12`: the same images, not yet cut.
    """

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        for scale in SCALES:
            for lq, gt in scaled_sides(folder, inside, scale):
                beside[lq] = scale
                if gt.name.lower() == "gtmod12":
                    beside.update({child: 1 for child in inside if child.name.lower() == "original"})
        return []

    beside: dict[Path, int] = {}
    list(find_places(root, find))
    return beside
