"""Small files of weights in every form that gesso opens, ways to damage them, and another opinion on what they hold."""

import argparse
import functools
import io
import json
import pickle
import struct
import sys
import tempfile
import types
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as as_safetensors

from gesso.backbones import create_backbone
from gesso.checkpoint import recognise
from gesso.checkpoint.files import save
from tests.faults._images import damage

MARK = "what_a_pickle_ran"  # a key of sys.modules that appears when a file's code has been run


class Code:
    """Pickled, it becomes code that leaves a mark where it is run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('sys').modules.__setitem__({MARK!r}, 0)",)


@functools.cache
def corpus() -> dict[str, bytes]:
    """Files by name: gesso's own, plain safetensors, and torch's in both formats, wrapped as training codes do."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    restormer = create_backbone("restormer_tiny", dim=8, num_blocks=(1, 1, 1, 1), num_refinement_blocks=1)
    nafnet = create_backbone("nafnet_tiny", width=4)
    weights = restormer.state_dict()
    training = {"params": nafnet.state_dict(), "params_ema": weights, "epoch": 3, "args": argparse.Namespace(lr=1e-3)}
    return {
        "restormer.safetensors": own(restormer),
        "nafnet.safetensors": own(nafnet),
        "plain.safetensors": as_safetensors(weights),
        "flat.pth": torch_file(weights),
        "wrapped.pth": torch_file(training),
        "prefixed.pth": torch_file({"state_dict": {f"module.{key}": value for key, value in weights.items()}}),
        "old.pth": torch_file(weights, old=True),
        "old_wrapped.pth": torch_file(training, old=True),
        "code.pth": torch_file({"params": weights, "more": Code()}),
        "old_code.pth": torch_file({"params": weights, "more": Code()}, old=True),
    }


def own(net: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(net, Path(folder) / "net.safetensors", task="derain", step=600)
        return (Path(folder) / "net.safetensors").read_bytes()


def torch_file(content: Any, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------- damage


def damaged(name: str, files: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """The file `name` with one to three faults, half of them behind checksums and lengths that are true again."""
    data = files[name]
    if rng.random() < 0.5:
        if name.endswith(".safetensors"):
            return with_header(data, rng)
        if data.startswith(b"PK"):
            return with_records(data, rng, compressed=rng.random() < 0.1)
    for _ in range(rng.integers(1, 4)):
        data = damage(data, rng, files[str(rng.choice(list(files)))])
    return data


def with_header(data: bytes, rng: np.random.Generator) -> bytes:
    """A safetensors file whose header lies or is damaged, while its length is right."""
    (length,) = struct.unpack_from("<Q", data)
    text, rest = data[8 : 8 + length], data[8 + length :]
    if rng.random() < 0.5:
        text = damage(text, rng)
    else:
        header = json.loads(text)
        facts = json.loads(header.get("__metadata__", {}).get("gesso", "{}"))
        if facts and rng.random() < 0.7:
            facts.pop("checksum", None)
            lie(facts, rng)
            header["__metadata__"]["gesso"] = json.dumps(facts)
        else:
            lie(header, rng)
        text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


LIES = (
    None,
    True,
    -1,
    0,
    1,
    3,
    7,
    99,
    10**6,
    10**12,
    2**63,
    0.5,
    1e300,
    "",
    "none",
    [],
    [1],
    [10**5] * 4,
    {},
    {"a": 1},
)


def lie(tree: Any, rng: np.random.Generator) -> None:
    """Replaces or removes one value somewhere in nested dictionaries and lists."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    if not keys:
        return
    key = keys[int(rng.integers(len(keys)))]
    inner = tree[key]
    if isinstance(inner, (dict, list)) and inner and rng.random() < 0.8:
        lie(inner, rng)
    elif rng.random() < 0.2:
        del tree[key]
    else:
        tree[key] = LIES[int(rng.integers(len(LIES)))]


def with_records(data: bytes, rng: np.random.Generator, compressed: bool) -> bytes:
    """A zip file one of whose records is damaged or missing, with true checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before:
        names = before.namelist()
        chosen = names[0] if rng.random() < 0.5 else names[int(rng.integers(len(names)))]  # the first is the pickle
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(buffer, "w", kind) as after:
            for name in names:
                content = before.read(name)
                if name == chosen and not compressed:
                    if rng.random() < 0.1:
                        continue
                    content = damage(content, rng)
                after.writestr(name, content)
    return buffer.getvalue()


# ------------------------------------------------------------------------------------------------------- verdict


def case(number: int, seed: int, folder: Path) -> str:
    """Damages one file of the corpus and judges what is loaded: refused, unchanged, confirmed, or `WRONG` and why."""
    files = corpus()
    name = list(files)[number % len(files)]
    data = damaged(name, files, np.random.default_rng([seed, number]))
    path = folder / f"weights{Path(name).suffix}"
    path.write_bytes(data)
    result = verdict(files[name], path)
    if MARK in sys.modules:
        del sys.modules[MARK]
        result = "WRONG: ran code of the file"
    return f"{result} ({name})" if result.startswith("WRONG") else result


def verdict(whole: bytes, path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            seen = recognise(path).network.state_dict()
        except ValueError as error:
            return "refused" if str(path) in str(error) else f"WRONG: an error that does not name the file: {error}"
        data = path.read_bytes()
        path.write_bytes(whole)
        try:
            before = recognise(path).network.state_dict()
        except ValueError:  # the file with code
            before = {}
        if equal(seen, before):
            return "unchanged"
        path.write_bytes(data)
        values = by_hand(path) if path.suffix == ".safetensors" else by_torch(path)
    found = all(any(same(tensor, value) for value in values) for tensor in seen.values())
    return "confirmed" if found else "WRONG: weights that are not in the file"


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(same(tensor, other[key]) for key, tensor in one.items())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one.float(), other.float(), rtol=0, atol=0, equal_nan=True)


def by_hand(path: Path) -> list[torch.Tensor]:
    """The tensors of a safetensors file of floats, read without the library."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    entries = {key: entry for key, entry in json.loads(data[8 : 8 + length]).items() if key != "__metadata__"}
    spans = [(entry["shape"], *(8 + length + place for place in entry["data_offsets"])) for entry in entries.values()]
    return [torch.from_numpy(np.frombuffer(data[a:b], np.float32).reshape(shape).copy()) for shape, a, b in spans]


class Nothing(dict):
    """What stands for everything that is not of torch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass

    __hash__ = object.__hash__


class BlindUnpickler(pickle.Unpickler):
    """Finds torch's own functions and classes, and `Nothing` else."""

    def find_class(self, module: str, name: str) -> Any:
        known = module in ("torch", "torch._utils", "torch.storage", "torch._tensor", "collections")
        try:
            return super().find_class(module, name) if known else Nothing
        except (AttributeError, ImportError):
            return Nothing


blind_pickle = types.ModuleType("blind_pickle")
blind_pickle.Unpickler, blind_pickle.load = BlindUnpickler, pickle.load


def by_torch(path: Path) -> list[torch.Tensor]:
    """Every tensor anywhere in a file of torch's."""
    content = torch.load(path, weights_only=False, pickle_module=blind_pickle)
    found, todo = [], [content]
    while todo:
        item = todo.pop()
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, dict):
            todo += item.values()
    return found
