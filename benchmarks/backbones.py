"""Speed and memory of our networks against a textbook formulation with the same weights.

    python -m benchmarks.backbones restormer --size 128 --rounds 3 --precisions float32 bfloat16 autocast

The textbook formulation is what the formulas of the paper give when they are written down plainly. It stands in
`benchmarks/textbook/<network>.py`, a file named like that of our network, as one class `Textbook(nn.Module)`, which

* takes the constructor options of our network by keyword (`Textbook(**net.options)`),
* has the official state-dict names (`textbook.load_state_dict(net.to_official())`),
* maps an image whose sides are multiples of `size_multiple` to the restored image.

Both are first checked to agree. Then every round times every entry once, one after the other in one process, so that a
disturbance hits all alike. A step is forward, L1 loss and backward, without an optimiser. Seconds, of CPU time where
there is no GPU and `--by-the-clock` is not given, are medians over rounds; "faster" is the median over rounds of the
ratio to the textbook formulation in float32, with the least and the most of it.
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

PRECISIONS = ("float32", "bfloat16", "autocast")
Run = Callable[[], object]
Clock = Callable[[], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="name of a variant, as `gesso list backbones` prints it")
    parser.add_argument("--size", type=int, default=128, help="side of the square image in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--passes", nargs="+", default=list(PASSES), choices=list(PASSES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--textbook-too", action="store_true", help="the textbook formulation in every precision, too")
    parser.add_argument("--by-the-clock", action="store_true", help="for several threads, where nothing else is run")
    parser.add_argument("--compile", action="store_true", help="ours under torch.compile, too")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    net = create_backbone(arguments.network).to(arguments.device)
    textbook = make_textbook(net)
    image = torch.rand(arguments.batch, net.in_channels, arguments.size, arguments.size, device=arguments.device)
    difference = compare(net, textbook, image)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{arguments.network}: {parameters / 1e6:.2f} M parameters, image {tuple(image.shape)}, {device_name(image)}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); outputs differ by {difference:.0e} std\n")

    entries = {"textbook float32": Entry(textbook, image, "float32")}
    for precision in arguments.precisions:
        if arguments.textbook_too and precision != "float32":
            entries[f"textbook {precision}"] = Entry(textbook, image, precision)
        entries[f"ours {precision}"] = Entry(net, image, precision)
        if arguments.compile:
            entries[f"ours {precision} compiled"] = Entry(net, image, precision, compiled=True)
    by_the_clock = arguments.by_the_clock or image.device.type == "cuda"
    now = time.perf_counter if by_the_clock else time.process_time
    for name in arguments.passes:
        runs = {title: PASSES[name](entry) for title, entry in entries.items()}
        report(name, runs, arguments.rounds, image.device, now)


def make_textbook(net: Backbone) -> nn.Module:
    """The textbook formulation of `net`, with its weights."""
    module = importlib.import_module(f"benchmarks.textbook.{type(net).__module__.rpartition('.')[2]}")
    textbook = module.Textbook(**net.options).to(next(net.parameters()).device)
    textbook.load_state_dict(net.to_official())
    return textbook


@torch.no_grad()
def compare(net: Backbone, textbook: nn.Module, image: Tensor) -> float:
    """The largest difference of the two outputs in standard deviations of the output; an error where it is no noise."""
    ours, theirs = net.eval()(image), textbook.eval()(image)
    difference = ((ours - theirs).abs().max() / theirs.std()).item()
    assert difference < 1e-3, f"the textbook formulation computes something else: {difference:.2e} std"
    return difference


# ------------------------------------------------------------------------------------------------------ what is run


class Entry:
    """A network in one precision: "autocast" keeps its weights in float32, "bfloat16" does not."""

    def __init__(self, net: nn.Module, image: Tensor, precision: str, *, compiled: bool = False):
        self.net, self.image = copy.deepcopy(net), image
        if precision == "bfloat16":
            self.net, self.image = self.net.bfloat16(), image.bfloat16()
        if compiled:
            self.net.compile()
        self.context = torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "autocast")

    def forward(self) -> Tensor:
        with self.context:
            return self.net(self.image)

    @torch.inference_mode()
    def infer(self) -> None:
        self.forward()

    def step(self) -> None:
        self.net.zero_grad()
        restored = self.forward().float()
        F.l1_loss(restored, torch.zeros_like(restored)).backward()


PASSES: dict[str, Callable[[Entry], Run]] = {"forward": lambda entry: entry.infer, "step": lambda entry: entry.step}


# ------------------------------------------------------------------------------------------------------ measurement


def report(name: str, runs: dict[str, Run], rounds: int, device: torch.device, now: Clock) -> None:
    """Prints a row for each run: seconds, ratio to the first, and for a training step its peak memory."""
    for run in runs.values():
        run()
    seconds = [{title: spent(run, device, now) for title, run in runs.items()} for _ in range(rounds)]
    first = next(iter(runs))
    print(f"{name:<30} seconds   faster  (from - to)      {'peak MiB' if name == 'step' else ''}")
    for title, run in runs.items():
        median = statistics.median(row[title] for row in seconds)
        ratios = sorted(row[first] / row[title] for row in seconds)
        spread = f"{statistics.median(ratios):7.2f}x  ({ratios[0]:.2f} - {ratios[-1]:.2f})"
        memory = f"{peak_memory(run, device):11.0f}" if name == "step" else ""
        print(f"  {title:<28} {median:7.3f} {spread}{memory}", flush=True)
    print()


def spent(run: Run, device: torch.device, now: Clock) -> float:
    """Seconds that one call takes.

    CPU time, which other work stretches less than the time that passes, is that of all threads: `OMP_NUM_THREADS=1` for
    a figure that can be compared.
    """
    synchronise(device)
    start = now()
    run()
    synchronise(device)
    return now() - start


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
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    if platform.system() != "Linux":
        return float("nan")
    with contextlib.suppress(AttributeError):  # not every C library has it
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
