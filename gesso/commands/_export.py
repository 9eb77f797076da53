"""Write a network in the formats of its authors, of BasicSR, IFP, MFM and DegAE, or as ONNX."""

from pathlib import Path

from gesso import checkpoint as checkpoints
from gesso.checkpoint.export import degae_paths
from gesso.commands._written import check_free
from gesso.commands.export import Export
from gesso.report.console import say


def run(command: Export) -> list[Path]:
    """Does what `gesso.commands.export.Export` describes."""
    checkpoint, out = Path(command.checkpoint), Path(command.out)
    if not command.overwrite:
        check_free(degae_paths(out) if command.format == "degae" else [out])
    found = checkpoints.recognise(checkpoint, weights=command.weights, **(command.backbone_args or {}))
    say(f"{checkpoint}: {found}")
    files = checkpoints.export(found.network, out, command.format)
    say(f"{command.format}: {', '.join(map(str, files))}")
    return files
