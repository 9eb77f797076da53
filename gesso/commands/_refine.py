"""Train PTG-RM behind a restorer: a light refiner that a frozen pre-trained model guides."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from gesso import checkpoint as checkpoints
from gesso._discovery import check_options
from gesso.backbones import create_backbone, list_backbones
from gesso.commands._parser import checked
from gesso.commands._supervised import check_fit, loss_for, open_data, open_validations
from gesso.data.datasets import PairDataset
from gesso.data.io import atomic_path
from gesso.data.mixes import Part, Sampling, mixed
from gesso.data.origins import Origin, WithWhite, files_of, in_matlab, read_image
from gesso.degradations import DegradationSpec
from gesso.functional.checks import check_choice
from gesso.functional.color import to_grey
from gesso.functional.processes import all_gather, gather_in_order, rank_info, shard
from gesso.functional.random import seed_for
from gesso.losses import LossSpec
from gesso.perceptual import open_metrics
from gesso.refiner import ABLATIONS, PTGRM, Ablation, Level, Prior, Refined, View, open_prior
from gesso.report.console import say, track, warn
from gesso.training.launch import has_to_launch, launch
from gesso.training.recipe import Recipe
from gesso.training.refine_module import PriorDataset, RefineModule
from gesso.training.run import fit
from gesso.training.sampling import Stage, parse_stages

MEAN_OF, AT_ONCE = 256, 16  # training crops whose prior makes the mean
LIGHT = 1_000_000  # parameters


@checked
def refine(
    *,
    out: str | Path,
    checkpoint: str | Path,
    prior: str | Path,
    task: str,
    data: str | Path | None = None,
    lq: str | Path | None = None,
    gt: str | Path | None = None,
    pair_by: str = "stem",
    layout: str | None = None,
    white_level: int | None = None,
    degradation: DegradationSpec | None = None,
    val: str | Path | None = None,
    holdout: int | None = None,
    skip_damaged: bool = False,
    mix: list[dict[str, Any]] | None = None,
    sampling: Sampling = "repeats",
    weights: str | None = None,
    backbone_args: dict[str, Any] | None = None,
    prior_view: View | None = None,
    prior_cache: str | Path | None = None,
    refiner_args: dict[str, Any] | None = None,
    ablation: Ablation = "full",
    level: Level | None = None,
    freeze_restorer: bool = False,
    restored_weight: float = 1.0,
    loss: LossSpec | None = None,
    crop_size: int = 128,
    batch_size: int = 8,
    stages: list[dict[str, Any]] | None = None,
    steps: int = 200_000,
    val_every: int = 4_000,
    metrics: str | list[str] = "psnr,ssim",
    metric_weights: str | Path | None = None,
    tile: int | None = None,
    optimizer: Literal["adam", "adamw"] = "adam",
    lr: float = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    seed: int = 0,
    **run: Any,
) -> Path:
    """Writes `backbone.safetensors`, restorer and refiner in one, and `best.safetensors`; returns the former's path.

    Both are files that `evaluate`, `restore` and `export` take. They name the prior, which is needed wherever they are
    used; `--backbone_args.prior mean` does without it, with the mean feature of the training images in its place.

    Args:
        out: folder of the run.
        checkpoint: file of the restorer, of gesso or of its authors; or a refined one, to train it further; or the name
            of a network, as "snr_net", which begins with random weights.
        prior: the frozen model: a file that gesso opens (from `pretrain`, say), "clip:FOLDER" (transformers),
            "clip:NAME@FILE" (open_clip), "sd:FOLDER" (the image encoder of Stable Diffusion, diffusers), "MODULE:CLASS"
            (yours), or "none" (a refiner without prior); of a refined checkpoint also "mean", its stored mean feature.
        task: name of the task, or "all-in-one" with `mix`; `gesso list tasks` shows all with their protocols.
        data: root of a data set in a published layout, found by itself; or a folder of clean photos, or procedural
            images ("leaves", "scenes", "pink"), whose degraded partners are made on the fly.
        lq: folder of degraded images, with `gt`, instead of `data`; beside it, how such folders below it are called.
        gt: folder of ground truths, with `lq`.
        pair_by: "stem": by equal names, or names that differ as published ones do; a template of an input's name, as
            '{gt}_s*' or '{gt}x4'; a file that lists pairs, two columns or BasicSR's meta_info; or by sorted "order".
        layout: name of the layout of `data`, or "photos": they are clean photos; none: detected automatically.
        white_level: what white is stored as in files of 16 bits: 4095 for 12 bits; none: 65535, or what they say.
        degradation: what spoils clean photos: a name, or {name: ..., option: ...}; none: that of the task.
        val: root of validation data, of which the validation split is taken, else the test split, or all of it where it
            has none; none: these splits of `data`, else some pairs are held out.
        holdout: pairs held out for validation where there is no other; none: a tenth, at most 12.
        skip_damaged: leave out images that are damaged, and pairs whose sides do not fit, instead of refusing them.
        mix: for the task "all-in-one": a list of {name, task, data, repeats, degradation, ...}, see `finetune`.
        sampling: how the parts of a mix are drawn: by "repeats", or "balanced", see `finetune`.
        weights: which set of weights, where the restorer's file holds several: "params" or "params_ema".
        backbone_args: options that the restorer's file does not tell, such as `--backbone_args.img_size 256`. Images
            have as many channels as the restorer takes; `--backbone_args.image_channels 4` adapts one for RGB.
        prior_view: what the prior sees: the "crop" that is trained on and the tile that is restored, or the whole
            "image" that it is cut from, which is looked at once and kept; the latter for pairs, not for photos that
            are degraded on the fly; none: "crop", or what a refined checkpoint was trained with.
        prior_cache: folder for what the prior says of whole images, to be shared between runs; none: `out`.
        refiner_args: options of `PTGRM`, such as `--refiner_args.image_mask true`.
        ablation: a row of the paper's table 3: "full"; without spatial-varying enhancement ("no_sve"), channel-spatial
            attention ("no_csa", or either: "no_channel", "no_spatial") or position ("no_position"); with the map of
            signal and noise as the mask ("snr_mask"), or a prior of one or two dimensions that is merely concatenated
            ("concat_1d", "concat_2d"); or "larger", a larger refiner that nothing guides, with the prior "none".
        level: what is refined: the restored "image", or the last "feature" map of the restorer (-f in the paper's table
            1); none: "image", or what a refined checkpoint was trained with.
        freeze_restorer: train the refiner only.
        restored_weight: factor of the loss of the restorer's own output beside that of the refined image.
        loss: "l1", "charbonnier", "charbonnier_sum", "mse" or "psnr"; with the distance of VGG-19 features beside it
            {name: charbonnier_sum, vgg: FILE, vgg_weight: 0.1}; none: that of the task.
        crop_size: side of the training crops in pixels.
        batch_size: crops in one batch, which all devices share.
        stages: progressive crops as a list of {share, crop_size, batch_size}; replaces crop_size and batch_size.
        steps: optimiser steps.
        val_every: steps between two measurements on the validation images; 0: only at the end.
        metrics: what is measured, separated by commas: "psnr" and "ssim", always and as the task defines them; "lpips",
            "lpips_vgg", "dists", and names of pyiqa such as "niqe" (pip install 'gesso[perceptual]').
        metric_weights: folder of the files that such metrics need; none: where torch keeps them. Nothing is downloaded.
        tile: side in pixels of the tiles that validation images are restored in; none: whole images. Tiles change the
            numbers, so none are taken unasked.
        optimizer: "adam" or "adamw".
        lr: peak learning rate.
        betas: running-average coefficients of Adam.
        seed: every random draw of the run follows from it.
        **run: options that every training run has, see `gesso.training.run.fit`.

    Raises:
        FileNotFoundError: if there is no restorer, or no weights of the prior.
        ValueError: for unknown names and options, values out of range, data that cannot be trained on, a prior that is
            not the refiner's, or a folder that holds another run.
    """
    options = {k: v for k, v in locals().items() if k != "run"} | run
    if has_to_launch(options):
        return launch(refine, options)
    recipe = Recipe.of(refine, options)
    out, prior = Path(out), str(prior)
    plan = parse_stages(stages) if stages else [Stage(1.0, crop_size, batch_size)]
    perceptual = open_metrics(metrics, metric_weights)
    torch.manual_seed(seed_for(seed, "weights"))
    net = start(
        checkpoint,
        prior,
        prior_view,
        level,
        refiner_options(ablation, prior, refiner_args),
        weights=weights,
        **(backbone_args or {}),
    )
    net.backbone.requires_grad_(not freeze_restorer)
    parts = open_data(
        task, mix, data=data, lq=lq, gt=gt, pair_by=pair_by, layout=layout, white_level=white_level,
        degradation=degradation, val=val,
        holdout=holdout, channels=net.in_channels, skip_damaged=skip_damaged, seed=seed,
    )  # fmt: skip
    check_fit(net, parts)
    introduce(net)

    datasets: list[Any] = [part.samples.train for part in parts]
    if net.prior is not None and net.prior_view == "image":
        datasets = [whole_images(part) for part in parts]
    batches = [stage.batch_size for stage in plan]
    train = mixed(parts, datasets, seed=seed, sampling=sampling, batch_sizes=batches)
    validations = open_validations(parts, net, tile, run)
    module = RefineModule(net, loss_for(parts, loss), validations, out, restored_weight=restored_weight)
    module.perceptual = perceptual
    module.tile = tile
    module.facts = {"task": task, "restorer": str(checkpoint)}
    if net.prior is not None:
        module.look_ahead = partial(look_ahead, net, datasets, train, plan[0].crop_size, Path(prior_cache or out))
    fit(
        module,
        train,
        out,
        recipe,
        what=f"refine {task}",
        stages=plan,
        steps=steps,
        val_every=val_every,
        optimizer=optimizer,
        lr=lr,
        betas=betas,
        seed=seed,
        **run,
    )
    return out / "backbone.safetensors"


def start(
    checkpoint: str | Path,
    prior: str,
    prior_view: View | None,
    level: Level | None,
    refiner: dict[str, Any],
    **facts: Any,
) -> Refined:
    """The network that refining starts from: an untrained refiner behind a restorer, or a refined one as it is.

    Raises:
        ValueError: if the prior is not the one of a refined network, or "mean" has no meaning yet.
    """
    by_name = checkpoint in list_backbones() and not Path(checkpoint).exists()
    if by_name or checkpoints.read_header(checkpoint).get("backbone") != Refined.__name__:
        if prior == "mean":
            raise ValueError(
                f"prior: {checkpoint} is not refined, so it holds no mean feature; pass a prior, or `none`"
            )
        check_options(PTGRM, refiner, "refiner_args")
        if by_name:
            restorer = create_backbone(str(checkpoint), **{key: facts[key] for key in facts if key != "weights"})
        else:
            restorer = checkpoints.load(checkpoint, **facts)
        opened = None if prior == "none" else open_prior(prior, checkpoints.load)
        return Refined.around(restorer, opened, prior_view or "crop", level or "image", **refiner)
    if refiner or level:
        given = "refiner_args" if refiner else "level"
        raise ValueError(f"{given}: the refiner of {checkpoint} is trained already; leave them out")
    if prior_view is not None:
        facts["prior_view"] = prior_view
    net = checkpoints.load(checkpoint, prior=prior, **facts)
    assert isinstance(net, Refined)
    return net


def refiner_options(ablation: Ablation, prior: str, given: dict[str, Any] | None) -> dict[str, Any]:
    """Options of `PTGRM` that an ablation stands for, and those that are given.

    Raises:
        ValueError: for an unknown ablation, or a prior where nothing shall guide.
    """
    check_choice("ablation", ablation, Ablation)
    if ablation == "larger" and prior != "none":
        raise ValueError(f"ablation: the larger refiner is guided by nothing; pass the prior none, got {prior}")
    return ABLATIONS[ablation] | (given or {})


def introduce(net: Refined) -> None:
    """Prints what is trained, and warns where the refiner is not as light as the paper's."""
    restorer, refiner = (sum(p.numel() for p in part.parameters()) for part in (net.backbone, net.refiner))
    place = "place" if net.refiner.concat == "map" else net.prior_view
    guide = f"prior {net.options['prior']} ({net.refiner.prior_dim} numbers of each {place})"
    frozen = "" if any(p.requires_grad for p in net.backbone.parameters()) else ", frozen"
    say(f"{net.options['network']}: {restorer:,} parameters{frozen}; refiner: {refiner:,}, {guide}")
    if refiner >= LIGHT:
        warn(f"a refiner of {refiner:,} parameters; those of the paper have less than a million")


