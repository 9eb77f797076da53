"""Train a network on pairs of a restoration task, from random weights or from a pre-trained file."""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gesso import checkpoint
from gesso.backbones import Backbone, BackboneSpec, open_backbone, spell_backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.commands._parser import checked
from gesso.commands._supervised import check_fit, loss_for, open_data, open_validations
from gesso.data.mixes import Sampling, mixed
from gesso.degradations import DegradationSpec
from gesso.functional.mimetic import MIMETIC
from gesso.functional.random import seed_for
from gesso.losses import LossSpec
from gesso.perceptual import open_metrics
from gesso.pretext import open_feature_loss
from gesso.primed import resolve_name, restores
from gesso.report.console import say
from gesso.training.finetune_module import FinetuneModule
from gesso.training.launch import has_to_launch, launch
from gesso.training.recipe import Recipe
from gesso.training.run import fit
from gesso.training.sampling import Stage, parse_stages


@checked
def finetune(
    *,
    out: str | Path,
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
    scale: int = 1,
    backbone: BackboneSpec = "restormer",
    backbone_args: dict[str, Any] | None = None,
    init: str | Path = "random",
    transfer: Literal["network", "paper"] = "network",
    keep_last: bool | None = None,
    shrink: float = 1.0,
    rescale: bool = False,
    features_lr: float = 1.0,
    freeze_features: bool = False,
    critic: str | Path | None = None,
    critic_target: int | None = None,
    critic_weight: float = 1.0,
    loss: LossSpec | None = None,
    mixup: bool = False,
    crop_size: int = 128,
    batch_size: int = 8,
    stages: list[dict[str, Any]] | None = None,
    steps: int = 300_000,
    val_every: int = 4_000,
    metrics: str | list[str] = "psnr,ssim",
    metric_weights: str | Path | None = None,
    tile: int | None = None,
    weight_decay: float = 1e-4,
    seed: int = 0,
    **run: Any,
) -> Path:
    """Writes `backbone.safetensors` (the end) and `best.safetensors` (best on validation); returns the former's path.

    Two transfers (docs/checkpoints.md). "network": the plain published network with its image residual; only the last
    convolution is new, and it starts at zero where there is a residual, so that training starts from the identity.
    "paper": what IFP and DegAE do; the 64-channel output convolution is kept, a new 3x3 convolution 64 -> 3 stands
    behind it, and there is no image residual.

    Args:
        out: folder of the run.
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
        mix: for the task "all-in-one": a list of {name, task, data, repeats, degradation, ...}, each with the options
            of a single task; every part is measured by its own protocol (`protocol: {channel: rgb}` changes it). Where
            a part has a crop_size of its own, each batch is of one part.
        sampling: how the parts of a mix are drawn: "repeats", as often as they have samples, times their `repeats`; or
            "balanced", in turns, however many samples they have (`repeats` are then the turns in a round).
        scale: enlargement for super-resolution.
        backbone: name of the network; `gesso list backbones` shows all. In Python also a module, which is copied and
            begins with its own weights.
        backbone_args: options of the network, such as `--backbone_args.dim 32`. With `--backbone_args.image_channels 1`
            the images of any task are grey, with 4 they are PNG or TIFF files with a fourth channel of data.
        init: "random"; a file to start from, of gesso or of the authors; "primed:TASK": the network of this name that
            comes with the package (`gesso list primed`); or "mimetic": random weights in the shape of trained ones.
        transfer: "network" or "paper", see above.
        keep_last: take the last convolution from `init` too, to go on with a network that restores already; none: where
            its file says that it restores this task.
        shrink: share of the weights of `init` in those that training starts from, in (0, 1]; the rest is random weights
            (shrink and perturb: Ash & Adams, "On warm-starting neural network training", NeurIPS 2020, section 4).
        rescale: give each matrix and kernel of `init` the norm of the random one whose place it takes.
        features_lr: factor of the learning rate for what comes from `init`.
        freeze_features: train only what lies behind the features (linear probing).
        critic: DCPT's `classifier.safetensors`, for DC-guided training: a network of one degradation learns another.
        critic_target: class, counted from 0, that the critic shall take the features for; none: of the five, the
            degradation that the task undoes.
        critic_weight: factor of the critic's loss.
        loss: "l1", "charbonnier", "charbonnier_sum", "mse" or "psnr"; with the distance of VGG-19 features beside it
            {name: charbonnier_sum, vgg: FILE, vgg_weight: 0.1}; none: that of the task.
        mixup: Restormer's MixUp, Beta(1.2, 1.2) with probability 1/2.
        crop_size: side of the training crops in pixels (of the degraded image).
        batch_size: crops in one batch, which all devices share.
        stages: progressive crops as a list of {share, crop_size, batch_size}; replaces crop_size and batch_size.
        steps: optimiser steps.
        val_every: steps between two measurements on the validation images; 0: only at the end.
        metrics: what is measured, separated by commas: "psnr" and "ssim", always and as the task defines them; "lpips",
            "lpips_vgg", "dists", and names of pyiqa such as "niqe" (pip install 'gesso[perceptual]').
        metric_weights: folder of the files that such metrics need; none: where torch keeps them. Nothing is downloaded.
        tile: side in pixels of the tiles that validation images are restored in; none: whole images. Tiles change the
            numbers, so none are taken unasked.
        weight_decay: decoupled for "adamw".
        seed: every random draw of the run follows from it.
        **run: options that every training run has, see `gesso.training.run.fit`.

    Raises:
        ValueError: for unknown names and options, values out of range, data that cannot be trained on, a file that
            does not fit the network, or a folder that holds another run.
    """
    options = {k: v for k, v in locals().items() if k != "run"} | run
    if has_to_launch(options):
        return launch(finetune, options)
    recipe = Recipe.of(finetune, options)
    out, init = Path(out), str(init)
    plan = parse_stages(stages) if stages else [Stage(1.0, crop_size, batch_size)]
    perceptual = open_metrics(metrics, metric_weights)
    torch.manual_seed(seed_for(seed, "weights"))
    net = open_backbone(backbone, backbone_args)
    parts = open_data(
        task, mix, scale=scale, data=data, lq=lq, gt=gt, pair_by=pair_by, layout=layout, white_level=white_level,
        degradation=degradation,
        val=val, holdout=holdout, channels=net.in_channels, skip_damaged=skip_damaged, seed=seed,
    )  # fmt: skip
    batches, sets = [stage.batch_size for stage in plan], [part.samples.train for part in parts]
    train = mixed(parts, sets, seed=seed, sampling=sampling, batch_sizes=batches)
    enlarge = scale if net.scale == 1 else 1
    init = resolve_name(init, spell_backbone(backbone))
    if keep_last is None:
        keep_last = restores_already(init, [part.task.name for part in parts], transfer)
    if not (keep_last and init == "random" and not isinstance(backbone, str)):  # an object goes on as it is
        net = start(net, init, transfer, keep_last=keep_last, enlarge=enlarge, shrink=shrink, rescale=rescale)
    check_fit(net, parts)
    if freeze_features:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(net.is_head(name))
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in net.parameters())
    say(f"{spell_backbone(backbone)}: {total:,} parameters, {trained:,} of them trained")
    validations = open_validations(parts, net, tile, run)
    module = FinetuneModule(
        net,
        loss_for(parts, loss),
        validations,
        out,
        use_mixup=mixup,
        critic=None if critic is None else open_feature_loss(critic, net, target=critic_target, task=task),
        critic_weight=critic_weight,
        features_lr=1.0 if init == "random" else features_lr,
    )
    module.perceptual = perceptual
    module.tile = tile
    module.facts = {"task": task, "init": init, "transfer": transfer}
    fit(
        module,
        train,
        out,
        recipe,
        what=f"{task} {spell_backbone(backbone)}",
        stages=plan,
        steps=steps,
        val_every=val_every,
        weight_decay=weight_decay,
        seed=seed,
        **run,
    )
    return out / "backbone.safetensors"


