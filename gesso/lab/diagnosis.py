"""What pre-training did to a network, measured: its feature maps, its weights, the bands that it can restore."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.backbones import Backbone
from gesso.functional.random import generator_for
from gesso.lab.bands import band_frequency, band_rings, restored_share, without_band
from gesso.lab.readout import least_squares_conv
from gesso.lab.similarity import (
    alignment_of_kernels,
    covariance,
    effective_rank,
    mean_correlation,
    rows_of,
)

GRID = 8  # maps are averaged to GRID x GRID before they are aligned, so that coarse and fine ones have equal rows
AT_ONCE = 8  # images that a network sees at a time
BANDS = 12


@dataclass(frozen=True)
class MapStatistics:
    """What one feature map is like over a set of images.

    Attributes:
        channels: how many it has.
        side: height in pixels.
        scale: root mean square of its values.
        correlation: mean absolute correlation between two channels, in [0, 1].
        effective_rank: directions that its channels use, from 1 to `channels`.
        constant: channels that never vary.
    """

    channels: int
    side: int
    scale: float
    correlation: float
    effective_rank: float
    constant: int


@dataclass(frozen=True)
class WeightChange:
    """How far one tensor, or all of one part of a network, is from where it began.

    Attributes:
        distance: Euclidean norm of the difference.
        relative: that, divided by the norm at the beginning; None where that was 0.
        cosine: of the angle between both, 1 where nothing has turned; None where one is 0.
    """

    distance: float
    relative: float | None
    cosine: float | None


@dataclass(frozen=True)
class RingResponse:
    """What happens when one band of the spectrum after another is taken out of images.

    Attributes:
        frequency: middle of each band in cycles per pixel.
        restored: share of each band that is there again in the output, 1 at most (see `restored_share`).
        gain: how much the last feature map changes, relative to its variation, for what the image changes, relative to
            its own: 1 where features answer in proportion. None where only the output is known.
    """

    frequency: list[float]
    restored: list[float]
    gain: list[float] | None = None


# ------------------------------------------------------------------------------------------------------- features


@torch.inference_mode()
def features(network: Backbone, images: Tensor) -> list[Tensor]:
    """Every feature map of images (N, C, H, W), coarse to fine."""
    batches = [network.features(network.pad(part)) for part in images.split(AT_ONCE)]
    return [torch.cat(maps) for maps in zip(*batches, strict=True)]


def map_statistics(maps: Sequence[Tensor]) -> list[MapStatistics]:
    """What each map (N, C, H, W) is like."""
    found = []
    for one in maps:
        spread = covariance(rows_of(one))
        constant = int((spread.diagonal() <= 0).sum())
        scale = float(one.double().square().mean().sqrt())
        numbers = scale, mean_correlation(spread), effective_rank(spread), constant
        found.append(MapStatistics(one.shape[1], one.shape[-2], *numbers))
    return found


def alignments(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[list[float]]:
    """Alignment of every map of one network (rows) with every map of another (columns) on the same images."""
    left, right = ([rows_of(F.adaptive_avg_pool2d(one, GRID)) for one in maps] for maps in (ours, theirs))
    return [[alignment_of_kernels(x, y) for y in right] for x in left]


# -------------------------------------------------------------------------------------------------------- weights


def part_of(name: str) -> str:
    """The part of a network that a tensor belongs to: its name up to the first number.

    Example:
        >>> part_of("encoder_level1.0.attn.qkv.weight"), part_of("patch_embed.proj.weight")
        ('encoder_level1.0', 'patch_embed')
    """
    numbered = re.match(r"(?:[^.]+\.)*?\d+(?=\.)", name)
    return numbered[0] if numbered else name.split(".")[0]


def weight_changes(now: Backbone, then: Backbone, key: Callable[[str], str] = part_of) -> dict[str, WeightChange]:
    """How far the parameters before the last convolution are from those of the same network at another time.

    Args:
        now: the network.
        then: what it began as.
        key: which parameters are taken together, by what it makes of their names.
    """
    before = dict(then.named_parameters())
    groups: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, parameter in now.named_parameters():
        if not now.is_head(name) and name in before and before[name].shape == parameter.shape:
            pair = parameter.detach().flatten().double(), before[name].detach().flatten().double()
            groups.setdefault(key(name), []).append(pair)
    found = {}
    for name, pairs in groups.items():
        a, b = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        distance, norm, product = float((a - b).norm()), float(b.norm()), float(a.norm() * b.norm())
        relative, cosine = (distance / norm if norm else None), (float(a @ b) / product if product else None)
        found[name] = WeightChange(distance, relative, cosine)
    return found


def direction_kept(now: Backbone, then: Backbone) -> float:
    """Mean cosine between weights and what they began as, 1 if nothing has turned; about 0 for another beginning.

    Weights that begin all alike, such as those of a normalisation, tell no beginning from another and do not count.
    """
    drawn = {name for name, parameter in then.named_parameters() if parameter.numel() > 1 and parameter.std() > 0}
    changes = weight_changes(now, then, key=str)
    known = [change.cosine for name, change in changes.items() if name in drawn and change.cosine is not None]
    return sum(known) / len(known) if known else 1.0


# ---------------------------------------------------------------------------------------------------------- rings


def last_map(network: Backbone, image: Tensor) -> Tensor:
    """What the last convolution of a network sees of an image (B, C, H, W), at the image's size, (B, K, H, W)."""
    padded = network.pad(image)
    feature = network.crop(network.features(padded)[-1], image)
    return feature if network.scale == 1 else F.avg_pool2d(feature, network.scale)


