"""What a network spends its time on: shares of its forward and training step by kind of operation.

    OMP_NUM_THREADS=1 python -m benchmarks.operations nafnet_width32 --size 128 --precisions float32 bfloat16 autocast

Times are those of torch's profiler, of each operation without those that it calls, in `--rounds` turns after one that
warms up. A step is forward, L1 loss and backward. Convolutions are told apart by weights: depthwise, 1 x 1, others.
"""

import argparse
import re
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.backbones import PASSES, PRECISIONS, Entry
from benchmarks.official import processor
from gesso.backbones import create_backbone

KINDS = {  # kind: what the names of its operations match, first match first
    "products": r"mm|addmm|bmm|baddbmm|linear|matmul|einsum",
    "attention": r"scaled_dot|flash_attention|softmax",
    "norms": r"norm|var|mean|rsqrt",
    "copies": r"copy|clone|contiguous|cat|stack|roll|fold|im2col|col2im|pad|index|select|slice|pixel|shuffle|permute",
    "arithmetic": r"add|sub|mul|div|gelu|relu|sum|neg|abs|sign|clamp|pow|sqrt|tanh|erf|lerp|where|sigmoid|exp",
    "new memory": r"empty|zeros|fill|zero|resize|ones",
}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="name of a variant, as `gesso list backbones` prints it")
    parser.add_argument("--size", type=int, default=128, help="side of the square image in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--passes", nargs="+", default=list(PASSES), choices=list(PASSES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--names", type=int, default=0, help="how many operations to name below each row")
    arguments = parser.parse_args(words)

    torch.manual_seed(0)
    net = create_backbone(arguments.network).eval()
    image = torch.rand(arguments.batch, net.in_channels, arguments.size, arguments.size)
    print(f"{arguments.network}, image {tuple(image.shape)}, {processor()}, {torch.get_num_threads()} thread(s)")
    for name in arguments.passes:
        for precision in arguments.precisions:
            run = PASSES[name](Entry(net, image, precision))
            run()
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
                for _ in range(arguments.rounds):
                    run()
            events = profiler.key_averages(group_by_input_shape=True)
            print(f"{name}, {precision}: {shares(events)}")
            for line in longest(events, arguments.names):
                print(f"    {line}")


def shares(events: Any) -> str:
    """Percentages of all time by kind of operation, the largest first."""
    spent: Counter[str] = Counter()
    for event in events:
        spent[kind_of(event)] += event.self_cpu_time_total
    whole = sum(spent.values())
    return ", ".join(f"{kind} {100 * time / whole:.0f} %" for kind, time in spent.most_common() if time > 0.005 * whole)


def longest(events: Any, count: int) -> list[str]:
    """The operations, with the shapes of what they take, on which most time is spent."""
    whole = sum(event.self_cpu_time_total for event in events)
    order = sorted(events, key=lambda event: -event.self_cpu_time_total)[:count]
    return [f"{100 * one.self_cpu_time_total / whole:4.1f} %  {one.key} {one.input_shapes}"[:150] for one in order]


def kind_of(event: Any) -> str:
    """The kind of an operation of the profiler."""
    name = event.key.removeprefix("aten::")
    if "convolution" in name:
        weights = [shape for shape in event.input_shapes if len(shape) == 4]
        weight = weights[-1] if weights else [0, 0, 0, 0]  # of a convolution the second, of its gradient the third
        sides = "1 x 1" if weight[-1] == 1 else "other"
        return f"{'depthwise' if weight[1] == 1 < weight[0] else sides} convolutions"
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), "other")


if __name__ == "__main__":
    main()
