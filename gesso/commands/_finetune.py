"""Train a network on pairs of a restoration task, from random weights or from a pre-trained file."""

from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.utils.data import Dataset

from gesso import checkpoint
from gesso.backbones import Backbone, PaperTransfer, open_backbone, spell_backbone
from gesso.commands._defaults import settle
from gesso.commands._supervised import check_fit, loss_for, open_data, open_validations
from gesso.commands.finetune import Finetune, finetune
from gesso.data.augment import open_augmentation
from gesso.data.mixes import Part, mixed
from gesso.data.training_data import rehearse
from gesso.functional.mimetic import MIMETIC
from gesso.functional.processes import in_comparison
from gesso.functional.random import seed_for
from gesso.options import plain_options
from gesso.perceptual import open_metrics
from gesso.pretext import open_feature_loss
from gesso.primed import resolve_name, restores, spell_file
from gesso.report.console import say, warn
from gesso.sources import list_sources
from gesso.tasks import spell_task
from gesso.training.best import metrics_for
from gesso.training.finetune_module import FinetuneModule
from gesso.training.launch import has_to_launch, launch
from gesso.training.loggers import logger_names
from gesso.training.run import Training, fit
from gesso.training.sampling import plan_stages


def run(command: Finetune) -> Path:
    """Does what `gesso.commands.finetune.Finetune` describes."""
    logger_names(command.logger)  # before anything is read
    command = settle(command)
    if has_to_launch(plain_options(command)):
        return launch(finetune, plain_options(command))
    training = prepare(command)
    fit(training, command)
    module = cast(FinetuneModule, training.module)
    kept = not command.dry_run and not in_comparison()  # which keeps no best.safetensors
    if kept and module.start_counts and module.best.step == 0 and module.best.value is not None:
        advice = "try a lower --lr, fewer --steps or more pairs"
        warn(f"no step restored the validation images better than the start: best.safetensors is the start; {advice}")
    return Path(command.out) / "backbone.safetensors"


def training_samples(command: Finetune, part: Part, images: str) -> Dataset[Any]:
    """What a run trains on of a part: its own samples, with procedural ones among them where these are asked for."""
    if not command.rehearse:
        return part.samples.train
    say(f"{part.name}: {command.rehearse:.0%} of the samples are {images}, degraded with {part.task.degradation}")
    return rehearse(part.task, part.samples.train, command.rehearse, images=images, seed=command.seed)


def prepare(command: Finetune) -> Training:
    """The network as it starts, and its pairs.

    Raises:
        ValueError: for what cannot be trained.
    """
    plan = plan_stages(command)
    perceptual = open_metrics(metrics_for(command), command.metric_weights)
    torch.manual_seed(seed_for(command.seed, "weights"))
    net = open_backbone(command.backbone, command.backbone_args)
    parts = open_data(command, net.in_channels)
    init = resolve_name(str(command.init), spell_backbone(command.backbone))
    images = rehearsed_images(header_of(init))
    train = mixed(
        parts,
        [training_samples(command, part, images) for part in parts],
        seed=command.seed,
        sampling=command.sampling,
        batch_sizes=[stage.batch_size for stage in plan],
    )
    known = restores_already(init, [part.task.name for part in parts], command.transfer)
    net = start_from(command, net, init, keep_last=known if command.keep_last is None else command.keep_last)
    check_fit(net, parts)
    if command.freeze_features:
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(net.is_head(name))
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    total = sum(p.numel() for p in net.parameters())
    say(f"{spell_backbone(command.backbone)}: {total:,} parameters, {trained:,} of them trained")
    augment = None
    if command.augment is not None:
        augment = open_augmentation(command.augment, (net.in_channels, net.out_channels), net.scale)
    critic = None
    if command.critic is not None:
        loss = open_feature_loss(command.critic, net, target=command.critic_target, task=spell_task(command.task))
        critic = loss, command.critic_weight
    module = FinetuneModule(
        net,
        loss_for(parts, command.loss),
        open_validations(parts, net, command.tile, command.accelerator),
        command,
        {"task": spell_task(command.task), "init": init, "transfer": command.transfer},
        perceptual=perceptual,
        augment=augment,
        critic=critic,
        features_lr=1.0 if init == "random" else command.features_lr,
        start_counts=known and command.keep_last is not False,
    )
    return Training(module, train, f"{spell_task(command.task)} {spell_backbone(command.backbone)}")


def start_from(command: Finetune, net: Backbone, init: str, *, keep_last: bool) -> Backbone:
    """The network that training starts from, see `start`; an object that is to keep its last layer goes on as it is."""
    if keep_last and init == "random" and not isinstance(command.backbone, str):
        return net
    if keep_last and command.keep_last is None:
        say(f"keep_last: true, because {spell_file(init)} restores {spell_task(command.task)} already")
    return start(
        net,
        init,
        command.transfer,
        keep_last=keep_last,
        enlarge=command.scale if net.scale == 1 else 1,
        shrink=command.shrink,
        rescale=command.rescale,
    )


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
        say(f"{spell_file(init)}: {loaded}")
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
    """Whether a start restores all of some tasks by what its file says."""
    header = {} if transfer == "paper" else header_of(init)
    return all(restores(header, task) for task in tasks)


def header_of(init: str) -> dict[str, Any]:
    """What the file of a start says of itself; {} for a start that is no file."""
    return {} if init in ("random", MIMETIC) else checkpoint.read_header(init)


def rehearsed_images(header: dict[str, Any]) -> str:
    """The procedural images that a start was trained on, by what its file says; `leaves` where it was not on such."""
    images = header.get("images")
    return images if images in list_sources() and header.get("pretext") == "restore" else "leaves"
