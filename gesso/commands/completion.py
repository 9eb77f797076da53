"""Completion of verbs, options, choices, names and recipes by the Tab key of bash, zsh or fish."""

from dataclasses import field
from typing import ClassVar, Literal

from gesso._specs import FilePath
from gesso.options import Command, as_function, options


@options
class Completion(Command[None]):
    """Prints or writes the script by which a shell completes gesso's command line; it holds all names.

    bash: gesso completion bash --out ~/.local/share/bash-completion/completions/gesso
    zsh: gesso completion zsh --out FOLDER_OF_FPATH/_gesso
    fish: gesso completion fish --out ~/.config/fish/completions/gesso.fish

    Raises:
        ValueError: for another shell.
    """

    title: ClassVar[str] = "what"
    example: ClassVar[str] = "gesso completion bash"

    shell: Literal["bash", "zsh", "fish"] = field(kw_only=False)
    """"bash", "zsh" or "fish"."""

    out: FilePath | None = None
    """the file to write, as named above; one that is there is replaced; none: the script is printed."""


completion = as_function(Completion)
