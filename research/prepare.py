"""Links the real pairs of the evidence into train and test folders, the same for every run.

Pairs are taken in natural order, first those to train on: Rain100H's copies 5 and 14 then fall on one side. For camera
noise both sides show scenes of their own. Made pairs are clean photos that were degraded once. There is also one image
of noise with the mean and the deviation of the one in IFP's official code.

usage: python research/prepare.py DATA OUT
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from gesso.commands.degrade import degrade
from gesso.data.folders import natural
from gesso.data.layouts import find_pairs

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
COPY = "14"  # shows the photo of Rain100H's pair 5


def main(data: Path, out: Path) -> None:
    """Links the splits of every folder, and makes what is made."""
    sources = {"derain_all": data / "derain_rain100h", "dehaze_all": data / "dehaze_sots_indoor"}
    for name, degradation in MADE.items():
        sources[name] = out / "made" / name
        if not sources[name].exists():
            degrade(data / "clean_bsds", sources[name], degradation=degradation, seed=0)
    for name, (train, test) in SPLITS.items():
        source = sources.get(name, data / name)
        pairs = sorted(find_pairs(source), key=lambda pair: natural(pair.lq.name))
        if name == "derain_all":
            pairs = [pair for pair in pairs if pair.lq.stem != COPY]
        if name == "noise_polyu":  # the last test pairs are of cameras and scenes that the first do not show
            pairs = [*pairs[:train], *pairs[-test:]]
        splits = {"train": pairs[:train], "test": pairs[train : train + test]}
        for split, chosen in splits.items() if test else [("train", pairs[:train])]:
            for side in ("input", "target"):
                (out / name / split / side).mkdir(parents=True, exist_ok=True)
            for pair in chosen:
                link(pair.lq, out / name / split / "input" / f"{pair.name}{pair.lq.suffix}")
                link(pair.gt, out / name / split / "target" / f"{pair.name}{pair.gt.suffix}")
    make_noise(out / "noise" / "one.png")


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
