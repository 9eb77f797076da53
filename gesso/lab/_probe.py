"""How well frozen features tell degradations apart: nearest neighbours, random weights against checkpoints."""

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gesso._extras import check_extra
from gesso.backbones import Backbone, BackboneSpec, open_backbone, spell_backbone
from gesso.commands._written import check_results
from gesso.data.datasets import Window, cut
from gesso.data.folders import find_images, natural
from gesso.data.image_ref import ImageRef
from gesso.data.io import as_paths, atomic_text, read_pixels
from gesso.data.layouts import LooksLikePairsError, NoPairsError, find_pairs, find_photos, find_splits
from gesso.data.training_data import draw_photos
from gesso.degradations import Degradation, parse_degradation
from gesso.degradations._function import FromFunction
from gesso.degradations.compose import Mix
from gesso.formats import PixelFormat, check_channels
from gesso.functional.random import generator_for, seed_for
from gesso.lab import charts
from gesso.lab.probe import Probe
from gesso.lab.provenance import open_file
from gesso.published import published_probe
from gesso.report.console import say, show_table, track
from gesso.sources import SourceSpec, draw_image, is_source, open_source
from gesso.tasks import ALL_IN_ONE

CLEAN = "leaves"  # images where nobody names any
SPLITS = (0, 223, 929, 1234, 10086)  # seeds of the released script


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often the neighbours were right.

    Attributes:
        start: "random", "pixels" for no network at all, or the file whose weights were probed.
        accuracies: share of right answers in [0, 1], one for each split.
    """

    start: str
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the splits."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Population standard deviation over the splits, as the paper reports it."""
        return float(np.std(self.accuracies))


@dataclasses.dataclass(frozen=True)
class Samples:
    """Degraded images of several classes.

    Attributes:
        names: of the classes.
        labels: the class of each image, (N,).
        batches: functions that make some of the images (B, C, H, W), in the order of the labels.
    """

    names: list[str]
    labels: np.ndarray
    batches: list[Callable[[], Tensor]]


def run(command: Probe) -> list[Accuracy]:
    """Does what `gesso.lab.probe.Probe` describes."""
    for package in ("matplotlib", "sklearn"):
        check_extra(package, "lab", "gesso probe")
    (folder,) = as_paths(command.out)
    given = [command.checkpoint] if isinstance(command.checkpoint, str | Path) else command.checkpoint or []
    files = [file for one in given for file in found_in(str(one))]
    if command.backbone is None and not files and not command.pixels:
        raise ValueError("expected a backbone to probe with random weights, a checkpoint, or both")
    if folder is not None:
        check_results(folder, "probe.csv", overwrite=command.overwrite)
    networks = starts(command.backbone, command.backbone_args or {}, files, command.seed, command.pixels)
    channels = networks[-1][1].in_channels
    if command.classes is not None:
        if command.degradations is not None or command.own_images or command.images not in (None, CLEAN):
            raise ValueError(
                "classes: their images are degraded already, so images, degradations and own_images have no effect"
            )
        samples = from_folders(
            command.classes, command.count, command.crop_size, command.seed, channels, command.white_level
        )
    else:
        degradations = [parse_degradation(value) for value in (command.degradations or ALL_IN_ONE.values())]
        wanted = command.count * len(degradations) if command.own_images else command.count
        clean = clean_images(
            command.images or "leaves", wanted, command.crop_size, command.seed, channels, command.white_level
        )
        samples = degraded(clean, degradations, command.seed, own_images=command.own_images)
    check_samples(samples, command.neighbours)

    found, distances = [], {}
    for start, network in networks:
        distances[start] = squared_distances(embed(network, samples.batches, start))
        found.append(Accuracy(start, neighbour_accuracies(distances[start], samples.labels, command.neighbours)))
    show_table(
        ("features of", "accuracy in %", "published, random weights"),
        [
            (
                a.start,
                f"{100 * a.mean:.1f} ± {100 * a.spread:.1f}",
                published(a, command.backbone) if channels == 3 else "",
            )
            for a in found
        ],
    )
    if folder is not None:
        write(folder, found, distances, samples.labels, samples.names)
        say(f"written to {folder}")
    return found


