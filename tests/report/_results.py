"""A results folder of `gesso compare` as it would lie on disk, with a known outcome."""

import numpy as np
import torch
import yaml

from gesso.data.io import write_image
from gesso.functional.random import generator_for
from gesso.metrics import psnr, ssim
from gesso.report.results import Cost, Facts, file_stem, write_scores
from gesso.report.statistics import Score

STEPS = (0, 50, 100, 150, 200)


def picture(number, height=48, width=64):
    """A smooth colourful image with an edge, (3, H, W) in [0, 1]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = [0.5 + 0.35 * torch.sin(6.28 * ((number % 3 + 1) * x + (k + 1) * y * (1 + number % 2))) for k in range(3)]
    return (torch.stack(waves) * (0.7 + 0.3 * (x > 0.5 + 0.1 * y))).clamp(0, 1)


def make_results(folder, gains, *, seeds=3, folds=2, images=6, pairs=(), failures=None, truth=picture, rain=0.25):
    """Writes a results folder in which each start of `gains` reaches so many dB more than random weights."""
    random = np.random.default_rng(0)
    run = {
        (seed, fold, start): random.normal(0, 0.05) for seed in range(seeds) for fold in range(folds) for start in gains
    }
    liking = {(start, image): random.normal(0, 0.1) for start in gains for image in range(images)}
    names = [f"street/{image:02d}.rain" for image in range(images)]
    (folder / "pairs").mkdir(parents=True)

    def scores(factor):
        for seed in range(seeds):
            for image, name in enumerate(names):
                base = 20 + image + random.normal(0, 0.1)
                for start in ("random", *gains):
                    for step in STEPS:
                        grown = 3 * (1 - np.exp(-step / 60))
                        more = 0.0
                        if start != "random":
                            more = factor * (gains[start] + run[seed, image % folds, start] + liking[start, image])
                        yield Score(
                            seed, image % folds, start, step, name, base + grown + more, 0.8 + grown / 50 + more / 50
                        )

    write_scores(folder / "comparison.csv", scores(1.0))
    for count in pairs:
        write_scores(folder / "pairs" / f"{count:04d}" / "comparison.csv", scores(2.0))
    for number, name in enumerate(names):
        clean = truth(number)
        generator = generator_for(number, "rain")
        streaks = (torch.rand(1, *clean.shape[1:], generator=generator) > 1 - rain).float()
        kinds = {"truth": clean, "input": (clean + 0.4 * streaks).clamp(0, 1)}
        kinds["random"] = clean + 0.15 * (kinds["input"] - clean)
        kinds |= {
            file_stem(start): clean + (0.15 - 0.1 * gain) * (kinds["input"] - clean) for start, gain in gains.items()
        }
        for kind, image in kinds.items():
            write_image(folder / "images" / name / f"{kind}.png", image.clamp(0, 1))
    costs = {"random": Cost(None, None, 120.0)} | {start: Cost(30.0, 500, 121.0) for start in gains}
    for start in gains:
        if "/" in start:
            costs[start] = Cost(None, None, 119.0)
    recipe = {"verb": "compare", "task": "derain", "backbone": "restormer_tiny", "starts": ["random", *gains]}
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe | {"seeds": list(range(seeds)), "steps": STEPS[-1]}))
    Facts(
        command="gesso compare --task derain --data pairs --out compared",
        title="Does pre-training help restormer_tiny to remove rain, with 20 pairs?",
        protocol="PSNR and SSIM on Y rounded to 8 bits",
        pairs=20,
        input_psnr=12.14,
        costs=costs,
        failures=failures or {},
        machine="2 CPU cores",
    ).write(folder)
    return folder


__all__ = ["STEPS", "make_results", "picture", "psnr", "ssim"]
