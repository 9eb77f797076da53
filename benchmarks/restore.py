"""What restoring large images costs, and what tiles and bf16 change.

    python benchmarks/restore.py restormer_tiny nafnet_tiny --megapixels 1 4 12 48 --tiles auto 256    cost
    python benchmarks/restore.py --checkpoint FILE --task derain --data FOLDER                         quality
    python benchmarks/restore.py --checkpoint FILE --data FOLDER --seams 192 256x128 --overlaps 8 16   tiles, overlaps
    python benchmarks/restore.py restormer_tiny --sides 1x256 4x256 1x512                              cost of a pixel

Every row of the costs is a process of its own, Python and torch included. "beyond" is its peak resident memory without
the image and its restoration, which stay in memory as float32. Seconds are CPU time of the process, which a loaded
machine stretches less than the time on the clock, for each megapixel of the input.
"""

import argparse
import contextlib
import itertools
import math
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
from gesso.functional.memory import kept_memory
from gesso.metrics import psnr
from gesso.restorer import Restorer, evaluating
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


def seams(checkpoint: str, data: str, count: int, sides: list[str], overlaps: list[int]) -> None:
    """What tiles lose against the whole image by their side and overlap: near seams, where it shows, and in all.

    HEIGHTxWIDTH cuts as automatic tiles of that size do.

    The smallest overlap whose seams lose at most 0.05 dB is a network's `tile_overlap`. What stays at any overlap is
    not lost at seams: a network with statistics of the whole image (channel attention, means) has those of a tile.
    """
    net, samples = load(checkpoint), WholePairs(find_pairs(Path(data), "test")[:count])
    pairs = [samples[i] for i in range(len(samples))]
    whole = [Restorer(net, None, precision="float32")(pair["lq"]) for pair in pairs]
    print(f"\n{checkpoint}, {len(pairs)} images; dB lost against the whole image\n")
    print("| side | overlap | near seams | in all | PSNR to the whole |")
    for side, overlap in itertools.product(sides, overlaps):
        height, width = (int(number) for number in side.split("x")) if "x" in side else (int(side), int(side))
        restorer = Restorer(net, "auto" if "x" in side else height, overlap, precision="float32")
        vars(restorer)["_first_tile"] = lambda *_, tile=(height, width): tile
        near_seams, in_all, apart = [], [], []
        for pair, reference in zip(pairs, whole, strict=True):
            gt, restored = pair["gt"], restorer(pair["lq"])
            near = near_seam(restorer, gt.shape[-2:], (height, width))
            near_seams.append(db(reference[:, near], gt[:, near]) - db(restored[:, near], gt[:, near]))
            in_all.append(db(reference, gt) - db(restored, gt))
            apart.append(psnr(restored, reference, quantise=False))
        lost = f"{fmean(near_seams):+.3f} | {fmean(in_all):+.3f}"
        print(f"| {side} | {overlap} | {lost} | {fmean(apart):.1f} dB |", flush=True)


def near_seam(restorer: Restorer, size: Any, tile: tuple[int, int]) -> torch.Tensor:
    """Which pixels lie up to 8 pixels from the middle of an overlap, (H, W)."""
    near = torch.zeros(*size, dtype=torch.bool)
    for axis, spans in enumerate(restorer._cut(size, tile)):
        for (_, stop), (start, _) in itertools.pairwise(spans):
            middle = (start + stop) // 2
            near.narrow(axis, middle - 8, 16).fill_(True)
    return near


def db(restored: torch.Tensor, gt: torch.Tensor) -> float:
    """PSNR of pixels in dB."""
    return -10 * math.log10((restored - gt).square().mean().item())


def sides(network: str, precision: Any, shapes: list[str], rounds: int = 3) -> None:
    """CPU seconds for a million pixels that go through a network, BATCHxSIDE of them at a time, in turns.

    Least of three rounds, with memory given back to the system as glibc does it, and kept as `Restorer` does.
    """
    torch.manual_seed(0)
    net = Restorer(create_backbone(network), precision=precision, device="cpu").network
    images = [
        torch.rand(batch, net.in_channels, side, side) for batch, side in (map(int, s.split("x")) for s in shapes)
    ]
    seconds = {(shape, kept): float("inf") for shape in shapes for kept in (False, True)}
    with evaluating(net), torch.inference_mode():
        for _ in range(rounds):
            for shape, image in zip(shapes, images, strict=True):
                for kept in (False, True):
                    start = time.process_time()
                    with kept_memory() if kept else contextlib.nullcontext():
                        net(image)
                    taken = (time.process_time() - start) / image[:, 0].numel() * 1e6
                    seconds[shape, kept] = min(seconds[shape, kept], taken)
    for shape in shapes:
        print(f"| `{network}` | {precision} | {shape} | {seconds[shape, False]:.2f} | {seconds[shape, True]:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["restormer_tiny"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"], choices=["float32", "bf16"])
    parser.add_argument("--tiles", nargs="+", default=["auto"], help="auto, none, or sides in pixels")
    parser.add_argument("--megapixels", nargs="+", type=float, default=[1.0, 12.0, 48.0])
    parser.add_argument("--sides", nargs="+", help="BATCHxSIDE, such as 4x256: what a pixel costs")
    parser.add_argument("--seams", nargs="+", help="sides of tiles, or HxW: what they lose against the whole image")
    parser.add_argument("--overlaps", nargs="+", type=int, default=[0, 4, 8, 12, 16, 24, 32], help="of --seams")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint")
    parser.add_argument("--task", default="derain")
    parser.add_argument("--data")
    parser.add_argument("--count", type=int, default=6, help="images to measure")
    options = parser.parse_args()
    if options.one:
        network, precision, tile, megapixels = options.one
        one(network, precision, tile, float(megapixels))
    elif options.sides:
        for network in options.networks:
            for precision in options.precisions:
                sides(network, precision, options.sides)
    elif options.checkpoint and options.seams:
        seams(options.checkpoint, options.data, options.count, options.seams, options.overlaps)
    elif options.checkpoint:
        quality(options.checkpoint, options.task, options.data, options.count)
    else:
        costs(options.networks, options.precisions, options.tiles, options.megapixels)


if __name__ == "__main__":
    main()
