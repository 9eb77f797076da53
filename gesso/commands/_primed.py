"""The networks that come with the package: check one by making it again, add one from a run, write their cards."""

import dataclasses
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from gesso import _discovery, checkpoint
from gesso import primed as kept
from gesso.backbones import Backbone
from gesso.checkpoint.files import State, description
from gesso.commands.pretrain import Pretrain
from gesso.commands.primed import Primed as Command
from gesso.data.io import atomic_path
from gesso.data.training_data import open_images
from gesso.functional.random import generator_for, seed_for
from gesso.options import rename_former
from gesso.pretext import create_pretext
from gesso.primed import Primed
from gesso.report.console import say
from gesso.sources import list_sources

ALIKE = 0.1  # dB that a network which was made again may differ by in effect
PAGE = "docs/primed.md"


def run(command: Command) -> "Verdict | Path":
    """Does what `gesso.commands.primed.Primed` describes."""
    if command.action == "cards":
        page = Path(command.out or PAGE)
        with atomic_path(page) as temporary:
            temporary.write_text(cards(list(kept.list_primed().values())), encoding="utf-8")
        return page
    if command.name is None:
        raise ValueError(f"primed {command.action}: expected the name of a network, such as derain/restormer_tiny")
    if command.action == "verify":
        one = kept.find_primed(command.name)
        if command.out is not None:
            return verify(one, Path(command.out))
        with tempfile.TemporaryDirectory() as folder:
            return verify(one, Path(folder) / "run")
    if command.from_run is None:
        raise ValueError("primed add: expected the folder of a run (--from_run)")
    measured = read_measured(command.scores or [], command.inputs or [])
    return add(
        command.name.removeprefix(kept.PREFIX),
        Path(command.from_run),
        command.out,
        command.tasks,
        measured,
        command.minutes,
        overwrite=command.overwrite,
    )


# ------------------------------------------------------------------------------------------------------------- verify


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a network that was made again compares with the one that is there.

    Attributes:
        name: the network.
        same: how many of its tensors are the same bits.
        total: how many there are.
        largest: the largest difference of two weights.
        psnr: what each of both reaches on images that neither has seen, in dB: the one there, the new one.
    """

    name: str
    same: int
    total: int
    largest: float
    psnr: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether both restore alike."""
        return self.same == self.total or abs(self.psnr[0] - self.psnr[1]) <= ALIKE

    @property
    def exit_code(self) -> int:
        """0 if it holds, else 1."""
        return int(not self.holds)

    def __str__(self) -> str:
        """One line."""
        if self.same == self.total:
            return f"{self.name}: made again, the same bits in all {self.total} tensors"
        kind = "alike" if self.holds else "NOT alike"
        return (
            f"{self.name}: made again, {self.same} of {self.total} tensors are the same bits, the largest difference "
            f"is {self.largest:.2g}; in effect {kind}: {self.psnr[0]:.2f} dB there, {self.psnr[1]:.2f} dB made again"
        )


def verify(one: Primed, out: Path) -> Verdict:
    """Makes a primed network again into a folder, and says how it compares."""
    recipe = checkpoint.read_header(one.path).get("recipe")
    if not isinstance(recipe, dict):
        raise ValueError(f"{one.path}: its header has no recipe to make it from")
    made = Pretrain(**rename_former(Pretrain, recipe), out=out).run()
    state, again = checkpoint.read_state(one.path), halved(checkpoint.read_state(made), made)
    if state.keys() != again.keys() or any(state[key].shape != again[key].shape for key in state):
        raise ValueError(f"{one.path}: its recipe makes another network: {description(checkpoint.load(made))}")
    networks = checkpoint.load(one.path), checkpoint.load(made)
    verdict = Verdict(
        one.name,
        sum(torch.equal(state[key], again[key]) for key in state),
        len(state),
        max((state[key].float() - again[key].float()).abs().max().item() for key in state),
        (effect(networks[0], recipe), effect(networks[1], recipe)),
    )
    say(str(verdict))
    return verdict


