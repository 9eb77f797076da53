"""Two folders named alike `input` and `target`, as most data sets have them.

| data | layout |
|---|---|
| any two folders, RESIDE, Rain100H, UIEB, RealDOF | `{input,target}`, `{hazy,gt}`, `{raw-890,reference-890}`, ... |
| Snow100K, CSD | `{synthetic,gt,mask}`, `{Snow,Gt,Mask}` |
| RainDrop, Outdoor-Rain, Rain1400 | `{train,test_a}/{data,gt}`, `{in,gt}`, `training/{rainy_image,ground_truth}` |
| ISTD | `{train,test}/train_{A,B,C}` |
| Uformer's GoPro, HIDE and SIDD | `{train,val,test}/{input,groundtruth}` |
| LOL | `our485/{low,high}`, `eval15/{low,high}` |
| Restormer's Rain13K, GoPro, SIDD, DPDD | `{train,val,test}/<set>/{input,target}`, `{input_crops,target_crops}` |
| GoPro as published | `{train,test}/<sequence>/{blur,sharp}` |
| REDS | `train/{train_blur,train_sharp}/<sequence>` |
| RealBlur | `<set>/test/{input,target}` |
| RESIDE as published | `ITS/{hazy,gt}`, `SOTS/{indoor,outdoor}/{hazy,gt}` |
| SID | `{train,test}/{short,long}` |
| DRealSR | `Train_x4/{train_HR,train_LR}` |
"""

import re
from pathlib import Path

from gesso.data.folders import examples, subfolders
from gesso.data.layouts._search import Sides, pairs_of
from gesso.data.pairing import Pair, PairBy, pair_folders
from gesso.data.sides import Side, are_partners, scale_of, side_of, split_of

TURN = 2


def folders(
    root: Path, split: str, *, pair_by: PairBy = "stem", scale: int = 1, sides: tuple[str, str] | None = None
) -> list[Pair]:
    """Folders named alike `input` and `target`; a split is a folder on the way there, or part of their names."""

    def find(folder: Path, inside: list[Path]) -> list[Sides]:
        if sides:
            called = {child.name: child for child in inside}
            return [(called[sides[0]], called[sides[1]])] if {*sides} <= called.keys() else []
        one_view = re.fullmatch(r"(.+)_[lr]", folder.name)  # of DPDD, whose train_c holds what both views show
        return [] if one_view and (folder.parent / f"{one_view[1]}_c").is_dir() else find_sides(folder, inside)

    return pairs_of(root, split, scale, find, lambda lq, gt: pair_folders(lq, gt, pair_by))


def find_sides(folder: Path, inside: list[Path]) -> list[Sides]:
    """The folders of degraded images and of ground truths in a folder; several such where their names say of what.

    Raises:
        ValueError: if it holds several of a kind.
    """
    sides = {child: side for child in inside if (side := side_of(child.name))}
    groups = {side.rest: [] for side in sides.values()}
    for child, side in sides.items():
        groups[side.rest].append(child)
    found = [pair for children in groups.values() if (pair := _two_of(folder, {c: sides[c] for c in children}))]
    return found or ([pair] if (pair := _two_of(folder, _loosely_named(sides))) else [])


def _two_of(folder: Path, sides: dict[Path, Side]) -> Sides | None:
    """The two folders of some that are partners; the words of a side count before those that may mean one."""
    partners = [(lq, gt) for lq in sides for gt in sides if are_partners(sides[lq], sides[gt])]
    surest = [pair for pair in partners if not any(sides[side].weak for side in pair)]
    if len(chosen := surest or partners) > 1:
        names = dict.fromkeys(child.name for pair in chosen for child in sorted(pair))
        raise ValueError(f"{folder}: {examples(names)} are too many sides; give lq and gt")
    if not chosen:
        return None
    lq, gt = chosen[0]
    nested = sides[lq].word == "lr" and any(scale_of(Path(child.name)) for child in subfolders(lq))
    return None if nested else (lq, gt)


def _loosely_named(sides: dict[Path, Side]) -> dict[Path, Side]:
    """Sides of one split, of which one kind has more in its name: `blur_jpeg` and `sharp`; not of two resolutions."""
    rests = {role: {side.rest for side in sides.values() if side.role == role} for role in ("lq", "gt")}
    splits = {split_of(child.relative_to(child.parent)) for child in sides}
    resolutions = any(side.word in ("lr", "hr") for side in sides.values())
    shared = all(len(each) == 1 for each in rests.values()) and any(
        set(one.split()) <= set(other.split()) or set(one.split()) >= set(other.split())
        for one in rests["lq"]
        for other in rests["gt"]
    )
    return sides if shared and len(splits) == 1 and not resolutions else {}
