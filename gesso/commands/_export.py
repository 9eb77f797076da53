"""Write a network in the formats of its authors, of BasicSR, IFP, MFM and DegAE, or as ONNX."""

from pathlib import Path
from typing import Any

from gesso import checkpoint as checkpoints
from gesso.checkpoint.export import Format, degae_paths
from gesso.commands._parser import checked
from gesso.commands._written import check_free
from gesso.report.console import say


@checked
def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    format: Format = "official",
    weights: str | None = None,
    backbone_args: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the network of a file for other code and returns the files.

    Args:
        checkpoint: file of the network, of gesso or of the authors.
        out: the file to write.
        format: "official": what the scripts of the network's authors load; "basicsr": `params` and `params_ema`;
            "encoder": the pre-trained network as IFP and MFM save it; "degae": DegAE's flat files, `<out>_E.pth` and
            of a fine-tuned model `<out>_De1.pth`; "onnx": for images of any size, checked with onnxruntime (a large
            network takes minutes); "safetensors": gesso's own.
        weights: which set of weights, where the file holds several: a key or prefix ("params", "generator").
        backbone_args: options that the file does not tell, such as `--backbone_args.img_size 256` for Uformer.
        overwrite: replace files that exist.

    Raises:
        FileNotFoundError: if `checkpoint` does not exist.
        FileExistsError: if a file exists and `overwrite` is False.
        ValueError: if the file is no checkpoint, or its network has no such format.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if not overwrite:
        check_free(degae_paths(out) if format == "degae" else [out])
    found = checkpoints.recognise(checkpoint, weights=weights, **(backbone_args or {}))
    say(f"{checkpoint}: {found}")
    files = checkpoints.export(found.network, out, format)
    say(f"{format}: {', '.join(map(str, files))}")
    return files
