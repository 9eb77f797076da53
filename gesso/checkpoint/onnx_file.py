"""Networks as ONNX for batches and images of any size, compared with PyTorch before the file gets its name."""

import contextlib
import copy
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph

from gesso.backbones import Backbone
from gesso.checkpoint.files import CheckpointError
from gesso.checkpoint.graph import Captured, capture, check_equal, no_graph
from gesso.data.io import atomic_path

TRANSPOSED = (None, None, None, [1, 1], [0, 0], [0, 0], 1, [1, 1])
"""What `conv_transpose2d` takes for stride, padding, output padding, groups and dilation that are not given."""


def save_onnx(backbone: Backbone, path: Path) -> None:
    """Writes a network as ONNX: input `image` (B, C, H, W), output `restored`, sides multiples of `size_multiple`.

    How to pad is in the metadata of the file (`gesso.checkpoint.graph.Captured.facts`).

    Raises:
        ValueError: if onnx, onnxscript or onnxruntime is not installed.
        CheckpointError: if the network does not export for any size, or the file computes something else.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}, which are not installed; pip install 'gesso[onnx]'")
    name = type(backbone).__name__
    with _quiet():
        graph = capture(backbone, "ONNX")
        try:
            program = translate(graph.program)
        except Exception as error:
            raise no_graph(backbone, "ONNX", error) from error
    assert program is not None
    program.model.metadata_props.update({key: str(value).lower() for key, value in graph.facts.items()})
    with atomic_path(path) as temporary:
        program.save(temporary, external_data=False)
        _compare(temporary, graph, name)


def translate(program: ExportedProgram) -> Any:
    """The program as ONNX: as it was captured, which takes a third of the time, or else by smaller operations.

    Raises:
        Exception: whatever `torch.onnx` raises.
    """
    names: dict[str, Any] = {"dynamo": True, "input_names": ["image"], "output_names": ["restored"], "verbose": False}
    rewrite(program.graph_module.graph)
    captured = copy.copy(program)
    captured.run_decompositions = lambda *args, **kwargs: captured
    with contextlib.suppress(Exception):
        return torch.onnx.export(captured, optimize=False, **names)
    return torch.onnx.export(program, **names)


def rewrite(graph: Graph) -> None:
    """Puts operations that ONNX has in the place of the few in our networks for which the exporter knows none."""
    aten = torch.ops.aten
    casts = (aten.to.dtype, aten.to.dtype_layout, aten.to.device)
    others = (aten.conv_transpose2d.input, aten.square.default, aten.movedim.int)
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in (*casts, *others):
            continue
        given = node.args[0]
        value, dtype = given.meta["val"], node.meta["val"].dtype
        if node.target in casts and value.dtype == dtype:
            node.replace_all_uses_with(given)
            continue
        with graph.inserting_before(node):
            if node.target in casts:
                other = graph.call_function(torch.ops.prims.convert_element_type.default, (given, dtype))
            elif node.target is aten.conv_transpose2d.input:
                image, weight, bias, stride, padding, more, groups, dilation = node.args + TRANSPOSED[len(node.args) :]
                shape = (stride, padding, dilation, True, more, groups)
                other = graph.call_function(aten.convolution.default, (image, weight, bias, *shape))
            elif node.target is aten.square.default:
                other = graph.call_function(aten.mul.Tensor, (given, given))
            else:
                axes = list(range(value.ndim))
                axes.insert(node.args[2] % value.ndim, axes.pop(node.args[1] % value.ndim))
                other = graph.call_function(aten.permute.default, (given, axes))
        other.meta = dict(node.meta)
        node.replace_all_uses_with(other)
    graph.eliminate_dead_code()


def _compare(path: Path, graph: Captured, name: str) -> None:
    """Checks that onnxruntime computes what PyTorch does.

    Raises:
        CheckpointError: if it fails, or an output differs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is in the error
    session = None
    for image in graph.images():
        with torch.no_grad():
            expected = graph.network(image)
        try:
            session = session or onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            (seen,) = session.run(None, {"image": image.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class but this
            reason = str(error).strip().splitlines()[0][:300]
            raise CheckpointError(f"{name} as ONNX does not run for images {tuple(image.shape)}: {reason}") from error
        check_equal(torch.from_numpy(seen), expected, f"{name} as ONNX", graph.network, image)


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
