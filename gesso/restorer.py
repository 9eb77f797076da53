"""Restores images of any size: tiles that fit the memory, blended without seams."""

import contextlib
import copy
import dataclasses
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from inspect import signature
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from gesso import checkpoint
from gesso._specs import Blend
from gesso._specs import TrainingPrecision as Precision
from gesso._values import takes
from gesso.backbones import Backbone, Features
from gesso.functional import tiles
from gesso.functional.checks import check_choice
from gesso.functional.dihedral import dihedral, undo_dihedral
from gesso.functional.memory import free_memory, is_out_of_memory, kept_memory, peak_bytes
from gesso.functional.padding import round_up
from gesso.functional.processes import local_processes

Watch = Callable[[Sequence[Any]], Iterable[Any]]

SMALLEST = 64  # side of the smallest tile, to be rounded up to what a network divides by
PROBE = 96  # side of the image on which a network's hunger for memory is measured
WHOLE = 2**18  # pixels up to which an image is restored whole where memory allows, as published protocols measure
CPU_BYTES = 2**28  # what the tensors of tiles that go through a network together may take on a CPU
CPU_MOST = 2**30  # what those of one tile may, where a smaller one would compute far more
SLOWER = 0.15  # by how much a pixel takes longer on a CPU where tensors take that, and less in proportion
EXTRA = 1.08  # pixels that may be computed for each of an image in whole multiples, where some tiles that fit do so
CALL = 4000  # pixels that take as long as a call of the network itself; both as docs/performance.md measures
OVERLAP = 32  # pixels that tiles of a given side share, unless told


