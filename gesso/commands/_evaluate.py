"""Measure PSNR and SSIM of restored images by the protocol of their task."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gesso import checkpoint as checkpoints
from gesso._discovery import check_options
from gesso._names import portable
from gesso.backbones import Backbone
from gesso.commands._scores import Row, Scores, count_whole, find_beside, show, write
from gesso.commands._test_sets import SetOptions, TestSet, open_test_sets
from gesso.commands._written import check_distinct, check_free, check_results
from gesso.commands.evaluate import Evaluate, evaluate
from gesso.data.integrity import find_broken_jpegs
from gesso.data.io import as_paths, write_image
from gesso.data.training_data import largest
from gesso.functional.color import as_rgb
from gesso.functional.processes import all_gather, gather_in_order, rank_info, shard
from gesso.functional.resize import enlarge
from gesso.metrics import Protocol
from gesso.options import options_of, plain_options
from gesso.perceptual import Perceptual, open_metrics
from gesso.refiner import Refined
from gesso.report.console import say, track, warn
from gesso.restorer import Restorer, in_words
from gesso.tasks import spell_task
from gesso.training.launch import has_to_launch, init_process_group, launch


def run(command: Evaluate) -> Scores:
    """Does what `gesso.commands.evaluate.Evaluate` describes."""
    if has_to_launch(plain_options(command)):
        return launch(evaluate, plain_options(command))
    lq, gt, checkpoint, out = as_paths(command.lq, command.gt, command.checkpoint, command.out)
    check_options(Protocol, command.protocol or {}, "protocol")
    perceptual = open_metrics(command.metrics, command.metric_weights)
    if command.save_images and out is None:
        raise ValueError("save_images: needs a folder to write into (--out)")
    if out is not None:
        check_results(out, "scores.json", overwrite=command.overwrite)
    restorer, restored_by = open_restorer(command, checkpoint)
    instead = open_without_prior(command, restorer, checkpoint) if command.prior_cost else {}
    shared = {field.name for field in dataclasses.fields(SetOptions)} & {*options_of(Evaluate)}
    given: dict[str, Any] = {name: getattr(command, name) for name in shared} | {"lq": lq, "gt": gt}
    channels = 3 if restorer is None else restorer.network.in_channels
    sets = open_test_sets(SetOptions(**given), command.mix, channels=channels, seed=command.seed)
    check_fit(restorer, sets, checkpoint)
    how = describe(command, sets, restorer)
    say(f"restored by {restored_by}")
    check_memory(restorer, sets)
    targets = plan_images(sets, out) if out is not None and command.save_images else {}

    init_process_group()
    if not command.overwrite:
        check_free(list(targets.values()))
    all_gather(None)  # nobody writes before everybody has looked
    rows, failed = measure(sets, restorer, targets, overwrite=command.overwrite, perceptual=perceptual)
    task, beside = spell_task(command.task), find_beside(sets)
    scores = Scores(task, how, restored_by, tuple(rows), tuple(failed), beside, whole=count_whole(sets))
    for what, other in instead.items():
        rows, _ = measure(sets, other, {}, what=what)
        scores.instead[what] = Scores(task, how, what, tuple(rows), ()).mean
    show(scores, sets)
    if out is not None and rank_info().rank == 0:
        write(scores, out)
    return scores


def plan_images(sets: Sequence[TestSet], out: Path) -> dict[tuple[str, str], Path]:
    """The file that each restored image goes to, by the names of its set and its own.

    Raises:
        ValueError: if two would be one.
    """
    targets: dict[tuple[str, str], Path] = {}
    for one in sets:
        folder = out / "images" / portable(one.name)
        targets |= {(one.name, name): folder / f"{name}.png" for name in one.images.names}
    check_distinct((f"{of} {name}", target) for (of, name), target in targets.items())
    return targets


def restorer_of(command: Evaluate, network: Backbone) -> Restorer:
    """A network that restores as the command says; what is free of memory is no part of a protocol."""
    return Restorer(
        network,
        command.tile,
        command.overlap,
        command.ensemble,
        command.precision,
        command.device,
        adapt=False,
    )


def open_restorer(command: Evaluate, checkpoint: Path | None) -> tuple[Restorer | None, str]:
    """What restores, None for nothing, and in words what it is."""
    if checkpoint is None:
        return None, "nothing, the input as it is" if command.scale == 1 else "bicubic enlargement"
    found = checkpoints.recognise(checkpoint, weights=command.weights, **(command.backbone_args or {}))
    restorer = restorer_of(command, found.network)
    words = f"{checkpoint}, a {found}"
    words += "" if restorer.precision == "float32" else f"; in {restorer.precision}"
    words += "; mean of eight flips and rotations" if command.ensemble else ""
    return restorer, words


def open_without_prior(command: Evaluate, restorer: Restorer | None, checkpoint: Path | None) -> dict[str, Restorer]:
    """Restorers that do without the prior of a refined network, by what they do with."""
    networks = without_prior(restorer, checkpoint, command.weights, command.backbone_args or {})
    return {what: restorer_of(command, network) for what, network in networks.items()}


def describe(command: Evaluate, sets: Sequence[TestSet], restorer: Restorer | None) -> str:
    """How is measured, in words; prints it, for each set of a mix alone."""
    how = "; ".join(f"{one.name}: {one}" for one in sets) if command.mix else str(sets[0])
    how += f", seed {command.seed}" if any(one.degradation for one in sets) else ""
    how += in_words(command.tile, command.overlap) if restorer else ""
    lines = [f"{one.name}: {one}{in_words(command.tile, command.overlap)}" for one in sets]
    for line in lines if command.mix else [f"{spell_task(command.task)}: {how}"]:
        say(line)
    return how


def measure(
    sets: Sequence[TestSet],
    restorer: Restorer | None,
    targets: Mapping[tuple[str, str], Path],
    *,
    overwrite: bool = False,
    what: str = "",
    perceptual: Perceptual | None = None,
) -> tuple[list[Row], list[str]]:
    """A measurement of each image, and why others could not be measured.

    Args:
        sets: what is measured.
        restorer: what restores; None: nothing, but that images are enlarged to the size of their ground truths.
        targets: files that restored images go to, by the names of set and image; {}: nowhere.
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
        mine = shard(range(len(one.images)))
        broken = find_broken_jpegs([file for i in mine for file in one.images.files(i)])
        for i in track(mine, f"measuring {one.name} {what}".rstrip()):
            try:
                if damage := next((broken[file] for file in one.images.files(i) if file in broken), None):
                    raise ValueError(damage)
                sample = one.images[i]
                restored = restorer(sample["lq"]) if restorer else as_it_is(sample["lq"], one)
                if target := targets.get((one.name, sample["name"])):
                    write_image(target, restored, overwrite=overwrite)
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
    return enlarge(as_rgb(lq) if one.task.format.has_two_views else lq, one.task.scale)


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
            expected = f"{task.channels} channels, the images of {task.name} ({task.format})"
            raise ValueError(f"{checkpoint}: expected a network for {expected}; it takes {network.in_channels}")
