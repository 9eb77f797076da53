"""How long training and restoring take on one core of this machine, by network: the table of `docs/how_long.md`.

    OMP_NUM_THREADS=1 python -m benchmarks.how_long [NETWORK ...]

Seconds of processor time for one crop of 128 x 128 pixels (the sides that a network takes, where they are fixed), in
float32, the least of three, so that other processes count as little as may be. Prints Markdown.
"""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import gesso

NETWORKS = ["nafnet_tiny", "restormer_tiny", "uformer_tiny", "swinir_tiny", "promptir_tiny", "ipt_tiny"]
NETWORKS += ["nafnet_width32", "uformer_s", "swinir_light_x2", "promptir", "restormer"]
SIDE = 128


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """The least processor time in seconds of some rounds, after one that is not counted."""
    work()
    found = []
    for _ in range(rounds):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def measure(name: str) -> tuple[float, float]:
    """Seconds of a training step and of restoring, one crop each."""
    net = gesso.create_backbone(name)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    image = torch.rand(1, 3, SIDE, SIDE)
    target = torch.rand(1, 3, SIDE * net.scale, SIDE * net.scale)

    def train() -> None:
        optimizer.zero_grad()
        (net(image) - target).abs().mean().backward()
        optimizer.step()

    def restore() -> None:
        with torch.inference_mode():
            net.eval()(image)

    return seconds(train), seconds(restore)


def processor() -> str:
    """What the processor is called."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    torch.manual_seed(0)
    print(f"{processor()}, {torch.get_num_threads()} thread, PyTorch {torch.__version__}\n")
    print("| network | parameters | training, a crop | restoring, a crop | 1,000 steps of 8 crops |")
    print("|---|--:|--:|--:|--:|")
    for name in sys.argv[1:] or NETWORKS:
        train, restore = measure(name)
        millions = sum(parameter.numel() for parameter in gesso.create_backbone(name).parameters()) / 1e6
        hours = 8000 * train / 3600
        print(f"| `{name}` | {millions:.2f} M | {train:.3f} s | {restore:.3f} s | {hours:.1f} h |", flush=True)


if __name__ == "__main__":
    main()
