"""Train PTG-RM behind a restorer: a light refiner that a frozen pre-trained model guides."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from gesso import checkpoint as checkpoints
from gesso.backbones import create_backbone, list_backbones
from gesso.commands._defaults import settle
from gesso.commands._supervised import check_fit, loss_for, open_data, open_validations
from gesso.commands.refine import Refine, refine
from gesso.data.datasets import PairDataset
from gesso.data.image_ref import Block, ImageRef, files_of
from gesso.data.io import atomic_path, read_tensor
from gesso.data.mixes import Part, mixed
from gesso.formats import PixelFormat
from gesso.functional.processes import all_gather, gather_in_order, rank_info, shard
from gesso.functional.random import seed_for
from gesso.options import plain_options
from gesso.perceptual import open_metrics
from gesso.refiner import DEFAULT, Prior, Refined, ablation_options, open_prior
from gesso.report.console import say, track, warn
from gesso.tasks import spell_task
from gesso.training.best import metrics_for
from gesso.training.launch import has_to_launch, launch
from gesso.training.loggers import logger_names
from gesso.training.refine_module import PriorDataset, RefineModule
from gesso.training.run import Training, fit
from gesso.training.sampling import plan_stages

MEAN_OF, AT_ONCE = 256, 16  # training crops whose prior makes the mean
LIGHT = 1_000_000  # parameters


def run(command: Refine) -> Path:
    """Does what `gesso.commands.refine.Refine` describes."""
    logger_names(command.logger)  # before anything is read
    command = settle(command)
    if has_to_launch(plain_options(command)):
        return launch(refine, plain_options(command))
    fit(prepare(command), command)
    return Path(command.out) / "backbone.safetensors"


def prepare(command: Refine) -> Training:
    """The refiner behind its restorer, and its pairs.

    Raises:
        FileNotFoundError: if there is no restorer, or no weights of the prior.
        ValueError: for what cannot be trained.
    """
    plan, prior = plan_stages(command), command.prior
    prior = str(prior) if isinstance(prior, Path) else prior
    perceptual = open_metrics(metrics_for(command), command.metric_weights)
    torch.manual_seed(seed_for(command.seed, "weights"))
    net = start(command, prior)
    net.backbone.requires_grad_(not command.freeze_restorer)
    parts = open_data(command, net.in_channels)
    check_fit(net, parts)
    introduce(net)

    datasets: list[Any] = [part.samples.train for part in parts]
    if net.prior is not None and net.prior_view == "image":
        datasets = [whole_images(part) for part in parts]
    batches = [stage.batch_size for stage in plan]
    train = mixed(parts, datasets, seed=command.seed, sampling=command.sampling, batch_sizes=batches)
    validations = open_validations(parts, net, command.tile, command.accelerator)
    ahead = None
    if net.prior is not None:
        cache = None if command.dry_run else Path(command.prior_cache or command.out)
        ahead = partial(look_ahead, net, datasets, train, plan[0].crop_size, cache)
    module = RefineModule(
        net,
        loss_for(parts, command.loss),
        validations,
        command,
        {"task": spell_task(command.task), "restorer": str(command.checkpoint)},
        perceptual=perceptual,
        restored_weight=command.restored_weight,
        look_ahead=ahead,
    )
    return Training(module, train, f"refine {spell_task(command.task)}")


def start(command: Refine, prior: str | nn.Module) -> Refined:
    """The network that refining starts from: an untrained refiner behind a restorer, or a refined one as it is.

    Raises:
        ValueError: if the prior is not the one of a refined network, or "mean" has no meaning yet.
    """
    path, facts = command.checkpoint, command.backbone_args or {}
    refiner = DEFAULT if command.refiner is None else command.refiner
    options = ablation_options(refiner, command.ablation) | (command.refiner_args or {})
    by_name = path in list_backbones() and not Path(path).exists()
    if by_name or checkpoints.read_header(path).get("backbone") != Refined.__name__:
        if prior == "mean":
            raise ValueError(f"prior: {path} is not refined, so it holds no mean feature; pass a prior, or `none`")
        if by_name:
            restorer = create_backbone(str(path), **facts)
        else:
            restorer = checkpoints.load(path, weights=command.weights, **facts)
        opened = None if prior == "none" else open_prior(prior, checkpoints.load)
        view, level = command.prior_view or "crop", command.level or "image"
        return Refined.around(restorer, opened, view, level, refiner, **options)
    given = {"refiner": command.refiner, "refiner_args": options, "level": command.level}
    if given := [name for name, value in given.items() if value]:
        raise ValueError(f"{given[0]}: the refiner of {path} is trained already; leave it out")
    seen = {} if command.prior_view is None else {"prior_view": command.prior_view}
    net = checkpoints.load(path, prior=prior, weights=command.weights, **facts, **seen)
    assert isinstance(net, Refined)
    return net


def introduce(net: Refined) -> None:
    """Prints what is trained, and warns where the refiner is not as light as the paper's."""
    restorer, refiner = (sum(p.numel() for p in part.parameters()) for part in (net.backbone, net.refiner))
    place = "place" if net.refiner.sees_map else net.prior_view
    guide = f"prior {net.options['prior']} ({net.refiner.prior_dim} numbers of each {place})"
    frozen = "" if any(p.requires_grad for p in net.backbone.parameters()) else ", frozen"
    say(f"{net.options['network']}: {restorer:,} parameters{frozen}; refiner: {refiner:,}, {guide}")
    if refiner >= LIGHT:
        warn(f"a refiner of {refiner:,} parameters; those of the paper have less than a million")


