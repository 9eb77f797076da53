"""Restore an image, or a folder of them, with a trained network."""

import dataclasses
import mimetypes
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from gesso import checkpoint as checkpoints
from gesso._names import file_key, ignores_case
from gesso.commands._written import Written, check_distinct, check_folder, check_free
from gesso.commands.restore import Restore, restore
from gesso.data.decoding import read_header
from gesso.data.encoding import IMAGE_FILES, KINDS, check_holds, kind_of
from gesso.data.folders import find_images
from gesso.data.integrity import find_broken_jpegs
from gesso.data.io import SUFFIXES, Picture, read_picture, write_pages
from gesso.data.left_out import doubt_of_white, left_out, other_files
from gesso.data.metadata import ImageError, LeftOutWarning
from gesso.formats import check_channels, check_white_level
from gesso.functional.processes import all_gather, gather_in_order, shard
from gesso.functional.resize import imresize
from gesso.options import plain_options
from gesso.primed import PREFIX, find_restorer, is_primed
from gesso.report.console import say, track, warn
from gesso.restorer import Restorer, Watch
from gesso.training.launch import has_to_launch, init_process_group, launch


def run(command: Restore) -> Written:
    """Does what `gesso.commands.restore.Restore` describes."""
    if has_to_launch(plain_options(command)):
        return launch(restore, plain_options(command))
    source, out = Path(command.input), Path(command.out)
    checkpoint = chosen_network(command.checkpoint, command.task)
    found = checkpoints.recognise(checkpoint, weights=command.weights, **(command.backbone_args or {}))
    say(f"{checkpoint}: {found}")
    restorer = Restorer(
        found.network, command.tile, command.overlap, command.ensemble, command.precision, command.device, command.blend
    )
    channels = restorer.network.in_channels
    check_channels(checkpoint, channels)
    check_white_level(command.white_level)
    targets = plan(source, out, command.format)
    check_formats(targets, planes=channels == 4)
    if command.white_level is None and (doubt := doubt_of_white(list(targets))):
        warn(doubt)
    init_process_group()
    for folder in dict.fromkeys(target.parent for target in targets.values()):
        check_folder(folder)
    if not command.overwrite:
        check_free(list(targets.values()))
    all_gather(None)  # nobody writes before everybody has looked
    share = shard(list(targets.items()))
    mine, notes = restore_all(
        restorer, share, overwrite=command.overwrite, white_level=command.white_level, alone=len(targets) == 1
    )
    why = dict(zip(targets, gather_in_order(mine, len(targets)), strict=True))
    failed = {path: reason for path, reason in why.items() if reason is not None}
    written = [target for path, target in targets.items() if path not in failed]
    for path in failed.keys() - dict(share).keys():
        warn(failed[path])
    for note, paths in notes.items():
        warn(f"{note} ({paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''})")
    for told in left_out(unpaged(targets), source):
        warn(told)
    say(f"{len(written)} {'image' if len(written) == 1 else 'images'} in {out}")
    if failed:
        warn(f"{len(failed)} of {len(targets)} images could not be restored")
    return Written(tuple(written), failed)


def chosen_network(checkpoint: str | Path, task: str | None) -> str | Path:
    """The file of a network, or the full name of a primed one, of which it says what it is.

    Raises:
        ValueError: if neither a checkpoint nor a task is given, or both.
        UnknownNameError: if there is no primed network for the task.
    """
    if checkpoint == "primed":
        if task is None:
            raise ValueError("expected --checkpoint FILE, or --task, to take the primed network of a task")
        checkpoint = f"{PREFIX}{task}"
    elif task is not None:
        raise ValueError(f"task: it chooses a primed network, but there is a checkpoint, {checkpoint}; leave one out")
    if is_primed(checkpoint):
        one = find_restorer(str(checkpoint))
        say(f"{PREFIX}{one.name}: {one}")
        return f"{PREFIX}{one.name}"
    return checkpoint


def restore_all(
    restorer: Restorer, share: Sequence[tuple[Path, Path]], *, overwrite: bool, white_level: int | None, alone: bool
) -> tuple[list[str | None], dict[str, list[Path]]]:
    """Why each image could not be restored, None where it was; and what was left out, with the files that had it.

    Args:
        restorer: the network.
        share: images and where they go.
        overwrite: replace files that exist.
        white_level: see `restore`.
        alone: whether there is no other image, whose progress would be shown.
    """
    mine: list[str | None] = []
    notes: dict[str, list[Path]] = {}
    planes = restorer.network.in_channels == 4
    broken = find_broken_jpegs([path for path, _ in share])
    for path, target in share if alone else track(share, "restoring"):
        watch: Watch = (lambda tiles: track(tiles, "restoring tiles")) if alone else iter
        try:
            if path in broken:
                raise ImageError(broken[path])
            with warnings.catch_warnings(record=True, action="always") as heard:
                pages = restored_pages(restorer, path, target, watch, planes=planes, white_level=white_level)
                write_pages(target, pages, overwrite=overwrite)
            for warning in heard:
                if issubclass(warning.category, LeftOutWarning):
                    notes.setdefault(str(warning.message), []).append(path)
                else:
                    warn(f"{path}: {warning.message}")
            mine.append(None)
        except (ValueError, OSError, MemoryError) as error:
            mine.append(str(error))
            warn(str(error))
    return mine, notes


