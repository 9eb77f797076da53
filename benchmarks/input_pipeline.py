"""How fast training samples come, against how fast a network takes them.

    python benchmarks/input_pipeline.py FOLDER --crops 64 128 --networks restormer_tiny nafnet_width32

FOLDER is a data set in a published layout. "in memory" is what training does where the decoded set fits into a quarter
of the free memory; "on disk", where it fits into a quarter of the disk's free space; else files are "decoded" each
time. All cut, turn, and make tensors in one process. A step is forward, L1 loss and backward of one pair, in bf16 with
float32 weights.

Seconds are CPU time of the process, so that other work on the machine counts less; the best of all rounds. The columns
"by the clock" take the time that passes, after the system has been asked to forget what it has in memory of all files.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from gesso.backbones import create_backbone
from gesso.data.cache import PixelCache
from gesso.data.datasets import PairDataset
from gesso.data.layouts import Pair, find_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--crops", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--networks", nargs="+", default=["restormer_tiny", "nafnet_width32"])
    parser.add_argument("--samples", type=int, default=48, help="pairs read in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="a folder on the disk that shall hold decoded files")
    options = parser.parse_args()

    pairs = find_pairs(options.folder, "train")
    print(f"{options.folder.name}: {len(pairs)} pairs, pairs a second in one process, {torch.get_num_threads()} thread")
    titles = ["crop", "in memory", "on disk", "decoded", "on disk, by the clock", "decoded, by the clock"]
    titles += [f"step of `{name}`" for name in options.networks]
    print(f"\n| {' | '.join(titles)} |\n|{' --- |' * len(titles)}")
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        for crop in options.crops:
            row = " | ".join(f"{rate:.1f}" for rate in rates(pairs, crop, Path(folder), options))
            print(f"| {crop} | {row} |", flush=True)


def rates(pairs: list[Pair], crop: int, folder: Path, options: argparse.Namespace) -> list[float]:
    """A row of the table."""
    origins = [origin for pair in pairs for origin in (pair.lq, pair.gt)]
    in_memory, on_disk, anew = PairDataset(pairs), PairDataset(pairs, budget=0), PairDataset(pairs, budget=0)
    on_disk.cache = PixelCache(origins, budget=0, folder=folder)

    def reading(dataset: PairDataset) -> Callable[[], None]:
        def read() -> None:
            for index in range(options.samples):
                dataset[index, crop]

        return read

    seconds = [best(reading(dataset), options.rounds) for dataset in (in_memory, on_disk, anew)]
    for dataset in (on_disk, anew):
        files = [path for path in (*options.folder.rglob("*"), *folder.iterdir()) if path.is_file()]
        seconds.append(
            best(reading(dataset), options.rounds, time.perf_counter, before=lambda files=files: forget(files))
        )
    return [options.samples / s for s in seconds] + [
        1 / best(stepping(name, crop), options.rounds) for name in options.networks
    ]


def forget(files: list[Path]) -> None:
    """Asks the system to drop what it keeps of files in memory."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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


def best(
    run: Callable[[], None],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
    before: Callable[[], None] = lambda: None,
) -> float:
    """The least seconds of one call, after one to warm up; `before` each there is something to do."""
    run()
    seconds = []
    for _ in range(rounds):
        before()
        start = clock()
        run()
        seconds.append(clock() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
