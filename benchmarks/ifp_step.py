"""What a step of image-free pre-training is made of.

    python benchmarks/ifp_step.py restormer --size 128 --precision bf16

The step of `gesso pretrain`, taken apart and without Lightning, whose share stands in the last line: what a run's step
takes beyond that. Seconds are CPU time of the process, the least of all rounds.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from gesso.backbones import create_backbone
from gesso.data.datasets import NoiseDataset
from gesso.functional.random import generator_for
from gesso.pretext import create_pretext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="?", default="restormer_tiny")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--precision", default="bf16", choices=["float32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-run", action="store_true", help="leave out the comparison with whole runs")
    options = parser.parse_args()

    torch.manual_seed(0)
    method = create_pretext("ifp", create_backbone(options.network))
    optimizer = torch.optim.Adam(method.parameters(), lr=2e-4, betas=(0.9, 0.99), fused=True)
    step(method, optimizer, options)
    rounds = [step(method, optimizer, options) for _ in range(options.rounds)]
    least = {part: min(seconds[part] for seconds in rounds) for part in rounds[0]}
    total = sum(least.values())
    print(
        f"ifp on {options.network}, {options.size} pixels, {options.precision}, {torch.get_num_threads()} thread(s)\n"
    )
    print("| part | ms | share |\n| --- | ---: | ---: |")
    for part, seconds in least.items():
        print(f"| {part} | {1e3 * seconds:.1f} | {seconds / total:.1%} |")
    print(f"| all | {1e3 * total:.1f} | |", flush=True)
    if not options.no_run:
        print(f"| a step of a run | {1e3 * step_of_a_run(options):.1f} | |")


def step(method, optimizer, options: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of each part of one step."""
    seconds, last = {}, time.process_time()

    def done(part: str) -> None:
        nonlocal last
        seconds[part], last = time.process_time() - last, time.process_time()

    image = NoiseDataset()[0, options.size]["image"][None]
    done("noise image")
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
        mask = method.draw_mask(image, generator_for(0, "mask"))
        corrupted = method.corrupt(image, mask)
        done("mask and corruption")
        reconstructed = method.decoder(method.encode(corrupted))
        done("forward")
        loss = method.losses(reconstructed, image, mask)["loss"]
        done("loss")
    loss.backward()
    done("backward")
    norm = torch.nn.utils.clip_grad_norm_(method.parameters(), float("inf"))
    assert torch.isfinite(norm)
    done("check of the gradient")
    optimizer.step()
    optimizer.zero_grad()
    done("optimiser")
    return seconds


def step_of_a_run(options: argparse.Namespace) -> float:
    """CPU seconds of a step of `gesso pretrain`: the difference of a longer and a shorter run."""
    import gesso

    seconds = []
    for steps in (1, 1 + 4 * options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            gesso.pretrain(
                out=Path(folder), backbone=options.network, crop_size=options.size, steps=steps,
                precision=options.precision, sample_every=0, save_every=0, accelerator="cpu",
            )  # fmt: skip
            seconds.append(time.process_time() - start)
    return (seconds[1] - seconds[0]) / (4 * options.rounds)


if __name__ == "__main__":
    main()
