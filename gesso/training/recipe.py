"""What a run is told to do, as `config.yaml` in its folder keeps it."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from gesso._recipes import read_recipe
from gesso.checkpoint.files import plain
from gesso.data.io import atomic_path

NOT_KEPT = ("out", "resume", "overwrite")  # where a run is written, and whether it goes on there


@dataclass(frozen=True)
class Recipe:
    """A command and its options.

    Attributes:
        verb: the command.
        options: in the types that YAML has, without those that are None by default.
        defaults: of the options that have one.
    """

    verb: str
    options: dict[str, Any]
    defaults: dict[str, Any]

    @classmethod
    def of(cls, command: Callable[..., Any], options: Mapping[str, Any]) -> Self:
        """The recipe of a call of `command`."""
        parameters = parameters_of(command)
        defaults = {p.name: plain(p.default) for p in parameters if p.default not in (p.empty, None)}
        told = {name: plain(value) for name, value in options.items() if name not in NOT_KEPT}
        told = {name: value for name, value in told.items() if value is not None or name in defaults}
        return cls(command.__name__, told, defaults)

    @property
    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        return {name: value for name, value in self.options.items() if value != self.defaults.get(name)}

    @property
    def first_line(self) -> str:
        """How the file begins, and nobody else's does."""
        return f"# gesso {self.verb} --config THIS_FILE --out FOLDER"

    def earlier(self, config: Path) -> dict[str, Any]:
        """The options of the run of this command that stands in a folder, from its `config.yaml`.

        Raises:
            ValueError: if a run of another kind, or something else, stands there.
        """
        text = config.read_text(encoding="utf-8", errors="replace")
        if not text.startswith(self.first_line):
            raise ValueError(f"{config.parent} holds a run of another kind; choose another folder")
        return read_recipe(config)

    def differences(self, before: Mapping[str, Any], allowed: Collection[str] = ()) -> str:
        """What differs from the options of an earlier run, in words, but for what is allowed to; "" if nothing does.

        An option that was not there yet when the earlier run began had its default.
        """
        rows = []
        for name in sorted((before.keys() | self.options.keys()) - set(allowed)):
            was, now = ({**self.defaults, **options}.get(name) for options in (before, self.options))
            if was != now:
                rows.append(f"{name}: was {was!r}, is {now!r}")
        return "; ".join(rows)

    def write(self, path: Path) -> None:
        """Writes it as YAML that `--config` takes."""
        write(path, self.first_line, self.options)


def parameters_of(command: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a command, those that every run has included where it passes them on."""
    from gesso.training.run import fit

    own = inspect.signature(command).parameters
    passed_on = any(p.kind is p.VAR_KEYWORD for p in own.values())
    return [*({**inspect.signature(fit).parameters, **own} if passed_on else own).values()]


def write(path: Path, first_line: str, options: Mapping[str, Any]) -> None:
    """Writes options as YAML behind a first line that says whose they are."""
    with atomic_path(path) as temporary:
        temporary.write_text(f"{first_line}\n{yaml.safe_dump(dict(options), sort_keys=False)}", encoding="utf-8")


def change(path: Path, options: Mapping[str, Any]) -> None:
    """Puts options into the recipe that stands in a file."""
    first_line, rest = path.read_text().split("\n", 1)
    write(path, first_line, yaml.safe_load(rest) | options)
