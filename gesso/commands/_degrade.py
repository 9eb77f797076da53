"""Make pairs for training or testing from clean photos."""

import dataclasses
from pathlib import Path
from typing import Literal

from gesso.commands._parser import checked
from gesso.commands._written import Written, check_folder, check_free
from gesso.data.folders import find_images
from gesso.data.io import Picture, check_white_level, read_picture, write_picture
from gesso.data.left_out import doubt_of_white, other_files, other_frames
from gesso.degradations import DegradationSpec, parse_degradation
from gesso.functional.checks import check_choice
from gesso.functional.color import to_grey
from gesso.functional.random import generator_for
from gesso.report.console import say, track, warn

Channels = Literal[1, 3, 4]

# Formats that keep every degraded pixel, in colour; other photos are written as PNG.
KEPT = (".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm")


@checked
def degrade(
    input: str | Path,
    out: str | Path,
    *,
    degradation: DegradationSpec = "rain",
    image_channels: Channels = 3,
    white_level: int | None = None,
    seed: int = 0,
    pairs: bool = True,
    overwrite: bool = False,
) -> Written:
    """Writes degraded photos into `out/input` and the clean ones into `out/target`; returns what was done.

    Names and folders below `input` are kept; JPEG and PGM become PNG, so that nothing but the degradation spoils them.
    Each photo draws from (seed, name): adding photos does not change the others.

    Args:
        input: a photo, or a folder of photos with its subfolders.
        out: folder to write into.
        degradation: a name, `{name: rain, density: 0.3}`, or a list of these in order; `gesso list degradations`.
        image_channels: of the pairs: 3; 1 makes photos grey; 4 takes PNG and TIFF files with a fourth channel of data,
            which else is left out as alpha.
        white_level: what white is stored as in files of 16 bits, in the pairs, too: 4095 for 12 bits; none: 65535, or
            what they say.
        seed: same seed, same pixels.
        pairs: False writes only the degraded photos, straight into `out`.
        overwrite: replace files that exist.

    Raises:
        FileNotFoundError: if `input` does not exist.
        FileExistsError: if files would be replaced and `overwrite` is False; nothing is written then.
        ValueError: for an unknown degradation or option, no photos, or two photos that would get one name.
    """
    input, out = Path(input), Path(out)
    check_choice("image_channels", image_channels, Channels)
    check_white_level(white_level)
    spoil = parse_degradation(degradation)
    photos = find_clean(input, out)
    sides = {"input": out / "input", "target": out / "target"} if pairs else {"input": out}
    check_folder(out)
    if not overwrite:
        check_free([side / name for side in sides.values() for name in photos])
    if white_level is None and (doubt := doubt_of_white(list(photos.values()))):
        warn(doubt)
    written, failed, left_out = [], {}, 0
    for name, path in track(list(photos.items()), "degrading"):
        try:
            photo = read_picture(path, planes=image_channels == 4, white_level=white_level)
            clean = to_grey(photo.pixels) if image_channels == 1 else photo.pixels
            generator = generator_for(seed, "degrade", name.with_suffix("").as_posix())
            pixels = spoil(clean.unsqueeze(0), generator).squeeze(0)
            kept = Picture(clean, bits=photo.bits, white_level=photo.white_level, peak=photo.peak)
            if pairs:
                write_picture(sides["target"] / name, dataclasses.replace(kept, pixels=clean), overwrite=overwrite)
            write_picture(sides["input"] / name, dataclasses.replace(kept, pixels=pixels), overwrite=overwrite)
            written.append(sides["input"] / name)
            left_out += photo.alpha is not None
        except (ValueError, OSError) as error:
            failed[path] = str(error)
            warn(str(error))
    what = ("pair" if pairs else "photo") + ("" if len(written) == 1 else "s")
    say(f"{len(written)} {what} in {out}, seed {seed}: {spoil}")
    for told in (other_files(input), other_frames(photos.values())):
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
    named: dict[Path, Path] = {}
    for photo in photos:
        name = photo.relative_to(folder)
        name = name if name.suffix.lower() in KEPT else name.with_suffix(".png")
        if name in named:
            raise ValueError(f"{photo} and {named[name]} would both be written as {name}; rename one")
        named[name] = photo
    return named
