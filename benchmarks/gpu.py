"""Everything that only a GPU can tell, in one prepared run of minutes.

    python -m benchmarks.gpu --out runs/gpu --minutes 8              one GPU
    python -m benchmarks.gpu --out runs/gpu --device cpu --dry-run   the same path in a few seconds, with tiny networks

Writes `gpu.json` (every number) and `gpu.md` (the page) after each measurement, so that a run which is cut short keeps
what it has. Parts come in the order of what is worth most; each has its share of the time, and what no longer fits is
listed as left out. When the minutes are over, whatever is being measured is broken off, and is left out, too:

1. correct: every network, and every pretext on one of them, in float32 (TF32 off) and bf16 against the CPU. Random
   numbers of pretexts are drawn on the CPU for both.
2. ifp: steps of IFP at 224 pixels through `gesso.pretrain`, Restormer, and what 30,000 take.
3. networks: forward and training step, with peak memory, for one image and more: the textbook formulation, float32,
   bf16 weights, autocast, autocast as a CUDA graph.
4. restore: 12 megapixels in tiles.
5. compiled: the third, compiled, and compiled as a graph, each of which takes long to begin.

Seconds are medians of rounds, each by CUDA events where there is a GPU. A step is forward, L1 loss and backward.
"""

import argparse
import contextlib
import copy
import dataclasses
import itertools
import json
import platform
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import gesso
from benchmarks.backbones import make_textbook
from gesso.backbones import Backbone, create_backbone
from gesso.data.io import atomic_path
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext, list_pretexts
from gesso.pretext._base import Pretext
from gesso.restorer import Restorer

Rows = list[dict[str, Any]]
SHARES = {"correct": 0.2, "ifp": 0.15, "networks": 0.3, "restore": 0.1, "compiled": 0.25}  # of the time
PLAIN = ("textbook", "float32", "bf16", "autocast")
COMPILED = ("autocast compiled", "autocast compiled graph")  # on a GPU: a CPU takes minutes to compile one
TITLES = {
    "correct": "Against the CPU",
    "ifp": "Pre-training",
    "networks": "Forward and training step",
    "restore": "A large image",
    "compiled": "Compiled",
}
NOTES = {
    "correct": "Largest difference of the output (of pretexts, the loss) and of all gradients, each by its largest "
    "value, in float32 without TF32; PSNR of autocast to float32 on the CPU in dB.",
    "ifp": "A step of `gesso.pretrain` with data, log and optimiser, and what 30,000 of them take.",
    "networks": "`faster` is the ratio to the textbook formulation in float32 without TF32; memory is the most that a "
    "step needs.",
    "restore": "`Restorer` with automatic tiles.",
    "compiled": "As above, under `torch.compile`.",
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        networks: name, side of the image in pixels, and numbers of images, for speed.
        correct: networks that are compared with the CPU.
        pretexts_on: the network that pretexts are compared on, and the side of its images.
        ifp: network, side in pixels, and steps of the run of IFP.
        restore: networks that restore, and megapixels.
        rounds: of each timing.
    """

    networks: tuple[tuple[str, int, tuple[int, ...]], ...] = (
        ("restormer", 128, (1, 8)),
        ("nafnet_width32", 256, (1, 8)),
        ("uformer_b", 128, (1, 8)),
        ("swinir_color_dn", 64, (1, 8)),
        ("promptir", 128, (1, 8)),
        ("ipt_x1", 48, (1, 16)),
        ("restormer_tiny", 64, (4,)),
        ("nafnet_tiny", 64, (4,)),
    )
    correct: tuple[str, ...] = (
        "restormer", "restormer_dcpt", "uformer_b", "nafnet_width32", "swinir_color_dn", "promptir", "ipt_x1",
    )  # fmt: skip
    pretexts_on: tuple[str, int] = ("restormer_tiny", 64)
    ifp: tuple[str, int, int] = ("restormer", 224, 200)
    restore: tuple[tuple[str, ...], float] = (("restormer", "nafnet_width32"), 12)
    rounds: int = 5


DRY = Sizes(
    networks=(("nafnet_tiny", 32, (1, 2)),),
    correct=("restormer_tiny", "nafnet_tiny"),
    pretexts_on=("nafnet_tiny", 32),
    ifp=("nafnet_tiny", 32, 2),
    restore=(("nafnet_tiny",), 0.01),
    rounds=1,
)


class OutOfTimeError(Exception):
    """The minutes of a run are over."""


class Report:
    """What has been measured so far, as files; and how much time is left."""

    def __init__(self, out: Path, device: torch.device, minutes: float) -> None:
        self.out, self.device, self.begin, self.limit = out, device, time.monotonic(), 60 * minutes
        self.rows: dict[str, Rows] = {part: [] for part in SHARES}
        self.left_out: list[str] = []

    def add(self, part: str, **row: Any) -> None:
        """Keeps a row and writes the files."""
        self.rows[part].append(row)
        print(f"{part}: {row}", flush=True)
        self.write()

    @contextlib.contextmanager
    def trying(self, part: str, what: str) -> Iterator[None]:
        """Keeps an error as a row: one thing that fails does not end the run."""
        try:
            yield
        except OutOfTimeError:
            self.left_out.append(f"{part}: {what}, broken off")
            self.write()
        except Exception as error:
            traceback.print_exc()
            self.add(part, what=what, error=f"{type(error).__name__}: {error}".splitlines()[0][:300])
        finally:
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def has_time(self, part: str, what: str) -> bool:
        """Whether time is left for a part, with what earlier ones have not used; notes what it leaves out."""
        parts = list(SHARES)
        until = self.limit * sum(SHARES[name] for name in parts[: parts.index(part) + 1])
        if time.monotonic() - self.begin < until:
            return True
        self.left_out.append(f"{part}: {what}")
        self.write()
        return False

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """Breaks off what is measured when the minutes are over, and so what is measured within it (not on Windows)."""
        if not hasattr(signal, "setitimer"):
            yield
            return

        def stop(*_: object) -> None:
            raise OutOfTimeError

        former = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, self.limit)
        try:
            yield
        except OutOfTimeError:  # between two measurements
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)

    def write(self) -> None:
        """Writes gpu.json and gpu.md."""
        seconds = round(time.monotonic() - self.begin)
        head = {"machine": machine(self.device), "date": time.strftime("%d %B %Y"), "seconds": seconds}
        with atomic_path(self.out / "gpu.json") as path:
            path.write_text(json.dumps({**head, **self.rows, "left out": self.left_out}, indent=1))
        lines = ["# On a GPU", "", f"{head['machine']}; {head['date']}; {seconds} seconds in all.", ""]
        for part, rows in self.rows.items():
            lines += [f"## {TITLES[part]}", "", NOTES[part], "", *markdown(rows), ""]
        lines += ["## Left out", "", *(f"- {what}" for what in self.left_out or ["nothing"])]
        with atomic_path(self.out / "gpu.md") as path:
            path.write_text("\n".join(lines) + "\n")


def markdown(rows: Rows) -> list[str]:
    """Rows as a table of all their columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (names, ["---"] * len(names)) if names]
    return lines + [f"| {' | '.join(shown(row.get(name, '')) for name in names)} |" for row in rows]


