"""Restore an image, or a folder of them, with a trained network."""

import dataclasses
import mimetypes
import warnings
from pathlib import Path
from typing import Any, Literal

from gesso import checkpoint as checkpoints
from gesso.commands._written import Written, check_folder, check_free
from gesso.data.io import SUFFIXES, Picture, read_picture, write_picture
from gesso.data.layouts import find_images
from gesso.data.origins import check_channels
from gesso.functional.processes import all_shares, from_all, share_of
from gesso.functional.resize import imresize
from gesso.report.console import say, track, warn
from gesso.restorer import Blend, Precision, Restorer, Watch
from gesso.training.launch import has_to_launch, join, launch


def restore(
    input: str | Path,
    out: str | Path,
    *,
    checkpoint: str | Path,
    weights: str | None = None,
    backbone_args: dict[str, Any] | None = None,
    tile: Literal["auto"] | int | None = "auto",
    overlap: int = 32,
    blend: Blend = "smooth",
    ensemble: bool = False,
    precision: Precision = "auto",
    device: str = "auto",
    devices: int = 1,
    overwrite: bool = False,
) -> Written:
    """Writes restored images into `out` under their names; returns what was done.

    Bit depth, alpha and greyness are kept, and a rotation that a JPEG asks for is done. A network of four channels
    takes the fourth of a PNG or TIFF for data. A file that cannot be read is reported, and the rest is done.

    Args:
        input: an image, or a folder of images with its subfolders.
        out: folder to write into; for a single image also a file, whose suffix is the format.
        checkpoint: file of the network, of gesso or of the authors.
        weights: which set of weights, where the file holds several: "params" or "params_ema".
        backbone_args: options that the file does not tell, such as `--backbone_args.img_size 256` for Uformer.
        tile: side of the tiles in pixels that are restored at a time; "auto": as large as memory allows; none: whole
            images.
        overlap: pixels that neighbouring tiles share; half a tile at most.
        blend: how they are joined: "smooth", or "uniform" as in the demo of Restormer's authors.
        ensemble: average over eight flips and rotations, at eight times the cost.
        precision: "float32", "bf16", or "auto": bf16 where the processor computes in it.
        device: "auto" (a GPU where there is one), or a device of torch such as "cuda:1".
        devices: GPUs, or processes on a CPU, that share the images; torchrun and srun say it themselves.
        overwrite: replace files that exist.

    Raises:
        FileNotFoundError: if `input` or `checkpoint` does not exist.
        FileExistsError: if files would be replaced and `overwrite` is False; nothing is written then.
        ValueError: for a file that is no checkpoint, options out of range, no images, or an `out` that would replace
            the images themselves.
    """
    options = dict(locals())
    if has_to_launch(options):
        return launch(restore, options)
    input, out = Path(input), Path(out)
    found = checkpoints.recognise(checkpoint, weights=weights, **(backbone_args or {}))
    say(f"{checkpoint}: {found}")
    restorer = Restorer(found.network, tile, overlap, ensemble, precision, device, blend)
    channels = restorer.network.in_channels
    check_channels(checkpoint, channels)
    targets = plan(input, out)
    join()
    for folder in dict.fromkeys(target.parent for target in targets.values()):
        check_folder(folder)
    if not overwrite:
        check_free(list(targets.values()))
    from_all(None)  # nobody writes before everybody has looked
    mine: list[str | None] = []  # why an image could not be restored
    share = share_of(list(targets.items()))
    for path, target in track(share, "restoring") if len(targets) > 1 else share:
        watch: Watch = iter if len(targets) > 1 else lambda tiles: track(tiles, "restoring tiles")
        try:
            with warnings.catch_warnings(record=True, action="always") as heard:
                picture = read_picture(path, planes=channels == 4)
                write_picture(target, restored_picture(restorer, picture, watch), overwrite=overwrite)
            for warning in heard:
                warn(f"{path}: {warning.message}")
            mine.append(None)
        except (ValueError, OSError, MemoryError) as error:
            mine.append(str(error))
            warn(str(error))
    why = dict(zip(targets, all_shares(mine, len(targets)), strict=True))
    failed = {path: reason for path, reason in why.items() if reason is not None}
    written = [target for path, target in targets.items() if path not in failed]
    for path in failed.keys() - dict(share).keys():
        warn(failed[path])
    say(f"{len(written)} {'image' if len(written) == 1 else 'images'} in {out}")
    if failed:
        warn(f"{len(failed)} of {len(targets)} images could not be restored")
    return Written(tuple(written), failed)


def plan(input: Path, out: Path) -> dict[Path, Path]:
    """Where each image goes: path -> path, in order.

    Raises:
        FileNotFoundError: if `input` does not exist.
        ValueError: if there are no images, or one would be replaced by a restoration.
    """
    if input.is_file():
        as_file = out.suffix.lower() in SUFFIXES and not out.is_dir()
        if not as_file and mimetypes.guess_type(out.name)[0] and not out.exists():  # photo.gif, but no folder v1.5
            raise ValueError(f"out: {out} is no folder, and of files {', '.join(SUFFIXES)} can be written")
        targets = {input: out if as_file else out / input.name}
    else:
        there = out.resolve()
        below = input.resolve() in there.parents  # what an earlier run wrote below the images is none of them
        images = [path for path in find_images(input) if not (below and there in path.resolve().parents)]
        targets = {path: out / path.relative_to(input) for path in images}
    if not targets:
        raise ValueError(f"{input}: no images; {', '.join(SUFFIXES)} are read")
    given = {path.resolve() for path in targets}
    for target in targets.values():
        if target.resolve() in given:
            raise ValueError(f"out: {target} is one of the images themselves; write into another folder")
    return targets


def restored_picture(restorer: Restorer, picture: Picture, watch: Watch = iter) -> Picture:
    """The restored picture, with the bits, the greyness and the alpha of the given one."""
    pixels, alpha, scale = picture.pixels, picture.alpha, restorer.network.scale
    if picture.grey and restorer.network.in_channels == 1:
        pixels = pixels[:1]
    pixels = restorer(pixels, watch)
    pixels = pixels.expand(3, -1, -1) if len(pixels) == 1 else pixels
    if alpha is not None and scale > 1:
        alpha = imresize(alpha[None], scale)[0].clamp(0, 1)
    return dataclasses.replace(picture, pixels=pixels, alpha=alpha)
