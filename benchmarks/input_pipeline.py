"""How fast training samples come, against how fast a network takes them.

    python benchmarks/input_pipeline.py FOLDER --crops 64 128 --networks restormer_tiny nafnet_width32

FOLDER is a data set in a published layout. "decoded each time" reads both files at every access, as training does where
the set does not fit into a quarter of the free memory; "decoded once" is what it does else. Both cut, turn, and make
tensors in one process. A step is forward, L1 loss and backward of one pair, in bf16 with float32 weights.

Seconds are CPU time of the process, so that other work on the machine counts less; the best of all rounds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from gesso.backbones import create_backbone
from gesso.data.datasets import PairDataset
from gesso.data.layouts import find_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crops", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--networks", nargs="+", default=["restormer_tiny", "nafnet_width32"])
    parser.add_argument("--samples", type=int, default=48, help="pairs read in a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    pairs = find_pairs(options.folder, "train")
    print(f"{options.folder.name}: {len(pairs)} pairs, pairs a second in one process, {torch.get_num_threads()} thread")
    titles = ["crop", "decoded each time", "decoded once", *(f"step of `{name}`" for name in options.networks)]
    print(f"\n| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    for crop in options.crops:
        rates = [reading(PairDataset(pairs, budget=budget), crop, options) for budget in (0, None)]
        rates += [1 / best(stepping(name, crop), options.rounds) for name in options.networks]
        print(f"| {crop} | {' | '.join(f'{rate:.1f}' for rate in rates)} |", flush=True)


def reading(dataset: PairDataset, crop: int, options: argparse.Namespace) -> float:
    """Pairs that come in a second, once each file has been read."""

    def read() -> None:
        for index in range(options.samples):
            dataset[index, crop]

    return options.samples / best(read, options.rounds)


def stepping(name: str, crop: int) -> Callable[[], None]:
    """A training step of a network on one pair."""
    torch.manual_seed(0)
    net, lq, gt = create_backbone(name), torch.rand(1, 3, crop, crop), torch.rand(1, 3, crop, crop)

    def step() -> None:
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            restored = net(lq)
        F.l1_loss(restored.float(), gt).backward()

    return step


def best(run: Callable[[], None], rounds: int) -> float:
    """The least CPU seconds of one call, after one to warm up."""
    run()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
