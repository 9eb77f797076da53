"""Procedural images per second, against what a training step of a network takes.

    python -m benchmarks.procedural --backbone restormer_tiny --workers 0 2

Images come out of the same loader as in `gesso pretrain`. A step is forward, L1 loss and backward with one batch.
"""

import argparse
import platform
import statistics
import time

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

from gesso.backbones import create_backbone
from gesso.data.generated import GeneratedImages
from gesso.sources import list_sources

SIZES = (64, 128, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="restormer_tiny")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each figure is measured")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}; images per second\n")
    columns = [f"{name}, {w} workers" for name in list_sources() for w in arguments.workers]
    print(f"| size | {' | '.join(columns)} | step of {arguments.backbone} takes |")
    print("|---" * (len(columns) + 2) + "|")
    for size in SIZES:
        rates = [
            loading(GeneratedImages(name), size, arguments.batch, workers, arguments.seconds)
            for name in list_sources()
            for workers in arguments.workers
        ]
        rates.append(training(arguments.backbone, size, arguments.batch, arguments.device, arguments.seconds))
        print(f"| {size} | {' | '.join(f'{rate:.0f}' if rate >= 10 else f'{rate:.1f}' for rate in rates)} |")


def loading(dataset: GeneratedImages, size: int, batch: int, workers: int, seconds: float) -> float:
    """Images per second out of a loader, after its start."""
    keys = [[(k * batch + n, size) for n in range(batch)] for k in range(10_000)]
    batches = iter(DataLoader(dataset, batch_sampler=keys, num_workers=workers))
    for _ in range(2 * workers + 1):
        next(batches)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        count += len(next(batches)["image"])
    return count / (time.perf_counter() - begin)


def training(backbone: str, size: int, batch: int, device: str, seconds: float) -> float:
    """Images per second that training steps consume: the median step."""
    net = create_backbone(backbone).to(device)
    image = torch.rand(batch, 3, size, size, device=device)
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        F.l1_loss(net(image), image).backward()
        if image.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return batch / statistics.median(times)


if __name__ == "__main__":
    main()
