"""What a run is told to do, as `config.yaml` in its folder keeps it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from gesso._recipes import read_recipe
from gesso.checkpoint.files import plain
from gesso.data.io import atomic_path
from gesso.options import OF_THIS_CALL, Command, options_of, plain_options, rename_former


@dataclass(frozen=True)
class Recipe:
    """A command as a file keeps it, without the folder that it writes into.

    Attributes:
        command: the kind of command.
        options: in the types that YAML has, without those that are None by default.
        defaults: of the options that have one.
    """

    command: type[Command[Any]]
    options: dict[str, Any]
    defaults: dict[str, Any]

    @classmethod
    def of(cls, command: Command[Any]) -> Self:
        """The recipe of a command."""
        kept = {name: one for name, one in options_of(type(command)).items() if one.role not in OF_THIS_CALL}
        defaults = {name: plain(one.default) for name, one in kept.items() if not one.is_needed}
        defaults = {name: value for name, value in defaults.items() if value is not None}
        told = {name: plain(value) for name, value in plain_options(command).items() if name in kept}
        told = {name: value for name, value in told.items() if value is not None or name in defaults}
        return cls(type(command), told, defaults)

    @property
    def verb(self) -> str:
        """The word for the command."""
        return self.command.verb()

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
        return rename_former(self.command, read_recipe(config))

    def differences(self, before: Mapping[str, Any], allowed: Collection[str] = ()) -> str:
        """What differs from the options of an earlier run, in words, but for what is allowed to; "" if nothing does.

        An option that was not there yet when the earlier run began had its default.
        """
        rows, usual = (
            [],
            {name: plain(one.usual) for name, one in options_of(self.command).items() if not one.is_needed},
        )
        for name in sorted((before.keys() | self.options.keys()) - set(allowed)):
            was, now = ({**usual, **options}.get(name) for options in (before, self.options))
            if was != now:
                rows.append(f"{name}: was {was!r}, is {now!r}")
        return "; ".join(rows)

    def write(self, path: Path) -> None:
        """Writes it as YAML that `--config` takes."""
        write(path, self.first_line, self.options)


def write(path: Path, first_line: str, options: Mapping[str, Any]) -> None:
    """Writes options as YAML behind a first line that says whose they are."""
    with atomic_path(path) as temporary:
        temporary.write_text(f"{first_line}\n{yaml.safe_dump(dict(options), sort_keys=False)}", encoding="utf-8")


def change(path: Path, options: Mapping[str, Any]) -> None:
    """Puts options into the recipe that stands in a file."""
    first_line, rest = path.read_text(encoding="utf-8").split("\n", 1)
    write(path, first_line, yaml.safe_load(rest) | options)
