"""Command lines that a comparison ends with: the one that repeats it, and the ones that train an arm on all pairs."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gesso.commands.finetune import Finetune
from gesso.comparison.compare import Compare
from gesso.options import options_of
from gesso.options.data import TaskPairs
from gesso.primed import spell_file
from gesso.training.recipe import Recipe

OF_A_COMPARISON = ("val", "val_every", "val_at_start", "sample_every", "metrics", "metric_weights", "tile")
"""What a run of a comparison has because it is measured there."""


def command_line(verb: str, options: Mapping[str, Any], out: Path) -> str:
    """A command of `gesso` as a shell takes it."""
    words = [word for name, value in options.items() for word in (f"--{name}", spell_value(value))]
    return shlex.join(["gesso", verb, *words, "--out", str(out)])


def spell_value(value: Any) -> str:
    """A value as a command line has it.

    Example:
        >>> spell_value([0, 1]), spell_value({"a": [1]}), spell_value(False)
        ('0,1', '{"a": [1]}', 'false')
    """
    if isinstance(value, bool):
        return str(value).lower()
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, dict | list) for part in parts):
        return json.dumps(value)
    return ",".join(str(part) for part in parts)


def train_on_all(run: Finetune, comparison: Compare, *, seed: int, holds_out: bool) -> str:
    """The `gesso finetune` line that does what a run of a comparison did, with all of its pairs.

    Args:
        run: that is like it.
        comparison: which says where the pairs are.
        seed: of the line.
        holds_out: whether pairs would be held out for validation, which then are none; else the data have others.
    """
    own = {name: getattr(comparison, name) for name in (*options_of(TaskPairs), "skip_damaged")}
    default = {name: options_of(Finetune)[name].default for name in OF_A_COMPARISON}
    own |= {"init": spell_file(str(run.init)), "seed": seed, "backbone_args": run.backbone_args or None}
    whole = dataclasses.replace(run, **default | own, holdout=0 if holds_out else None)
    out = Path(comparison.out)
    return command_line("finetune", Recipe.of(whole).given, out.with_name(f"{out.name}-best"))
