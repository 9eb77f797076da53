"""What restoring large images costs, and what tiles and bf16 change: `python benchmarks/restore.py [--photos FOLDER]`.

Memory is the peak of the resident set of a process of its own, Python and torch included.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch

from gesso.backbones import create_backbone
from gesso.restorer import Restorer

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="restormer_tiny")
    parser.add_argument("--one", nargs=4)
    options = parser.parse_args()
    if options.one:
        network, precision, height, width = options.one
        one(network, precision, int(height), int(width))
    else:
        table(options.network)


if __name__ == "__main__":
    main()
