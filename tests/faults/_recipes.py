"""Recipes of gesso, ways to damage them, and another opinion on what they say."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gesso import _discovery, cli
from gesso.degradations import parse_degradation
from gesso.training.sampling import parse_stages
from tests.faults._checkpoints import lie
from tests.faults._images import damage

REFUSALS = (ValueError, FileNotFoundError)  # what `cli.main` turns into a line and exit code 2
REQUIRED = {"pretrain": ["--out", "o"], "finetune": ["--out", "o"], "refine": ["--out", "o", "--checkpoint", "c"]}


@functools.cache
def corpus() -> dict[tuple[str, str], bytes]:
    """Every recipe by its verb and name."""
    found = sorted((_discovery.ROOT / "recipes").rglob("*.yaml"))
    return {(path.parent.name, path.stem): path.read_bytes() for path in found}


@functools.cache
def verb(name: str) -> Any:
    """A command and its parser."""
    return cli.command(name)


def damaged(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A recipe with one to three faults in its bytes, or with values of other kinds."""
    if rng.random() < 0.5:
        tree = yaml.safe_load(data)
        for _ in range(rng.integers(1, 4)):
            lie(tree, rng)
        return yaml.safe_dump(tree).encode()
    for _ in range(rng.integers(1, 4)):
        data = damage(data, rng, others[int(rng.integers(len(others)))])
    return data


def case(number: int, seed: int, folder: Path) -> str:
    """Damages one recipe and judges how it is read: refused, or confirmed by what YAML says."""
    recipes = corpus()
    name, recipe = list(recipes)[number % len(recipes)]
    data = damaged(recipes[name, recipe], list(recipes.values()), np.random.default_rng([seed, number]))
    path = folder / "recipe.yaml"
    path.write_bytes(data)
    try:
        options = cli.read_options(verb(name), ["--config", str(path), *REQUIRED.get(name, [])])
        if isinstance(options.get("stages"), list):
            parse_stages(options["stages"])
        if options.get("degradation") is not None:
            parse_degradation(options["degradation"])
    except REFUSALS:
        return "refused"
    said = yaml.safe_load(data) or {}
    other = [key for key, value in said.items() if key not in ("out", "checkpoint") and not agree(options[key], value)]
    wrong = ", ".join(f"{key}: {said[key]!r} read as {options[key]!r}" for key in other)
    return f"WRONG: {wrong} ({name} {recipe})" if wrong else "confirmed"


def agree(read: Any, said: Any) -> bool:
    """Whether an option is what a recipe says, as words or as a number."""
    if isinstance(said, dict) and hasattr(read, "items"):
        return all(agree(read[key], value) for key, value in said.items())
    if isinstance(said, list) and isinstance(read, (list, tuple)):
        return len(said) == len(read) and all(map(agree, read, said))
    if isinstance(read, bool) or isinstance(said, bool) or read is None or said is None:
        return str(read).lower() == str(said).lower() or {str(read), str(said)} == {"None", "null"}
    try:
        return float(read) == float(said)
    except (TypeError, ValueError, OverflowError):
        return str(read) == str(said)