@torch.inference_mode()
def with_best_convolution(network: Backbone, clean: Tensor, corrupted: Tensor) -> Callable[[Tensor], Tensor]:
    """A restorer: the network with the last convolution that restores these images best, added to the image.

    Where the convolution adds nothing, nothing comes back and nothing else is changed.

    Args:
        network: whatever its own last convolution is, it is not used.
        clean: images (N, C, H, W) to fit the convolution to.
        corrupted: the same, corrupted.
    """
    pairs = zip(clean.split(1), corrupted.split(1), strict=True)
    weight, bias = least_squares_conv((last_map(network, lq), gt - lq) for gt, lq in pairs)

    @torch.inference_mode()
    def restore(image: Tensor) -> Tensor:
        return image + F.conv2d(last_map(network, image), weight, bias, padding=weight.shape[-1] // 2)

    return restore


@torch.inference_mode()
def last_convolution_response(network: Backbone, images: Tensor, seed: int) -> RingResponse:
    """How much of each band the best last convolution behind the features brings back.

    The convolution is fitted on half of the images, each without a random band, and measured on the other half.

    Args:
        network: the network.
        images: (N, C, H, W), of one kind.
        seed: which bands are taken out for the fit.
    """
    bands = band_rings(images.shape[-2], images.shape[-1], BANDS)
    known, held = images[: len(images) // 2], images[len(images) // 2 :]
    drawn = torch.randint(len(bands), (len(known),), generator=generator_for(seed, "bands")).tolist()
    corrupted = torch.cat([without_band(one[None], bands[band])[0] for one, band in zip(known, drawn, strict=True)])
    restore = with_best_convolution(network, known, corrupted)
    whole = last_map(network, held)
    variation = (whole - whole.mean((0, 2, 3), keepdim=True)).norm()
    contrast = (held - held.mean((0, 2, 3), keepdim=True)).norm()
    restored, gain = [], []
    for rings in bands:
        corrupted, mask = without_band(held, rings)
        restored.append(restored_share(restore(corrupted), held, mask))
        change = (last_map(network, corrupted) - whole).norm() / variation.clamp(min=1e-12)
        gain.append(float(change / ((corrupted - held).norm() / contrast)))
    return RingResponse(frequencies(bands, images), restored, gain)


@torch.inference_mode()
def own_response(restore: Callable[[Tensor], Tensor], images: Tensor) -> RingResponse:
    """How much of each band of images (N, C, H, W) a network that makes images brings back."""
    bands = band_rings(images.shape[-2], images.shape[-1], BANDS)
    found = []
    for rings in bands:
        corrupted, mask = without_band(images, rings)
        found.append(restored_share(restore(corrupted), images, mask))
    return RingResponse(frequencies(bands, images), found)


def frequencies(bands: Sequence[range], images: Tensor) -> list[float]:
    """Where bands of images lie, in cycles per pixel."""
    height, width = images.shape[-2:]
    return [band_frequency(rings, height, width) for rings in bands]


def shortened(value: Any) -> Any:
    """Dataclasses anywhere inside a value as dictionaries, numbers shortened to what is known of them."""
    if isinstance(value, Mapping):
        return {key: shortened(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [shortened(inner) for inner in value]
    if is_dataclass(value):
        return shortened(asdict(cast(Any, value)))
    if hasattr(value, "tolist"):  # tensors and arrays
        return shortened(value.tolist())
    return float(f"{value:.6g}") if isinstance(value, float) else value
