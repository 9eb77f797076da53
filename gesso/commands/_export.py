"""Write a network in the formats of its authors, of BasicSR, IFP, MFM and DegAE, or as ONNX."""

from pathlib import Path
from typing import Any

from gesso import checkpoint as checkpoints
from gesso._discovery import check_names
from gesso._recipes import read_recipe
from gesso._specs import FileFormat
from gesso.checkpoint.card import ASKED, Exported, card_paths, write_cards
from gesso.checkpoint.export import NAMED, degae_paths
from gesso.commands._written import check_free
from gesso.commands.export import Export
from gesso.report.console import say


def run(command: Export) -> list[Path]:
    """Does what `gesso.commands.export.Export` describes."""
    checkpoint, out = Path(command.checkpoint), named(Path(command.out), command.format)
    if not command.overwrite:
        check_free(degae_paths(out) if command.format == "degae" else [out])
    told = command.card_facts or {}
    check_names(told, ASKED, "card_facts")
    found = checkpoints.recognise(checkpoint, weights=command.weights, **(command.backbone_args or {}))
    say(f"{checkpoint}: {found}")
    if command.card is not None and not command.overwrite:
        check_free(card_paths(Path(command.card), str(told.get("name") or out.stem), found.network.scale))
    files = checkpoints.export(found.network, out, command.format)
    say(f"{command.format}: {', '.join(map(str, files))}")
    if command.card is None:
        return files
    header, recipe = checkpoints.read_header(checkpoint), run_of(checkpoint)
    cards = write_cards(Path(command.card), Exported(found.network, header, recipe, files, told))
    say(f"card: {', '.join(map(str, cards))}")
    return files + cards


def named(out: Path, format: FileFormat) -> Path:
    """The file to write, with the suffix of its format where it was given none.

    Example:
        >>> [named(Path(out), format).name for out, format in (("a", "onnx"), ("a.ckpt", "official"), ("a", "degae"))]
        ['a.onnx', 'a.ckpt', 'a']
    """
    if out.suffix or format == "degae":  # which names its files itself
        return out
    own = {form: suffix for suffix, form in NAMED.items()}
    return out.with_name(out.name + own.get(format, ".pth"))


def run_of(checkpoint: Path) -> dict[str, Any]:
    """The recipe of the run in whose folder a file lies; nothing where there is none."""
    config = checkpoint.with_name("config.yaml")
    return read_recipe(config) if config.is_file() else {}