@torch.no_grad()
def effect(network: Backbone, recipe: Mapping[str, Any], count: int = 8, size: int = 96) -> float:
    """Mean PSNR in dB of a network on images from nothing that no training has seen, degraded as in its own."""
    network.eval()
    method: Any = create_pretext("restore", network, **(recipe.get("pretext_args") or {}))
    images = open_images(recipe["images"], seed=seed_for(0, "validation"), channels=network.in_channels)
    errors = []
    for number in range(count):
        gt = images[(number, size)]["image"][None]
        lq = method.degradation(gt, generator_for(0, "verify", number))
        errors.append((method.restore(lq, gt).clamp(0, 1) - gt).square().mean())
    return (-10 * torch.stack(errors).clamp(min=1e-10).log10()).mean().item()


# ---------------------------------------------------------------------------------------------------------------- add


def add(
    name: str,
    run: Path,
    out: str | Path | None,
    tasks: list[str] | None,
    measured: list[dict[str, Any]],
    minutes: float | None,
    *,
    overwrite: bool,
) -> Path:
    """Writes the network of a run in half precision as `OUT/TASK/NETWORK.safetensors`."""
    task, _, network = name.partition("/")
    recipe, weights = read_run(run)
    args = recipe.get("pretext_args") or {}
    if not network or network != recipe["backbone"]:
        raise ValueError(f"{name}: expected TASK/{recipe['backbone']}, the network of {run}")
    if args.get("task", task) != task:
        raise ValueError(f"{name}: {run} was trained for {args['task']}")
    target = Path(out or kept.find_folders()[0]) / task / f"{network}.safetensors"
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists; --overwrite replaces it")
    state = checkpoint.read_state(weights)
    facts = checkpoint.read_header(weights) | {
        "task": task,
        "tasks": tasks or [task],
        "recipe": recipe,
        "command": f"gesso pretrain --config RECIPE --out {run.name}",
        "seed": recipe.get("seed", 0),
        "commit": commit(),
        "parameters": sum(tensor.numel() for tensor in state.values()),
        "minutes": minutes,
        "measured": measured,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save_state(halved(state, weights), target, **facts)
    return target


def read_run(run: Path) -> tuple[dict[str, Any], Path]:
    """The recipe of a finished run of `gesso pretrain` on images from nothing, and its weights.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if it is not finished, has another pretext than `restore`, or has seen photos.
    """
    config, weights = run / "config.yaml", run / "backbone.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file; expected the folder of a run of `gesso pretrain`")
    if not config.read_text(encoding="utf-8").startswith("# gesso pretrain "):
        raise ValueError(f"{run}: expected a run of `gesso pretrain`")
    recipe = yaml.safe_load(config.read_text(encoding="utf-8"))
    if recipe["pretext"] != "restore":
        raise ValueError(
            f"{run}: expected the pretext restore, whose network restores already, got {recipe['pretext']}"
        )
    images = recipe.setdefault("images", "leaves")
    if images not in list_sources() or recipe.get("init"):
        raise ValueError(
            f"{run}: expected images from nothing ({', '.join(list_sources())}) and no other start, got {images}"
        )
    step = checkpoint.read_header(weights).get("step")
    if step != recipe["steps"]:
        raise ValueError(f"{run}: it stands at step {step} of {recipe['steps']}; finish it (--resume)")
    return recipe, weights


def halved(state: Mapping[str, torch.Tensor], where: Path) -> State:
    """Tensors in half precision.

    Raises:
        ValueError: if one has values beyond it.
    """
    half = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in state.items()}
    if wrong := [key for key, tensor in half.items() if not tensor.isfinite().all()]:
        raise ValueError(f"{where}: {wrong[0]} has values that half precision does not hold")
    return half


