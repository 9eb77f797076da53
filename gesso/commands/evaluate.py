"""Measure PSNR and SSIM of restored images by the protocol of their task."""

import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from gesso import checkpoint as checkpoints
from gesso._discovery import check_options
from gesso.data.datasets import WholePairs, WholePhotos
from gesso.data.io import as_paths, atomic_path, write_image
from gesso.data.layouts import PairBy, find_pairs, find_photos
from gesso.data.sources import as_seen, photos_as_seen
from gesso.degradations import parse_degradation
from gesso.functional.processes import all_shares, place, share_of
from gesso.functional.resize import enlarge
from gesso.metrics import Protocol
from gesso.report.console import say, show_table, track, warn
from gesso.restorer import Precision, Restorer
from gesso.tasks import Task, find_task, seen_with
from gesso.training.launch import has_to_launch, join, launch

HEADER = ("set", "images", "PSNR (dB)", "SSIM")


@dataclasses.dataclass(frozen=True)
class Row:
    """The measurement of an image, or a mean: PSNR in dB, SSIM at most 1."""

    set: str
    name: str
    psnr: float
    ssim: float


@dataclasses.dataclass(frozen=True)
class Scores:
    """What `evaluate` measured.

    Attributes:
        task: name of the task.
        protocol: how it was measured, in words.
        restored_by: what made the images.
        rows: one measurement an image.
        failed: why images could not be measured.
    """

    task: str
    protocol: str
    restored_by: str
    rows: tuple[Row, ...]
    failed: tuple[str, ...]

    @property
    def sets(self) -> list[Row]:
        """The mean over the images of each set."""
        names = dict.fromkeys(row.set for row in self.rows)
        return [_mean(name, [row for row in self.rows if row.set == name]) for name in names]

    @property
    def mean(self) -> Row:
        """The mean over the sets, which count alike however many images they have, as papers do."""
        return _mean("all", self.sets)

    @property
    def psnr(self) -> float:
        """Mean PSNR in dB."""
        return self.mean.psnr

    @property
    def ssim(self) -> float:
        """Mean SSIM."""
        return self.mean.ssim

    @property
    def exit_code(self) -> int:
        """1 if an image failed, else 0."""
        return int(bool(self.failed))


def evaluate(
    *,
    task: str,
    data: str | Path | list[str] | list[Path] | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    pair_by: PairBy = "stem",
    layout: str | None = None,
    degradation: Any = None,
    scale: int = 1,
    protocol: dict[str, Any] | None = None,
    checkpoint: str | Path | None = None,
    weights: str | None = None,
    backbone_args: dict[str, Any] | None = None,
    tile: Literal["auto"] | int | None = "auto",
    overlap: int = 32,
    ensemble: bool = False,
    precision: Precision = "float32",
    device: str = "auto",
    devices: int = 1,
    seed: int = 0,
    out: str | Path | None = None,
    save_images: bool = False,
    overwrite: bool = False,
) -> Scores:
    """Prints PSNR and SSIM of each set and returns them with those of each image; `out` gets CSV, JSON and Markdown.

    Args:
        task: name of the task, which brings its protocol; `gesso list tasks`.
        data: root of a data set in a published layout, or a list of them, each a set of its own.
        lq: folder of degraded images, with `gt`, instead of `data`.
        gt: folder of ground truths, with `lq`.
        split: which split of `data`, where it is divided: "train", "val" or "test".
        pair_by: pair files by "stem" (and the published suffix rules), or by sorted "order".
        layout: name of the layout of `data`; none: found by itself.
        degradation: what spoils the photos of `data`, which are clean then: a name, or {name: ..., option: ...}.
        scale: enlargement for super-resolution.
        protocol: what to measure otherwise, such as `--protocol.ssim matlab3d` or `--protocol.channel y`.
        checkpoint: file of the network, of gesso or of the authors; none: the input is measured as it is, enlarged
            bicubically for super-resolution.
        weights: which set of weights, where the file holds several: "params" or "params_ema".
        backbone_args: options that the file does not tell, such as `--backbone_args.img_size 256` for Uformer.
        tile: side of the tiles in pixels that are restored at a time; "auto": as large as memory allows; none: whole
            images.
        overlap: pixels that neighbouring tiles share; half a tile at most.
        ensemble: average over eight flips and rotations, at eight times the cost.
        precision: "float32", "bf16", or "auto": bf16 where the processor computes in it.
        device: "auto" (a GPU where there is one), or a device of torch such as "cuda:1".
        devices: GPUs, or processes on a CPU, that share the images; torchrun and srun say it themselves.
        seed: the draws of `degradation` follow from it.
        out: folder for `scores.csv`, `scores.json` and `scores.md`; none: nothing is written.
        save_images: write the restored images into `out` too, as PNG of 8 bits.
        overwrite: replace scores and images that stand in `out`.

    Raises:
        FileNotFoundError: if a folder or the checkpoint does not exist.
        FileExistsError: if `out` holds scores and `overwrite` is False; nothing is measured then.
        ValueError: for unknown names, options out of range, a folder without pairs, or no measurable image.
    """
    options = dict(locals())
    if has_to_launch(options):
        return launch(evaluate, options)
    lq, gt, checkpoint, out = as_paths(lq, gt, checkpoint, out)
    roots = as_paths(*data) if isinstance(data, list) else as_paths(data)
    goal = find_task(task, scale)
    check_options(Protocol, protocol or {}, "protocol")
    if save_images and out is None:
        raise ValueError("save_images: needs a folder to write into (--out)")
    if out is not None and (out / "scores.json").exists() and not overwrite:
        raise FileExistsError(f"{out} holds scores already; --overwrite replaces them, or choose another folder")
    restorer, restored_by = None, "nothing, the input as it is" if scale == 1 else "bicubic enlargement"
    if checkpoint is not None:
        found = checkpoints.recognise(checkpoint, weights=weights, **(backbone_args or {}))
        restorer = Restorer(found.network, tile, overlap, ensemble, precision, device)
        restored_by = f"{checkpoint}, a {found}" + ("; mean of eight flips and rotations" if ensemble else "")
        if found.network.scale != scale:
            raise ValueError(f"scale: {checkpoint} enlarges {found.network.scale} times, expected {scale}")
        goal = seen_with(goal, found.network.in_channels)
    measure = dataclasses.replace(goal.protocol, **(protocol or {}))
    samples = open_samples(roots, lq, gt, split, pair_by, layout, degradation, goal, seed)
    how = (
        f"{measure}; photos degraded by {parse_degradation(degradation)}, seed {seed}" if degradation else str(measure)
    )
    say(f"{task}: {how}")
    say(f"restored by {restored_by}")

    join()
    rows, failed = [], []
    for name, images in samples.items():
        done: list[Row | str] = []
        for i in track(share_of(range(len(images))), f"measuring {name}"):
            try:
                sample = images[i]
                restored = restorer(sample["lq"]) if restorer else enlarge(sample["lq"], scale)
                if save_images and out is not None:
                    write_image(out / "images" / name / f"{sample['name']}.png", restored, overwrite=overwrite)
                done.append(Row(name, sample["name"], **measure(restored, sample["gt"])))
            except (ValueError, OSError, MemoryError) as error:
                done.append(str(error))
        for outcome in all_shares(done, len(images)):
            if isinstance(outcome, Row):
                rows.append(outcome)
            else:
                failed.append(outcome)
                warn(outcome)
    if not rows:
        raise ValueError(f"none of the images could be measured; the last one: {failed[-1]}")
    scores = Scores(task, how, restored_by, tuple(rows), tuple(failed))
    show_table(HEADER, table(scores))
    if out is not None and place().rank == 0:
        write(scores, out)
    return scores


