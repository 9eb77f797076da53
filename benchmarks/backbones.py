"""Speed and memory of our networks against a textbook formulation with the same weights.

    python -m benchmarks.backbones restormer --size 128 --rounds 3 --precisions float32 bfloat16 autocast

The textbook formulation is what the paper's formulas give when they are written down plainly: it lives in
`benchmarks/textbook/<network>.py`, named like the file of our network, and holds one class, `Textbook(nn.Module)`, which

* takes the constructor options of our network by keyword (`Textbook(**net.options)`),
* has the official state-dict names (`textbook.load_state_dict(net.to_official())`),
* maps an image whose sides are multiples of `size_multiple` to the restored image.

Both are first checked to agree. Then each round times every entry once, one after the other in one process, so that a
disturbance hits all alike. A step is forward, L1 loss and backward; no optimiser. Every figure is a median over
rounds, a ratio the median of the rounds' ratios, `textbook float32` being 1.
"""

import argparse
import contextlib
import copy
import ctypes
import gc
import importlib
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.backbones import Backbone, create_backbone

MEBIBYTE = 2**20
Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="name of a variant, as `gesso list backbones` prints it")
    parser.add_argument("--size", type=int, default=128, help="side of the square image in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passes", nargs="+", default=["forward", "step"], choices=["forward", "step"])
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--textbook-too", action="store_true", help="time the textbook in every precision, too")
    parser.add_argument("--compile", action="store_true", help="time ours under torch.compile, too")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    net = create_backbone(arguments.network).to(arguments.device)
    textbook = make_textbook(net)
    side = arguments.size
    image = torch.rand(arguments.batch, net.in_channels, side, side, device=arguments.device)
    difference = compare(net, textbook, image)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{arguments.network}: {parameters / 1e6:.2f} M parameters, image {tuple(image.shape)}, {device_name(image)}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); ours differs by {difference:.1e} at most\n")

    entries = {"textbook float32": PRECISIONS["float32"](textbook, image)}
    for precision in arguments.precisions:
        if arguments.textbook_too and precision != "float32":
            entries[f"textbook {precision}"] = PRECISIONS[precision](textbook, image)
        entries[f"ours {precision}"] = PRECISIONS[precision](net, image)
        if arguments.compile:
            entries[f"ours {precision} compiled"] = PRECISIONS[precision](torch.compile(net), image)
    for kind in arguments.passes:
        report(kind, {name: PASSES[kind](forward) for name, forward in entries.items()}, arguments.rounds, image.device)


def make_textbook(net: Backbone) -> nn.Module:
    """The textbook formulation of `net`, with its weights."""
    module = importlib.import_module(f"benchmarks.textbook.{type(net).__module__.rpartition('.')[2]}")
    textbook = module.Textbook(**net.options).to(next(net.parameters()).device)
    textbook.load_state_dict(net.to_official())
    return textbook


@torch.no_grad()
def compare(net: Backbone, textbook: nn.Module, image: Tensor) -> float:
    """Largest difference of the two outputs relative to their standard deviation; an error where it shows."""
    ours, theirs = net.eval()(image), textbook.eval()(image)
    difference = ((ours - theirs).abs().max() / theirs.std()).item()
    assert difference < 1e-3, f"the textbook formulation computes something else: {difference:.2e}"
    return difference


# ------------------------------------------------------------------------------- what is run: precision, then pass


def float32(net: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    return lambda: net(image)


def bfloat16(net: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """Weights, image and computation in bfloat16."""
    net, image = copy.deepcopy(net).bfloat16(), image.bfloat16()
    return lambda: net(image)


def autocast(net: nn.Module, image: Tensor) -> Callable[[], Tensor]:
    """Weights in float32, computation in bfloat16 where PyTorch thinks it safe."""

    def forward() -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16):
            return net(image)

    return forward


def inference(forward: Callable[[], Tensor]) -> Run:
    return torch.inference_mode()(forward)


def step(forward: Callable[[], Tensor]) -> Run:
    """Forward, L1 loss, backward; gradients are written over by the next step."""

    def run() -> None:
        restored = forward()
        F.l1_loss(restored.float(), torch.zeros_like(restored, dtype=torch.float32)).backward()

    return run


PRECISIONS = {"float32": float32, "bfloat16": bfloat16, "autocast": autocast}
PASSES = {"forward": inference, "step": step}


# ----------------------------------------------------------------------------------------------------- measurement


def report(kind: str, runs: dict[str, Run], rounds: int, device: torch.device) -> None:
    """Prints a table: seconds, ratio to the first entry, and for training steps the peak memory."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run()  # warms up, and fills gradients, so that peak memory is that of the step alone
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(clock(run, device))
    print(f"{kind:<30} seconds   faster   peak MiB" if kind == "step" else f"{kind:<30} seconds   faster")
    first = next(iter(runs))
    for name, run in runs.items():
        ratio = statistics.median(base / own for base, own in zip(seconds[first], seconds[name], strict=True))
        memory = f"{peak_memory(run, device):11.0f}" if kind == "step" else ""
        print(f"  {name:<28} {statistics.median(seconds[name]):7.3f} {ratio:7.2f}x{memory}", flush=True)
    print()


def clock(run: Run, device: torch.device) -> float:
    """Seconds that one call takes."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(run: Run, device: torch.device) -> float:
    """Mebibytes that one call needs above what is held before it (CPU: resident set, Linux only)."""
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE
    if platform.system() != "Linux":
        return float("nan")
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """A memory figure of this process in mebibytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def device_name(image: Tensor) -> str:
    return torch.cuda.get_device_name(image.device) if image.is_cuda else torch.backends.cpu.get_cpu_capability()


if __name__ == "__main__":
    main()
