"""Networks as ONNX for batches and images of any size, compared with PyTorch before the file gets its name."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gesso.backbones import Backbone
from gesso.checkpoint.files import CheckpointError
from gesso.data.io import atomic_path

TOLERANCE = 1e-4
SHAPES = (
    (2, 2, 3),
    (1, 3, 2),
    (1, 1, 4),
)  # batch, and sides over `size_multiple`; the first is traced


class Seam(nn.Module):
    """`reconstruct(features(image))`: the network without padding and cropping, which depend on the image's size."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """The unclamped output for an image whose sides are multiples of `size_multiple`."""
        return self.backbone.reconstruct(self.backbone.features(image)[-1], image)


def save_onnx(backbone: Backbone, path: Path) -> None:
    """Writes a network as ONNX: input `image` (B, C, H, W), output `restored`, sides multiples of `size_multiple`.

    How to pad is in the metadata of the file. A large network takes minutes, as sizes stay symbols in every layer.

    Raises:
        ValueError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the network does not export for any size, or the file computes something else.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}, which are not installed; pip install 'gesso[onnx]'")
    name, multiple = type(backbone).__name__, backbone.size_multiple
    network = Seam(copy.deepcopy(backbone).float().cpu()).eval()
    batch, height, width = (torch.export.Dim(axis, min=1) for axis in ("batch", "height", "width"))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (_sample(backbone, SHAPES[0]),),
                dynamo=True,
                dynamic_shapes=({0: batch, 2: multiple * height, 3: multiple * width},),
                input_names=["image"],
                output_names=["restored"],
                verbose=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise CheckpointError(
            f"{name} does not export to ONNX for images of any size; torch.onnx says: {reason[:300]}"
        ) from error
    assert program is not None
    facts = {"size_multiple": multiple, "pad_mode": backbone.pad_mode, "scale": backbone.scale}
    program.model.metadata_props.update({key: str(value) for key, value in facts.items()})
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        _compare(temporary, network)


def _compare(path: Path, network: Seam) -> None:
    """Checks that onnxruntime computes what PyTorch does, for all of `SHAPES`.

    Raises:
        CheckpointError: if it fails, or an output differs by more than `TOLERANCE`.
    """
    import onnxruntime

    name = type(network.backbone).__name__
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the error
    session = None
    for shape in SHAPES:
        image = _sample(network.backbone, shape)
        with torch.no_grad():
            expected = network(image)
        try:
            session = session or onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            (seen,) = session.run(None, {"image": image.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class but this
            reason = str(error).strip().splitlines()[0][:300]
            raise CheckpointError(f"{name} as ONNX does not run for images {tuple(image.shape)}: {reason}") from error
        difference = (torch.from_numpy(seen) - expected).abs().max().item()
        if not difference <= TOLERANCE:
            raise CheckpointError(f"{name} as ONNX is {difference:.1e} off for images {tuple(image.shape)}; not kept")


def _sample(backbone: Backbone, shape: tuple[int, int, int]) -> Tensor:
    """A random image; `shape` is the batch, and height and width over `size_multiple`."""
    batch, height, width = shape
    size = batch, backbone.in_channels, height * backbone.size_multiple, width * backbone.size_multiple
    return torch.rand(size, generator=torch.Generator().manual_seed(0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporter from telling about its passes."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
