"""Pre-train a network by a pretext, from one noise image, procedural images or a folder of photos."""

from pathlib import Path
from typing import Any, Literal

import torch

from gesso import checkpoint
from gesso.backbones import BackboneSpec, open_backbone, spell_backbone
from gesso.commands._parser import checked
from gesso.data.mixes import MixDataset, open_mix
from gesso.data.training_data import open_images
from gesso.functional.random import seed_for
from gesso.pretext import create_pretext
from gesso.primed import resolve_name
from gesso.report.console import say
from gesso.training.launch import has_to_launch, launch
from gesso.training.pretrain_module import PretrainModule
from gesso.training.recipe import Recipe
from gesso.training.run import fit
from gesso.training.sampling import Stage
from gesso.training.schedules import ScheduleName

# What a pretext's own choice of images is, in words.
CHOSEN = {"noise": "fixed N(0, 1) noise", "leaves": "procedural dead leaves"}


@checked
def pretrain(
    *,
    out: str | Path,
    pretext: str = "ifp",
    pretext_args: dict[str, Any] | None = None,
    backbone: BackboneSpec = "restormer",
    backbone_args: dict[str, Any] | None = None,
    init: str | Path | None = None,
    images: str | Path | list[dict[str, Any]] | None = None,
    count: int | None = None,
    white_level: int | None = None,
    skip_damaged: bool = False,
    crop_size: int = 224,
    batch_size: int = 1,
    steps: int = 30_000,
    optimizer: Literal["adam", "adamw"] = "adam",
    lr: float = 2e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    schedule: ScheduleName = "constant",
    seed: int = 0,
    **run: Any,
) -> Path:
    """Writes `backbone.safetensors` into `out`: a network that a pretext has primed; returns its path.

    The defaults are IFP's (section 4.1 of the paper): one N(0, 1) image of 224 x 224, batch 1, 30,000 steps of Adam at
    2e-4 with betas (0.9, 0.99). The paper names no learning-rate schedule, so it is constant.

    Args:
        out: folder of the run.
        pretext: name of the pretext; `gesso list pretexts` shows all with their options.
        pretext_args: options of the pretext, such as `--pretext_args.mask_ratio 0.5`.
        backbone: name of the network; `gesso list backbones` shows all. In Python also a module, which is copied.
        backbone_args: options of the network, such as `--backbone_args.dim 32`. With `--backbone_args.image_channels 1`
            images are grey; with 4 they are PNG or TIFF files with a fourth channel of data, or generated so.
        init: file whose weights to begin with, last convolution included where it fits, or "primed:TASK", a network
            that comes with the package; none: random weights.
        images: where images come from: "noise" (fixed N(0, 1) images), "leaves" (procedural dead leaves), "scenes"
            (procedural scenes), "pink" (procedural 1/f noise), a folder of photos, or for a pretext that classifies
            degradations the data of each class, a list of {task, data, repeats, degradation, ...}; none: what the
            pretext prefers.
        count: how many different images, of a folder drawn by `seed`; none: 1 for noise, all of a folder, unlimited
            procedural ones.
        white_level: what white is stored as in files of 16 bits: 4095 for 12 bits; none: 65535, or what they say.
        skip_damaged: leave out images that are damaged, instead of refusing them.
        crop_size: side of the images in pixels.
        batch_size: images in one batch, which all devices share.
        steps: optimiser steps.
        optimizer: "adam" or "adamw".
        lr: peak learning rate.
        betas: running-average coefficients of Adam.
        schedule: learning rate over the run: "constant", "cosine", Restormer's "two_phase", or "step", which falls at
            each of `milestones`.
        seed: every random draw of the run follows from it.
        **run: options that every training run has, see `gesso.training.run.fit`.

    Raises:
        ValueError: for unknown names and options, values out of range, or a folder that holds another run.
    """
    options = {k: v for k, v in locals().items() if k != "run"} | run
    if has_to_launch(options):
        return launch(pretrain, options)
    recipe = Recipe.of(pretrain, options)
    out = Path(out)
    torch.manual_seed(seed_for(seed, "weights"))
    network = open_backbone(backbone, backbone_args)
    if init is not None:
        init = resolve_name(str(init), spell_backbone(backbone))
        say(f"{init}: {checkpoint.load_features(network, init, keep_head=True)}")
    method = create_pretext(pretext, network, **(pretext_args or {}))
    if batch_size < method.min_batch_size:
        raise ValueError(
            f"batch_size: {pretext} compares the images of a batch ({method.batch_coupling}), so it needs "
            f"{method.min_batch_size} or more, got {batch_size}"
        )
    images = str(images) if isinstance(images, Path) else images
    if images is None:
        images = method.images
        say(f"images: {images}, {CHOSEN[images]} (the default of {pretext}; --images FOLDER takes photos)")
    if isinstance(images, list):
        if len(images) != method.classes:
            expected = f"data of {method.classes} classes" if method.classes else "images without classes"
            advice = "; pretext_args.num_classes says how many there are" if method.classes else ""
            raise ValueError(f"images: {pretext} expects {expected}, got data of {len(images)}{advice}")
        parts = open_mix(images, channels=network.in_channels, skip_damaged=skip_damaged, seed=seed)
        dataset = MixDataset([part.samples.train for part in parts], [part.repeats for part in parts], seed=seed)
    else:
        kind = {"per_sample": method.images_per_sample, "channels": network.in_channels, "white_level": white_level}
        kind |= {"skip_damaged": skip_damaged}
        dataset = open_images(images, seed=seed, count=count, **kind)
    module = PretrainModule(method)
    module.facts = {"pretext": pretext, "pretext_args": pretext_args or {}, "images": images}
    body = sum(p.numel() for p in method.backbone.parameters())
    decoder = sum(p.numel() for p in method.parameters()) - body
    say(f"{spell_backbone(backbone)}: {body:,} parameters, and {decoder:,} to throw away")
    fit(
        module,
        dataset,
        out,
        recipe,
        what=f"{pretext} {spell_backbone(backbone)}",
        stages=[Stage(1.0, crop_size, batch_size)],
        steps=steps,
        val_every=0,
        optimizer=optimizer,
        lr=lr,
        betas=betas,
        schedule=schedule,
        seed=seed,
        **run,
    )
    return out / "backbone.safetensors"
