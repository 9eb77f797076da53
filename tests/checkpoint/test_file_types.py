"""Files that hold no weights of PyTorch are named as what they are, whatever their suffix."""

import functools
import gzip
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.package import PackageExporter

from gesso.checkpoint import CheckpointError, load, read_state


def script(path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 3), torch.rand(1, 3, 8, 8)), path)


def exported(path: Path) -> None:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(nn.ReLU(), (torch.rand(3),)), buffer)
    path.write_bytes(buffer.getvalue())


def packaged(path: Path) -> None:
    buffer = io.BytesIO()
    with PackageExporter(buffer) as package:
        package.save_pickle("model", "weights.pkl", {"weight": torch.ones(3)})
    path.write_bytes(buffer.getvalue())


def onnx(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(nn.ReLU(), (torch.rand(3),), f"{folder}/net.onnx", dynamo=True, verbose=False)
        path.write_bytes(Path(folder, "net.onnx").read_bytes())


def old_onnx(path: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [value])
    path.write_bytes(helper.make_model(graph, producer_name="").SerializeToString())


def torch_bytes() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(3)}, buffer)
    return buffer.getvalue()


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("Restormer/deraining.pth", torch_bytes())
        file.writestr("Restormer/README.md", "weights")


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        record = tarfile.TarInfo("deraining.pth")
        record.size = len(torch_bytes())
        file.addfile(record, io.BytesIO(torch_bytes()))


def image(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


@functools.cache
def made_by(write: Callable[[Path], None]) -> bytes:
    """What a library writes, which takes time."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


PAGE = b"""
<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>...</body></html>"""
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24\n"
)
KINDS = {
    "TorchScript": (script, r"a TorchScript file, not a state_dict; torch\.jit\.load\(path\), then torch\.save\("),
    "torch.export": (
        exported,
        r"a file of torch\.export, not a state_dict; (torch\.save\(torch\.export\.load|open it)",
    ),
    "torch.package": (packaged, r"a file of torch\.package"),
    "ONNX": (onnx, "an ONNX model, not weights of PyTorch; give the PyTorch weights that it was exported from"),
    "ONNX without a producer": (old_onnx, "an ONNX model"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), r"an HDF5 file \(Keras, MATLAB 7\.3\), not weights of PyTorch"),
    "MATLAB": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(99), "a MATLAB file"),
    "GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(99), "a GGUF file"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(99), "a TensorFlow Lite model"),
    "TensorFlow's index": (bytes(range(90)) + bytes.fromhex("57fb808b247547db"), "a part of a TensorFlow model"),
    "NumPy": (array, "a NumPy array, not weights of PyTorch"),
    "NumPy's archive": (arrays, r"NumPy arrays \(\.npz\)"),
    "zip archive": (zipped, r"a zip archive, not weights; unpack it .*: Restormer/deraining\.pth, Restormer/README"),
    "tar archive": (tarred, "a tar archive, not weights of PyTorch; unpack it"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(torch_bytes())), "a gzip archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(99), "a 7z archive"),
    "RAR": (b"Rar!\x1a\x07\x01\x00" + bytes(99), "a RAR archive"),
    "image": (image, "an image, not weights of PyTorch"),
    "Git LFS": (POINTER, "a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`"),
    "web page": (PAGE, r"a web page \('Google Drive - Virus scan warning'\), saved in place of the weights; download"),
    "error of a server": (
        b'{"error": "Access denied"}',
        r"a file of text, .*begins with '\{\"error\": \"Access denied",
    ),
    "error of a bucket": (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "a file of text"),
    "index of shards": (json.dumps({"metadata": {}, "weight_map": {}}).encode(), "an index of weights in several"),
    "YAML": (b"network_g:\n  type: Restormer\n", "a file of text, .*begins with 'network_g:'"),
    "empty": (b"", r"an empty file \(0 bytes\), truncated or damaged; copy or download it again"),
}


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named(tmp_path, kind, name):
    content, message = KINDS[kind]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else made_by(content))
    with pytest.raises(CheckpointError, match=rf"{name}: {message}"):
        read_state(path)
    with pytest.raises(CheckpointError, match=rf"{name}: {message}"):
        load(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.onnx", "an ONNX model"),
        ("saved_model.pb", "a part of a TensorFlow model"),
        ("model.ckpt.data-00000-of-00001", "a part of a TensorFlow model"),
        ("model.ckpt.meta", "a part of a TensorFlow model"),
        ("flax_model.msgpack", "a Flax checkpoint"),
        ("model.pdparams", "a PaddlePaddle file"),
        ("net.caffemodel", "a Caffe model"),
        ("net.mlmodel", "a Core ML model"),
        ("net.engine", "a TensorRT engine"),
    ],
)
def test_formats_without_a_signature_are_known_by_their_name(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"\xde\xad\xbe\xef" * 100)
    with pytest.raises(CheckpointError, match=f"{name}: {message}, not weights of PyTorch"):
        read_state(tmp_path / name)