def shown(value: Any) -> str:
    """A cell: numbers with four digits."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def machine(device: torch.device) -> str:
    """Device, library and processor in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    where = f"{platform.processor() or platform.machine()}, {platform.system()}"
    return f"{name}; gesso {gesso.__version__}, torch {torch.__version__}, CUDA {torch.version.cuda}; {where}"


def main(words: list[str] | None = None) -> Report:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--dry-run", action="store_true", help="tiny networks: does it run?")
    arguments = parser.parse_args(words)
    sizes = DRY if arguments.dry_run else Sizes()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    report = Report(arguments.out, torch.device(arguments.device), arguments.minutes)
    with report.deadline():
        measure_correctness(report, sizes)
        measure_ifp(report, sizes)
        on_gpu = report.device.type == "cuda"
        measure_networks(report, sizes, "networks", PLAIN + ("autocast graph",) * on_gpu)
        measure_restoring(report, sizes)
        measure_networks(report, sizes, "compiled", COMPILED * on_gpu)
    report.write()
    return report


# ----------------------------------------------------------------------------------------------------------- correct


def measure_correctness(report: Report, sizes: Sizes) -> None:
    """Outputs and gradients of every network, and losses of every pretext, against those of the CPU."""
    for name in sizes.correct:
        if report.has_time("correct", name):
            with report.trying("correct", name):
                compare_network(report, name)
    for name in list_pretexts():
        if report.has_time("correct", name):
            with report.trying("correct", name):
                compare_pretext(report, name, *sizes.pretexts_on)


