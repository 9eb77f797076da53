"""What pre-training did to a network: its features, its weights, the bands it restores, and the papers' figures."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gesso._discovery import find_code
from gesso._extras import check_extra
from gesso.backbones import Backbone, BackboneSpec, backbone_classes, spell_backbone
from gesso.checkpoint.files import description
from gesso.commands._written import check_results
from gesso.comparison._runs import listed
from gesso.data.io import atomic_path
from gesso.degradations import parse_degradation
from gesso.functional.padding import round_up
from gesso.functional.random import generator_for
from gesso.functional.spectrum import amplitude, apply_mask, draw_rings, ring_mask
from gesso.lab import charts
from gesso.lab._probe import (
    class_name,
    clean_images,
    degraded,
    embed,
    neighbour_accuracies,
    neighbour_map,
    squared_distances,
)
from gesso.lab.diagnosis import (
    alignments,
    direction_kept,
    features,
    last_convolution_response,
    map_statistics,
    own_response,
    shortened,
    weight_changes,
    with_best_convolution,
)
from gesso.lab.inspect import Inspect
from gesso.lab.provenance import OwnOutput, TrainedNetwork, beginning, open_trained, own_output, random_start
from gesso.lab.similarity import cosine_similarities
from gesso.lab.sweeps import read_sweep
from gesso.metrics import ALL_OF, psnr
from gesso.options import plain_options
from gesso.pretext._base import unit_range
from gesso.report.console import say, show_table, warn
from gesso.report.sheets import write_sheet
from gesso.report.viewers import DARK_TO_LIGHT, coloured
from gesso.sources import is_source, spell_source
from gesso.tasks import ALL_IN_ONE

START = "random start"
ANOTHER_START = 0.2  # mean cosine of the weights with their beginning below which it is hardly theirs
NEIGHBOURS = 5
MOST_OWN = 4  # images of a kind that a network restores by itself; decoders take time
SHOWN = 256  # pixels across a picture in a sheet


def run(command: Inspect) -> dict[str, Any]:
    """Does what `gesso.lab.inspect.Inspect` describes."""
    check_extra("matplotlib", "lab", "a chart")
    folder = Path(command.out)
    if command.what is None and command.sweep is None:
        raise ValueError("expected a file, a folder or the name of a network to look at, or --sweep with folders")
    if command.what is None and (command.spectra or command.embeddings or command.tokens or command.against):
        raise ValueError(
            "expected a file, a folder or the name of a network: --sweep stands alone, other options do not"
        )
    if not 0 < command.mask_ratio < 1:
        raise ValueError(f"mask_ratio: expected a share in (0, 1), got {command.mask_ratio}")
    if command.count < 4:
        raise ValueError(f"count: expected 4 images or more, half of which fit a convolution, got {command.count}")
    check_results(folder, "inspection.json", overwrite=command.overwrite)
    results: dict[str, Any] = {}
    if command.what is not None:
        view = View(command)
        if command.tokens:
            view.check_tokens()
        results |= view.features(folder) | view.weights(folder) | view.rings(folder)
        results = view.facts() | results
        if command.spectra:
            results["spectra"] = view.spectra(folder, command.mask_ratio)
        if command.embeddings:
            results["embeddings"] = view.embeddings(folder)
        if command.tokens:
            results["tokens"] = view.tokens(folder)
    if command.sweep is not None:
        results["sweep"] = draw_sweep(
            folder,
            [Path(place) for place in listed(str(command.sweep) if isinstance(command.sweep, Path) else command.sweep)],
        )
    results = shortened(results)
    with atomic_path(folder / "inspection.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    say(f"written to {folder}")
    return results


class View:
    """The networks that are looked at, and the images that they are shown.

    Attributes:
        origin: the network that was asked for.
        networks: all networks by name: the random start first, then the one asked for, then the other one.
        images: images (N, C, side, side) by kind: "noise", "leaves", and "photos" or the name of another source.
        began: the network as its run began, and in words what that was.
    """

    def __init__(self, command: Inspect) -> None:
        assert command.what is not None
        named = find_code(plain_options(command))
        self.origin = open_trained(
            command.what, command.backbone_args or {}, command.seed, pretext=command.pretext, named=named
        )
        self.seed = command.seed if command.seed is not None else self.origin.seed or 0
        self.networks: dict[str, Backbone] = {}
        self.began: tuple[Backbone, str] | None = None
        if not self.origin.is_random and (start := random_start(self.origin, self.seed)) is not None:
            self.networks[START] = start
            self.began = beginning(self.origin, self.seed)
        self.networks[self.origin.label] = self.origin.network
        self.other = None
        if command.against is not None:
            other = open_trained(command.against, {}, self.seed + 1, channels=self.channels, named=named)
            names = (other.label, spelled(command.against), f"{spelled(command.against)} (the other)")
            self.other = next(name for name in names if name not in self.networks)
            self.networks[self.other] = other.network
        multiple = math.lcm(*(network.size_multiple for network in self.networks.values()))
        self.side, self.count = round_up(command.crop_size, multiple), command.count
        self.source, self.white_level = command.images or "leaves", command.white_level
        generators = [generator_for(self.seed, "inspected noise", i) for i in range(self.count)]
        self.images = {
            "noise": torch.stack([torch.randn(self.channels, self.side, self.side, generator=g) for g in generators]),
            "leaves": torch.stack(clean_images("leaves", self.count, self.side, self.seed, self.channels)),
        }
        self.natural = "leaves"
        """The kind of image that comes nearest to what a network will restore."""
        if command.images is not None:
            self.natural = spell_source(command.images) if is_source(command.images) else "photos"
            self.images[self.natural] = self.clean(self.count, self.side)
        self.classes = [parse_degradation(value) for value in (command.degradations or ALL_IN_ONE.values())]
        self.own, self.own_words = own_output(self.origin)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.origin.network.in_channels

    def clean(self, count: int, side: int) -> Tensor:
        """Clean images (N, C, side, side): photos where there are any, else leaves.

        Raises:
            ValueError: if there are fewer than 4.
        """
        found = clean_images(self.source, count, side, self.seed, self.channels, self.white_level)
        if len(found) < 4:
            raise ValueError(f"{spell_source(self.source)}: expected 4 photos or more, found {len(found)}")
        return torch.stack(found)

    def facts(self) -> dict[str, Any]:
        """What was looked at, and how."""
        return {
            "network": description(self.origin.network) | {"file": self.origin.file and str(self.origin.file)},
            "networks": list(self.networks),
            "start": {"seed": self.seed, "words": self.beginning_in_words()},
            "images": {kind: list(images.shape) for kind, images in self.images.items()},
            "source": spell_source(self.source),
        }

    def beginning_in_words(self) -> str:
        """What the network began as."""
        if self.began is not None:
            return self.began[1]
        return "it is the random start itself" if self.origin.is_random else "nothing says how it began"

    # ---------------------------------------------------------------------------------------------------- features

    def features(self, folder: Path) -> dict[str, Any]:
        """Statistics of the feature maps, and how alike those of two networks are."""
        statistics: dict[str, dict[str, Any]] = {}
        aligned: dict[str, dict[str, list[list[float]]]] = {}
        for kind, images in self.images.items():
            maps = {name: features(network, images) for name, network in self.networks.items()}
            statistics[kind] = shortened({name: map_statistics(of_one) for name, of_one in maps.items()})
            ours = maps.pop(self.origin.label)
            if maps:
                aligned[kind] = {name: alignments(ours, theirs) for name, theirs in maps.items()}
        charts.write(folder / "features.svg", charts.feature_charts(statistics))
        if aligned:
            charts.write(folder / "alignment.svg", charts.alignment_tables(aligned, self.origin.label))
        self.show_features(statistics[self.natural], aligned.get(self.natural, {}))
        return {"features": statistics, "alignment": aligned}

    def show_features(self, statistics: dict[str, Any], aligned: dict[str, list[list[float]]]) -> None:
        """Prints the statistics of one kind of image, and the alignment of maps in the same place."""
        rows = []
        for i, ours in enumerate(statistics[self.origin.label]):
            for name, maps in statistics.items():
                if i < len(maps):
                    one, alike = maps[i], aligned.get(name, [])
                    place = f"{i + 1}: {ours['channels']} x {ours['side']} px" if name == next(iter(statistics)) else ""
                    found = [f"{one['scale']:.3g}", f"{one['correlation']:.2f}", f"{one['effective_rank']:.1f}"]
                    rows.append([place, name, *found, f"{alike[i][i]:.2f}" if alike and i < len(alike[i]) else ""])
        header = ["feature map", "of", "scale", "correlation", "effective rank", "alignment"]
        show_table(header, rows, title=f"on {self.natural}; alignment with {self.origin.label}")

    # ----------------------------------------------------------------------------------------------------- weights

    def weights(self, folder: Path) -> dict[str, Any]:
        """How far the weights are from where training began, and from those of the other network."""
        others = {} if self.began is None else {"its beginning": self.began[0]}
        if self.other is not None:
            others[self.other] = self.networks[self.other]
        by_part = {name: weight_changes(self.origin.network, other) for name, other in others.items()}
        by_part = {name: parts for name, parts in by_part.items() if parts}
        if not by_part:
            return {"weights": {}}
        if self.began is not None:
            say(f"its beginning: {self.began[1]}")
            kept = direction_kept(self.origin.network, self.began[0])
            if kept < ANOTHER_START:
                warn(f"weights barely correlate with this beginning (mean cosine {kept:.2f}); wrong seed?")
        distances = {name: {k: c.relative for k, c in parts.items()} for name, parts in by_part.items()}
        charts.write(folder / "weights.svg", charts.weight_chart(distances))
        first = next(iter(by_part))
        rows = [
            [part, f"{c.distance:.3g}", *("–" if n is None else f"{n:.3f}" for n in (c.relative, c.cosine))]
            for part, c in by_part[first].items()
        ]
        show_table(["weights", "distance", "relative", "cosine"], rows, title=f"from {first}")
        tensors = {name: weight_changes(self.origin.network, other, key=str) for name, other in others.items()}
        return {"weights": {name: {"parts": by_part[name], "tensors": tensors[name]} for name in by_part}}

    # ------------------------------------------------------------------------------------------------------- rings

    def rings(self, folder: Path) -> dict[str, Any]:
        """Which bands of the spectrum come back once they are missing."""
        kinds = [kind for kind in self.images if kind != "noise"]
        fitted = shortened({
            kind: {
                name: last_convolution_response(network, self.images[kind], self.seed)
                for name, network in self.networks.items()
            }
            for kind in kinds
        })  # fmt: skip
        charts.write(folder / "rings.svg", charts.ring_charts(fitted))
        own = {} if self.own is None else shortened(self.own_responses(self.own))
        if own:
            charts.write(folder / "rings-by-itself.svg", charts.own_chart(own, self.origin.label))
        self.show_rings(fitted[self.natural], own.get(self.natural))
        return {"rings": {"best last convolution": fitted, "by itself": own, "words": self.own_words}}

    def own_responses(self, own: OwnOutput) -> dict[str, Any]:
        """What the network restores by itself, of its own noise first, where there is some."""
        held = {kind: images[-MOST_OWN:] for kind, images in self.images.items()}
        if own.noise is None:
            held.pop("noise")
        else:
            held = {"the noise it was trained on": own.noise, "other noise": held.pop("noise"), **held}
        return {kind: own_response(own.restore, images[:MOST_OWN]) for kind, images in held.items()}

    def show_rings(self, fitted: dict[str, Any], own: dict[str, Any] | None) -> None:
        """Prints the shares of each band that come back on one kind of image."""
        columns = {name: one["restored"] for name, one in fitted.items()}
        if own is not None:
            columns["by itself"] = own["restored"]
        frequencies = next(iter(fitted.values()))["frequency"]
        rows = [
            [f"{frequency:.3f}", *(f"{values[i]:.1%}" for values in columns.values())]
            for i, frequency in enumerate(frequencies)
        ]
        title = f"share of each missing band of {self.natural} that the best last convolution restores"
        show_table(["cycles per pixel", *columns], rows, title=title)
        say(f"by itself: {self.own_words}")

    # ----------------------------------------------------------------------------------------------------- figures

    def labelled(self) -> tuple[list[Tensor], list[str], np.ndarray]:
        """Clean images one by one, the names of the classes, and the class of each image degraded in every way."""
        clean = list(self.clean(self.count, self.side))
        names = [class_name(one).replace("_", " ") for one in self.classes]
        return clean, names, np.tile(np.arange(len(names)), len(clean))

    def spectra(self, folder: Path, mask_ratio: float) -> dict[str, Any]:
        """IFP, Figure 2: where the amplitude spectra of degradations lie, and what is restored from masked rings."""
        clean, names, labels = self.labelled()
        rows = []
        for i, image in enumerate(clean):
            degraded = [one(image[None], generator_for(self.seed, "probe", i, k)) for k, one in enumerate(self.classes)]
            rows.append(amplitude(torch.cat(degraded)).log().flatten(1))
        places = neighbour_map(squared_distances(torch.cat(rows)))
        title = f"t-SNE of the log-amplitude spectra of {len(clean)} images in {len(names)} degradations"
        heading = {"log-amplitude spectra (t-SNE)": places}
        charts.write(folder / "spectra.svg", charts.class_maps(title, heading, labels, names))
        return {"places": places, "labels": labels, "classes": names} | self.masked_rings(folder, mask_ratio)

    def masked_rings(self, folder: Path, mask_ratio: float) -> dict[str, Any]:
        """Writes an image, the image without rings and what is restored of it, with their spectra; returns the PSNR."""
        images = self.images[self.natural]
        corrupted = torch.cat([self.without_rings(one[None], mask_ratio, i) for i, one in enumerate(images)])
        clean = self.clean(4, 2 * self.side)[:1]
        lq = self.without_rings(clean, mask_ratio, len(images))
        pictures = {"original": clean, f"without {mask_ratio:.0%} of the rings": lq}
        if self.own is not None:
            with torch.inference_mode():
                pictures[f"{self.origin.label} by itself"] = self.own.restore(lq)
        for name, network in self.networks.items():
            restore = with_best_convolution(network, images, corrupted)
            pictures[f"{name}, best last conv."] = restore(lq)
        channel = ALL_OF[self.channels]
        found = {
            name: float(psnr(one.clamp(0, 1), clean, channel=channel))
            for name, one in pictures.items()
            if one is not clean
        }
        labels = {name: f"{name}: {found[name]:.1f} dB" if name in found else name for name in pictures}
        sheet = [
            {labels[name]: enlarged(picture[0].clamp(0, 1)) for name, picture in pictures.items()},
            {f"its spectrum{' ' * i}": enlarged(spectrum_picture(one)) for i, one in enumerate(pictures.values())},
        ]
        if self.own is not None and self.own.noise is not None:
            sheet.append(self.own_noise(self.own, mask_ratio))
        write_sheet(folder / "masked-rings.png", sheet)
        show_table(["restored from masked rings by", "PSNR (dB)"], [[name, f"{found[name]:.2f}"] for name in found])
        return {"psnr": found, "only noise seen": self.origin.saw_noise}

    def own_noise(self, own: OwnOutput, mask_ratio: float) -> dict[str, Tensor]:
        """The noise that the network was trained on, without rings, and what it makes of it, as pictures."""
        assert own.noise is not None
        noise = own.noise[:1]
        lq = self.without_rings(noise, mask_ratio, 0)
        with torch.inference_mode():
            restored = own.restore(lq)
        left = float((restored - noise).square().sum() / (lq - noise).square().sum())
        named = {"the noise it was trained on": noise, f"without {mask_ratio:.0%} of the rings": lq,
                 f"{self.origin.label} by itself: {left:.0%} of its error left": restored}  # fmt: skip
        return {name: enlarged(unit_range(picture, noise)[0]) for name, picture in named.items()}

    def without_rings(self, image: Tensor, mask_ratio: float, number: int) -> Tensor:
        """An image (1, C, H, W) without a share of its rings, as IFP masks it, unclamped."""
        height, width = image.shape[-2:]
        rings = draw_rings(1, height, width, mask_ratio, generator_for(self.seed, "inspected rings", number))
        return apply_mask(image, ring_mask(height, width, rings))

    def embeddings(self, folder: Path) -> dict[str, Any]:
        """IFP, Figure 4, and DCPT's t-SNE: where the features of degraded images lie, before and after."""
        clean, names, labels = self.labelled()
        samples = degraded(clean, self.classes, self.seed)
        maps, results = {}, {}
        for name, network in self.networks.items():
            rows = embed(network, samples.batches, name)
            accuracies = neighbour_accuracies(squared_distances(rows), labels, NEIGHBOURS)
            places = neighbour_map(squared_distances(F.normalize(rows.float(), dim=1)))  # of unit length, as in DCPT's
            right = float(np.mean(accuracies))
            maps[f"{name}: {NEIGHBOURS} neighbours are right in {right:.0%}"] = places
            results[name] = {"accuracies": accuracies, "places": places}
        title = f"t-SNE of the features of {len(clean)} images in {len(names)} degradations"
        charts.write(folder / "embeddings.svg", charts.class_maps(title, maps, labels, names))
        show_table(
            ["features of", "accuracy of the neighbours"],
            [[name, f"{np.mean(one['accuracies']):.1%}"] for name, one in results.items()],
        )
        return {"networks": results, "labels": labels, "classes": names}

    def check_tokens(self) -> None:
        """Checks that the network has embeddings of tokens and tasks.

        Raises:
            ValueError: if not.
        """
        network = self.origin.network
        if network.embeddings() is None:
            having = [name for name, kind in backbone_classes().items() if kind.embeddings is not Backbone.embeddings]
            raise ValueError(
                f"tokens: {', '.join(having)} has position and task embeddings of its own, "
                f"{type(network).__name__} does not"
            )

    def tokens(self, folder: Path) -> dict[str, Any]:
        """IPT, Figures 7 and 9: similarities of its position embeddings, and of its task embeddings."""
        embeddings = self.origin.network.embeddings()
        assert embeddings is not None
        position = cosine_similarities(embeddings.positions)
        charts.write(folder / "positions.svg", charts.position_picture(position))
        if embeddings.tasks is None:
            say("tokens: one task alone has nothing to be compared with; position embeddings only")
            return {"positions": position}
        by_token = F.normalize(embeddings.tasks, dim=-1)
        task = torch.einsum("tnd,und->tu", by_token, by_token) / by_token.shape[1]
        names = task_names(self.origin) or embeddings.names
        words = "mean cosine of the embeddings of a token"
        table = charts.similarity_table("Similarities of task embeddings", task.tolist(), names, words)
        charts.write(folder / "tasks.svg", table)
        return {"positions": position, "tasks": task, "names": names}


