"""Links the real pairs of the evidence into train and test folders, the same for every run.

Pairs are taken in natural order, first those to train on: Rain100H's copies 5 and 14 then fall on one side. For camera
noise both sides show scenes of their own. Made pairs are clean photos that were degraded once. There is also one image
of noise with the mean and the deviation of the one in IFP's official code. The folders `curve_*` hold all pairs of a
task, no scene on both sides.

usage: python research/prepare.py DATA OUT
"""

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import gesso
from gesso.data.folders import natural
from gesso.data.layouts import Pair, find_pairs

# folder: pairs to train on, pairs to test on
SPLITS = {
    "derain_rain100h": (12, 12),
    "derain_all": (23, 0),  # all of them in folds, but for the copy
    "derain_made": (100, 20),
    "dehaze_sots_indoor": (6, 6),
    "dehaze_all": (12, 0),  # all of them in folds
    "noise_polyu": (20, 12),
    "lowlight_lol_train": (4, 0),  # so few that folds have to do
    "deblur_made": (100, 12),
}
MADE = {"derain_made": "rain_heavy", "deblur_made": "motion_blur"}  # of clean photos
CURVES = {  # folder: data sets, how many scenes are tested at least
    "curve_derain": (("derain_rain100h", "derain_rain100h_more"), 16),
    "curve_dehaze": (("dehaze_sots_indoor", "dehaze_sots_indoor_more"), 12),
    "curve_realnoise": (("noise_polyu",), 12),
}
COPY = "14"  # shows the photo of Rain100H's pair 5


def main(data: Path, out: Path) -> None:
    """Links the splits of every folder, and makes what is made."""
    sources = {"derain_all": data / "derain_rain100h", "dehaze_all": data / "dehaze_sots_indoor"}
    for name, degradation in MADE.items():
        sources[name] = out / "made" / name
        if not sources[name].exists():
            gesso.degrade(data / "clean_bsds", sources[name], degradation=degradation, seed=0)
    for name, (train, test) in SPLITS.items():
        source = sources.get(name, data / name)
        pairs = sorted(find_pairs(source), key=lambda pair: natural(pair.lq.name))
        if name == "derain_all":
            pairs = [pair for pair in pairs if pair.lq.stem != COPY]
        if name == "noise_polyu":  # the last test pairs are of cameras and scenes that the first do not show
            pairs = [*pairs[:train], *pairs[-test:]]
        link_pairs(out / name / "train", pairs[:train])
        if test:
            link_pairs(out / name / "test", pairs[train : train + test])
    for name, (sets, scenes) in CURVES.items():
        pairs = [pair for each in sets for pair in find_pairs(data / each)]
        train, tested = split_by_scene(pairs, SCENES[name], scenes)
        link_pairs(out / name / "train", train)
        link_pairs(out / name / "test", tested)
    make_noise(out / "noise" / "one.png")


def split_by_scene(pairs: list[Pair], scene_of: Callable[[Pair], str], count: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and to test on, in an order that their names decide; the test side has `count` whole scenes.

    Scenes with few pairs are tested, so that most pairs are left to train on.
    """
    scenes: dict[str, list[Pair]] = {}
    for pair in pairs:
        scenes.setdefault(scene_of(pair), []).append(pair)
    order = sorted(scenes, key=lambda scene: (len(scenes[scene]), hashlib.sha256(scene.encode()).hexdigest()))
    sides = order[count:], order[:count]
    train, test = (sorted((p for s in side for p in scenes[s]), key=lambda p: natural(p.lq.name)) for side in sides)
    return train, test


def photo_of(pair: Pair) -> str:
    """What two pairs share that show one photo: the pixels of their ground truth."""
    return hashlib.sha256(cv2.imread(str(pair.gt)).tobytes()).hexdigest()


SCENES: dict[str, Callable[[Pair], str]] = {
    "curve_derain": photo_of,
    "curve_dehaze": lambda pair: pair.lq.name.split("_")[0],  # SCENE_LEVEL.png
    "curve_realnoise": lambda pair: re.sub(r"_+\d+_real$", "", pair.lq.stem),  # CAMERA_SETTINGS_SCENE_CROP_real.JPG
}


def link_pairs(folder: Path, pairs: list[Pair]) -> None:
    """Links pairs into a data set, under names of the set that they come from where two would be called alike."""
    names = [pair.name for pair in pairs]
    for side in ("input", "target"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        name = pair.name if names.count(pair.name) == 1 else f"{pair.lq.parents[1].name}-{pair.name}"
        link(pair.lq, folder / "input" / f"{name}{pair.lq.suffix}")
        link(pair.gt, folder / "target" / f"{name}{pair.gt.suffix}")


def make_noise(file: Path) -> None:
    """Writes Gaussian noise in [0, 1] that fills one crop of the pretext, once."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.467 + 0.0745 * np.random.default_rng(0).standard_normal((96, 96, 3))
        cv2.imwrite(str(file), np.rint(noise.clip(0, 1) * 255).astype(np.uint8))


def link(file: Path, place: Path) -> None:
    """Links a file, once."""
    if not place.exists():
        place.symlink_to(file.resolve())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