def open_samples(
    roots: Sequence[Path | None],
    lq: Path | None,
    gt: Path | None,
    split: str,
    pair_by: PairBy,
    layout: str | None,
    degradation: Any,
    task: Task,
    seed: int,
) -> dict[str, WholePairs | WholePhotos]:
    """The samples of each set, by its name: pairs as they lie, or clean photos that a degradation spoils.

    Images are read as the task sees them.

    Raises:
        ValueError: if there are none, or two sets would have one name.
    """
    if degradation is not None and roots == [None]:
        raise ValueError("degradation: it spoils clean photos, so a folder of them is needed (--data)")
    samples: dict[str, WholePairs | WholePhotos] = {}
    grey, own = task.sees == "grey", "dual_pixel" if task.sees == "dual_pixel" else layout
    for root in roots:
        name = (root or lq or Path("images")).resolve().name
        if name in samples:
            raise ValueError(f"data: two sets are called {name}; evaluate them one by one")
        if root is not None and degradation is not None:
            photos = photos_as_seen(task, find_photos(root, split))
            samples[name] = WholePhotos(photos, parse_degradation(degradation), scale=task.scale, grey=grey, seed=seed)
        else:
            pairs = find_pairs(root, split, lq=lq, gt=gt, pair_by=pair_by, layout=own, scale=task.scale)
            samples[name] = WholePairs(as_seen(task, pairs), grey=grey)
    return samples


def table(scores: Scores) -> list[tuple[str, int, str, str]]:
    """What is printed: a row for each set, and their mean where there are several."""
    counts = Counter(row.set for row in scores.rows)
    rows = [(row.set, counts[row.set], f"{row.psnr:.2f}", f"{row.ssim:.4f}") for row in scores.sets]
    if len(rows) > 1:
        mean = scores.mean
        rows.append(("mean of sets", sum(counts.values()), f"{mean.psnr:.2f}", f"{mean.ssim:.4f}"))
    return rows


def write(scores: Scores, out: Path) -> None:
    """Writes `scores.csv` (a line for each image), `scores.json` (everything) and `scores.md` (to paste)."""
    with atomic_path(out / "scores.csv") as path, path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["set", "name", "psnr", "ssim"])
        lines.writerows([row.set, row.name, f"{row.psnr:.4f}", f"{row.ssim:.6f}"] for row in scores.rows)
    means = {"sets": [dataclasses.asdict(row) for row in scores.sets], "mean": dataclasses.asdict(scores.mean)}
    content = json.dumps(dataclasses.asdict(scores) | means, indent=1).replace(": Infinity", ': "inf"')
    with atomic_path(out / "scores.json") as path:
        path.write_text(content)
    lines = [HEADER, ("---", "---:", "---:", "---:"), *table(scores)]
    markdown = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    with atomic_path(out / "scores.md") as path:
        path.write_text(f"{markdown}\n\n{scores.task}, {scores.protocol}. Restored by {scores.restored_by}.\n")


def _mean(name: str, rows: Sequence[Row]) -> Row:
    return Row(name, "mean", fmean(row.psnr for row in rows), fmean(row.ssim for row in rows))