def start(
    net: Backbone,
    init: str | Path,
    transfer: Literal["network", "paper"],
    *,
    keep_last: bool = False,
    enlarge: int = 1,
    shrink: float = 1.0,
    rescale: bool = False,
) -> Backbone:
    """The network that fine-tuning starts from: `net` with the features of a file, and a last convolution as new.

    With the transfer of the papers, layers behind a network that keeps the size of the image may `enlarge` it.

    Raises:
        ValueError: if `shrink` is out of range, or the file does not fit.
    """
    if transfer == "paper":
        images = net.in_channels
        net.replace_last(net.encoder_channels, image_residual=False)
        net = PaperTransfer(net, out_channels=images, enlarge=enlarge)
    kept = set()
    if init == MIMETIC:
        net.draw_mimetic()
    elif init != "random":
        softened = rescale or shrink != 1
        fresh = {name: parameter.detach().clone() for name, parameter in net.named_parameters() if softened}
        loaded = checkpoint.load_features(net, init, keep_head=keep_last)
        say(f"{init}: {loaded}")
        if softened:
            checkpoint.shrink_and_perturb(net, fresh, loaded.loaded, shrink=shrink, rescale=rescale)
        kept = set(loaded.loaded)
    if net.image_residual:
        last = {id(parameter) for layer in net.head_convs for parameter in layer.parameters()}
        for name, parameter in net.named_parameters():
            if id(parameter) in last and name not in kept:
                nn.init.zeros_(parameter)  # the residual makes this the identity
    return net


def restores_already(init: str, tasks: list[str], transfer: str) -> bool:
    """Whether a start restores all of some tasks by what its file says, so that its last layer is kept; says so."""
    if init in ("random", MIMETIC) or transfer == "paper":
        return False
    header = checkpoint.read_header(init)
    found = all(restores(header, task) for task in tasks)
    if found:
        say(f"keep_last: true, because {init} restores {', '.join(dict.fromkeys(tasks))} already")
    return found
