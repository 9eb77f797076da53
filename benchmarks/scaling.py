"""What a step asks of devices and of what lies between them, by counting: `python -m benchmarks.scaling`.

Parameters and operations are those of our networks. Bandwidths and peak rates are published figures, named below, and
the share of the peak is assumed; no time that is printed has been measured.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from gesso.backbones import create_backbone

NETWORKS = (
    ("restormer", 128), ("uformer_b", 128), ("nafnet_width64", 128), ("swinir_color_dn", 128), ("promptir", 128),
    ("ipt_x1", 48), ("restormer", 224),
)  # fmt: skip
NODE = 8  # GPUs in a machine
NVLINK = 450e9  # bytes per second and direction of an H200 (NVIDIA's data sheet: 900 GB/s both ways)
NETWORK = 50e9  # bytes per second and GPU: 400 Gbit/s InfiniBand (NDR), one port for each GPU, as in a DGX H200
PEAK = 989e12  # dense bf16 operations per second of an H200 (NVIDIA's data sheet)
SHARE = 0.1  # of the peak that a step is assumed to reach
DEVICES = (8, 64, 256, 1000)
BATCH = 8  # images on a device


def main() -> None:
    """Prints both tables."""
    print(
        "| network, crop | parameters | gradients, float32 | with weights and Adam | operations of a step, an image |"
    )
    print("|---|---|---|---|---|")
    counted = [(name, side, *count(name, side)) for name, side in NETWORKS]
    for name, side, parameters, operations in counted:
        gradients, state = 4 * parameters / 1e6, 16 * parameters / 2**30
        print(
            f"| `{name}`, {side} | {parameters:,} | {gradients:.0f} MB | {state:.2f} GiB | {operations / 1e9:,.0f} G |"
        )
    print()
    print(
        f"| network, crop | computing, {BATCH} images | "
        + " | ".join(f"{devices:,} GPUs" for devices in DEVICES)
        + " |"
    )
    print("|---|---|" + "---|" * len(DEVICES))
    for name, side, parameters, operations in counted:
        computing = BATCH * operations / (SHARE * PEAK)
        cells = [cell(computing, exchange(4 * parameters, devices)) for devices in DEVICES]
        print(f"| `{name}`, {side} | {1e3 * computing:.0f} ms | " + " | ".join(cells) + " |")


def count(name: str, side: int) -> tuple[int, float]:
    """Parameters of a network, and operations of a training step on one image, two for each product.

    A backward pass takes twice the products of a forward pass: gradients of inputs and of weights. Fourier transforms,
    norms and activations are not counted.
    """
    network = create_backbone(name).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, network.in_channels, side, side))
    return sum(p.numel() for p in network.parameters()), 3.0 * counter.get_total_flops()


def exchange(size: float, devices: int) -> float:
    """Seconds in which `size` bytes of gradients are averaged over all devices.

    Within a machine first and between machines then, as NCCL does: each part is a ring, which sends and receives
    2 (N - 1) / N times its bytes; every GPU carries an eighth of them over its own port.
    """
    machines = max(1, devices // NODE)
    within = 2 * (NODE - 1) / NODE * size / NVLINK
    return within + 2 * (machines - 1) / machines * size / NODE / NETWORK


def cell(computing: float, exchanging: float) -> str:
    """Milliseconds of the exchange, and the share of the time that is left for computing if nothing overlaps."""
    return f"{1e3 * exchanging:.2f} ms, {computing / (computing + exchanging):.0%}"


if __name__ == "__main__":
    main()
