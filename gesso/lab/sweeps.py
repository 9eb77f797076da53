"""What runs that differ in one option of pre-training reached: read from comparisons and fine-tuning runs."""

import csv
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from gesso._recipes import read_recipe
from gesso.commands.finetune import Finetune
from gesso.commands.pretrain import Pretrain
from gesso.options import options_of, rename_former
from gesso.pretext import pretext_class
from gesso.report.comparison import comparable
from gesso.report.console import warn
from gesso.report.results import file_stem, read_scores
from gesso.report.statistics import BASELINE, estimate, paired_gains

ALIKE = ("task", "data", "lq", "steps", "lr", "batch_size", "crop_size", "pairs", "transfer", "backbone")

OWN = {
    name: option.default
    for name, option in options_of(Finetune).items()
    if option.group == Finetune.title and option.role == "method" and name not in ALIKE
}
"""Options of fine-tuning that say how a start is taken over, and their defaults."""

Line = dict[Any, tuple[float, float, float]]


@dataclass(frozen=True)
class Measured:
    """What fine-tuning reached from one pre-training.

    Attributes:
        options: of the pre-training, flat: `pretext_args.mask_ratio`; of how it was taken over: `finetune.shrink`; and
            `finetuning`, where kinds of it differ.
        value: gain over random weights, or PSNR, in dB.
        low: lower end of its interval, or of the seeds.
        high: upper end.
        step: after which step of fine-tuning.
    """

    options: dict[str, Any]
    value: float
    low: float
    high: float
    step: int


@dataclass(frozen=True)
class Sweep:
    """Everything that was measured, and what the numbers are.

    Attributes:
        points: what was measured.
        y_label: what the values are.
        baseline: the value of random weights; None where it is not known.
    """

    points: list[Measured]
    y_label: str
    baseline: float | None

    def charts(self) -> Iterator[tuple[str, dict[str, Line]]]:
        """Every option that varies while all others are alike, and the lines of its values."""
        names = sorted({name for point in self.points for name in point.options})
        varying = [name for name in names if len({str(point.options.get(name)) for point in self.points}) > 1]
        for option in varying:
            lines: dict[tuple[str, ...], Line] = {}
            for point in self.points:
                value = point.options.get(option)
                if value is not None:
                    others = [f"{name.split('.')[-1]} {point.options.get(name)}" for name in varying if name != option]
                    key = (*others, f"after {point.step} fine-tuning steps")
                    value = value if isinstance(value, int | float) else str(value)
                    lines.setdefault(key, {})[value] = point.value, point.low, point.high
            lines = {key: dict(sorted(line.items(), key=by_size)) for key, line in lines.items() if len(line) > 1}
            if lines:
                last = len(varying) - 1
                tells = [i for i in range(last) if len({key[i] for key in lines}) > 1] + [last]
                yield option, {", ".join(key[i] for i in tells): line for key, line in lines.items()}


def by_size(item: tuple[Any, Any]) -> tuple[bool, float, str]:
    """A key that sorts (option, value) by the option: numbers by size, and before words."""
    is_number = isinstance(item[0], int | float)
    return not is_number, float(item[0]) if is_number else 0.0, str(item[0])


def read_sweep(folders: Sequence[Path]) -> Sweep:
    """What lies in folders of comparisons, or of fine-tuning runs, or in folders that hold several of one of them.

    Raises:
        FileNotFoundError: if a folder does not exist.
        ValueError: if there is neither, or both, or no option that varies.
    """
    comparisons, runs = [], []
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"--sweep: there is no folder {folder}")
        inside = [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]
        comparisons += [place for place in inside if (place / "comparison.csv").exists()]
        runs += [place for place in inside if (place / "images.csv").exists() and (place / "config.yaml").exists()]
    if bool(comparisons) == bool(runs):
        seen = f"{len(comparisons)} comparisons and {len(runs)} fine-tuning runs"
        raise ValueError(f"--sweep: expected folders of gesso compare, or of gesso finetune, found {seen}")
    sweep = of_comparisons(comparisons) if comparisons else of_runs(runs)
    if not list(sweep.charts()):
        raise ValueError(f"--sweep: no option of pre-training varies between the {len(sweep.points)} results found")
    return sweep


