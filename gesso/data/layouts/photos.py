"""Folders of clean photos, of which a degradation makes pairs."""

import warnings
from pathlib import Path

from gesso.data.doubts import PhotosWarning, guess_pairs
from gesso.data.encoding import IMAGE_FILES
from gesso.data.folders import check_folder, find_images, subfolders
from gesso.data.layouts._search import NoPairsError
from gesso.data.layouts.scaled import beside_high_resolution
from gesso.data.pairing import Pair
from gesso.data.sides import check_split, split_named

TURN = None


def photos(root: Path, split: str) -> list[Pair]:
    """No pairs: all images are clean photos, whatever their folders are called."""
    raise NoPairsError(f"{root}: clean photos, as layout says; a degradation makes pairs of them (--degradation)")


def find_photos(root: str | Path, split: str = "train", *, refuse: bool = False) -> list[Path]:
    """All images under `root`, naturally sorted; those of one split where `root` is divided into splits.

    Of super-resolution sets (`SCALED`) these are the images of high resolution. Warns if the folder looks as if it held
    pairs, or refuses it unless it is their clean side.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if it holds no images, or pairs where these are to be refused.
    """
    root = check_folder(root)
    check_split(split)
    photos, divided = photos_of(root, split)
    if not photos:
        raise ValueError(f"{root}: no images{f' for {split}' if divided else ''}; {IMAGE_FILES} files are read")
    if guess := guess_pairs(root, photos_of(root, None)[0] if divided else photos):
        if refuse and not guess.clean:
            alone = guess.lq if guess.photos else guess.gt
            where = f"the clean ones alone: {alone}" if alone else "a folder of clean ones"
            raise ValueError(
                f"{root}: expected clean photos, but {guess}. Give {where}; or, if all of them are clean photos, say "
                "so: --layout photos"
            )
        warnings.warn(
            f"{root}: all {len(photos)} images are taken for photos, though {guess}", PhotosWarning, stacklevel=2
        )
    return photos


def photos_of(root: Path, split: str | None) -> tuple[list[Path], bool]:
    """Images that are photos, if those of a folder are, of a split or of all folders; and whether there are splits."""
    inside = {folder: split_named(folder.name) for folder in subfolders(root)}
    divided = any(inside.values())
    chosen = [folder for folder in inside if inside[folder] == split] if divided and split else [root]
    left_out = beside_high_resolution(root).keys()
    photos = [photo for folder in chosen for photo in find_images(folder)]
    if left_out:
        photos = [photo for photo in photos if not left_out & set(photo.parents)]
    return photos, divided