class Restorer:
    """A network ready for whole images: pads, cuts into tiles, restores, blends, clamps.

    The image stays where it is and only tiles travel, so memory beyond the image and its restoration does not grow
    with the image. Tiles lie on the network's own grid and fade into each other over the middle half of their overlap:
    with a network that sees no farther than a quarter of `overlap`, the result is that of the whole image.

    Args:
        backbone: the network; copied where another device or precision is asked for, else used as it is.
        tile: side of the tiles in pixels, rounded up to what the network divides by; "auto": sides that compute the
            fewest pixels, of tiles as large as memory allows and processors like, several at a time where they are
            small; None: no tiles.
        overlap: what neighbouring tiles share, in pixels; half a tile at most; "auto": with automatic tiles what the
            network needs (`Backbone.tile_overlap`), else 32.
        ensemble: average over the eight flips and rotations (Timofte et al., CVPR 2016), at eight times the cost.
        precision: "float32"; "bf16": everything up to the last feature map in bf16, `reconstruct` in float32;
            "float64"; "auto": bf16 where the processor computes in it.
        device: "auto" (a GPU where there is one), or a device of torch.
        blend: "smooth", or "uniform": the mean of overlapping tiles, as in the demo of Restormer's authors.
        adapt: take smaller tiles where memory runs out; False, for measurements, which memory must not change: an error
            that says which tile would fit.

    Example:
        >>> from gesso import create_backbone
        >>> restorer = Restorer(create_backbone("restormer_tiny"), tile=64)
        >>> restorer(torch.rand(3, 37, 101)).shape
        torch.Size([3, 37, 101])
    """

    def __init__(
        self,
        backbone: Backbone,
        tile: Literal["auto"] | int | None = "auto",
        overlap: Literal["auto"] | int = "auto",
        ensemble: bool = False,
        precision: Precision = "auto",
        device: torch.device | str = "auto",
        blend: Blend = "smooth",
        adapt: bool = True,
    ) -> None:
        check_choice("precision", precision, Precision)
        check_choice("blend", blend, Blend)
        if tile is not None and tile != "auto" and not (takes(int, tile) and tile > 0):
            raise ValueError(f"tile: expected a side in pixels, auto or none, got {tile!r}")
        if overlap != "auto" and not (takes(int, overlap) and overlap >= 0):
            raise ValueError(f"overlap: expected 0 pixels or more, or auto, got {overlap!r}")
        self.device = _device(device)
        if precision == "auto":
            precision = "bf16" if computes_in_bf16(self.device) else "float32"
        self.dtype = torch.float64 if precision == "float64" else torch.float32
        rough = precision == "bf16"
        self.network = in_bf16(backbone, self.device) if rough else cast(backbone, self.device, self.dtype)
        self.precision, self.tile, self.overlap = precision, tile, overlap
        self.ensemble, self.blend, self.adapt = ensemble, blend, adapt
        self._bytes_per_pixel: float | None = None

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Self:
        """A restorer with the network of a file.

        Args:
            path: the file, of gesso or of the authors.
            options: those of the class; all others are facts that the file does not tell, see
                `gesso.checkpoint.recognise`: `img_size=256`, or `target="package.module:Class"`.
        """
        own = {name: value for name, value in options.items() if name in signature(cls).parameters}
        facts = {name: value for name, value in options.items() if name not in own}
        return cls(checkpoint.load(path, **facts), **own)

    def __call__(self, image: Tensor, watch: Watch = iter) -> Tensor:
        """The restored image in [0, 1] on the CPU, of `image` (C, H, W) or (B, C, H, W) in [0, 1].

        It is float32, or float64 in that precision. Sides are multiplied by the network's `scale`. Where memory runs
        out, the tile is halved and the image begun again, with a warning, if the restorer may `adapt`; later images
        begin with the smaller tile.

        Args:
            image: any size; C as the network takes, or any number for a network of one channel, which restores each
                channel by itself.
            watch: is given the tiles of each image and yields them, as a progress bar does.

        Raises:
            ValueError: if `image` is no such image.
            MemoryError: if not even the smallest tile fits, or the tile may not change.
        """
        network, rank = self.network, image.ndim
        apart = network.in_channels == 1  # a network for grey images
        fits = rank in (3, 4) and (apart or image.shape[-3] == network.in_channels) and image.numel() > 0
        if not (fits and image.is_floating_point()):
            channels = "C" if apart else network.in_channels
            expected = f"({channels}, H, W) or (B, {channels}, H, W), floats in [0, 1]"
            raise ValueError(f"image: expected {expected}, got {tuple(image.shape)}, {image.dtype}")
        height, width = image.shape[-2:]
        images = image.reshape(-1, network.in_channels, height, width)
        height, width = network.scale * height, network.scale * width
        restored = torch.empty(len(images), network.out_channels, height, width, dtype=self.dtype)
        memory = kept_memory() if self.device.type == "cpu" else contextlib.nullcontext()
        with evaluating(network), torch.inference_mode(), memory:
            for source, target in zip(images, restored, strict=True):
                with network.seeing(source):
                    self._restore(source, target, watch)
        batch = image.shape[:1] if rank == 4 else ()
        return restored.view(*batch, -1, height, width)

    def _restore(self, image: Tensor, target: Tensor, watch: Watch) -> None:
        """Restores one image (C, H, W) into `target`, with smaller tiles as often as memory runs out."""
        multiple = self.network.size_multiple
        smallest = round_up(SMALLEST, multiple)
        self.check_memory(*image.shape[-2:])
        tile = self._first_tile(*image.shape[-2:])
        while True:
            try:
                return self._restore_tiled(image, target, tile, watch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                height, width = tile
                if not self.adapt:
                    raise self._too_large(tile) from error
                if max(tile) <= smallest:
                    raise MemoryError(f"no memory on {self.device} for a tile of {width} x {height} pixels") from error
            side = max(smallest, max(tile) // 2 // multiple * multiple)
            message = f"no memory for a tile of {width} x {height} pixels; trying {side} x {side}"
            warnings.warn(message, RuntimeWarning, stacklevel=3)
            self.tile, tile = side, (side, side)

    def _restore_tiled(self, image: Tensor, target: Tensor, tile: tuple[int, int], watch: Watch) -> None:
        """Adds the restored tiles of one image, each times its share, into `target`."""
        scale = self.network.scale
        spans = self._cut(image.shape[-2:], tile)
        scaled = [[(scale * start, scale * stop) for start, stop in axis] for axis in spans]
        weights = [[weight.to(self.dtype) for weight in tiles.weights(axis, blend=self.blend)] for axis in scaled]

        def shape(at: tuple[int, int]) -> tuple[int, int]:  # those at the far edges may be shorter
            (top, bottom), (left, right) = spans[0][at[0]], spans[1][at[1]]
            return bottom - top, right - left

        order = [*itertools.product(range(len(spans[0])), range(len(spans[1])))]
        with self._extending(tile, image.shape[-2:]):
            at_once = self._tiles_at_once(tile)
        if at_once > 1:
            order.sort(key=shape, reverse=True)
        target.zero_()
        for together in _batches(watch(order), shape, at_once):
            parts = [image[:, slice(*spans[0][row]), slice(*spans[1][column])] for row, column in together]
            with self._extending(tile, image.shape[-2:]):
                restored = self._run(torch.stack(parts).to(self.device, self.dtype)).cpu()
            for part, (row, column) in zip(restored, together, strict=True):
                share = weights[0][row].unsqueeze(1) * weights[1][column]
                target[:, slice(*scaled[0][row]), slice(*scaled[1][column])] += part.mul_(share)
        target.clamp_(0, 1)

    def _run(self, tiles: Tensor) -> Tensor:
        """The network's output for tiles (B, C, H, W), or the mean of eight."""
        numbers = range(8) if self.ensemble else range(1)
        total = torch.zeros((), device=tiles.device, dtype=tiles.dtype)
        for number in numbers:
            total = total + undo_dihedral(self.network(dihedral(tiles, number)), number)
        return total / len(numbers)

    def check_memory(self, height: int, width: int) -> None:
        """Checks, for a restorer that may not `adapt`, that an image of this size fits into the memory that is free.

        Raises:
            MemoryError: if not; it says which tile would.
        """
        if self.adapt:
            return
        tile = self._first_tile(height, width)
        multiple = self.network.size_multiple
        height, width = min(round_up(height, multiple), tile[0]), min(round_up(width, multiple), tile[1])
        pixels = self._computed(height, width)
        if pixels > round_up(PROBE, multiple) ** 2 and pixels > 2 * self._pixels_that_fit():
            raise self._too_large((height, width))

    def _too_large(self, tile: tuple[int, int]) -> MemoryError:
        """What is said of a tile that memory does not hold, where a smaller one is the user's choice."""
        multiple, (height, width) = self.network.size_multiple, tile
        smallest = round_up(SMALLEST, multiple)
        fits = max(smallest, min(int(self._pixels_that_fit() ** 0.5), max(tile) // 2) // multiple * multiple)
        advice = f"; --tile {fits} would fit, which then stands in the protocol" if max(tile) > smallest else ""
        return MemoryError(
            f"no memory on {self.device} for {width} x {height} pixels at a time, and what is measured is not cut into "
            f"tiles unasked{advice}"
        )

    def _first_tile(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the tile to begin with: what was asked for, or the whole image, or what costs least."""
        multiple = self.network.size_multiple
        if isinstance(self.tile, int):
            side = round_up(self.tile, multiple)
            return side, side
        whole, probe = (round_up(height, multiple), round_up(width, multiple)), round_up(PROBE, multiple)
        padded = self._computed(height, width)
        if self.tile is None or padded <= probe**2 or padded <= min(WHOLE, self._pixels_that_fit()):
            return whole
        return self._cheapest_tile((height, width))

    def _cheapest_tile(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the largest of the tiles that restore an image at the least cost; maybe the whole.

        First they have to fit, then to compute no more than `EXTRA`, then to be no narrower than the network's
        `tile_least`.
        """
        multiple, (overlap, grid) = self.network.size_multiple, self._shared(2**31)
        most, together, on_cpu = self._pixels_that_fit(), self._pixels_together(), self.device.type == "cpu"
        assert self._bytes_per_pixel is not None
        slower = SLOWER * self._bytes_per_pixel / CPU_MOST if on_cpu else 0
        most = max(min(most, CPU_MOST / self._bytes_per_pixel) if on_cpu else most, round_up(PROBE, multiple) ** 2)
        least = self.network.tile_least
        least = max(SMALLEST, 2 * overlap, least if most >= least**2 else round_up(PROBE, multiple))
        narrowest = max(SMALLEST, 2 * overlap) if self._coarse else least
        sides = [tiles.even_sides(length, overlap, narrowest, multiple, grid) for length in size]
        heights, widths = (
            {side: self._count_lengths(length, side) for side in of_axis}
            for length, of_axis in zip(size, sides, strict=True)
        )
        enough = EXTRA * round_up(size[0], multiple) * round_up(size[1], multiple)

        def cost(tile: tuple[int, int]) -> tuple[float, bool, bool, float]:
            rows, columns = heights[tile[0]], widths[tile[1]]
            with self._extending(tile, size):
                largest, at_once = self._computed(*tile), max(1, int(together / self._computed(*tile)))
                shapes = [(self._computed(h, w), rows[h] * columns[w]) for h, w in itertools.product(rows, columns)]
            calls = sum(-(-count // at_once) for _, count in shapes)
            wasteful = sum(count * pixels for pixels, count in shapes) > enough
            seconds = sum(count * pixels * (1 + slower * pixels) for pixels, count in shapes)
            narrow = any(side < min(length, least) for side, length in zip(tile, size, strict=True))
            return max(largest, most), wasteful, narrow, seconds + CALL * calls

        return min(itertools.product(heights, widths), key=cost)

    def _count_lengths(self, length: int, side: int) -> Counter[int]:
        """How many tiles of each length an axis is cut into, in multiples of what the network divides by."""
        (spans,) = self._cut([length], [side])
        return Counter(round_up(stop - start, self.network.size_multiple) for start, stop in spans)

    def _extending(self, tile: Sequence[int], size: Sequence[int]) -> AbstractContextManager[None]:
        """How tiles of an image are padded: automatic ones no farther than the network needs, others as images are."""
        cut = any(side < length for side, length in zip(tile, size, strict=True))
        return self.network.in_tiles() if cut and self.tile == "auto" else contextlib.nullcontext()

    def _computed(self, height: int, width: int) -> int:
        """The pixels that the network computes for an image: some pad to a square."""
        left, right, top, bottom = self.network.padding(height, width)
        return (top + height + bottom) * (left + width + right)

    def _tiles_at_once(self, tile: tuple[int, int]) -> int:
        """How many automatic tiles go through the network together; those that were asked for do one by one."""
        if self.tile != "auto" or self._bytes_per_pixel is None:
            return 1
        return max(1, int(self._pixels_together() / self._computed(*tile)))

    def _pixels_together(self) -> float:
        """How many pixels of several tiles may be computed at a time, where one has fewer."""
        fit, bytes_per_pixel = self._pixels_that_fit(), self._bytes_per_pixel or 1
        return min(fit, CPU_BYTES / bytes_per_pixel) if self.device.type == "cpu" else fit

    def _pixels_that_fit(self) -> float:
        """How many pixels may be computed at a time, for the memory that is free."""
        if self._bytes_per_pixel is None:
            probe = round_up(PROBE, self.network.size_multiple)
            sample = torch.zeros(self.network.in_channels, probe, probe, device=self.device, dtype=self.dtype)
            with evaluating(self.network), torch.inference_mode():
                self._bytes_per_pixel = peak_bytes(lambda: self._run(sample[None])) / probe**2
        return free_bytes(self.device) / self._bytes_per_pixel

    def _cut(self, size: Sequence[int], tile: Sequence[int]) -> list[list[tiles.Span]]:
        """The tiles of an image as spans of its rows and of its columns, from the height and width of both."""
        last = self.network.size_multiple if self.tile == "auto" and self._coarse else None
        return [tiles.spans(length, side, *self._shared(side), last) for length, side in zip(size, tile, strict=True)]

    @property
    def _coarse(self) -> bool:
        """Whether tiles of one shape would share far more than the network needs, so large are the steps of sides."""
        return self.network.size_multiple > self.network.tile_overlap

    def _shared(self, tile: int) -> tuple[int, int]:
        """What neighbouring tiles of this side share, and the grid that they begin on."""
        chosen = self.network.tile_overlap if self.tile == "auto" else OVERLAP
        asked = self.overlap if isinstance(self.overlap, int) else chosen
        overlap, multiple = min(asked, tile // 2), self.network.size_multiple
        return overlap, multiple if multiple <= overlap else 1  # on a coarse grid they would share far too much


def _batches(
    tiles: Iterable[tuple[int, int]], shape: Callable[[tuple[int, int]], tuple[int, int]], count: int
) -> Iterator[list[tuple[int, int]]]:
    """Tiles in batches of up to `count`, each of tiles of one shape."""
    for _, alike in itertools.groupby(tiles, shape):
        while together := list(itertools.islice(alike, count)):
            yield together


def in_words(tile: int | None, overlap: int = OVERLAP) -> str:
    """What a protocol says of tiles: nothing where images are restored whole.

    Example:
        >>> in_words(512), in_words(None)
        (', restored in tiles of 512 pixels that share 32', '')
    """
    return f", restored in tiles of {tile} pixels that share {min(overlap, tile // 2)}" if tile else ""


def free_bytes(device: torch.device) -> float:
    """Bytes that a computation may take: half of what is free, torch's reserve included, and on a CPU a fair share."""
    if device.type != "cuda":
        return free_memory() / 2 / local_processes()
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + reserve) / 2


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a processor multiplies in bf16, so that bf16 is faster there than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        return any(torch.cpu.get_capabilities().get(name, False) for name in ("amx_tile", "avx512_bf16"))
    # Older versions of PyTorch have no public name for what a processor can.
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def cast(backbone: Backbone, device: torch.device, dtype: torch.dtype) -> Backbone:
    """The network in a precision on a device; the same object if it is that already."""
    ready = all(p.dtype == dtype and p.device == device for p in backbone.parameters())
    return backbone if ready else copy.deepcopy(backbone).to(device, dtype)


def in_bf16(backbone: Backbone, device: torch.device) -> Backbone:
    """A copy of the network that computes its features in bf16.

    What lies behind `reconstruct` stays in float32, the image residual included: in bf16 it would round the image
    itself to eight bits. Where a network has `float32_sums`, so do the sums between its layers, as in autocast.
    """
    network = copy.deepcopy(backbone).to(device, torch.bfloat16)
    state = backbone.state_dict()
    within = getattr(network, "backbone", network)  # a network with layers or a refiner behind it
    factors = {id(tensor) for tensor in _factors(within)} if within.float32_sums else None
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        own = name.removeprefix("backbone.")
        sums = factors is not None and (own != name or within is network) and id(tensor) not in factors
        if network.is_head(name) or within.is_head(own) or sums:
            tensor.data = state[name].to(device, torch.float32)
    within.feature_hook = LastInBf16(device.type, autocast=factors is not None)
    return network


@dataclasses.dataclass(frozen=True)
class LastInBf16:
    """Has a network compute in bf16, and gives its last feature map back in float32, see `Backbone.feature_hook`.

    Attributes:
        device: where it computes.
        autocast: whether its weights of sums between layers are in float32, which autocast keeps so.
    """

    device: str
    autocast: bool

    def __call__(self, features: Features, image: Tensor) -> list[Tensor]:
        """The last of the features of an image, alone."""
        if not self.autocast:
            return [features(image.bfloat16())[-1].float()]
        with torch.autocast(self.device, torch.bfloat16):
            return [features(image)[-1].float()]


def _factors(network: Backbone) -> Iterator[Tensor]:
    """The weights of convolutions and matrix products, which autocast would round at each call."""
    for module in network.modules():
        if not isinstance(module, nn.Embedding):
            yield from (weight for weight in module.parameters(recurse=False) if weight.ndim >= 2)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every module is then in the mode in which it was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _device(device: torch.device | str) -> torch.device:
    """The device that a name means.

    Raises:
        ValueError: if there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device: expected auto, cpu, cuda or another device of torch, got {device!r}") from None
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        raise ValueError(f"device: asked for {device}, but torch sees {count} GPUs here")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device
