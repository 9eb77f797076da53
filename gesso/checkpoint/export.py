"""Networks in the formats that other code loads: the authors' own, and ONNX."""

import copy
from pathlib import Path
from typing import Any

import torch

from gesso._specs import FileFormat as Format
from gesso.backbones import Backbone
from gesso.backbones._transfer import PaperTransfer
from gesso.checkpoint.files import CheckpointError, save
from gesso.checkpoint.graph import save_program
from gesso.checkpoint.loading import load
from gesso.checkpoint.onnx_file import save_onnx
from gesso.data.io import atomic_path
from gesso.functional.checks import check_choice
from gesso.refiner import Refined

NAMED = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".pt2": "pt2",
}  # suffixes by which readers tell what a file holds


def export(source: Backbone | str | Path, out: str | Path, format: Format = "official") -> list[Path]:
    """Writes a network in a format that other code loads strictly, and returns the files.

    Args:
        source: the network, or a file that `load` opens.
        out: the file to write.
        format: what to write.
            "official": what the scripts of the network's authors load; of a wrapped module, its plain state dict;
            "basicsr": the state as `params` and `params_ema`, for BasicSR and the codes built on it;
            "encoder": the pre-trained network under `encoder.`, as IFP and MFM save it;
            "degae": the flat files of DegAE, `<out>_E.pth` with the pre-trained network and, of a fine-tuned model,
            `<out>_De1.pth` with the convolution behind it;
            "onnx": see `gesso.checkpoint.onnx_file.save_onnx`;
            "pt2": the graph of `torch.export`, see `gesso.checkpoint.graph.save_program`;
            "safetensors": gesso's own.

    Raises:
        ValueError: if the network has no such form; the message says which it has. If `out` is named as a file of
            another format, which nothing could open.
    """
    check_choice("format", format, Format)
    out = Path(out)
    if (named := NAMED.get(out.suffix.lower(), format)) != format:
        raise ValueError(
            f"{out}: named as {named}, and format {format} does not use this suffix; "
            f"give it another suffix, or take format {named}"
        )
    backbone = copy.deepcopy(source).cpu() if isinstance(source, Backbone) else load(source)
    if isinstance(backbone, Refined) and format in ("encoder", "degae"):
        raise CheckpointError(f"{format}: not for a refined model; use official, basicsr, onnx, pt2 or safetensors")
    if format == "safetensors":
        save(backbone, out)
        return [out]
    if format == "onnx":
        save_onnx(backbone, out)
        return [out]
    if format == "pt2":
        save_program(backbone, out)
        return [out]
    if format == "degae":
        files = _degae(backbone, out)
    else:
        files = {out: {"official": _official, "basicsr": _basicsr, "encoder": _encoder}[format](backbone)}
    for path, content in files.items():
        with atomic_path(path, RuntimeError) as temporary:
            torch.save(content, temporary)
    return list(files)


def degae_paths(out: Path) -> list[Path]:
    """The names of DegAE's two files: the pre-trained network, and the convolution behind it."""
    return [out.with_name(f"{out.stem}_{part}.pth") for part in ("E", "De1")]


def _official(backbone: Backbone) -> dict[str, Any]:
    return _published(backbone).official_file()


def _basicsr(backbone: Backbone) -> dict[str, Any]:
    return Backbone.official_file(_published(backbone))


def _encoder(backbone: Backbone) -> dict[str, Any]:
    state = (backbone.backbone if isinstance(backbone, PaperTransfer) else backbone).to_official()
    model = {f"encoder.{key}": tensor for key, tensor in state.items()}
    return {"model": model, "optimizer": {}, "lr_scheduler": {}, "max_accuracy": 0.0, "epoch": 0, "config": {}}


def _degae(backbone: Backbone, out: Path) -> dict[Path, dict[str, Any]]:
    """DegAE's files. At scale 1 its head has an `HRconv` that it never uses, and wants its weights all the same."""
    encoder, decoder = degae_paths(out)
    if not isinstance(backbone, PaperTransfer):
        if backbone.image_residual:
            raise CheckpointError(
                "degae: expected a network from pre-training or of the `paper` transfer; this one adds its input"
            )
        return {encoder: backbone.to_official()}
    head = {f"conv_last.{key}": tensor for key, tensor in backbone.conv_last.state_dict().items()}
    if backbone.enlarge is not None:
        return {encoder: backbone.backbone.to_official(), decoder: dict(backbone.enlarge.state_dict()) | head}
    channels = backbone.conv_last.in_channels
    unused = {"HRconv.weight": torch.zeros(channels, channels, 3, 3), "HRconv.bias": torch.zeros(channels)}
    return {encoder: backbone.backbone.to_official(), decoder: head | unused}


def _published(backbone: Backbone) -> Backbone:
    """`backbone`, if its authors have code for it.

    Raises:
        CheckpointError: for a `paper` transfer, which stands behind no network's own code.
    """
    if isinstance(backbone, PaperTransfer):
        raise CheckpointError(
            "a model of the `paper` transfer has a convolution that the network's authors do not know; "
            "use degae, encoder, onnx, pt2 or safetensors"
        )
    return backbone
