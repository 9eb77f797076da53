"""Folders as a drawing, for messages that say what was found and what is expected."""

import os
from collections.abc import Sequence
from pathlib import Path

from gesso.data.folders import natural
from gesso.data.io import SUFFIXES

MOST = 6  # folders that are drawn below one
DEPTH = 3  # levels below the root
NAMES = 3  # images of a folder that are named

EXPECTED = """\
expected, in any folder above or below:
  {root}/
    input/    degraded images: 1.png, 2.png, ...
    target/   their ground truths, of equal names: 1.png, 2.png, ..."""


def show_trees(root: Path, expected: str = EXPECTED) -> str:
    """Two drawings below each other: what lies in a folder, and what is expected there."""
    return "\n" + "\n".join(["found:", *draw_tree(root), expected.format(root=root.resolve().name)])


def show_sides(lq: Path, gt: Path, lq_names: Sequence[str], gt_names: Sequence[str]) -> str:
    """Two drawings of folders that do not belong together by their names: as they are, and with equal names.

    Args:
        lq: folder of degraded images.
        gt: folder of ground truths.
        lq_names: of its images.
        gt_names: likewise.
    """
    width = max(len(str(lq)), len(str(gt))) + 1
    rows = ["found:", _row(lq, width, lq_names), _row(gt, width, gt_names)]
    rows += ["expected, equal names:", _row(lq, width, gt_names), _row(gt, width, gt_names)]
    return "\n" + "\n".join(rows)


def _row(folder: Path, width: int, names: Sequence[str]) -> str:
    return f"  {f'{folder}/':<{width}}  {_few(names)}"


def _few(names: Sequence[str]) -> str:
    """A few names, and that there are more."""
    return ", ".join([*names[:NAMES], *(["..."] if len(names) > NAMES else [])])


def draw_tree(root: Path, depth: int = DEPTH, indent: str = "  ") -> list[str]:
    """The lines of a drawing: folders down to a depth, each with its images; hidden ones are left out."""
    return _draw(root, root.resolve().name, depth, indent)


def _draw(folder: Path, name: str, depth: int, indent: str) -> list[str]:
    folders, images = _look(folder)
    told = f"   {len(images)} image{'s' if len(images) > 1 else ''}: {_few(images)}" if images else ""
    lines = [f"{indent}{name}/{told}"]
    if depth:
        for inside in folders[:MOST]:
            lines += _draw(folder / inside, inside, depth - 1, f"{indent}  ")
    elif folders:
        lines.append(f"{indent}  ... {len(folders)} folders")
    if depth and len(folders) > MOST:
        lines.append(f"{indent}  ... {len(folders) - MOST} more folders")
    return lines


def _look(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the images in a folder, naturally sorted; nothing of one that is closed."""
    try:
        with os.scandir(folder) as entries:
            seen = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return [], []
    folders = sorted((name for name, is_folder in seen if is_folder), key=natural)
    images = [name for name, is_folder in seen if not is_folder and name.lower().endswith(SUFFIXES)]
    return folders, sorted(images, key=natural)
