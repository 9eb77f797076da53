"""Check a data set before training: counts, sizes, damage, copies across splits, misaligned pairs."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from gesso._discovery import UnknownNameError
from gesso.commands._swapped import are_swapped
from gesso.commands.check_data import CheckData
from gesso.data.inspection import Finding, find_errors, find_warnings, inspect
from gesso.data.io import as_paths
from gesso.data.layouts import NoPairsError, Pair, find_pairs, find_photos, find_scales, find_splits, find_unpaired
from gesso.data.left_out import doubt_of, left_out, other_files
from gesso.data.training_data import find_validation
from gesso.formats import check_white_level
from gesso.report.console import complain, say, show_table, track, warn
from gesso.tasks import find_task

SHOWN = 10  # lines of a kind that are printed


@dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes:
        splits: findings about every pair or photo, by split; "all" where a set has none.
        errors: what would harm training or falsify a result.
        warnings: what may be wrong.
    """

    splits: dict[str, list[Finding]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if there are errors, else 0."""
        return 1 if self.errors else 0


def run(command: CheckData) -> DataReport:
    """Does what `gesso.commands.check_data.CheckData` describes."""
    data = command.data
    lq = command.lq
    gt = command.gt
    val = command.val
    scale = command.scale
    data, lq, gt, val = as_paths(data, lq, gt, val)
    if data is None and (lq is None or gt is None):
        raise ValueError("expected the root of a data set (data), or two folders (lq and gt)")
    allowed = scales_of(command.task, scale)
    check_white_level(command.white_level)
    report = DataReport()
    splits: dict[str, list[Pair] | list[Path]] = {}
    try:
        if scale is None and data is not None and allowed[-1] > 1:
            scale = only_scale(data)
        how = {"pair_by": command.pair_by, "scale": scale or 1}
        splits |= open_splits(data, find_pairs, lq=lq, gt=gt, layout=command.layout, **how)
        if val is not None:
            found = open_splits(val, find_validation, layout=None, **how)
            splits |= {f"{split} of {val}": items for split, items in found.items()}
    except UnknownNameError:
        raise
    except ValueError as error:  # folders without pairs: a finding like any other
        report.errors.append(str(error))
    for split, items in splits.items():
        report.splits[split] = inspect_all(items, split, scale, command.white_level)
        report.warnings.extend(f"{split}: {told}" for told in find_notes(report.splits[split], command.white_level))
        if unpaired := find_unpaired([item for item in items if isinstance(item, Pair)]):
            names = ", ".join(str(path) for path in unpaired[:3])
            report.warnings.append(f"{split}: {len(unpaired)} images have no partner, such as {names}")
        report.warnings.extend(find_swapped(items, split, command.task))
    report.warnings.extend(told for told in [other_files(data, lq, gt, val)] if told)
    report.errors.extend(find_errors(report.splits, allowed))
    report.warnings.extend(find_warnings(report.splits))
    show(report)
    return report


def find_swapped(items: Sequence[Pair | Path], split: str, task: str | None) -> list[str]:
    """A sentence where the sides of pairs seem to be swapped, by what the degradation of their task does."""
    pairs = [item for item in items if isinstance(item, Pair)]
    if task is None or not pairs:
        return []
    try:
        swapped = are_swapped(pairs, find_task(task))
    except (ValueError, OSError):
        return []  # images that cannot be used, which is said of them
    sides = f"degraded: {pairs[0].lq}, ground truth: {pairs[0].gt}"
    told = f"{split}: the sides look swapped, for {task} changes an image the other way round ({sides})"
    return [f"{told}; swap the folders, or --lq and --gt"] if swapped else []


def scales_of(task: str | None, scale: int | None) -> range:
    """The scales that pairs may have.

    Raises:
        ValueError: for an unknown task, or a scale that it does not have.
    """
    if task is not None:
        find_task(task, scale=scale or (2 if task == "sr" else 1))
    elif scale is not None and scale < 1:
        raise ValueError(f"scale: expected 1 or more, got {scale}")
    if scale is not None:
        return range(scale, scale + 1)
    return {None: range(1, 100), "sr": range(2, 100)}.get(task, range(1, 2))


def only_scale(data: Path) -> int | None:
    """The one scale that folders of low resolution are named after; None: there are none.

    Raises:
        ValueError: if there are several.
    """
    scales = find_scales(data)
    if len(scales) > 1:
        raise ValueError(f"{data}: there is low resolution for the scales {', '.join(map(str, scales))}; give --scale")
    if scales:
        say(f"{data}: low resolution for the scale {scales[0]}")
    return scales[0] if scales else None


def open_splits(data: Path | None, find: Callable[..., list[Pair]], **how: Any) -> dict[str, list[Pair] | list[Path]]:
    """Pairs, or clean photos where there are no two sides, of every split; "all" where a set is not divided."""
    if data is None:
        return {"all": find(None, **how)}
    splits: dict[str, list[Pair] | list[Path]] = {}
    for split in find_splits(data) or ["all"]:
        part = "train" if split == "all" else split
        try:
            splits[split] = find(data, part, **how)
        except NoPairsError:
            splits[split] = find_photos(data, part)
    return splits


def find_notes(findings: Sequence[Finding], white_level: int | None) -> list[str]:
    """What is left out of a split's files, and whether its white is in doubt, a sentence each."""
    files = [file for finding in findings for file in finding.files]
    deep = [file for file in files if file.most is not None]
    told = left_out([file.ref for file in files])
    doubt = doubt_of(max(file.most or 0 for file in deep), len(deep), deep[0].ref) if deep else None
    return [*told, doubt] if doubt and white_level is None else told


def inspect_all(
    items: Sequence[Pair | Path], split: str, scale: int | None = None, white_level: int | None = None
) -> list[Finding]:
    """What is found out about every pair or photo, in their order, under a progress bar."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(inspect, item, scale, white_level) for item in items]
        return [future.result() for future in track(waiting, f"reading {split}")]


def show(report: DataReport) -> None:
    """Prints a table of the splits, then errors and warnings."""
    rows = [(split, *summarise(findings)) for split, findings in report.splits.items()]
    if rows:
        show_table(("split", "pairs or photos", "smallest", "largest", "bits", "scale", "input PSNR"), rows)
    for lines, tell in ((report.errors, complain), (report.warnings, warn)):
        for line in lines[:SHOWN]:
            tell(line)
        if len(lines) > SHOWN:
            tell(f"... and {len(lines) - SHOWN} more of the kind")
    say(f"errors: {len(report.errors)}, warnings: {len(report.warnings)}")


def summarise(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Cells of the table for one split."""
    files = sorted((file for finding in findings for file in finding.files), key=lambda file: file.width * file.height)
    sizes = [f"{file.width}x{file.height}" for file in (files[0], files[-1])] if files else ["-", "-"]
    bits = "/".join(str(bits) for bits in sorted({file.bits for file in files}))
    scale = "/".join(str(scale) for scale in sorted({finding.scale for finding in findings}))
    scores = [finding.psnr for finding in findings if finding.psnr is not None]
    return str(len(findings)), *sizes, bits, scale, f"{fmean(scores):.2f} dB" if scores else "-"
