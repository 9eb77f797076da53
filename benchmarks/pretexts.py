"""Every pretext on small networks and dead leaves: time and memory of a step, and what some steps do to the loss.

    python -m benchmarks.pretexts --steps 200 --backbones restormer_tiny nafnet_tiny swinir_tiny

Time is that of one core, as the processor counts it, so that other work on the machine matters little. Memory is the
largest resident size of the process, in which nothing but this pretext has run. The loss is that of one batch and one
generator, before and after.
"""

import argparse
import multiprocessing
import resource
import statistics
import time

import torch

from gesso.backbones import create_backbone
from gesso.data.procedural import LeavesDataset
from gesso.functional.random import generator_for
from gesso.pretext import Pretext, create_pretext, list_pretexts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretexts", nargs="+", default=list_pretexts())
    parser.add_argument("--backbones", nargs="+", default=["restormer_tiny", "nafnet_tiny", "swinir_tiny"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--crop_size", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=2)
    arguments = parser.parse_args()
    print(f"crop {arguments.crop_size}, batch {arguments.batch_size}, {arguments.steps} steps, float32, one core\n")
    print("| pretext | network | ms a step | MB | loss before | after |\n|---|---|---|---|---|---|")
    fresh = multiprocessing.get_context("spawn")
    for pretext in arguments.pretexts:
        for backbone in arguments.backbones:
            with fresh.Pool(1) as process:
                row = (pretext, backbone, arguments.steps, arguments.crop_size, arguments.batch_size)
                print("| " + " | ".join(process.apply(measure, row)) + " |", flush=True)


def measure(name: str, backbone: str, steps: int, size: int, batch_size: int) -> list[str]:
    """One row of the table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pretext = create_pretext(name, create_backbone(backbone))
    images = LeavesDataset(0, per_sample=pretext.images_per_sample)
    held_out = make_batch(images, range(10**6, 10**6 + 8), size)
    before = loss_of(pretext, held_out)
    optimizer = torch.optim.Adam([p for p in pretext.parameters() if p.requires_grad], 5e-4)
    times = []
    for step in range(steps):
        batch = make_batch(images, range(step * batch_size, (step + 1) * batch_size), size)
        begin = time.process_time()
        optimizer.zero_grad()
        pretext(batch, generator_for(0, step))["loss"].backward()
        optimizer.step()
        times.append(time.process_time() - begin)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    after = loss_of(pretext, held_out)
    return [name, backbone, f"{1000 * statistics.median(times):.0f}", f"{memory:.0f}", f"{before:.4f}", f"{after:.4f}"]


def make_batch(images: LeavesDataset, indices: range, size: int) -> dict[str, torch.Tensor]:
    return {"image": torch.stack([images[(index, size)]["image"] for index in indices])}


@torch.no_grad()
def loss_of(pretext: Pretext, batch: dict[str, torch.Tensor]) -> float:
    """The mean loss of a batch over four generators."""
    return statistics.mean(pretext(batch, generator_for(1, draw))["loss"].item() for draw in range(4))


if __name__ == "__main__":
    main()
