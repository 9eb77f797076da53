"""What restoring large images costs, and what tiles and bf16 change.

    python benchmarks/restore.py restormer_tiny nafnet_tiny --megapixels 1 4 12 48 --tiles auto 256    cost
    python benchmarks/restore.py --checkpoint FILE --task derain --data FOLDER                         quality

Every row of the costs is a process of its own, Python and torch included. "beyond" is its peak resident memory without
the image and its restoration, which stay in memory as float32. Seconds are CPU time of the process, which a loaded
machine stretches less than the time on the clock, for each megapixel of the input.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from gesso.backbones import create_backbone
from gesso.checkpoint import load
from gesso.data.datasets import WholePairs
from gesso.data.layouts import find_pairs
from gesso.metrics import psnr
from gesso.restorer import Restorer
from gesso.tasks import find_task


def one(network: str, precision: Any, tile: str, megapixels: float) -> None:
    """Restores one random 4:3 image; prints its pixels, tile, peak bytes, bytes of both images, seconds."""
    torch.manual_seed(0)
    restorer = Restorer(create_backbone(network), precision=precision, tile=tile_option(tile), device="cpu")
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    image = torch.rand(3, height, height * 4 // 3)
    height, width = restorer._first_tile(*image.shape[-2:])
    start = time.process_time()
    restored = restorer(image)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(image[0].numel(), f"{width}x{height}", peak, image.nbytes + restored.nbytes, seconds)


def tile_option(tile: str) -> Any:
    """The option of `Restorer` that a word on the command line means."""
    return {"auto": "auto", "none": None}[tile] if tile in ("auto", "none") else int(tile)


def costs(networks: list[str], precisions: list[str], tiles: list[str], megapixels: list[float]) -> None:
    """Memory and time for large images."""
    print(f"CPU, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    print("| network | precision | tile | megapixels | peak resident MB | beyond | CPU s / megapixel |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for network in networks:
        for precision in precisions:
            for tile in tiles:
                for size in megapixels:
                    words = [sys.executable, __file__, "--one", network, precision, tile, str(size)]
                    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                    first = output.split()[1].replace("x", " x ")
                    pixels, peak, images, seconds = (float(word) for word in output.split() if "x" not in word)
                    what = f"{first}, chosen by itself" if tile == "auto" else first
                    memory = f"{peak / 1e6:,.0f} | {(peak - images) / 1e6:,.0f}"
                    row = f"| `{network}` | {precision} | {what} | {size:g} | {memory}"
                    print(f"{row} | {seconds / pixels * 1e6:.2f} |", flush=True)


def quality(checkpoint: str, task: str, data: str, count: int) -> None:
    """PSNR of whole and tiled images, and of bf16, all against the same ground truth and against float32 as a whole."""
    net, measure, inside = load(checkpoint), find_task(task).protocol, (slice(None), slice(32, -32), slice(32, -32))
    ways = {
        "whole, float32": {"tile": None, "precision": "float32"},
        "tiles of 256, float32": {"tile": 256, "precision": "float32"},
        "tiles of 128, float32": {"tile": 128, "precision": "float32"},
        "whole, bf16": {"tile": None, "precision": "bf16"},
    }
    samples = WholePairs(find_pairs(Path(data), "test")[:count])
    whole = [Restorer(net, **ways["whole, float32"])(samples[i]["lq"]) for i in range(len(samples))]
    print(f"\n{checkpoint}, {len(samples)} images, {measure}, without 32 pixels at the border\n")
    print("| | PSNR to ground truth | PSNR to whole, float32 (RGB, not rounded) |\n| --- | ---: | ---: |")
    for name, options in ways.items():
        restorer, to_gt, to_whole = Restorer(net, **options), [], []
        for i, reference in enumerate(whole):
            restored, gt = restorer(samples[i]["lq"])[inside], samples[i]["gt"][inside]
            to_gt.append(measure(restored, gt)["psnr"])
            to_whole.append(psnr(restored, reference[inside], quantise=False))
        print(f"| {name} | {fmean(to_gt):.3f} dB | {fmean(to_whole):.1f} dB |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["restormer_tiny"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"], choices=["float32", "bf16"])
    parser.add_argument("--tiles", nargs="+", default=["auto"], help="auto, none, or sides in pixels")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[1.0, 12.0, 48.0])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint")
    parser.add_argument("--task", default="derain")
    parser.add_argument("--data")
    parser.add_argument("--count", type=int, default=6, help="images to measure")
    options = parser.parse_args()
    if options.one:
        network, precision, tile, megapixels = options.one
        one(network, precision, tile, float(megapixels))
    elif options.checkpoint:
        quality(options.checkpoint, options.task, options.data, options.count)
    else:
        costs(options.networks, options.precisions, options.tiles, options.megapixels)


if __name__ == "__main__":
    main()