def whole_images(part: Part) -> PriorDataset:
    """The training crops of a data set, each with what the prior will say of its whole image.

    Raises:
        ValueError: if images are degraded on the fly, so that no two are alike.
    """
    pairs = part.samples.train
    if not isinstance(pairs, PairDataset):
        raise ValueError(f"prior_view: {part.name} degrades photos anew in every step; only `crop` fits, or pairs")
    return PriorDataset(pairs, {})


def look_ahead(
    net: Refined, datasets: Sequence[Any], train: Dataset[Any], crop_size: int, cache: Path, device: torch.device
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


def look_at_images(prior: Prior, samples: PriorDataset, cache: Path) -> None:
    """Looks at every whole image once; a file in `cache`, named after the prior, keeps what was seen."""
    path, grey = cache / f"prior_{prior.fingerprint()}.safetensors", samples.pairs.grey
    known = checkpoints.read_state(path) if path.exists() else {}
    names = {pair.lq: signature(pair.lq) + " grey" * grey for pair in samples.pairs.pairs}
    lacking = {number for number, name in enumerate(names.values()) if name not in known}
    lacking_anywhere = set[int]().union(*all_gather(lacking))  # other machines may have other caches
    new = [image for number, image in enumerate(names) if number in lacking_anywhere]
    seen: list[Tensor] = []
    for image in track(shard(new), "looking at whole images"):
        whole = read_image(image)
        seen.append(look(prior, (to_grey(whole) if grey else whole)[None])[0])
    known |= {names[image]: feature for image, feature in zip(new, gather_in_order(seen, len(new)), strict=True)}
    if lacking and rank_info().local_rank == 0:
        with atomic_path(path) as temporary:
            save_file(known, temporary)
    samples.features = {image: known[name] for image, name in names.items()}


def signature(origin: Origin) -> str:
    """What tells an image from others, and from itself once its file has changed."""
    files = files_of(origin)
    changes = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    white = f" {origin.level}" if isinstance(origin, WithWhite) else ""
    return " ".join(changes) + (f" {origin}" if in_matlab(origin) else "") + white


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
