"""Everything that only a GPU can tell, in one prepared run of minutes.

    python -m benchmarks.gpu --out runs/gpu --minutes 8              one GPU
    python -m benchmarks.gpu --out runs/gpu --device cpu --dry-run   the same path in a few seconds, with tiny networks

Writes `gpu.json` (every number) and `gpu.md` (the page) after each measurement, so that a run which is cut short keeps
what it has. Parts come in the order of what is worth most; each has its share of the time, and what no longer fits is
listed as left out:

1. correct: every network, and every pretext on one of them, in float32 (TF32 off) and bf16 against the CPU.
2. ifp: steps of IFP at 224 pixels through `gesso.pretrain`, Restormer, and what 30,000 take.
3. networks: forward and training step, eager, compiled and as a CUDA graph, float32, bf16 weights and autocast, one
   image and more, with peak memory.
4. restore: 12 megapixels in tiles.

Seconds are medians of rounds, each by CUDA events where there is a GPU. A step is forward, L1 loss and backward.
"""

import argparse
import contextlib
import copy
import dataclasses
import json
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gesso
from gesso.backbones import Backbone, create_backbone
from gesso.data.io import atomic_path
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext, list_pretexts
from gesso.pretext._base import Pretext
from gesso.restorer import Restorer

Rows = list[dict[str, Any]]
SHARES = {"correct": 0.2, "ifp": 0.15, "networks": 0.5, "restore": 0.15}  # of the time
EAGER = ("float32", "bf16", "autocast")
COMPILED = ("autocast compiled", "autocast graph")  # on a GPU: a CPU takes minutes to compile one


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured.

    Attributes:
        networks: name, side of the image in pixels, and numbers of images, for speed.
        correct: networks that are compared with the CPU.
        pretexts_on: the network that pretexts are compared on.
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
    pretexts_on: str = "restormer_tiny"
    ifp: tuple[str, int, int] = ("restormer", 224, 200)
    restore: tuple[tuple[str, ...], float] = (("restormer", "nafnet_width32"), 12)
    rounds: int = 5


