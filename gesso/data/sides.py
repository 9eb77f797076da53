"""What the name of a folder says: which side of pairs it holds, of which split, at which scale."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gesso._discovery import UnknownNameError, suggest

Role = Literal["lq", "gt", "other"]

SPLITS = {
    "train": {"train", "training", "trainset", "trainingset", "our485", "its", "ots", "div2k_train_hr"},
    "val": {"val", "valid", "validation", "valset", "div2k_valid_hr"},
    "test": {"test", "testing", "testset", "testingset", "eval15", "sots"},
}

# Folders of these are paired wherever two of them stand side by side.
LQ_WORDS = {"input", "inputs", "lq", "low", "hazy", "haze", "rain", "rainy", "blur", "blurry", "blurred", "noisy", "lr"}
LQ_WORDS |= {"short", "shortsid2"}  # exposures
LQ_WORDS |= {"inputc", "inputccrops"}  # DPDD's combined view; inputL and inputR are its dual pixels
LQ_WORDS |= {"in", "degraded", "snowy", "foggy", "lowlight", "raindrop", "inp", "corrupted", "distorted"}
GT_WORDS = {"target", "targets", "gt", "high", "groundtruth", "sharp", "norain", "normal", "clean", "clear", "hr"}
GT_WORDS |= {"long", "longsid2", "reference", "ref", "truth", "hq", "shadowfree", "hazefree"}
# These mean a side only beside one of those, or beside one another as in PAIRED_WORDS.
WEAK_LQ_WORDS = {"synthetic", "snow", "data", "source", "raw", "shadow", "fog", "noise", "lowres", "dark", "before"}
WEAK_GT_WORDS = {"original", "highres", "label", "free", "after", "truths", "gts"}
PAIRED_WORDS = {("synthetic", "original"), ("before", "after"), ("lowres", "highres"), ("shadow", "free"), ("a", "c")}
# What lies beside pairs and is no photo, or no side.
OTHER_WORDS = {"mask", "masks", "trans", "transmission", "depth", "annotations", "segmentation", "labels", "flow"}
OTHER_WORDS |= {"rainstreak", "streak", "streaks", "edges", "alpha", "mattes", "trimap"}
# Sides by which nobody would call a folder of photos that are good.
PLAIN_WORDS = {"lq", "hazy", "rainy", "blurry", "blurred", "noisy", "degraded", "corrupted", "distorted", "input"}
PLAIN_WORDS |= {"inputs", "gt", "hq", "groundtruth", "reference", "target", "targets", "truth", "shadowfree", "inputc"}
FILLERS = {"image", "images", "img", "imgs", "pictures", "crop", "crops", "patches", "sub", "png", "jpg", "aligned"}
PHRASES = {
    ("ground", "truth"), ("no", "rain"), ("shadow", "free"), ("haze", "free"), ("low", "light"), ("low", "res"),
    ("high", "res"),
}  # fmt: skip
VIEWS = {"inputl": "left", "inputlcrops": "left", "inputr": "right", "inputrcrops": "right"}


@dataclass(frozen=True)
class Side:
    """What a folder's name says about pairs.

    Attributes:
        role: "lq": degraded images; "gt": ground truths; "other": neither, such as masks.
        word: the word that says so.
        rest: what else stands in the name, in lower case, with the split: folders of one data set have it in common.
    """

    role: Role
    word: str
    rest: str = ""

    @property
    def weak(self) -> bool:
        """Whether the word means a side only beside another."""
        return self.word not in LQ_WORDS | GT_WORDS

    @property
    def plain(self) -> bool:
        """Whether the word alone says that these are no mere photos, whatever lies beside."""
        return self.word in PLAIN_WORDS or self.role == "other"


def side_of(name: str) -> Side | None:
    """The side that a folder's name stands for, if any.

    Example:
        >>> side_of("BlurryImages"), side_of("train_sharp"), side_of("holidays")
        (Side(role='lq', word='blurry', rest=''), Side(role='gt', word='sharp', rest='train'), None)
    """
    whole = re.sub(r"[\W_]", "", name.lower())
    if whole in VIEWS:
        return Side("other", "inputl" if VIEWS[whole] == "left" else "inputr")
    if role := _role(whole):
        return Side(role, whole)
    if letter := re.fullmatch(r"(?i)(train|val|test)[\W_]?([abc])(?:_fixed\w*)?", name):  # ISTD: shadow, mask, free
        roles: dict[str, Role] = {"a": "lq", "b": "other", "c": "gt"}
        return Side(roles[letter[2].lower()], letter[2].lower(), letter[1].lower())
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]
    for first, second in PHRASES:
        if (first, second) in itertools.pairwise(words):
            place = words.index(first)
            words[place : place + 2] = [first + second]
    roles = {word: role for word in words if (role := _role(word))}
    if len(set(roles.values())) != 1:
        return None
    word, role = next(iter(roles.items()))
    return Side(role, word, " ".join(other for other in words if other != word and other not in FILLERS))


def _role(word: str) -> Role | None:
    if word in LQ_WORDS | WEAK_LQ_WORDS:
        return "lq"
    if word in GT_WORDS | WEAK_GT_WORDS:
        return "gt"
    return "other" if word in OTHER_WORDS else None


def are_partners(lq: Side, gt: Side) -> bool:
    """Whether folders of two sides are paired by their words alone."""
    if (lq.role, gt.role) != ("lq", "gt"):
        return False
    return not (lq.weak and gt.weak) or (lq.word, gt.word) in PAIRED_WORDS


# ------------------------------------------------------------------------------------------------ splits and scales


def split_of(place: Path) -> str | None:
    """The split that a path below the root of pairs stands for: `Snow100K-training/all`, `train_c`, `testA`."""
    for part in place.parts:
        if split := split_named(part):
            return split
        for word in re.split(r"[\W_]+|(?<=[a-z])(?=[A-Z]$)", part):
            if split := split_named(word):
                return split
    return None


def split_named(name: str) -> str | None:
    """The split that a folder is called after, with its whole name."""
    return next((split for split, names in SPLITS.items() if name.lower() in names), None)


def scale_of(place: Path, *, bare: bool = False) -> int | None:
    """The scale that a path is called after: `LR_bicubic/X4`, `LRbicx3`, `image_SRF_2`; if `bare`, also `Train/4`.

    Example:
        >>> [scale_of(Path(name)) for name in ("LR_bicubic/X4", "LRbicx3", "image_SRF_2", "scene7", "Train/4")]
        [4, 3, 2, None, None]
    """
    for part in reversed(place.parts):
        if found := re.search(r"(?i)(?:(?<![a-z])|(?<=bic)|(?<=lr))(?:x|srf_)([2-9]|16)(?:_sub)?$", part):
            return int(found[1])
        if bare and part in ("2", "3", "4", "8"):
            return int(part)
    return None


def check_split(split: str) -> None:
    """Checks the name of a split.

    Raises:
        UnknownNameError: for another one, with the nearest match.
    """
    if split not in SPLITS:
        raise UnknownNameError(f"unknown split {split!r}; {suggest(split, SPLITS)}")
