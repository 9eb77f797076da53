"""Pre-train a network by a pretext, from one noise image, procedural images or a folder of photos."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from gesso import checkpoint
from gesso._specs import SourceSpec
from gesso.backbones import open_backbone, spell_backbone
from gesso.commands._defaults import settle
from gesso.commands.pretrain import Pretrain, pretrain
from gesso.data.mixes import MixDataset, open_mix
from gesso.data.training_data import open_images
from gesso.functional.random import seed_for
from gesso.options import plain_options
from gesso.pretext import Pretext, create_pretext, spell_pretext
from gesso.primed import resolve_name
from gesso.report.console import say
from gesso.training.launch import has_to_launch, launch
from gesso.training.loggers import logger_names
from gesso.training.pretrain_module import PretrainModule
from gesso.training.run import Training, fit


def run(command: Pretrain) -> Path:
    """Does what `gesso.commands.pretrain.Pretrain` describes."""
    logger_names(command.logger)  # before anything is read
    command = settle(command)
    if has_to_launch(plain_options(command)):
        return launch(pretrain, plain_options(command))
    fit(prepare(command), command)
    return Path(command.out) / "backbone.safetensors"


def prepare(command: Pretrain) -> Training:
    """The pretext with its network, and its images.

    Raises:
        ValueError: for what cannot be trained.
    """
    torch.manual_seed(seed_for(command.seed, "weights"))
    network = open_backbone(command.backbone, command.backbone_args)
    if command.init is not None:
        init = resolve_name(str(command.init), spell_backbone(command.backbone))
        say(f"{init}: {checkpoint.load_features(network, init, keep_head=True)}")
    method = create_pretext(command.pretext, network, **(command.pretext_args or {}))
    if command.batch_size < method.min_batch_size:
        raise ValueError(
            f"batch_size: {spell_pretext(command.pretext)} compares the images of a batch ({method.batch_coupling}), "
            f"so it needs {method.min_batch_size} or more, got {command.batch_size}"
        )
    images = chosen_images(command, method)
    facts = {"pretext": command.pretext, "pretext_args": command.pretext_args or {}, "images": images}
    module = PretrainModule(method, command, facts)
    body = sum(p.numel() for p in method.backbone.parameters())
    decoder = sum(p.numel() for p in method.parameters()) - body
    say(f"{spell_backbone(command.backbone)}: {body:,} parameters, and {decoder:,} in the decoder, not saved")
    what = f"{spell_pretext(command.pretext)} {spell_backbone(command.backbone)}"
    return Training(module, open_samples(command, method, images), what)


def chosen_images(command: Pretrain, method: Pretext) -> SourceSpec | list[dict[str, Any]]:
    """Where images come from: where the command says, else where the pretext prefers, which is said."""
    if command.images is not None:
        return str(command.images) if isinstance(command.images, Path) else command.images
    name = spell_pretext(command.pretext)
    say(f"images: the source {method.images} (the default of {name}; --images takes others, or a folder of photos)")
    return method.images


def open_samples(command: Pretrain, method: Pretext, images: SourceSpec | list[dict[str, Any]]) -> Dataset[Any]:
    """The images, or the data of each class.

    Raises:
        ValueError: if there is nothing to train on, or data of another number of classes.
    """
    common = {"channels": method.backbone.in_channels, "skip_damaged": command.skip_damaged, "seed": command.seed}
    if isinstance(images, list):
        if len(images) != method.classes:
            expected = f"data of {method.classes} classes" if method.classes else "images without classes"
            advice = "; pretext_args.num_classes says how many there are" if method.classes else ""
            raise ValueError(
                f"images: {spell_pretext(command.pretext)} expects {expected}, got data of {len(images)}{advice}"
            )
        parts = open_mix(images, **common)
        samples, repeats = [part.samples.train for part in parts], [part.repeats for part in parts]
        return MixDataset(samples, repeats, seed=command.seed)
    per_sample = method.images_per_sample
    common |= {"white_level": command.white_level, "layout": command.layout}
    return open_images(images, count=command.count, per_sample=per_sample, **common)
