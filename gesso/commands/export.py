"""Write a network in the formats of its authors, of BasicSR, IFP, MFM and DegAE, or as ONNX."""

from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

from gesso._specs import FileFormat, FilePath
from gesso.options import Command, as_function, options
from gesso.options.network import NetworkFile


@options
class Export(NetworkFile, Command[list[Path]]):
    """Writes the network of a file for other code and returns the files.

    Raises:
        FileNotFoundError: if `checkpoint` does not exist.
        FileExistsError: if a file exists and `overwrite` is False.
        ValueError: if the file is no checkpoint, or its network has no such format.
    """

    title: ClassVar[str] = "files"
    example: ClassVar[str] = "gesso export runs/derain/best.safetensors derain.pth --format official"

    checkpoint: FilePath = field(kw_only=False)
    """file of the network, of gesso or of the authors."""

    out: FilePath = field(kw_only=False)
    """the file to write; a name without a suffix is given that of the format, `.pth` in most."""

    format: FileFormat = "official"
    """"official": what the scripts of the network's authors load, or the class that is wrapped; "basicsr": `params` and
    `params_ema`; "encoder": the pre-trained network as IFP and MFM save it; "degae": DegAE's flat files, `<out>_E.pth`
    and of a fine-tuned model `<out>_De1.pth`; "onnx": for images of any size, checked with onnxruntime; "pt2": the same
    for torch.export.load; "safetensors": gesso's own."""

    card: FilePath | None = None
    """folder for a model card (`README.md`, as Hugging Face shows it) and an entry of OpenModelDB (`1x-NAME.json`);
    none: no cards."""

    card_facts: dict[str, Any] | None = None
    """what only its author knows: `--card_facts.license MIT`, and name, author, description, dataset, urls."""

    overwrite: bool = False
    """replace files that exist."""


export = as_function(Export)