def whole_images(part: Part) -> PriorDataset:
    """The training crops of a data set, each with what the prior will say of its whole image.

    Raises:
        ValueError: if images are degraded on the fly (also in rehearsal), so that no two are alike.
    """
    pairs = part.samples.train
    if not isinstance(pairs, PairDataset):
        raise ValueError(
            f"prior_view: {part.name} makes degraded images anew in every step; only `crop` fits, or pairs"
        )
    return PriorDataset(pairs, {})


def look_ahead(
    net: Refined, datasets: Sequence[Any], train: Dataset[Any], crop_size: int, cache: Path | None, device: torch.device
) -> None:
    """Has the prior look at what it need not see in every step: whole images, and the crops that make its mean.

    The devices of a run share this out.
    """
    mean = net.refiner.mean_prior
    assert net.prior is not None
    assert mean is not None
    net.prior.to(device)
    for samples in datasets:
        if isinstance(samples, PriorDataset):
            look_at_images(net.prior, samples, cache)
    mean.copy_(mean_feature(net, train, crop_size))


def look_at_images(prior: Prior, samples: PriorDataset, cache: Path | None) -> None:
    """Looks at every whole image once; a file in `cache`, named after the prior, keeps what was seen; None: nothing."""
    path, format = cache and cache / f"prior_{prior.fingerprint()}.safetensors", samples.pairs.format
    known = checkpoints.read_state(path) if path and path.exists() else {}
    names = {pair.lq: signature(pair.lq, format) for pair in samples.pairs.pairs}
    lacking = {number for number, name in enumerate(names.values()) if name not in known}
    lacking_anywhere = set[int]().union(*all_gather(lacking))  # other machines may have other caches
    new = [image for number, image in enumerate(names) if number in lacking_anywhere]
    seen: list[Tensor] = []
    for image in track(shard(new), "looking at whole images"):
        seen.append(look(prior, read_tensor(image, format)[None])[0])
    known |= {names[image]: feature for image, feature in zip(new, gather_in_order(seen, len(new)), strict=True)}
    if path and lacking and rank_info().local_rank == 0:
        with atomic_path(path) as temporary:
            save_file(known, temporary)
    samples.features = {image: known[name] for image, name in names.items()}


def signature(ref: ImageRef, format: PixelFormat) -> str:
    """What tells an image from others, and from itself once its file has changed."""
    files = files_of(ref)
    changes = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    white = "" if format.white_level is None else f" {format.white_level}"
    return " ".join(changes) + (f" {ref}" if isinstance(ref, Block) else "") + white + " grey" * (format.name == "grey")


def mean_feature(net: Refined, train: Dataset[dict[str, Any]], crop_size: int) -> Tensor:
    """The mean of what the prior says of the first training crops (D,), of length 1 again."""
    firsts, sums = range(0, MEAN_OF, AT_ONCE), []
    for first in track(shard(firsts), "mean of the prior"):
        samples = [train[(i, crop_size)] for i in range(first, first + AT_ONCE)]
        if "prior" in samples[0]:
            features = torch.stack([sample["prior"] for sample in samples])
        else:
            assert net.prior is not None
            features = net.look(torch.stack([sample["lq"] for sample in samples]).to(net.prior.device)).cpu()
        sums.append(features.flatten(2).mean(2).sum(0) if features.ndim == 4 else features.sum(0))
    return F.normalize(torch.stack(gather_in_order(sums, len(firsts))).sum(0), dim=0)


def look(prior: Prior, images: Tensor) -> Tensor:
    """What the prior says of images, on the CPU."""
    return prior(images.to(prior.device)).cpu()
