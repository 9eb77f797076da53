"""What restoring large images costs, and what tiles and bf16 change.

    python benchmarks/restore.py                                          memory and time
    python benchmarks/restore.py --checkpoint FILE --task derain --data FOLDER    quality

Memory is the peak of the resident set of a process of its own, Python and torch included.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean

import torch

from gesso.backbones import create_backbone
from gesso.checkpoint import load
from gesso.data.datasets import WholePairs
from gesso.data.layouts import find_pairs
from gesso.metrics import psnr
from gesso.restorer import Restorer
from gesso.tasks import find_task

SIZES = {"12 MP": (3000, 4000), "48 MP": (6000, 8000)}


def one(network: str, precision: str, height: int, width: int) -> None:
    """Restores one random image and prints megabytes and seconds."""
    torch.manual_seed(0)
    restorer = Restorer(create_backbone(network), precision=precision, device="cpu")
    image = torch.rand(3, height, width)
    start = time.perf_counter()
    restorer(image)
    seconds = time.perf_counter() - start
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds)


def table(network: str) -> None:
    """Memory and time for large images, each in a process of its own."""
    print(f"\n{network} on the CPU, {torch.get_num_threads()} threads\n")
    print("| image | precision | peak resident memory | seconds |\n| --- | --- | ---: | ---: |")
    for name, (height, width) in SIZES.items():
        for precision in ("float32", "bf16"):
            words = [sys.executable, __file__, "--one", network, precision, str(height), str(width)]
            output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            megabytes, seconds = map(float, output.split())
            print(f"| {name} | {precision} | {megabytes:,.0f} MB | {seconds:.0f} |", flush=True)


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
    parser.add_argument("--network", default="restormer_tiny")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint")
    parser.add_argument("--task", default="derain")
    parser.add_argument("--data")
    parser.add_argument("--count", type=int, default=6, help="images to measure")
    options = parser.parse_args()
    if options.one:
        network, precision, height, width = options.one
        one(network, precision, int(height), int(width))
    elif options.checkpoint:
        quality(options.checkpoint, options.task, options.data, options.count)
    else:
        table(options.network)


if __name__ == "__main__":
    main()