def read_measured(scores: Sequence[str], inputs: Sequence[str]) -> list[dict[str, Any]]:
    """Rows {set, images, psnr, ssim, input_psnr, input_ssim} from files `scores.json` of `gesso evaluate`."""
    before = {row["set"]: row for file in inputs for row in json.loads(Path(file).read_text(encoding="utf-8"))["sets"]}
    rows = []
    for file in scores:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
        for row in content["sets"]:
            measured = {key: row[key] for key in ("set", "psnr", "ssim")}
            measured["images"] = sum(image["set"] == row["set"] for image in content["rows"])
            measured["protocol"] = content["protocol"]
            if given := before.get(row["set"]):
                measured |= {"input_psnr": given["psnr"], "input_ssim": given["ssim"]}
            rows.append(measured)
    return rows


def commit() -> str | None:
    """The commit that this package is checked out at, with `+` if it has been changed; None if it is installed."""
    told = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=_discovery.ROOT, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    return told.stdout.strip() or None


# -------------------------------------------------------------------------------------------------------------- cards

HEAD = """# Primed networks

Written by `gesso primed cards`; do not edit.

Networks that come with the package, made by `gesso pretrain` from images that are made of nothing: no photo and no
pair was in their training, so there is no licence, consent or memorisation of images to ask about. (The images `leaves`
have constants that were fitted to photos, see [procedural images](methods/procedural.md); a card says which images were
taken.)

```sh
gesso list primed
gesso restore photo.jpg out.png --task derain
gesso finetune --task derain --data PAIRS --backbone nafnet_tiny --init primed --out runs/derain
gesso primed verify derain/nafnet_tiny
```

Networks of your own come by the same names: `gesso primed add TASK/NETWORK --from_run RUN --out FOLDER` makes one of
a run, the variable `GESSO_PRIMED` names their folder, and `make primed-wheel PRIMED=FOLDER` packs them as a wheel,
`gesso_primed`.

A fine-tuning that begins with a network that restores the task already keeps its last convolution, and says so. The
start is measured, too, and is what `best.safetensors` holds if no step was better.
"""


def cards(networks: Sequence[Primed]) -> str:
    """The page that describes primed networks, in Markdown."""
    if not networks:
        return f"{HEAD}\nThis version of the package has none yet.\n"
    return "\n".join([HEAD, *map(card, networks)])


def card(one: Primed) -> str:
    """What there is to know of a primed network, in Markdown."""
    header = one.header
    digest = hashlib.sha256(one.path.read_bytes()).hexdigest()
    minutes = header.get("minutes")
    facts = {
        "restores": ", ".join(header.get("tasks") or [one.task]),
        "parameters": f"{header.get('parameters', 0):,}, half precision, {one.path.stat().st_size / 1e6:.2f} MB",
        "images": header.get("images"),
        "steps": f"{header.get('step', 0):,}" + (f", {minutes:g} minutes of processor time" if minutes else ""),
        "seed, commit, version": f"{header.get('seed')}, {header.get('commit')}, gesso {header.get('gesso')}",
        "SHA-256": f"`{digest}`",
    }
    if one.worsens:
        facts["below its input"] = (
            f"by {-one.gain:.2f} dB on real pairs: a start to fine-tune from, to restore by name only"
        )
    lines = [f"## {one.name}\n", *(f"- {key}: {value}" for key, value in facts.items()), ""]
    lines += ["| real pairs | images | input PSNR, SSIM | restored PSNR, SSIM |", "|---|---:|---:|---:|"]
    for row in one.measured:
        given = f"{row['input_psnr']:.2f}, {row['input_ssim']:.4f}" if row.get("input_psnr") is not None else ""
        lines.append(f"| {row['set']} | {row['images']} | {given} | {row['psnr']:.2f}, {row['ssim']:.4f} |")
        if given and row["psnr"] < row["input_psnr"]:
            lines[-1] += " **below its input**"
    recipe = yaml.safe_dump(header.get("recipe"), sort_keys=False).strip()
    return "\n".join([*lines, "", "```yaml", recipe, "```", ""])
