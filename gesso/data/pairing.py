"""How the files of two sides are paired: by their names, a template, sorted order, or a list."""

import csv
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gesso._discovery import UnknownNameError, suggest
from gesso.data.encoding import IMAGE_FILES
from gesso.data.folders import check_folder, examples, image_names
from gesso.data.image_ref import Block, ImageRef, files_of
from gesso.data.io import SUFFIXES
from gesso.data.names import GT_MARKS, LQ_MARKS, mark_pattern, match, match_template
from gesso.data.sides import side_of
from gesso.data.tree import show_sides, show_trees

PairBy = str  # "stem", "order", a template with {gt}, or the path of a list


class PairedByOrderWarning(UserWarning):
    """Pairs were made by sorted position: nothing but the equal count says that they belong together."""


class NoMatchError(ValueError):
    """Two folders hold images, but no names that belong together."""


@dataclass(frozen=True)
class Pair:
    """A degraded image and its ground truth.

    Attributes:
        name: the degraded file's path within its set, without suffix; no two pairs of a set share it.
        lq: where the degraded image is stored, most often a file.
        gt: where the ground truth is stored.
    """

    name: str
    lq: ImageRef
    gt: ImageRef


def find_files(item: Pair | Path) -> list[Path]:
    """The image files of a pair or a photo; MATLAB files are none."""
    refs = [item.lq, item.gt] if isinstance(item, Pair) else [item]
    return [file for ref in refs if not isinstance(ref, Block) for file in files_of(ref)]


def pair_folders(lq: str | Path, gt: str | Path, pair_by: PairBy = "stem") -> list[Pair]:
    """Pairs of two folders, naturally sorted by the degraded image; subfolders must be alike on both sides.

    Raises:
        FileNotFoundError: if a folder, or a file of a list, does not exist.
        ValueError: if one is empty, no names match, names are ambiguous, or counts differ in pairing by order; if the
            folders are one, or are called as each the other side is.
    """
    return [Pair(name, *files) for name, files in find_partners(lq, gt, pair_by).items()]


def find_partners(lq: str | Path, gt: str | Path, pair_by: PairBy = "stem") -> dict[str, tuple[Path, Path]]:
    """Files of two folders that belong together, by the name of the first, see `pair_folders`."""
    check_pair_by(pair_by)
    lq, gt = check_sides(check_folder(lq), check_folder(gt), pair_by)
    rows = read_list(Path(pair_by)) if is_list(pair_by) else []
    if rows and len(rows[0]) == 2:
        files = [(resolve(row[0], lq), resolve(row[1], gt)) for row in rows]
        return named(files, lq, Path(pair_by))
    lq_names, gt_names = image_names(lq), image_names(gt)
    for folder, names in ((lq, lq_names), (gt, gt_names)):
        if not names:
            raise ValueError(f"{folder}: no images; {IMAGE_FILES} files are read")
    if pair_by == "order":
        matches = _match_order(lq, gt, list(lq_names), list(gt_names))
    elif is_template(pair_by):
        matches = match_template(without_suffix(pair_by), list(lq_names), list(gt_names))
    else:
        matches = match(list(lq_names), list(gt_names))
    if not matches:
        raise NoMatchError(_no_match(lq, gt, list(lq_names), list(gt_names), pair_by))
    partners = {name: (lq_names[name], gt_names[partner]) for name, partner in matches.items()}
    return listed_only(partners, rows, Path(pair_by)) if rows else partners


def check_sides(lq: Path, gt: Path, pair_by: PairBy) -> tuple[Path, Path]:
    """The two folders, unless one of them is plainly not what it is given for.

    Raises:
        ValueError: if they are the same folder and nothing says how names differ, or they are exchanged: degraded
            images in `target`, ground truths in `input`. A list of pairs may say so all the same.
    """
    if lq.resolve() == gt.resolve() and pair_by == "stem":
        raise ValueError(
            f"lq and gt are the same folder, {lq}; give the folder of each side, or say how names differ within it by "
            f"a template (--pair_by '{{gt}}_s*'){show_trees(lq)}"
        )
    one, other = side_of(lq.resolve().name), side_of(gt.resolve().name)
    if one and other and (one.role, other.role) == ("gt", "lq") and not (one.weak or other.weak or is_list(pair_by)):
        raise ValueError(
            f"lq and gt seem to be exchanged: {lq} is called as ground truths are, {gt} as degraded images are\n"
            f"found:\n  lq  {lq}\n  gt  {gt}\nexpected:\n  lq  {gt}\n  gt  {lq}\n"
            "if they are meant so, rename the folders, or list the pairs (--pair_by pairs.csv)"
        )
    return lq, gt


