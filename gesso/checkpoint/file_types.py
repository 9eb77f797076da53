"""What a file is that holds no weights as torch or safetensors write them, and what to do with it."""

import json
import re
import zipfile
from pathlib import Path

UNPACK = "unpack it and give the file inside"
RESAVE = "torch.save(model.state_dict(), 'weights.pth')"

SIGNATURES = (
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras, MATLAB 7.3)", "convert its weights to a state_dict"),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", "convert its weights to a state_dict"),
    (0, b"GGUF", "a GGUF file (llama.cpp)", "convert its weights to a state_dict"),
    (0, b"lmgg", "a GGML file", "convert its weights to a state_dict"),
    (0, b"\x93NUMPY", "a NumPy array", "convert its weights to a state_dict"),
    (4, b"TFL3", "a TensorFlow Lite model", "convert its weights to a state_dict"),
    (0, b"7767517\n", "an ncnn network", "give the file that it was converted from"),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (
        0,
        b"sys_info\0",
        "a file of torch before 0.1.10",
        f"open it with torch.load on a machine of your own, then {RESAVE}",
    ),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\x89PNG\r\n\x1a\n", "an image", "give a file of weights"),
    (0, b"\xff\xd8\xff", "an image", "give a file of weights"),
    (0, b"%PDF-", "a PDF document", "give a file of weights"),
    (0, b"\x04\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00V 1", "a file of Lua Torch", "convert it to a state_dict"),
)
"""Offset and bytes by which a format is known, what it is, and what to do."""

ONNX = re.compile(rb"\x08[\x03-\x20](?:\x12.[\x20-\x7e]|\x1a.[\x20-\x7e]|[\x3a\x42])", re.DOTALL)
"""The beginning of an ONNX model: its `ir_version`, then producer, producer's version, graph or operator set."""

TABLE_END = bytes.fromhex("57fb808b247547db")
"""The last bytes of a LevelDB table, as TensorFlow's `.index` files are."""

NAMES = (
    (r"\.onnx", "an ONNX model", "give the PyTorch weights that it was exported from"),
    (r"\.(pb|meta|index|data-\d{5}-of-\d{5})", "a part of a TensorFlow model", "convert its weights to a state_dict"),
    (r"\.(msgpack|orbax)", "a Flax checkpoint", "convert its weights to a state_dict"),
    (r"\.pd(params|opt|model|iparams)", "a PaddlePaddle file", "convert its weights to a state_dict"),
    (r"\.(caffemodel|prototxt)", "a Caffe model", "convert its weights to a state_dict"),
    (r"\.mlmodel", "a Core ML model", "give the PyTorch weights that it was converted from"),
    (r"\.(engine|plan|trt)", "a TensorRT engine", "give the PyTorch weights that it was built from"),
)
"""Ends of file names (regular expressions) of formats that have no signature."""

RECORDS = (
    ("constants.pkl", "a TorchScript file", f"torch.jit.load(path), then {RESAVE}"),
    ("bytecode.pkl", "a TorchScript file", f"torch.jit.load(path), then {RESAVE}"),
    ("archive_format", "a file of torch.export", "torch.save(torch.export.load(path).state_dict, 'weights.pth')"),
    ("serialized_exported_program.json", "a file of torch.export", "open it with the torch that wrote it, then save"),
    ("extern_modules", "a file of torch.package", f"open it with torch.package, then {RESAVE}"),
    ("model.weights.h5", "a Keras model", "convert its weights to a state_dict"),
)
"""Records by which kinds of zip files are known."""


def identify_foreign(path: Path) -> str | None:
    """What a file is and what to do, as the end of an error; None if torch or safetensors may have written it."""
    size = path.stat().st_size
    if size == 0:
        return "an empty file (0 bytes), truncated or damaged; copy or download it again"
    with path.open("rb") as file:
        start = file.read(1024)
        file.seek(max(0, size - 8))
        end = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        return _zip_type(path)
    for offset, signature, name, advice in SIGNATURES:
        if start.startswith(signature, offset):
            return f"{name}, not weights of PyTorch; {advice}"
    if text := _text_type(start, path):
        return text
    if is_safetensors(path) or start.startswith(b"\x80"):
        return None
    named = [entry[1:] for entry in NAMES if re.search(entry[0] + "$", path.name, re.IGNORECASE)]
    if ONNX.match(start):
        named = [NAMES[0][1:]]
    elif end == TABLE_END:
        named = [NAMES[1][1:]]
    return f"{named[0][0]}, not weights of PyTorch; {named[0][1]}" if named else None


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name: the length of a JSON header, and the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def _zip_type(path: Path) -> str | None:
    """What a zip file is that torch.save has not written."""
    try:
        with zipfile.ZipFile(path) as file:
            records = file.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return None  # said by the reader, which knows what is damaged
    last = {record.rsplit("/", 1)[-1] for record in records}
    for record, name, advice in RECORDS:
        if record in last:
            return f"{name}, not a state_dict; {advice}"
    if "data.pkl" in last:
        return None
    if records and all(record.endswith(".npy") for record in records):
        return "NumPy arrays (.npz), not weights of PyTorch; convert them to a state_dict"
    inside = ", ".join(records[:4]) + (f" ... and {len(records) - 4} more" if len(records) > 4 else "")
    return f"a zip archive, not weights; {UNPACK}: {inside or 'it is empty'}"


def _text_type(start: bytes, path: Path) -> str | None:
    """What a file of text is."""
    try:
        text = start.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # else only the last letter is cut
            return None
        text = start[: error.start].decode()
    if not text.isprintable() and not re.fullmatch(r"[^\x00-\x08\x0e-\x1f\x7f]*", text):
        return None
    if text.startswith("version https://git-lfs"):
        return "a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`, or download them"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if re.match(r"<(!doctype html|html|head|body|!--|script|meta)", line, re.IGNORECASE):
        title = re.search(r"<title[^>]*>\s*([^<]*)", text, re.IGNORECASE)
        shown = f" ({title[1].strip()[:80]!r})" if title and title[1].strip() else ""
        return f"a web page{shown}, saved in place of the weights; download them again, as the page asks"
    if path.name.endswith(".index.json") or _is_shard_index(path):
        return "an index of weights in several files; load and join these, and save one state_dict"
    return f"a file of text, or damaged: it begins with {line[:60]!r}; expected weights; download them again"


def _is_shard_index(path: Path) -> bool:
    """Whether a small file of JSON says which file holds which weights, as Hugging Face's do."""
    if path.stat().st_size > 1 << 24:
        return False
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "weight_map" in content
