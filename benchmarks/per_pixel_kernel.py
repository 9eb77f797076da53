"""PTG-RM's two cheap forms beside the plain ones, in time and memory: `python benchmarks/per_pixel_kernel.py`.

The per-pixel convolution as nine shifted products beside neighbourhoods laid side by side (unfold), and the convolution
over a prior as one vector beside the prior laid out over the map. Both forms are run in turns and the median of the
turns is shown, so that a busy machine troubles both alike. Memory is the most that tensors hold at one time beyond the
inputs, and for training beyond the inputs and with the gradients.
"""

import argparse
import statistics
import time

import torch
from torch.nn import functional as F

from gesso.functional.memory import peak_bytes
from gesso.refiner.ptg_rm import guided_conv, per_pixel_depthwise


def unfolded(feature, kernel):
    """The per-pixel convolution as it is usually written."""
    batch, channels, height, width = feature.shape
    patches = F.unfold(F.pad(feature, (1, 1, 1, 1), mode="replicate"), 3).view(batch, channels, 9, height, width)
    return (patches * kernel.view(batch, channels, 9, height, width)).sum(2)


def per_pixel(side, device):
    """The two forms for maps of this side, and their inputs."""
    feature, kernel = torch.rand(1, 16, side, side, device=device), torch.rand(1, 144, side, side, device=device)
    return {"nine shifted products": per_pixel_depthwise, "unfold": unfolded}, (feature, kernel)


def prior_conv(side, device):
    """`mapp11` with the prior as a vector, and laid out."""
    conv = torch.nn.Conv2d(96, 144, 3, padding=1, bias=False).to(device)

    def laid_out(feature, described, placed):
        wide = described[:, :, None, None].expand(-1, -1, side, side)
        return conv(torch.cat([feature, wide, placed], 1))

    shapes = (1, 16, side, side), (1, 64), (1, 16, side, side)
    inputs = tuple(torch.rand(shape, device=device) for shape in shapes)
    return {"one vector": lambda *x: guided_conv(conv, *x), "laid out": laid_out}, inputs


def trained(form, inputs):
    """One forward and backward."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    form(*inputs).square().mean().backward()


def seconds(run, device):
    """The time of one run."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def compare(title, make, sides, device, turns):
    """Prints a table: time and memory of both forms, restoring and training."""
    print(f"\n{title}\n\n| image | form | restore | | train | |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for side in sides:
        forms, inputs = make(side, device)

        def restoring(form, inputs=inputs):
            with torch.no_grad():
                return form(*inputs)

        runs = {
            (name, mode): (lambda run=run, form=form: run(form))
            for name, form in forms.items()
            for mode, run in (("restore", restoring), ("train", lambda form, inputs=inputs: trained(form, inputs)))
        }
        memory = {key: peak_bytes(run) / 2**20 for key, run in runs.items()}  # warms up, too
        times = {key: [] for key in runs}
        for _ in range(turns):
            for key, run in runs.items():
                times[key].append(seconds(run, device))
        for name in forms:
            cells = [
                f"{1000 * statistics.median(times[name, mode]):.1f} ms | {memory[name, mode]:.1f} MiB"
                for mode in ("restore", "train")
            ]
            print(f"| {4 * side} x {4 * side} | {name} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64, 128], help="sides of the map, image / 4")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    print(f"{options.device}, {torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.turns}")
    compare("Per-pixel 3x3, 16 channels", per_pixel, options.sides, options.device, options.turns)
    compare("First kernel convolution, 96 to 144", prior_conv, options.sides, options.device, options.turns)


if __name__ == "__main__":
    main()
