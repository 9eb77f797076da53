"""JSON schema of recipes, by which editors complete options, explain them and underline mistakes."""

from dataclasses import field
from typing import ClassVar

from gesso._specs import FilePath
from gesso.options import Command, as_function, options


@options
class Schema(Command[None]):
    """Prints the JSON schema (draft 7) of the recipes of a verb, or writes those of all verbs into a folder.

    Every option has its type, range, choices, default and explanation; options of a pretext and of a network are those
    of the one that the recipe names. In VS Code (with the YAML extension) and other editors, the first line
    `# yaml-language-server: $schema=finetune.schema.json` of a recipe names its schema.

    Raises:
        ValueError: for an unknown verb.
        FileExistsError: if a file exists and `overwrite` is False.
    """

    title: ClassVar[str] = "what"
    example: ClassVar[str] = "gesso schema --out schemas"

    name: str | None = field(default=None, kw_only=False)
    """the verb; none: the schema takes a recipe of any verb."""

    out: FilePath | None = None
    """folder for `VERB.schema.json` of the verb, or of every verb; none: it is printed."""

    overwrite: bool = False
    """replace files that exist."""


schema = as_function(Schema)