def of_comparisons(folders: Sequence[Path]) -> Sweep:
    """Gains over random weights, after a quarter, half and all of fine-tuning."""
    points = []
    recipes = {folder: read_recipe(folder / "config.yaml") for folder in folders}
    for folder, recipe in recipes.items():
        scores = comparable(read_scores(folder / "comparison.csv"))
        last = max(score.step for score in scores)
        for start in dict.fromkeys(score.start for score in scores if score.start != BASELINE):
            made = next((run for run in sorted(folder.glob("runs/*/*/*")) if run.name[:-9] == file_stem(start)), None)
            options = None if made is None else pretraining_of(made, folder / "starts")
            if options is None:
                warn(f"{folder}: nothing says how {start} was pre-trained; it is left out")
                continue
            options |= differences(recipe, list(recipes.values()))
            steps = sorted({s.step for s in scores if s.start == start and s.step > 0})
            wanted = {min(steps, key=lambda step: abs(step - share * last)) for share in (0.25, 0.5, 1.0)}
            for step in sorted(wanted, reverse=True):
                found = estimate(paired_gains(scores, start, step=step))
                points.append(Measured(options, found.mean, found.low, found.high, step))
    return Sweep(points, "gain over random weights (dB)", 0.0)


def of_runs(folders: Sequence[Path]) -> Sweep:
    """PSNR after the last step of fine-tuning, mean over the runs that differ in nothing but their seed."""
    found: dict[str, tuple[dict[str, Any], int, list[float]]] = {}
    random = []
    recipes = {folder: read_recipe(folder / "config.yaml") for folder in folders}
    for folder, recipe in recipes.items():
        step, psnr = last_measurement(folder)
        if recipe.get("init", "random") == "random":
            random.append(psnr)
            continue
        options = pretraining_of(folder, folder.parent)
        if options is None:
            warn(f"{folder}: nothing says how its start was pre-trained; it is left out")
            continue
        options |= differences(recipe, list(recipes.values()))
        found.setdefault(f"{sorted(options.items(), key=str)} {step}", (options, step, []))[2].append(psnr)
    points = [Measured(o, fmean(psnrs), min(psnrs), max(psnrs), step) for o, step, psnrs in found.values()]
    return Sweep(points, "PSNR (dB)", fmean(random) if random else None)


def last_measurement(run: Path) -> tuple[int, float]:
    """The last step at which a fine-tuning run was measured, and the mean PSNR of its images in dB."""
    with (run / "images.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    last = max(int(row["step"]) for row in rows)
    return last, fmean(float(row["psnr"]) for row in rows if int(row["step"]) == last)


def pretraining_of(run: Path, starts: Path) -> dict[str, Any] | None:
    """Options of the pre-training that a fine-tuning run began with, and of how it took it over; None if nothing tells.

    Args:
        run: folder of the fine-tuning run.
        starts: where pre-trained folders may lie now, if they have been moved.
    """
    config = run / "config.yaml"
    if not config.exists():
        return None
    tuned = read_recipe(config)
    folder = Path(str(tuned.get("init", ""))).parent
    places = [place / "config.yaml" for place in (folder, starts / folder.name)]
    recipe = next((read_recipe(place) for place in places if place.exists()), None)
    if recipe is None or "pretext" not in recipe:
        return None
    return flat(completed(recipe) | {"finetune": {name: tuned.get(name, default) for name, default in OWN.items()}})


def completed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of pre-training with the defaults of what it leaves out, those of the pretext among them."""
    method = pretext_class(recipe["pretext"])
    own = {name: p.default for name, p in inspect.signature(method.__init__).parameters.items()}
    known = {name: option.usual for name, option in options_of(Pretrain).items() if not option.is_needed}
    given = known | rename_former(Pretrain, recipe)
    own = {name: value for name, value in own.items() if value is not inspect.Parameter.empty}
    given["pretext_args"] = own | (given.get("pretext_args") or {})
    given["images"] = given.get("images") or method.images
    if given["images"] == "noise":
        given["count"] = given.get("count") or 1
    methods = {name for name, option in options_of(Pretrain).items() if option.role == "method"}
    return {name: value for name, value in given.items() if name in methods}


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by their names on the command line: `pretext_args.mask_ratio`."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def differences(recipe: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """In words what sets a fine-tuning apart from the others, under `finetuning`; nothing where all are alike."""
    apart = [name for name in ALIKE if len({str(other.get(name)) for other in others}) > 1]
    return {"finetuning": ", ".join(f"{name} {recipe.get(name)}" for name in apart)} if apart else {}
