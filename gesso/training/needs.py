"""What a run needs in memory, found out on small images before its first step, and held against what is free.

A kernel that runs out of memory kills without a word. What the activations of a step take grows with the pixels of its
batch, so two rehearsals on small crops say what it is. What a measurement takes, `gesso.restorer` knows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gesso.backbones import Backbone
from gesso.data.cache import reserved_memory
from gesso.functional.memory import free_memory, is_out_of_memory, peak_bytes
from gesso.functional.padding import round_up
from gesso.functional.processes import local_processes, rank_info
from gesso.report.console import warn
from gesso.training._module import TrainingModule
from gesso.training.sampling import Stage

SMALL = 4096  # pixels of a batch for which nobody asks how much memory is free
PROBE = 32  # side of the crops of the first rehearsal
MARGIN, SCRATCH = 1.15, 256 * 2**20  # what allocators and single operations take beyond the tensors that are counted
MOMENTS = 2  # tensors that Adam keeps of each parameter

Batch = dict[str, Any]
Load = Callable[[int, int], Batch]


@dataclass(frozen=True)
class Line:
    """Bytes as a function of pixels: `fixed + slope * pixels`."""

    fixed: float
    slope: float

    @classmethod
    def through(cls, *points: tuple[int, int]) -> "Line":
        """The line through one or two points (pixels, bytes); one point lies on a line through the origin."""
        (x, y), (z, w) = points[0], points[-1]
        slope = (w - y) / (z - x) if z > x else y / x
        return cls(max(0.0, y - slope * x), max(0.0, slope))

    def bytes(self, pixels: float) -> float:
        """What so many pixels take, with what is not counted."""
        return MARGIN * (self.fixed + self.slope * pixels) + SCRATCH

    def pixels(self, free: float) -> float:
        """The most pixels for which so many bytes suffice."""
        return max(0.0, ((free - SCRATCH) / MARGIN - self.fixed) / self.slope) if self.slope else math.inf


def free_bytes(device: torch.device) -> float:
    """Bytes that this process may still take on a device, its fair share where it is the CPU."""
    if device.type != "cuda":
        return free_memory() / local_processes()
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def still_to_come(module: TrainingModule) -> float:
    """Bytes that a run will take beside its steps: moments of the optimiser, and decoded images in memory."""
    moments = MOMENTS * sum(p.numel() * p.element_size() for p in module.trained())
    return moments + (reserved_memory() if module.device.type == "cpu" else 0)


def check_steps(module: TrainingModule, load: Load, stages: Sequence[Stage], free: float) -> None:
    """Checks that the steps of a run fit into memory; where they do not, fewer images are computed at a time.

    Args:
        module: what is trained.
        load: images of the first batch, from their number and the side of their crops.
        stages: crop and batch over the run.
        free: bytes that steps may take.

    Raises:
        ValueError: if a batch cannot be cut, or one image is too much; it says what would fit.
    """
    net, world = module.backbone, rank_info().world_size
    stage = max(stages, key=lambda one: one.batch_size * padded(net, one.crop_size) ** 2)
    images, side = stage.batch_size // world, padded(net, stage.crop_size)
    if images * side**2 <= SMALL:
        return
    line = rehearse_line(module, load, images if module.batch_coupling else 1, stage.crop_size)
    if line is None or line.bytes(images * side**2) <= free:
        return
    most, cuts = int(line.pixels(free) // side**2), world == 1 and not module.batch_coupling
    told = f"{images} crops of {stage.crop_size} pixels need about {gib(line.bytes(images * side**2))} in a step"
    told += (f" on each of {world} devices" if world > 1 else "") + f", and {gib(free)} are free"
    if most < 1 or not cuts:
        fewest = 1 if cuts else images
        raise ValueError(f"memory: {told}; {what_fits(net, line.pixels(free), images, fewest, stage.crop_size)}")
    module.at_a_time = min(most, module.at_a_time or most)
    warn(f"{told}; {module.at_a_time} at a time, whose gradients are accumulated: the same result but for rounding")


def what_fits(net: Backbone, pixels: float, images: int, fewest: int, crop: int) -> str:
    """Options with which a step would fit, in words.

    Args:
        net: the network.
        pixels: as many as fit.
        images: of a batch on each device.
        fewest: images that have to be computed at a time.
        crop: side of the crops.
    """
    sizes = range((crop - 1) // 8 * 8, 15, -8)
    options = []
    if fewest > 1 and (fewer := int(pixels // padded(net, crop) ** 2)):
        options.append(f"--batch_size {min(fewer, images - 1) * rank_info().world_size}")
    if smaller := next((side for side in sizes if fewest * padded(net, side) ** 2 <= pixels), None):
        options.append(f"--crop_size {smaller}")
    if not options and (alone := next((side for side in sizes if padded(net, side) ** 2 <= pixels), None)):
        options.append(f"--batch_size {rank_info().world_size} --crop_size {alone}")
    return f"what would fit: {' or '.join(options)}" if options else "take a smaller network (gesso list backbones)"


def rehearse_line(module: TrainingModule, load: Load, images: int, crop: int) -> Line | None:
    """What a step takes by pixels, from two rehearsals that change nothing; None where small crops say nothing."""
    net, points = module.backbone, []
    for side in probe_sizes(net, crop):
        try:
            batch = load(images, side)
            pixels = count_pixels(net, batch)
            if not points or pixels >= 2 * points[0][0]:
                points.append((pixels, peak_bytes(lambda batch=batch: module.rehearse(batch))))
        except Exception as error:
            if is_out_of_memory(error):
                break  # the step itself will say it
            # otherwise the crop is too small for this network or pretext
        if len(points) == 2:
            break
    return Line.through(*points) if points else None


def probe_sizes(net: Backbone, crop: int) -> list[int]:
    """Sides of crops to rehearse with, each twice the one before, up to that of the run.

    Example:
        >>> from gesso import create_backbone
        >>> probe_sizes(create_backbone("nafnet_tiny"), 100)
        [32, 64, 100]
    """
    sizes = [min(crop, round_up(PROBE, net.size_multiple))]
    while sizes[-1] < crop:
        sizes.append(min(crop, 2 * sizes[-1]))
    return sizes


def count_pixels(net: Backbone, batch: Batch) -> int:
    """Pixels of a batch as the network computes it; parts of a mix may have crops of their own."""
    images = batch["lq"] if "lq" in batch else batch["image"]
    return len(images) * padded(net, images.shape[-1]) ** 2


def padded(net: Backbone, side: int) -> int:
    """The side of a square image as the network computes it."""
    left, right, top, bottom = net.padding(side, side)
    return math.isqrt((top + side + bottom) * (left + side + right))


def gib(count: float) -> str:
    """Bytes in words.

    Example:
        >>> gib(3 * 2**30), gib(300 * 2**20)
        ('3.0 GiB', '0.3 GiB')
    """
    return f"{count / 2**30:.1f} GiB"