def plan(input: Path, out: Path, format: str | None = None) -> dict[Path, Path]:
    """Where each image goes: path -> path, in order; their suffixes are those of a format, if there is one.

    Raises:
        FileNotFoundError: if `input` does not exist.
        ValueError: if there are no images, one would be replaced by a restoration, two would get one name, or for an
            unknown format.
    """
    if format is not None and f".{format.lower().lstrip('.')}" not in SUFFIXES:
        raise ValueError(f"format: expected the suffix of a {IMAGE_FILES} file, such as png, got {format}")
    suffix = None if format is None else f".{format.lower().lstrip('.')}"
    if not input.exists():
        raise FileNotFoundError(f"{input}: no such file or folder")
    if input.is_file():
        as_file = out.suffix.lower() in SUFFIXES and not out.is_dir()
        if not as_file and mimetypes.guess_type(out.name)[0] and not out.exists():  # photo.gif, but no folder v1.5
            raise ValueError(f"out: {out} is no folder, and images are written as {IMAGE_FILES}; name it so, as .png")
        if as_file and suffix and KINDS[suffix] != KINDS[out.suffix.lower()]:
            raise ValueError(f"format: {format} is not the format of {out}; leave one of both out")
        targets = {input: out if as_file else out / input.name}
        suffix = None if as_file else suffix
    else:
        there = out.resolve()
        below = input.resolve() in there.parents  # what an earlier run wrote below the images is none of them
        images = [path for path in find_images(input) if not (below and there in path.resolve().parents)]
        targets = {path: out / path.relative_to(input) for path in images}
    if not targets:
        besides = other_files(input)
        raise ValueError(f"{input}: no images; {IMAGE_FILES} files are read{f'; {besides}' if besides else ''}")
    if suffix is not None:
        targets = {path: target.with_suffix(suffix) for path, target in targets.items()}
    check_targets(targets)
    return targets


def check_targets(targets: dict[Path, Path]) -> None:
    """Checks that no restoration gets the name of an image, or of another restoration.

    Raises:
        ValueError: naming the first that does.
    """
    ignoring_case = bool(targets) and ignores_case(next(iter(targets.values())).parent)
    given = {file_key(path.resolve(), ignoring_case=ignoring_case) for path in targets}
    for target in targets.values():
        if file_key(target.resolve(), ignoring_case=ignoring_case) in given:
            raise ValueError(f"out: {target} is one of the images themselves; write into another folder")
    check_distinct(targets.items())


def check_formats(targets: dict[Path, Path], *, planes: bool) -> None:
    """Checks, by the headers of the images, that the formats of their restorations can hold them.

    Raises:
        ValueError: saying how many do not, and why one does not.
    """
    wrong: list[str] = []
    for path, target in targets.items():
        try:
            header = read_header(path)
        except (ImageError, OSError):  # reported when its turn comes
            continue
        try:
            check_holds(target, header, planes=planes)
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        many = f" (so with {len(wrong)} of {len(targets)} images)" if len(targets) > 1 else ""
        raise ValueError(f"{wrong[0]}{many}; --format png or tif would")


def has_pages(path: Path, target: Path) -> bool:
    """Whether all pages of a file are restored: from TIFF to TIFF."""
    with path.open("rb") as file:
        return kind_of(target) == "tiff" and file.read(2) in (b"II", b"MM")


def unpaged(targets: dict[Path, Path]) -> list[Path]:
    """The files of which only the first page or frame is restored."""
    return [path for path, target in targets.items() if path.is_file() and not has_pages(path, target)]


def restored_pages(
    restorer: Restorer, path: Path, target: Path, watch: Watch, *, planes: bool, white_level: int | None
) -> Iterator[Picture]:
    """The restored pages of a TIFF, one after the other, where the target can hold them; else the one picture."""
    count = read_header(path).frames if has_pages(path, target) else 1
    for page in range(count):
        picture = read_picture(path, planes=planes, page=page, white_level=white_level)
        yield restored_picture(restorer, picture, watch)


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
