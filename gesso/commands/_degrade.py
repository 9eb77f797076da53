"""Make pairs for training or testing from clean photos."""

import dataclasses
from pathlib import Path

from gesso.commands._written import Written, check_distinct, check_folder, check_free
from gesso.commands.degrade import Degrade
from gesso.data.folders import find_images
from gesso.data.io import Picture, read_picture, write_picture
from gesso.data.left_out import doubt_of_white, other_files, other_frames
from gesso.degradations import parse_degradation
from gesso.formats import check_white_level
from gesso.functional.color import to_grey
from gesso.functional.random import generator_for
from gesso.report.console import say, track, warn

# Formats that keep every degraded pixel, in colour; other photos are written as PNG.
KEPT = (".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm")


def run(command: Degrade) -> Written:
    """Does what `gesso.commands.degrade.Degrade` describes."""
    source, out = Path(command.input), Path(command.out)
    check_white_level(command.white_level)
    degradation = parse_degradation(command.degradation)
    photos = find_clean(source, out)
    sides = {"input": out / "input", "target": out / "target"} if command.pairs else {"input": out}
    check_folder(out)
    if not command.overwrite:
        check_free([side / name for side in sides.values() for name in photos])
    if command.white_level is None and (doubt := doubt_of_white(list(photos.values()))):
        warn(doubt)
    written, failed, left_out = [], {}, 0
    for name, path in track(list(photos.items()), "degrading"):
        try:
            photo = read_picture(path, planes=command.image_channels == 4, white_level=command.white_level)
            clean = to_grey(photo.pixels) if command.image_channels == 1 else photo.pixels
            generator = generator_for(command.seed, "degrade", name.with_suffix("").as_posix())
            pixels = degradation(clean.unsqueeze(0), generator).squeeze(0)
            kept = Picture(clean, bits=photo.bits, white_level=photo.white_level, peak=photo.peak)
            if command.pairs:
                write_picture(
                    sides["target"] / name, dataclasses.replace(kept, pixels=clean), overwrite=command.overwrite
                )
            write_picture(sides["input"] / name, dataclasses.replace(kept, pixels=pixels), overwrite=command.overwrite)
            written.append(sides["input"] / name)
            left_out += photo.alpha is not None
        except (ValueError, OSError) as error:
            failed[path] = str(error)
            warn(str(error))
    what = ("pair" if command.pairs else "photo") + ("" if len(written) == 1 else "s")
    say(f"{len(written)} {what} in {out}, seed {command.seed}: {degradation}")
    for told in (other_files(source), other_frames(photos.values())):
        if told:
            warn(told)
    if left_out:
        had = f"{left_out} of {len(photos)} photos had alpha"
        warn(f"{had}, which is left out; if it is data, --image_channels 4 takes it")
    if failed:
        warn(f"{len(failed)} of {len(photos)} photos could not be degraded")
    return Written(tuple(written), failed)


def find_clean(source: Path, out: Path) -> dict[Path, Path]:
    """Photos of a folder, or the one photo, by the name that they will have below `out`.

    Raises:
        FileNotFoundError: if `source` does not exist.
        ValueError: if there are none, if `out` holds them, or if two would get one name.
    """
    folder = source.parent if source.is_file() else source
    here, there = folder.resolve(), out.resolve()
    if source.is_dir() and here.is_relative_to(there):
        raise ValueError(f"out: {out} holds the photos themselves; write into another folder")
    # What an earlier run wrote below the photos is not a photo.
    photos = [source] if source.is_file() else [p for p in find_images(source) if there not in p.resolve().parents]
    if not photos:
        raise ValueError(f"{source}: no images")
    names = [photo.relative_to(folder) for photo in photos]
    names = [name if name.suffix.lower() in KEPT else name.with_suffix(".png") for name in names]
    check_distinct((photo, out / name) for photo, name in zip(photos, names, strict=True))
    return dict(zip(names, photos, strict=True))
