"""What a network makes of each degradation of the control's mix: mean absolute errors on held-out dead leaves.

gesso pretrain --config research/starts/restore.yaml --backbone nafnet_tiny --out runs/restore
python -m benchmarks.restore_by_degradation runs/restore/backbone.safetensors
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import gesso
from gesso.data.generated import GeneratedImages
from gesso.degradations import create_degradation
from gesso.functional.random import generator_for
from gesso.pretext.restore import MIX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--count", type=int, default=16, help="images, each spoilt twice in each way")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    leaves = GeneratedImages("leaves")
    images = [leaves[(index, arguments.size)]["image"] for index in range(10**6, 10**6 + arguments.count)]
    print(f"| network | {' | '.join(MIX)} | mean |\n|---|{'---|' * (len(MIX) + 1)}")
    print_row("none: the spoilt image", lambda lq: lq, torch.stack(images))
    for file in arguments.checkpoints:
        print_row(str(file), gesso.load(file).eval(), torch.stack(images))


@torch.inference_mode()
def print_row(title: str, network: Callable[[Tensor], Tensor], gt: Tensor) -> None:
    """Prints the errors of a network, and their mean."""
    errors = []
    for name in MIX:
        spoilt = [create_degradation(name)(gt, generator_for(1, draw)) for draw in range(2)]
        errors.append(statistics.mean((network(lq) - gt).abs().mean().item() for lq in spoilt))
    cells = [f"{error:.3f}" for error in (*errors, statistics.mean(errors))]
    print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
