"""Degraded images per second and thread, beside what training steps of a tiny network consume.

    python -m benchmarks.degradation_speed [NAME ...]

As in `gesso pretrain`: four images, each with a generator of its own. A step is forward, L1 loss and backward. Times
are those of the processor, so that other jobs show less; the median is printed.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmarks.degradation_pictures import OPTIONS
from gesso.backbones import create_backbone
from gesso.degradations import create_degradation, list_degradations
from gesso.functional.random import ImageGenerators, generator_for

SIZES, BATCH, REPEATS = (64, 128), 4, 15
NETWORKS = ("nafnet_tiny", "restormer_tiny")


def main() -> None:
    torch.set_num_threads(1)
    print(f"| | {' | '.join(f'{size} x {size}' for size in SIZES)} |\n|---|" + "---|" * len(SIZES))
    for name in NETWORKS:
        net = create_backbone(name)
        print_row(f"steps of {name}", lambda image, net=net: F.l1_loss(net(image), image).backward())
    for name in sys.argv[1:] or [name for name in list_degradations() if name != "rain_streaks"]:  # no pairs here
        degradation = create_degradation(name, **OPTIONS.get(name, {}))
        draws = ImageGenerators([generator_for(number) for number in range(BATCH)], generator_for(BATCH))
        print_row(f"`{name}`", lambda image, degradation=degradation, draws=draws: degradation(image, draws))


def print_row(name: str, function: Callable[[torch.Tensor], object]) -> None:
    """Images per second of one function at every size, as a row of a table."""
    rates = []
    for size in SIZES:
        image, times = torch.rand(BATCH, 3, size, size), []
        function(image)
        for _ in range(REPEATS):
            start = time.process_time()
            function(image)
            times.append(time.process_time() - start)
        rates.append(BATCH / statistics.median(times))
    print(f"| {name} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