def compare_network(report: Report, name: str) -> None:
    """Largest differences of output and gradients, by the largest value; the PSNR of bf16 to float32."""
    net = random_network(name)
    image = torch.rand(1, net.in_channels, 48, 48, generator=torch.Generator().manual_seed(0))
    there, image_there = copy.deepcopy(net).to(report.device), image.to(report.device)
    expected, seen = net(image), there(image_there)
    expected.square().mean().backward()
    seen.square().mean().backward()
    with torch.no_grad(), torch.autocast(report.device.type, torch.bfloat16):
        rounded = there(image_there).float()
    error = (rounded.cpu() - expected).square().mean()
    report.add(
        "correct",
        what=name,
        output=relative(seen, expected),
        gradient=gradients_apart(there, net),
        bf16_psnr=(-10 * torch.log10(error)).item(),
    )


def compare_pretext(report: Report, name: str, network: str, side: int) -> None:
    """The loss of one batch and its gradients, from the same random numbers; on the device also: the same again?"""
    pretext = create_pretext(name, random_network(network))
    there = copy.deepcopy(pretext).to(report.device)
    images = images_for(pretext, side)
    losses = []
    for one, device in ((pretext, torch.device("cpu")), (there, report.device)):
        with DrawnOnTheCpu():
            loss = one({"image": images.to(device)}, generator_for(5, device=device))["loss"]
        loss.backward()
        losses.append(loss)
    batch = {"image": images.to(report.device)}
    again = [there(batch, generator_for(5, device=report.device))["loss"].item() for _ in range(2)]
    expected, seen = losses
    report.add(
        "correct",
        what=name,
        output=relative(seen, expected),
        gradient=gradients_apart(there, pretext),
        repeatable=again[0] == again[1],
    )