def found_in(checkpoint: str) -> list[str]:
    """The file itself, or the weights of a folder, naturally sorted.

    Raises:
        FileNotFoundError: if the folder holds none.
    """
    if not Path(checkpoint).is_dir():
        return [checkpoint]
    files = sorted(map(str, Path(checkpoint).glob("*.safetensors")), key=natural)
    if not files:
        raise FileNotFoundError(
            f"checkpoint: {checkpoint} holds no .safetensors; --snapshot_every keeps those of a run"
        )
    return files


def degraded(
    clean: Sequence[Tensor], degradations: Sequence[Degradation], seed: int, *, own_images: bool = False
) -> Samples:
    """Clean images (C, H, W) in every degradation, or each in one of them in turn if classes have `own_images`."""
    ways = [[i % len(degradations)] if own_images else range(len(degradations)) for i in range(len(clean))]

    def make(i: int) -> Tensor:
        return torch.cat([degradations[k](clean[i][None], generator_for(seed, "probe", i, k)) for k in ways[i]])

    batches = [partial(make, i) for i in range(len(clean))]
    return Samples([class_name(one) for one in degradations], np.concatenate(ways), batches)


def from_folders(
    folders: Mapping[str, str], count: int, crop_size: int, seed: int, channels: int, white_level: int | None = None
) -> Samples:
    """The middles of `count` degraded images of each class, drawn by `seed`.

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if one holds no images.
    """
    labels, batches = [], []

    format = PixelFormat.of_channels(channels, white_level)

    def make(stored: ImageRef) -> Tensor:
        return format.from_stored(middle(read_pixels(stored, format), crop_size))[None]

    for label, (name, folder) in enumerate(folders.items()):
        stored = draw_photos(degraded_images(Path(folder)), count, seed, f"{name}: {folder}")
        labels += [label] * len(stored)
        batches += [partial(make, one) for one in stored]
    return Samples([*folders], np.array(labels, dtype=int), batches)


def degraded_images(folder: Path) -> list[Any]:
    """The degraded images under a folder: those of pairs, of the test split if there is one, else all images.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if there are none.
    """
    splits = find_splits(folder)
    split = "test" if "test" in splits or not splits else splits[0]
    try:
        return [pair.lq for pair in find_pairs(folder, split)]
    except (NoPairsError, LooksLikePairsError):  # one side of pairs, as `SOTS/outdoor/hazy`, is what is asked for
        images = find_images(folder)
    if not images:
        raise ValueError(f"classes: {folder} holds no images")
    return [*images]


def check_samples(samples: Samples, neighbours: int) -> None:
    """Checks that there are classes to tell apart and enough images to ask.

    Raises:
        ValueError: if there are fewer than two classes, three images in each, or voters than `neighbours`.
    """
    each = min(np.bincount(samples.labels, minlength=len(samples.names)), default=0)
    if len(samples.names) < 2 or each < 3:
        expected = "expected two classes or more, and three images in each"
        raise ValueError(f"{expected}, got {len(samples.names)} and {each}")
    voters = len(divided(samples.labels, SPLITS[0])[0])
    if not 1 <= neighbours <= voters:
        raise ValueError(f"neighbours: expected 1 to {voters}, as many images as there are to ask, got {neighbours}")


def class_name(degradation: Degradation) -> str:
    """What a class is called in a picture: a mix of one kind, such as noise of several strengths, after that kind."""
    kinds = {class_name(choice) for choice in degradation.choices} if isinstance(degradation, Mix) else set[str]()
    if len(kinds) == 1:
        return kinds.pop()
    return str(degradation) if isinstance(degradation, FromFunction) else degradation.name


def published(accuracy: Accuracy, backbone: BackboneSpec | None) -> str:
    """What DCPT's authors found for this network with random weights, on other images."""
    if accuracy.start != "random" or not isinstance(backbone, str):
        return ""
    return published_probe(backbone)


def clean_images(
    images: SourceSpec, count: int, crop_size: int, seed: int, channels: int = 3, white_level: int | None = None
) -> list[Tensor]:
    """`count` different images (C, crop_size, crop_size) in [0, 1]: the middles of photos, or images of a source.

    Photos turn grey for one channel; for four, their files have to have four channels of data.

    Raises:
        ValueError: if they do not lie in [0, 1].
    """
    if is_source(images):
        source = open_source(images, unit_range=True)
        return [draw_image(source, seed, number, crop_size, channels) for number in range(count)]
    folder = str(images)
    photos = draw_photos(find_photos(Path(folder)), count, seed, folder)
    format = PixelFormat.of_channels(channels, white_level)
    return [format.from_stored(middle(read_pixels(photo, format), crop_size)) for photo in photos]


