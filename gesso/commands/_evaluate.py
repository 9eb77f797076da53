"""Measure PSNR and SSIM of restored images by the protocol of their task."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gesso import checkpoint as checkpoints
from gesso._discovery import check_options
from gesso.backbones import Backbone
from gesso.commands._parser import checked
from gesso.commands._scores import Row, Scores, count_whole, find_beside, show, write
from gesso.commands._test_sets import TestSet, open_test_sets
from gesso.commands._written import check_results
from gesso.data.io import as_paths, write_image
from gesso.data.training_data import largest
from gesso.degradations import DegradationSpec
from gesso.functional.color import as_rgb
from gesso.functional.processes import gather_in_order, rank_info, shard
from gesso.functional.resize import enlarge
from gesso.metrics import Protocol
from gesso.perceptual import Perceptual, open_metrics
from gesso.refiner import Refined
from gesso.report.console import say, track, warn
from gesso.restorer import Precision, Restorer, in_words
from gesso.training.launch import has_to_launch, init_process_group, launch


@checked
def evaluate(
    *,
    task: str,
    data: str | Path | list[str] | list[Path] | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    split: Literal["train", "val", "test"] = "test",
    pair_by: str = "stem",
    layout: str | None = None,
    white_level: int | None = None,
    degradation: DegradationSpec | None = None,
    mix: list[dict[str, Any]] | None = None,
    scale: int = 1,
    protocol: dict[str, Any] | None = None,
    metrics: str | list[str] = "psnr,ssim",
    metric_weights: str | Path | None = None,
    checkpoint: str | Path | None = None,
    weights: str | None = None,
    backbone_args: dict[str, Any] | None = None,
    prior_cost: bool = False,
    tile: int | None = None,
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

    Beside them stands what papers report for the same test sets, which are known by the names of their folders.

    Args:
        task: name of the task, which brings its protocol, or "all-in-one" with `mix`; `gesso list tasks`.
        data: root of a data set in a published layout, or a list of them, each a set of its own, as are the published
            test sets below a root; or "leaves", "scenes" or "pink": procedural images that the task's degradation
            spoils.
        lq: folder of degraded images, with `gt`, instead of `data`; beside it, how such folders below it are called.
        gt: folder of ground truths, with `lq`.
        split: which split of `data`, where it is divided: "train", "val" or "test".
        pair_by: "stem": by equal names, or names that differ as published ones do; a template of an input's name, as
            '{gt}_s*' or '{gt}x4'; a file that lists pairs, two columns or BasicSR's meta_info; or by sorted "order".
        layout: name of the layout of `data`, or "photos": they are clean photos; none: detected automatically.
        white_level: what white is stored as in files of 16 bits: 4095 for 12 bits; none: 65535, or what they say.
        degradation: what spoils the photos of `data`, which are clean then: a name, or {name: ..., option: ...}.
        mix: for the task "all-in-one": a list of {name, task, data, degradation, protocol, split, ...}, each measured
            by the protocol of its task; the mix that `finetune` was given will do.
        scale: enlargement for super-resolution.
        protocol: what to measure otherwise, such as `--protocol.ssim matlab3d` or `--protocol.channel y`.
        metrics: what is measured, separated by commas: "psnr" and "ssim", always and as the task defines them; "lpips",
            "lpips_vgg", "dists", and names of pyiqa such as "niqe" (pip install 'gesso[perceptual]').
        metric_weights: folder of the files that such metrics need; none: where torch keeps them. Nothing is downloaded.
        checkpoint: file of the network, of gesso or of the authors; none: the input is measured as it is, enlarged
            bicubically for super-resolution.
        weights: which set of weights, where the file holds several: a key or prefix ("params", "generator").
        backbone_args: options that the file does not tell, such as `--backbone_args.img_size 256` for Uformer.
        prior_cost: of a refined network, measure also with the stored mean feature in place of its prior, and the
            restorer alone, and say what each costs in dB.
        tile: side of the tiles in pixels that are restored at a time; none: whole images. Never chosen by itself, for
            tiles change numbers; the protocol says them.
        overlap: pixels that neighbouring tiles share; half a tile at most.
        ensemble: average over eight flips and rotations, at eight times the cost.
        precision: "float32", "bf16", "float64", or "auto": bf16 where the processor computes in it.
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
    check_options(Protocol, protocol or {}, "protocol")
    perceptual = open_metrics(metrics, metric_weights)
    if save_images and out is None:
        raise ValueError("save_images: needs a folder to write into (--out)")
    if out is not None:
        check_results(out, "scores.json", overwrite=overwrite)
    restorer, instead = None, {}
    restored_by = "nothing, the input as it is" if scale == 1 else "bicubic enlargement"
    restoring = {"tile": tile, "overlap": overlap, "ensemble": ensemble, "precision": precision, "device": device}
    restoring |= {"adapt": False}  # what is free of memory is no part of a protocol
    if checkpoint is not None:
        found = checkpoints.recognise(checkpoint, weights=weights, **(backbone_args or {}))
        restorer = Restorer(found.network, **restoring)
        restored_by = f"{checkpoint}, a {found}"
        restored_by += "" if restorer.precision == "float32" else f"; in {restorer.precision}"
        restored_by += "; mean of eight flips and rotations" if ensemble else ""
    if prior_cost:
        for what, network in without_prior(restorer, checkpoint, weights, backbone_args or {}).items():
            instead[what] = Restorer(network, **restoring)
    single = {"data": data, "lq": lq, "gt": gt, "split": split, "pair_by": pair_by, "layout": layout}
    single |= {"white_level": white_level, "degradation": degradation, "scale": scale, "protocol": protocol}
    channels = 3 if restorer is None else restorer.network.in_channels
    sets = open_test_sets(task, mix, channels=channels, seed=seed, **single)
    check_fit(restorer, sets, checkpoint)
    how = "; ".join(f"{one.name}: {one}" for one in sets) if mix else str(sets[0])
    how += f", seed {seed}" if any(one.degradation for one in sets) else ""
    how += in_words(tile, overlap) if restorer else ""
    for line in [f"{one.name}: {one}{in_words(tile, overlap)}" for one in sets] if mix else [f"{task}: {how}"]:
        say(line)
    say(f"restored by {restored_by}")
    check_memory(restorer, sets)

    init_process_group()
    rows, failed = measure(sets, restorer, out if save_images else None, overwrite=overwrite, perceptual=perceptual)
    scores = Scores(task, how, restored_by, tuple(rows), tuple(failed), find_beside(sets), whole=count_whole(sets))
    for what, other in instead.items():
        rows, _ = measure(sets, other, None, what=what)
        scores.instead[what] = Scores(task, how, what, tuple(rows), ()).mean
    show(scores, sets)
    if out is not None and rank_info().rank == 0:
        write(scores, out)
    return scores


def measure(
    sets: Sequence[TestSet],
    restorer: Restorer | None,
    out: Path | None,
    *,
    overwrite: bool = False,
    what: str = "",
    perceptual: Perceptual | None = None,
) -> tuple[list[Row], list[str]]:
    """A measurement of each image, and why others could not be measured.

    Args:
        sets: what is measured.
        restorer: what restores; None: nothing, but that images are enlarged to the size of their ground truths.
        out: where restored images go; None: nowhere.
        overwrite: whether they may replace others.
        what: what is restored with, for the progress bar.
        perceptual: what is measured beside PSNR and SSIM.

    Raises:
        ValueError: if no image could be measured.
    """
    rows: list[Row] = []
    failed: list[str] = []
    for one in sets:
        done: list[Row | str] = []
        for i in track(shard(range(len(one.images))), f"measuring {one.name} {what}".rstrip()):
            try:
                sample = one.images[i]
                restored = restorer(sample["lq"]) if restorer else as_it_is(sample["lq"], one)
                if out is not None:
                    write_image(out / "images" / one.name / f"{sample['name']}.png", restored, overwrite=overwrite)
                others = perceptual(restored, sample["gt"], one.task.protocol) if perceptual else {}
                done.append(measured(one, sample, restored, others))
            except (ValueError, OSError, MemoryError) as error:
                done.append(str(error))
        for outcome in gather_in_order(done, len(one.images)):
            if isinstance(outcome, Row):
                rows.append(outcome)
            else:
                failed.append(outcome)
                warn(outcome)
    if not rows:
        raise ValueError(f"none of the images could be measured; the last one: {failed[-1]}")
    return rows, failed


def check_memory(restorer: Restorer | None, sets: Sequence[TestSet]) -> None:
    """Checks that the largest image of each set can be restored as it is, before the first is measured.

    Raises:
        MemoryError: if not; it says which tile would fit.
    """
    for one in sets:
        if restorer is not None and (size := largest(one.images)):
            restorer.check_memory(*size)


def measured(one: TestSet, sample: dict[str, Any], restored: Tensor, others: dict[str, float]) -> Row:
    """The measurement of a restored image.

    Raises:
        ValueError: if it holds values that are no numbers.
    """
    found = one.task.protocol(restored, sample["gt"])
    row = Row(one.name, sample["name"], found["psnr"], found["ssim"], others=others)
    if math.isnan(row.psnr):
        raise ValueError(f"{one.name} {row.name}: the restored image holds values that are not finite")
    return row


def as_it_is(lq: Tensor, one: TestSet) -> Tensor:
    """The input of a set as an image that can be measured."""
    return enlarge(as_rgb(lq) if one.task.sees == "dual_pixel" else lq, one.task.scale)


def without_prior(
    restorer: Restorer | None, checkpoint: Path | None, weights: str | None, facts: dict[str, Any]
) -> dict[str, Backbone]:
    """Networks that do without the prior of a refined one: with its mean feature, and the restorer alone.

    Raises:
        ValueError: if the network is not a refined one with a prior.
    """
    network = None if restorer is None else restorer.network
    if not isinstance(network, Refined) or network.prior is None or checkpoint is None:
        raise ValueError(f"prior_cost: expected a refined network that has its prior, got {checkpoint}")
    mean = checkpoints.load(checkpoint, weights=weights, **facts | {"prior": "mean"})
    return {"its mean feature": mean, "nothing, the restorer alone": network.backbone}


def check_fit(restorer: Restorer | None, sets: Sequence[TestSet], checkpoint: Path | None) -> None:
    """Checks that the network takes and gives images as the tasks do.

    Raises:
        ValueError: naming the first that does not.
    """
    if restorer is None:
        return
    for one in sets:
        network, task = restorer.network, one.task
        if network.scale != task.scale:
            raise ValueError(f"scale: {checkpoint} enlarges {network.scale} times, expected {task.scale}")
        if network.in_channels not in (1, task.channels):
            expected = f"{task.channels} channels, the images of {task.name} ({task.sees})"
            raise ValueError(f"{checkpoint}: expected a network for {expected}; it takes {network.in_channels}")