def _match_order(lq: Path, gt: Path, lq_names: Sequence[str], gt_names: Sequence[str]) -> dict[str, str]:
    if len(lq_names) != len(gt_names):
        raise ValueError(
            f"pairing by order needs equal counts: {lq} has {len(lq_names)} images, {gt} has {len(gt_names)}"
        )
    message = f"{lq} and {gt} are paired by sorted order, which nothing can check"
    warnings.warn(message, PairedByOrderWarning, stacklevel=4)
    return dict(zip(lq_names, gt_names, strict=True))


def _no_match(lq: Path, gt: Path, lq_names: Sequence[str], gt_names: Sequence[str], pair_by: PairBy) -> str:
    """Why two folders give no pairs, with names of both."""
    if is_template(pair_by):
        wanted = re.sub(r"\{(gt)?\}", lambda _: gt_names[0].rpartition("/")[2], without_suffix(pair_by))
        return (
            f"pair_by {pair_by}: no name of {lq} ({examples(lq_names)}) is made so of one of {gt} "
            f"({examples(gt_names)}); expected names such as {wanted}"
        )
    found = show_trees(lq) if lq in gt.parents else show_sides(lq, gt, lq_names, gt_names)
    return (
        f"no name of {lq} ({examples(lq_names)}) matches one of {gt} ({examples(gt_names)}); say how they differ by a "
        "template (--pair_by '{gt}_s*') or a list of two columns (--pair_by pairs.csv), rename them alike, or "
        f"pair_by order if their sorted orders correspond{found}"
    )


# ------------------------------------------------------------------------------------------------------- pair_by


def is_template(pair_by: PairBy) -> bool:
    """Whether it says what an input's name is in terms of its ground truth's: `{gt}x4`, or `{}x4` as in BasicSR."""
    return "{gt}" in pair_by or "{}" in pair_by


def is_list(pair_by: PairBy) -> bool:
    """Whether it names a file that lists pairs."""
    return pair_by not in ("stem", "order") and not is_template(pair_by)


def without_suffix(template: str) -> str:
    """A template less the suffix of an image: names are compared without."""
    return template.removesuffix(suffix) if (suffix := Path(template).suffix).lower() in SUFFIXES else template


def check_pair_by(pair_by: PairBy) -> None:
    """Checks that a word, a template or a file says how to pair.

    Raises:
        UnknownNameError: if it is none of them.
    """
    if is_list(pair_by) and not Path(pair_by).is_file():
        guess = "" if "." in pair_by or "/" in pair_by else f"; {suggest(pair_by, ['stem', 'order'])}"
        raise UnknownNameError(
            f"pair_by: expected stem, order, a template with {{gt}} such as '{{gt}}_s*', or a file that lists pairs; "
            f"there is no file {pair_by!r}{guess}"
        )


# --------------------------------------------------------------------------------------------------------- lists

Row = tuple[str, ...]


def read_list(file: Path) -> list[Row]:
    """The rows of a list of pairs: (input, ground truth), or (ground truth,) of BasicSR's `meta_info` files.

    Cells are separated by commas, semicolons or tabs, or by spaces where no name has any; `#` begins a remark. A header
    says which column is which where it has words such as `lq` and `gt`; without one, the first is the input.

    Raises:
        ValueError: naming file and line, for rows that are no pairs; if the columns seem to be exchanged.
    """
    text = file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{file}: expected a list of pairs (input, ground truth), got an empty file")
    rows = [(number, _cells(line, lines[0][1])) for number, line in lines]
    columns = _columns(file, rows[0][1])
    if columns is not None:
        rows = rows[1:]
    else:
        columns = range(len(rows[0][1]))
    if len(columns) > 2:
        raise ValueError(
            f"{file}: expected two columns, input and ground truth, got {len(columns)} "
            f"({', '.join(rows[0][1])}); name them in a header: input,gt"
        )
    for number, cells in rows:
        if len(cells) <= max(columns) or not all(cells[column] for column in columns):
            raise ValueError(f"{file}, line {number}: expected {len(columns)} names, got {', '.join(cells)}")
    pairs = [tuple(cells[column].replace("\\", "/") for column in columns) for _, cells in rows]
    if columns == range(2) and pairs and all(_seems(one, "gt") and _seems(two, "lq") for one, two in pairs):
        raise ValueError(
            f"{file}: the first column seems to hold ground truths ({pairs[0][0]}); add a header: gt,input"
        )
    return pairs