class DrawnOnTheCpu(TorchFunctionMode):
    """Draws random numbers on the CPU, whose numbers a GPU does not have, whatever the device of their generator."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: dict[
            int, tuple[torch.Generator, torch.Generator]
        ] = {}  # the first is held, lest its id be another's

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if not isinstance(generator, torch.Generator) or generator.device.type == "cpu":
            return func(*args, **kwargs)
        twin = torch.Generator().manual_seed(generator.initial_seed())
        _, twin = self.twins.setdefault(id(generator), (generator, twin))
        here = [value.cpu() if isinstance(value, Tensor) else value for value in args]
        device = {"device": "cpu"} if "device" in kwargs else {}
        drawn = func(*here, **{**kwargs, "generator": twin, **device})
        if args and isinstance(args[0], Tensor) and func.__name__.endswith("_"):
            return args[0].copy_(drawn)
        return drawn.to(generator.device)


def gradients_apart(seen: nn.Module, expected: nn.Module) -> float:
    """The largest difference of any gradient, by the largest value of all: what is 0 but for rounding counts little."""
    pairs = [(p.grad, q.grad) for p, q in zip(expected.parameters(), seen.parameters(), strict=True)]
    pairs = [
        (own.detach().cpu(), other.detach().cpu()) for own, other in pairs if own is not None and other is not None
    ]
    largest = max(own.abs().max().item() for own, _ in pairs)
    return max((other - own).abs().max().item() for own, other in pairs) / max(largest, 1e-30)


def images_for(pretext: Pretext, side: int) -> Tensor:
    """A batch that a pretext takes: (B, 3, side, side), or (B, K, 3, side, side)."""
    several = (pretext.images_per_sample,) if pretext.images_per_sample > 1 else ()
    return torch.rand(
        max(2, pretext.min_batch_size), *several, 3, side, side, generator=torch.Generator().manual_seed(1)
    )


def random_network(name: str) -> Backbone:
    """A network with the same random weights at every call."""
    torch.manual_seed(0)
    return create_backbone(name).eval()


def relative(seen: Tensor, expected: Tensor) -> float:
    """The largest difference by the largest value."""
    expected = expected.detach().cpu()
    return ((seen.detach().cpu() - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


# --------------------------------------------------------------------------------------------------------------- IFP


def measure_ifp(report: Report, sizes: Sizes) -> None:
    """Steps of IFP as a user runs them, and what 30,000 would take."""
    network, side, steps = sizes.ifp
    accelerator = "gpu" if report.device.type == "cuda" else "cpu"
    for precision in ("bf16", "float32"):
        if not report.has_time("ifp", precision):
            continue
        with report.trying("ifp", precision):
            options: dict[str, Any] = {
                "pretext": "ifp", "backbone": network, "crop_size": side, "precision": precision, "sample_every": 0,
                "save_every": 0, "accelerator": accelerator, "overwrite": True,
            }  # fmt: skip
            few, clocks = steps // 10 or 1, []
            for count in (1, few, steps):  # the first loads libraries, the second has all else but the steps
                reset_peak(report.device)
                begin = time.monotonic()
                gesso.pretrain(out=report.out / "ifp", steps=count, **options)
                clocks.append(time.monotonic() - begin)
            seconds = (clocks[2] - clocks[1]) / (steps - few)
            report.add(
                "ifp",
                network=network,
                images=f"1 x {side}",
                precision=precision,
                steps=steps,
                step_ms=1e3 * seconds,
                hours_30000=seconds * 30_000 / 3600,
                peak_MiB=peak_mebibytes(report.device),
            )


# ---------------------------------------------------------------------------------------------------------- networks


def measure_networks(report: Report, sizes: Sizes, part: str, forms: tuple[str, ...]) -> None:
    """Milliseconds of forward and step in some forms, and peak memory of the step."""
    for name, side, batches in sizes.networks:
        for batch, form in itertools.product(batches, forms):
            images = f"{batch} x {side}"
            what = f"{name}, {images}, {form}"
            if report.has_time(part, what):
                with report.trying(part, what):
                    forward, step, memory = measure_form(report.device, name, side, batch, form, sizes.rounds)
                    row = {"forward_ms": 1e3 * forward, "step_ms": 1e3 * step}
                    base = textbook_row(report, name, images) or (row if form == "textbook" else None)
                    faster = {f"{one[:-3]}_faster": base and base[one] / row[one] for one in row}
                    report.add(part, network=name, images=images, form=form, **row, **faster, peak_MiB=memory)


def textbook_row(report: Report, network: str, images: str) -> dict[str, Any] | None:
    """What was measured of the textbook formulation at the same size; None if it was not."""
    known = {"network": network, "images": images, "form": "textbook"}
    return next((row for row in report.rows["networks"] if row.items() >= known.items() and "step_ms" in row), None)


def measure_form(
    device: torch.device, name: str, side: int, batch: int, form: str, rounds: int
) -> tuple[float, float, float | None]:
    """Seconds of a forward and of a step of a network in one form, and MiB of the step."""
    ours = random_network(name)
    net: nn.Module = make_textbook(ours).eval() if form == "textbook" else ours
    net = net.to(device)
    image = torch.rand(batch, ours.in_channels, side, side, device=device)
    if form == "bf16":
        net, image = net.bfloat16(), image.bfloat16()
    run: nn.Module | Callable[[Tensor], Tensor] = net
    if "compiled" in form:
        run = torch.compile(net, mode="reduce-overhead" if form.endswith("graph") else "default", dynamic=False)

    def forward() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=form.startswith("autocast"), cache_enabled=False):
            return run(image)

    @torch.inference_mode()
    def infer() -> None:
        forward()

    def step() -> None:
        net.zero_grad()
        restored = forward().float()
        F.l1_loss(restored, torch.zeros_like(restored)).backward()

    seconds = [
        median_seconds(as_graph(one) if form == "autocast graph" else one, device, rounds) for one in (infer, step)
    ]
    return seconds[0], seconds[1], peak_mebibytes(device)


def as_graph(run: Callable[[], None]) -> Callable[[], None]:
    """What plays all kernels of a call at one stroke, recorded as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is only done once must not be recorded
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def median_seconds(run: Callable[[], None], device: torch.device, rounds: int) -> float:
    """Seconds of one call, the median of `rounds` after those that warm up (compile, and record a graph)."""
    for _ in range(3 if device.type == "cuda" else 1):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    reset_peak(device)
    times = []
    for _ in range(rounds):
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize(device)
            times.append(begin.elapsed_time(end) / 1e3)
        else:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


# ----------------------------------------------------------------------------------------------------------- restore


def measure_restoring(report: Report, sizes: Sizes) -> None:
    """Seconds and peak memory of a large image, in tiles that are chosen automatically."""
    networks, megapixels = sizes.restore
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    image = torch.rand(3, height, height * 4 // 3, generator=torch.Generator().manual_seed(2))
    for name in networks:
        for precision in ("bf16", "float32"):
            if not report.has_time("restore", f"{name}, {precision}"):
                continue
            with report.trying("restore", name):
                restorer = Restorer(random_network(name), precision=precision, tile="auto", device=str(report.device))
                restorer(image[:, :64, :64])
                reset_peak(report.device)
                begin = time.monotonic()
                restored = restorer(image)
                seconds = time.monotonic() - begin
                assert restored.shape == image.shape
                report.add(
                    "restore",
                    network=name,
                    precision=precision,
                    megapixels=megapixels,
                    seconds=seconds,
                    peak_MiB=peak_mebibytes(report.device),
                )


def reset_peak(device: torch.device) -> None:
    """Begins anew with the most memory that tensors take."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_mebibytes(device: torch.device) -> float | None:
    """The most memory that tensors took on a GPU since `reset_peak`."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


if __name__ == "__main__":
    main()