def middle(pixels: np.ndarray, size: int) -> Tensor:
    """The centre crop (C, size, size) in [0, 1] of stored pixels (H, W, C)."""
    top, left = (max(0, side - size) // 2 for side in pixels.shape[:2])
    return cut(pixels, Window(top, left, size, symmetry=0))


class Pixels(Backbone):
    """No network: its only feature map is the image."""

    in_channels = 3

    def features(self, image: Tensor) -> list[Tensor]:
        """The image."""
        return [image]


def starts(
    backbone: BackboneSpec | None, options: dict[str, Any], files: Sequence[str], seed: int, pixels: bool
) -> list[tuple[str, Backbone]]:
    """Networks to probe, by what their weights are: first none, if `pixels`, then the random one.

    They take images with as many channels as the random one, else as `options` or the first file say.
    """
    networks: list[tuple[str, Backbone]] = [("pixels", Pixels())] if pixels else []
    channels = options.get("image_channels")
    if backbone is not None:
        torch.manual_seed(seed_for(seed, "weights"))
        network = with_random_weights(open_backbone(backbone, options))
        channels = network.in_channels
        check_channels(spell_backbone(backbone), channels)
        networks.append(("random", network))
    for file in files:
        network = open_file(file, channels)
        channels = network.in_channels
        networks.append((file, network))
    return networks


def with_random_weights(network: Backbone) -> Backbone:
    """The network with Kaiming-uniform weights (a = 2) and zero biases, the random start of DCPT's experiment."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=2)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


@torch.inference_mode()
def embed(network: Backbone, batches: Sequence[Callable[[], Tensor]], start: str) -> Tensor:
    """The last feature map of every image, flattened: (N, D) in half precision."""
    network.eval()
    rows = []
    for make in track(batches, f"features of {start}"):
        feature = network.features(network.pad(make()))[-1]
        rows.append(feature.flatten(1).to(torch.float16))
    return torch.cat(rows)


def squared_distances(rows: Tensor, chunk: int = 65_536) -> np.ndarray:
    """Squared Euclidean distances between rows (N, D), shape (N, N), summed over parts of D to spare memory."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for start in range(0, rows.shape[1], chunk):
        part = rows[:, start : start + chunk].float()
        total += torch.cdist(part, part).double().square()
    return total.numpy()


def neighbour_accuracies(distances: np.ndarray, labels: np.ndarray, neighbours: int) -> tuple[float, ...]:
    """Share of right answers of the nearest neighbours, one for each of the five published splits."""
    from sklearn.neighbors import KNeighborsClassifier

    accuracies = []
    for split in SPLITS:
        known, asked = divided(labels, split)
        vote = KNeighborsClassifier(neighbours, metric="precomputed")
        vote.fit(distances[np.ix_(known, known)], labels[known])
        accuracies.append(float(vote.score(distances[np.ix_(asked, known)], labels[asked])))
    return tuple(accuracies)


def divided(labels: np.ndarray, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the two thirds that vote, and of the third that is asked for."""
    from sklearn.model_selection import train_test_split

    known, asked = train_test_split(np.arange(len(labels)), test_size=0.33, random_state=split)
    return np.asarray(known), np.asarray(asked)


def write(
    folder: Path, found: Sequence[Accuracy], distances: dict[str, np.ndarray], labels: np.ndarray, names: Sequence[str]
) -> None:
    """Writes the accuracies as `probe.csv` and a t-SNE of each start's features as `probe.svg`."""
    with atomic_text(folder / "probe.csv") as file:
        table = csv.writer(file)
        table.writerow(["start", *(f"split {split}" for split in SPLITS), "mean", "spread"])
        table.writerows([a.start, *a.accuracies, a.mean, a.spread] for a in found)
    maps = {f"{Path(a.start).name}: {100 * a.mean:.0f} %": neighbour_map(distances[a.start]) for a in found}
    charts.write(folder / "probe.svg", charts.class_maps("t-SNE of the features", maps, labels, names))


def neighbour_map(distances: np.ndarray) -> np.ndarray:
    """Places (N, 2) that keep near what is near, by t-SNE of squared distances (N, N)."""
    check_extra("sklearn", "lab", "a map of neighbours")
    from sklearn.manifold import TSNE

    perplexity = min(30, len(distances) // 4)
    tsne = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=0)
    return tsne.fit_transform(np.sqrt(distances))
