"""What a step of image-free pre-training is made of: as the released code does it, and here.

    OMP_NUM_THREADS=1 python -m benchmarks.ifp_step restormer_tiny --size 96 --precision bf16

As released: the textbook formulation of the network in float32; one JPEG picture of noise, which eight workers, started
anew for every step (the data set has one image), decode to take a random crop of random size; AdamW that is not fused.
Here: the step of `gesso pretrain`, taken apart and without Lightning; the last line has the step of a whole run. Both
in turns in one process; milliseconds of the clock, for workers spend time of their own, and the least of all rounds.
"""

import argparse
import copy
import random
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.backbones import make_textbook
from gesso.backbones import create_backbone
from gesso.data.generated import GeneratedImages
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="restormer_tiny")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--precision", default="bf16", choices=["float32", "bf16"], help="of the step here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-run", action="store_true", help="leave out the comparison with whole runs")
    options = parser.parse_args()

    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores, as released
    torch.manual_seed(0)
    ours = create_pretext("ifp", create_backbone(options.network))
    with tempfile.TemporaryDirectory() as folder:
        released = Released(ours, Path(folder), options.size)
        here = Here(ours, options.size, options.precision)
        for way in (released, here):
            way.step()
        rounds = [(released.step(), here.step()) for _ in range(options.rounds)]
    print(f"ifp on {options.network}, {options.size} pixels, {torch.get_num_threads()} thread(s)\n")
    print(f"| part | as released, float32 | here, {options.precision} | share |\n| --- | ---: | ---: | ---: |")
    least = {part: [1e3 * min(pair[way][part] for pair in rounds) for way in (0, 1)] for part in rounds[0][0]}
    before, after = (sum(times[way] for times in least.values()) for way in (0, 1))
    for part, (was, now) in least.items():
        print(f"| {part} | {was:.1f} | {now:.1f} | {now / after:.1%} |")
    print(f"| all, {before / after:.1f}x as fast | {before:.1f} | {after:.1f} | |", flush=True)
    if not options.no_run:
        print(f"| a step of a run | | {1e3 * step_of_a_run(options):.1f} | |")


class Way:
    """A way to do a step of IFP, in parts."""

    method: nn.Module
    optimizer: torch.optim.Optimizer
    autocast: bool

    def image(self) -> Tensor:
        """The image (1, 3, size, size) of the next step."""
        raise NotImplementedError

    def step(self) -> dict[str, float]:
        """Seconds of each part of one step."""
        seconds, last = {}, time.perf_counter()

        def done(part: str) -> None:
            nonlocal last
            seconds[part], last = time.perf_counter() - last, time.perf_counter()

        image = self.image()
        done("noise image")
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            mask = self.method.draw_mask(image, generator_for(0, "mask"))
            corrupted = self.method.corrupt(image, mask)
            done("mask and corruption")
            reconstructed = self.method.decoder(self.encode(corrupted))
            done("forward of network and decoder")
            loss = self.method.losses(reconstructed, image, mask)["loss"]
            done("loss")
        loss.backward()
        done("backward")
        norm = torch.nn.utils.clip_grad_norm_(self.method.parameters(), float("inf"))
        assert torch.isfinite(norm)
        done("norm of the gradient")
        self.optimizer.step()
        self.optimizer.zero_grad()
        done("optimiser")
        return seconds

    def encode(self, image: Tensor) -> Tensor:
        """The features that the decoder reads."""
        return self.method.encode(image)


class Here(Way):
    """The step of `gesso pretrain`."""

    def __init__(self, method: nn.Module, size: int, precision: str) -> None:
        self.method, self.size, self.autocast = method, size, precision == "bf16"
        self.optimizer = torch.optim.Adam(method.parameters(), lr=2e-4, betas=(0.9, 0.99), fused=True)

    def image(self) -> Tensor:
        return GeneratedImages("noise")[0, self.size]["image"][None]


class Released(Way):
    """The step of the released code, around the textbook formulation of the network."""

    autocast = False

    def __init__(self, method: nn.Module, folder: Path, size: int) -> None:
        self.method = copy.deepcopy(method)
        self.textbook = make_textbook(self.method.backbone)
        self.method.backbone = self.textbook
        self.optimizer = torch.optim.AdamW(self.method.parameters(), lr=2e-4, betas=(0.9, 0.99), foreach=False)
        self.loader = DataLoader(JpegNoise(folder / "noise.jpg", size), num_workers=8)

    def image(self) -> Tensor:
        return next(iter(self.loader))

    def encode(self, image: Tensor) -> Tensor:
        return self.textbook(image)


class JpegNoise(Dataset[Tensor]):
    """One picture of noise, 640 x 480; a random part of it each time, brought to the size of a crop."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        noise = np.random.default_rng(0).normal(119, 19, (480, 640, 3))
        cv2.imwrite(str(path), noise.clip(0, 255).astype(np.uint8))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        picture = cv2.cvtColor(cv2.imread(str(self.path)), cv2.COLOR_BGR2RGB)
        side = random.randint(216, 480)
        top, left = random.randint(0, 480 - side), random.randint(0, 640 - side)
        part = cv2.resize(
            picture[top : top + side, left : left + side], (self.size, self.size), None, 0, 0, cv2.INTER_CUBIC
        )
        if random.random() < 0.5:
            part = cv2.flip(part, 1)
        return torch.from_numpy(part).permute(2, 0, 1) / 255


def step_of_a_run(options: argparse.Namespace) -> float:
    """Seconds of a step of `gesso pretrain`: the difference of a longer and a shorter run."""
    import gesso

    seconds = []
    for steps in (1, 1 + 4 * options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            gesso.pretrain(
                out=Path(folder), backbone=options.network, crop_size=options.size, steps=steps,
                precision=options.precision, sample_every=0, save_every=0, accelerator="cpu",
            )  # fmt: skip
            seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (4 * options.rounds)


if __name__ == "__main__":
    main()