def _cells(line: str, first: str) -> list[str]:
    """The cells of a line, separated as those of the first."""
    if size := re.search(r"\s*\(\d+(?:\s*,\s*\d+)*\)$", line):  # meta_info: 0001_s001.png (480,480,3)
        return [line[: size.start()]]
    for separator in "\t;,":
        if separator in first:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    endings = "|".join(map(re.escape, SUFFIXES))
    two = re.fullmatch(rf"(?i)(.+?(?:{endings}))\s+(.+?(?:{endings}))", line)
    return [two[1], two[2]] if two else [line]


def _columns(file: Path, header: Sequence[str]) -> Sequence[int] | None:
    """Where a header says that inputs and ground truths are; None if the first line is none.

    Raises:
        ValueError: if it does not say where.
    """
    if any(Path(cell).suffix.lower() in SUFFIXES for cell in header):
        return None
    sides = [side.role if (side := side_of(cell.removesuffix("_path"))) else None for cell in header]
    if sides.count("lq") == sides.count("gt") == 1:
        return [sides.index("lq"), sides.index("gt")]
    if len(header) == 1 and not sides[0]:
        return None
    if len(header) <= 2 and not {"lq", "gt"} <= set(sides):
        return range(len(header))
    raise ValueError(f"{file}: which column is which? expected a header such as input,gt; got {', '.join(header)}")


def _seems(path: str, role: str) -> bool:
    """Whether the path of a file looks as if it were of a side: by its folder, or by a word in its name."""
    sides = [side.role for part in Path(path).parent.parts if (side := side_of(part)) and side.role != "other"]
    marks = {"lq": LQ_MARKS, "gt": GT_MARKS}
    return sides[-1] == role if sides else re.search(mark_pattern(marks[role]), Path(path).stem) is not None


def resolve(name: str, folder: Path) -> Path:
    """A listed file, in `folder` unless its path is absolute.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, which the list of pairs names")
    return path


def named(files: Sequence[tuple[Path, Path]], root: Path, file: Path) -> dict[str, tuple[Path, Path]]:
    """Listed pairs by the name of the input, below `root` if it lies there.

    Raises:
        ValueError: if an input is listed twice.
    """
    partners: dict[str, tuple[Path, Path]] = {}
    for lq, gt in files:
        inside = lq.is_relative_to(root)
        name = (lq.relative_to(root) if inside else Path(*lq.parts[-2:])).with_suffix("").as_posix()
        if name in partners:
            raise ValueError(f"{file}: {name} is listed twice, with {partners[name][1]} and with {gt}")
        partners[name] = (lq, gt)
    return partners


def listed_only(
    partners: dict[str, tuple[Path, Path]], rows: Sequence[Row], file: Path
) -> dict[str, tuple[Path, Path]]:
    """Of pairs those whose ground truth is listed.

    Raises:
        ValueError: for ground truths that are listed and have no pair.
    """
    wanted = {Path(row[0]).with_suffix("").as_posix() for row in rows}
    chosen: dict[str, tuple[Path, Path]] = {}
    seen = set()
    for name, (lq, gt) in partners.items():
        parts = gt.with_suffix("").parts
        endings = {"/".join(parts[-length:]) for length in range(1, len(parts))}
        if found := endings & wanted:
            chosen[name] = (lq, gt)
            seen |= found
    if missing := sorted(wanted - seen):
        raise ValueError(f"{file}: {len(missing)} of {len(wanted)} listed images have no pair: {examples(missing)}")
    return chosen
