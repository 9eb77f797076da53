"""Every recipe of every verb does run: two tiny steps of a tiny network on made-up data in the published layouts."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import gesso
from gesso import _discovery, cli
from gesso.backbones import create_backbone
from gesso.data.generated import WholeGenerated
from gesso.options import options_of as options_of_command
from gesso.sources.leaves import leaves

SIDE = 48  # of the pictures; 2, 3 and 4 divide it
RECIPES = sorted((path.parent.name, path.stem) for path in (_discovery.ROOT / "recipes").glob("*/*.yaml"))

RAIN, HAZE = ("rain/rain-{i}", "norain/norain-{i}"), ("hazy/{i}_0.8_0.2", "gt/{i}")
SIDES = ("input/{i}", "target/{i}")


def divided(lq: str, gt: str, *splits: str) -> list[tuple[str, str]]:
    """Two sides below the folders of several splits."""
    return [(f"{split}/{lq}", f"{split}/{gt}") for split in splits]


# How data sets are published: degraded images and ground truths below their root; {i} is the number of a pair.
PAIRS = {
    "OTS": [HAZE],
    "SOTS/outdoor": [HAZE],
    "RESIDE": [("ITS/hazy/{i}_1_0.9", "ITS/clear/{i}"), ("SOTS/indoor/hazy/{i}_1", "SOTS/indoor/gt/{i}")],
    "Rain13K": divided(*SIDES, "train/Rain13K", "test/Rain100L"),
    "GoPro": divided("blur/{i}", "sharp/{i}", "train/GOPR0372_07_00", "test/GOPR0384_11_00"),
    "LOL": divided("low/{i}", "high/{i}", "our485", "eval15"),
    "LOL-syn": divided("Low/{i}", "Normal/{i}", "Train", "Test"),
    "LOL_v2_real": divided("Low/low{i}", "Normal/normal{i}", "Train", "Test"),
    "SID": divided("short/0000{i}_00_0.1s", "long/0000{i}_00_10s", "train", "test"),
    "SIDD": divided("input_crops/{i}", "target_crops/{i}", "train/SIDD", "val/SIDD"),
    "CSD": divided(*SIDES, "Train", "Test"),
    "RealBlur_R": divided(*SIDES, "test"),
    "RealBlur_J": divided(*SIDES, "test"),
    **{name: [RAIN] for name in ("Rain200L", "RainTrainL", "RainTrainHL")},
    **{name: [SIDES] for name in ("Snow100K", "HIDE", "Rain100L", "Rain100H", "Test100", "Test1200", "Test2800")},
}
DPDD = ("inputC", "inputL", "inputR", "target")
VIEWS = [f"{split}/DPDD/{side}/{{i}}" for split in ("train", "val", "test") for side in DPDD]
SCALED = [(f"LR_bicubic/X{scale}/{{i}}x{scale}", scale) for scale in (2, 3, 4)]
RESTORER = "runs/restorer/backbone.safetensors"
PHOTOS = ("WED_BSD400", "DFWB", "CBSD68", "Kodak24", "Kodak", "McMaster", "Set12", "BSD68")

TINY = {  # options that make a network tiny, by the beginning of its name
    "restormer": {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1},
    "nafnet": {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "swinir": {"embed_dim": 8, "depths": [1], "num_heads": [2], "img_size": 16},
    "uformer": {"embed_dim": 4, "depths": [1] * 9, "img_size": 128, "win_size": 2},
    "ipt": {"n_feats": 4, "patch_size": 12, "patch_dim": 3, "num_heads": 3, "num_layers": 1},
}
PRETEXTS = {
    "degae": {"representor_width": 4, "representor_blocks": 4, "decoder_width": 4, "feature_channels": 8},
    "mfm": {"decoder_width": 4, "feature_channels": 8},
    "ifp": {"decoder_width": 4, "feature_channels": 8},
    "maskdcpt": {"decoder_width": 4},
}
QUICK = {"steps": 2, "batch_size": 2, "precision": "float32", "sample_every": 0, "workers": 0, "device": "cpu"}


def picture(number: int, side: int = SIDE) -> torch.Tensor:
    """A picture with edges, on which RealBlur's alignment finds its way."""
    return leaves(0, number, side)


def write(root: Path, name: str, number: int, *, degraded: bool = False, scale: int = 1) -> None:
    image = picture(number)[:, ::scale, ::scale]
    if degraded:
        image = 0.9 * image + 0.1 * torch.rand(image.shape, generator=torch.Generator().manual_seed(number))
    gesso.write_image(root / f"{name.format(i=number)}.png", image)


def make(root: Path, name: str) -> None:
    """Made-up images of a data set, four of each kind, as it is published."""
    for i in (1, 2, 3, 4):
        if name in PAIRS:
            for lq, gt in PAIRS[name]:
                write(root, lq, i, degraded=True)
                write(root, gt, i)
        elif name in PHOTOS:
            write(root, "{i}", i)
        elif name == "DPDD":
            for side in VIEWS:
                write(root, side, i, degraded="input" in side)
        elif name == "DIV2K":
            for split in ("train", "valid"):
                write(root, f"DIV2K_{split}_HR/000{{i}}", i)
        elif name in ("Set5", "Set14", "B100", "Urban100"):
            write(root, "HR/{i}", i)
            for lq, scale in SCALED:
                write(root, lq, i, scale=scale)
        elif not name.startswith("CDD-11"):
            raise AssertionError(f"a recipe reads {name}: say in this test how it is published")


def make_matlab(root: Path) -> None:
    """SIDD's test images: two files of blocks."""
    savemat = pytest.importorskip("scipy.io").savemat
    blocks = np.stack([(255 * picture(i, 16)).byte().permute(1, 2, 0).numpy() for i in range(4)])[None]
    root.mkdir(parents=True)
    for side in ("Noisy", "Gt"):
        savemat(root / f"Validation{side}BlocksSrgb.mat", {f"Validation{side}BlocksSrgb": blocks})