# ----------------------------------------------------------------------------------------------------------- parts


def spelled(what: BackboneSpec | Path) -> str:
    """What a network, a file or a folder is called."""
    return str(what) if isinstance(what, Path) else spell_backbone(what)


def task_names(origin: TrainedNetwork) -> list[str]:
    """What the tasks are called that a network was pre-trained for; [] if nobody says."""
    tasks = origin.recipe.get("pretext_args", {}).get("tasks") or []
    return [str(task["name"] if isinstance(task, dict) else task) for task in tasks]


def enlarged(picture: Tensor) -> Tensor:
    """A small picture (C, H, W) with its pixels repeated until it is as wide as its label, `SHOWN` pixels or more."""
    factor = max(1, math.ceil(SHOWN / picture.shape[-1]))
    return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def spectrum_picture(image: Tensor) -> Tensor:
    """The log-amplitude spectrum of an image (1, C, H, W) as a picture (3, H, W), zero frequency in the middle."""
    logarithm = amplitude(image)[0].mean(0).clamp(min=1e-3).log10()  # 0.001 to 10, dark to light
    return coloured(((logarithm + 3) / 4).clamp(0, 1), DARK_TO_LIGHT)


def draw_sweep(folder: Path, places: Sequence[Path]) -> dict[str, Any]:
    """Draws what was reached over each option of pre-training that varies; returns the numbers."""
    found = read_sweep(places)
    drawn: dict[str, Any] = {}
    for option, lines in found.charts():
        name = option.removeprefix("pretext_args.").removeprefix("finetune.").replace(".", "-")
        label = f"{name} of {'fine-tuning' if option.startswith('finetune.') else 'pre-training'}"
        drawing = charts.sweep_chart(label, lines, found.y_label, baseline=found.baseline)
        charts.write(folder / f"sweep-{name}.svg", drawing)
        rows = [
            [f"{name} {value}", line, f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"]
            for line, values in lines.items()
            for value, (middle, low, high) in values.items()
        ]
        show_table([option, "other options", found.y_label], rows)
        drawn[option] = {
            line: {str(value): numbers for value, numbers in values.items()} for line, values in lines.items()
        }
    return {"values": found.y_label, "random": found.baseline, "options": drawn}