DRY = Sizes(
    networks=(("nafnet_tiny", 32, (1, 2)),),
    correct=("restormer_tiny", "nafnet_tiny"),
    ifp=("nafnet_tiny", 32, 2),
    restore=(("nafnet_tiny",), 0.01),
    rounds=1,
)


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

    def write(self) -> None:
        """Writes gpu.json and gpu.md."""
        content = {"machine": machine(self.device), **self.rows, "left out": self.left_out}
        with atomic_path(self.out / "gpu.json") as path:
            path.write_text(json.dumps(content, indent=1))
        lines = ["# On a GPU", "", machine(self.device), ""]
        for part, rows in self.rows.items():
            lines += [f"## {part}", "", *markdown(rows), ""]
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
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def machine(device: torch.device) -> str:
    """Device, library and processor in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    return f"{name}; torch {torch.__version__}; {platform.processor() or platform.machine()}, {platform.system()}"


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
    measure_correctness(report, sizes)
    measure_ifp(report, sizes)
    measure_networks(report, sizes)
    measure_restoring(report, sizes)
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
                compare_pretext(report, name, sizes.pretexts_on)


def compare_network(report: Report, name: str) -> None:
    """Largest differences of output and gradients, by the largest value; the PSNR of bf16 to float32."""
    net = random_network(name)
    image = torch.rand(1, net.in_channels, 48, 48, generator=torch.Generator().manual_seed(0))
    there, image_there = copy.deepcopy(net).to(report.device), image.to(report.device)
    expected, seen = net(image), there(image_there)
    expected.square().mean().backward()
    seen.square().mean().backward()
    pairs = [(p.grad, q.grad) for p, q in zip(net.parameters(), there.parameters(), strict=True) if p.grad is not None]
    gradient = max(relative(theirs, own) for own, theirs in pairs)
    with torch.no_grad(), torch.autocast(report.device.type, torch.bfloat16):
        rounded = there(image_there).float()
    error = (rounded.cpu() - expected).square().mean()
    report.add(
        "correct",
        what=name,
        output=relative(seen, expected),
        gradient=gradient,
        bf16_psnr=(-10 * torch.log10(error)).item(),
    )


def compare_pretext(report: Report, name: str, network: str) -> None:
    """The loss of one batch, whose random numbers are drawn on each device: finite, and the same again."""
    pretext = create_pretext(name, random_network(network)).to(report.device)
    batch = {"image": images_for(pretext).to(report.device)}
    losses = [pretext(batch, generator_for(5, device=report.device))["loss"] for _ in range(2)]
    losses[0].backward()
    finite = all(p.grad.isfinite().all().item() for p in pretext.parameters() if p.grad is not None)
    report.add("correct", what=name, loss=losses[0].item(), again=losses[1].item(), gradients_finite=finite)


def images_for(pretext: Pretext) -> Tensor:
    """A batch that a pretext takes: (B, 3, 64, 64), or (B, K, 3, 64, 64)."""
    several = (pretext.images_per_sample,) if pretext.images_per_sample > 1 else ()
    return torch.rand(max(2, pretext.min_batch_size), *several, 3, 64, 64, generator=torch.Generator().manual_seed(1))


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
            clocks = []
            for count in (steps // 10 or 1, steps):  # the difference leaves out what comes before the first step
                begin = time.monotonic()
                gesso.pretrain(out=report.out / "ifp", steps=count, **options)
                clocks.append(time.monotonic() - begin)
            seconds = (clocks[1] - clocks[0]) / (steps - (steps // 10 or 1))
            report.add(
                "ifp",
                network=network,
                pixels=side,
                precision=precision,
                ms=1e3 * seconds,
                hours_30000=seconds * 30_000 / 3600,
            )


# ---------------------------------------------------------------------------------------------------------- networks


def measure_networks(report: Report, sizes: Sizes) -> None:
    """Milliseconds of forward and step in every form, and peak memory of the step."""
    for name, side, batches in sizes.networks:
        for batch in batches:
            for form in EAGER + COMPILED * (report.device.type == "cuda"):
                what = f"{name}, {batch} x {side}, {form}"
                if report.has_time("networks", what):
                    with report.trying("networks", what):
                        measure_form(report, name, side, batch, form, sizes.rounds)


def measure_form(report: Report, name: str, side: int, batch: int, form: str, rounds: int) -> None:
    """One row: a network at one size in one form."""
    device = report.device
    net = random_network(name).to(device)
    image = torch.rand(batch, net.in_channels, side, side, device=device)
    if form == "bf16":
        net, image = net.bfloat16(), image.bfloat16()
    run: nn.Module | Callable[[Tensor], Tensor] = net
    if form.endswith("compiled"):
        run = torch.compile(net, dynamic=False)
    if form.endswith("graph"):
        run = torch.compile(net, mode="reduce-overhead", dynamic=False)

    def forward() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=form.startswith("autocast")):
            return run(image)

    def infer() -> None:
        with torch.inference_mode():
            forward()

    def step() -> None:
        net.zero_grad()
        restored = forward().float()
        F.l1_loss(restored, torch.zeros_like(restored)).backward()

    seconds = {"forward": median_seconds(infer, device, rounds), "step": median_seconds(step, device, rounds)}
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else float("nan")
    report.add(
        "networks",
        network=name,
        images=f"{batch} x {side}",
        form=form,
        forward_ms=1e3 * seconds["forward"],
        step_ms=1e3 * seconds["step"],
        peak_MiB=memory,
    )


def median_seconds(run: Callable[[], None], device: torch.device, rounds: int) -> float:
    """Seconds of one call, the median of `rounds` after two that warm up (and compile)."""
    for _ in range(2):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
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
                if report.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(report.device)
                begin = time.monotonic()
                restored = restorer(image)
                seconds = time.monotonic() - begin
                on_gpu = report.device.type == "cuda"
                memory = torch.cuda.max_memory_allocated(report.device) / 2**20 if on_gpu else float("nan")
                assert restored.shape == image.shape
                report.add(
                    "restore",
                    network=name,
                    precision=precision,
                    megapixels=megapixels,
                    seconds=seconds,
                    peak_MiB=memory,
                )


if __name__ == "__main__":
    main()