def paths_in(value: object) -> set[str]:
    """Every data set that a recipe names."""
    if isinstance(value, dict):
        return set().union(*map(paths_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(paths_in, value))
    return {value} if isinstance(value, str) and value.startswith("datasets/") else set()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with every data set that any recipe names, and the weights that some begin with."""
    root = tmp_path_factory.mktemp("recipes")
    texts = [
        yaml.safe_load((_discovery.ROOT / "recipes" / verb / f"{name}.yaml").read_text()) for verb, name in RECIPES
    ]
    for path in sorted(set().union(*map(paths_in, texts))):
        folder = root / path
        if path == "datasets/test/SIDD":
            make_matlab(folder)
        elif path.startswith("datasets/CDD-11"):
            for i in (1, 2):
                write(folder, "{i}", i, degraded=folder.name != "clear")
        elif path == "datasets/test/Urban100":
            write(folder, "1", 1)
        elif folder.suffix != ".pth":
            make(folder, path.removeprefix("datasets/").removeprefix("test/"))
    for i in (1, 2):
        write(root / "clean_bsds", "{i}", i)
        for folder in ("derain_rain100h", "dehaze_sots_indoor", "deblur_gopro", "lowlight_lol_train"):
            write(root / folder, "input/{i}", i, degraded=True)
            write(root / folder, "target/{i}", i)
    weights = {"ipt": "ipt_multi", "ipt_deblur": "ipt_multi", "restorer": "restormer_tiny", "prior": "restormer_tiny"}
    for folder, name in weights.items():
        torch.manual_seed(0)
        gesso.save(tiny(name), root / f"runs/{folder}/backbone.safetensors")
    for scale in (1, 2, 3, 4):
        gesso.save(tiny("ipt_x1", scale=[scale]), root / f"ipt_{scale}.safetensors")
    return root


def tiny(name: str, **options: object) -> gesso.Backbone:
    return create_backbone(name, **tiny_options(name) | options)


def tiny_options(name: str) -> dict[str, object]:
    return next(options for family, options in TINY.items() if name.startswith(family))


@functools.cache
def options_of(verb: str) -> set[str]:
    """The options that a verb takes."""
    return set(options_of_command(cli.command(verb)))


def overrides(verb: str, recipe: dict[str, object], out: Path) -> dict[str, object]:
    """What makes a recipe quick: a tiny network of its own kind, small crops, two steps, nothing else."""
    options = dict(QUICK)
    if verb in ("finetune", "pretrain", "compare", "probe"):
        backbone = str(recipe.get("backbone", "restormer"))
        options["backbone_args"] = {**recipe.get("backbone_args", {}), **tiny_options(backbone)}
        ipt = backbone.startswith("ipt")
        options["crop_size"] = {"pretrain": 48 if ipt else 32}.get(verb, 12 if ipt else 16)
    match verb:
        case "pretrain":
            options["pretext_args"] = {**recipe.get("pretext_args", {}), **PRETEXTS.get(str(recipe["pretext"]), {})}
        case "finetune":
            options |= {"val_every": 0} | ({"stages": None} if "stages" in recipe else {})
            options |= {} if "data" in recipe or "mix" in recipe else {"data": "derain_rain100h"}
            if recipe.get("init") == "primed":  # for any task that a network of the package restores
                options |= {"task": "derain", "backbone_args": {}}
        case "refine":
            options |= {
                "crop_size": 32,
                "val_every": 0,
                "prior": "runs/prior/backbone.safetensors",
                "prior_view": "crop",
            }
            options |= {} if "task" in recipe else {"task": "derain", "data": "derain_rain100h"}
            options["checkpoint"] = f"{recipe['checkpoint']}_tiny" if "checkpoint" in recipe else RESTORER
            options |= {"loss": "l1"} if "loss" in recipe else {}  # the weights of VGG-19 are a file of the user's
        case "evaluate":
            stitched = "backbone_args" in recipe
            options = {"device": "cpu"} | (
                {"checkpoint": f"ipt_{recipe.get('scale', 1)}.safetensors"} if stitched else {}
            )
        case "probe":
            options = {"backbone_args": options["backbone_args"], "count": 3, "crop_size": 32, "neighbours": 1}
        case "compare":
            options |= {"starts": "random,ifp@0", "val_every": 2, "pretrain_args": {"steps": 2, "crop_size": 16}}
    if "milestones" in recipe:
        options["milestones"] = [1]
    known = options_of(verb)
    return {name: value for name, value in options.items() if name in known} | (
        {"out": str(out)} if "out" in known else {}
    )


@pytest.mark.parametrize(("verb", "name"), RECIPES)
@pytest.mark.filterwarnings("ignore")
def test_it_runs(place, verb, name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(WholeGenerated, "__len__", lambda self: 1)  # fewer images to validate on
    recipe = yaml.safe_load(_discovery.recipe_file(verb, name).read_text())
    words = [verb, "--config", name]
    for option, value in overrides(verb, recipe, tmp_path / "out").items():
        words += [f"--{option}", value if isinstance(value, str) else json.dumps(value)]
    code = cli.main(words)
    said = capsys.readouterr()
    assert code == 0, said.err[-2000:] + said.out[-500:]
    left = {"finetune": "backbone.safetensors", "pretrain": "backbone.safetensors", "refine": "backbone.safetensors"}
    left |= {"evaluate": "scores.json", "probe": "probe.csv", "compare": "comparison.csv"}
    assert (tmp_path / "out" / left[verb]).exists()
