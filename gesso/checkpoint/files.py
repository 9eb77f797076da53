"""What lies in a file: our `.safetensors` with its header, and torch files of others, read without running them."""

import inspect
import json
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gesso import __version__
from gesso.backbones import Backbone
from gesso.data.io import atomic_path

FORMAT = 1

WRAPPERS = ("model_state_dict", "state_dict", "params_ema", "params", "model", "net")
"""Keys under which codes of the field store their weights, in the order in which they are looked for."""

INERT = [
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "argparse.Namespace"),
    *(((np.float64(0).__reduce__()[0]), f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (np.dtype, "numpy.dtype"),
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
]
"""What training codes pickle beside their weights: configurations, read as plain dictionaries, and numpy's numbers."""

KINDS = (("format", int), ("gesso", str), ("backbone", str), ("options", dict))
"""What parts of a header are, where it has them."""

State = dict[str, Tensor]


class CheckpointError(ValueError):
    """A file that cannot be read, or whose weights do not fit."""


def save(backbone: Backbone, path: str | Path, **facts: Any) -> None:
    """Writes a network as `.safetensors`: official key names, and a JSON header that says what it is.

    Args:
        backbone: the network.
        path: the file; it appears whole or not at all.
        facts: how the weights were made (`task`, `pretext`, `recipe`, `step` ...); anything that JSON takes.
    """
    save_state(backbone.state_dict(), path, **(facts | description(backbone)))


def save_state(state: Mapping[str, Tensor], path: str | Path, **facts: Any) -> None:
    """Writes tensors as `.safetensors` with a JSON header of `facts`; the file appears whole or not at all.

    Raises:
        ValueError: if the name does not end so.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: expected a name that ends in .safetensors; `gesso export` writes other formats")
    state = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    header = plain({**facts, "format": FORMAT, "gesso": __version__})
    header["checksum"] = checksum(header, state)
    with atomic_path(path, SafetensorError) as temporary:
        # One entry: several would come in an order that changes, and equal runs shall give equal files.
        save_file(untied(state), temporary, metadata={"gesso": json.dumps(header)})


def checksum(header: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """CRC-32 of a header, its own checksum left out, and of the names, types, shapes and values of the tensors."""
    facts = {name: value for name, value in header.items() if name != "checksum"}
    crc = zlib.crc32(json.dumps(facts, sort_keys=True).encode())
    for key in sorted(state):
        tensor = state[key].contiguous()
        crc = zlib.crc32(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def description(backbone: Backbone) -> dict[str, Any]:
    """What a header says of a network: its class, the name of the published size that it is, and its options."""
    network, options = type(backbone), plain(backbone.options)
    names = [name for name, variant in network.variants.items() if plain(with_defaults(network, variant)) == options]
    return {"backbone": network.__name__, "variant": names[0] if names else None, "options": options}


def with_defaults(network: type[Backbone], options: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor options of a network, those that `options` leaves out at their default."""
    parameters = list(inspect.signature(network.__init__).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not p.empty} | dict(options)


def plain(value: Any) -> Any:
    """`value` in the types that JSON and YAML have, at any depth: tuples become lists, paths text."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def untied(state: State) -> State:
    """`state`, with a copy of every tensor that shares memory with an earlier one: safetensors has no ties."""
    seen: set[int] = set()
    result: State = {}
    for key, tensor in state.items():
        memory = tensor.untyped_storage().data_ptr()
        result[key] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return result


def read_header(path: str | Path) -> dict[str, Any]:
    """What a file says of itself: `backbone`, `variant`, `options`, and how it was made; {} where it says nothing.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, or was written by a gesso newer than this one.
    """
    path = existing(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("gesso", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy or download it again") from None
    if not isinstance(header, dict) or not all(isinstance(header.get(name, kind()), kind) for name, kind in KINDS):
        raise CheckpointError(f"{path}: its header is damaged; copy or download it again")
    if header.get("format", 0) > FORMAT:
        raise CheckpointError(f"{path}: written by gesso {header['gesso']}, this is {__version__}; update gesso")
    return header


def read_state(path: str | Path, weights: str | None = None) -> State:
    """The tensors of a file by name, out of whatever dictionaries its writer wrapped around them.

    Args:
        path: `.safetensors`, or anything that `torch.save` wrote.
        weights: the key to take where a file holds several sets of weights, as BasicSR's `params` and `params_ema`;
            without it the first of `WRAPPERS`, so averages come before the last iterate.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, holds no weights, or holds code.
    """
    path = existing(path)
    if path.suffix == ".safetensors":
        header = read_header(path)  # says clearly what is wrong with a damaged file
        state = load_file(path)
        if "checksum" in header and checksum(header, state) != header["checksum"]:
            raise CheckpointError(f"{path}: damaged (its checksum is wrong); copy or download it again")
        return state
    return unwrapped(read_pickle(path), path, weights)


def existing(path: str | Path) -> Path:
    """`path`, if it is a file.

    Raises:
        FileNotFoundError: if not.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'a folder, expected a file' if path.is_dir() else 'no such file'}")
    return path


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, in its zip or its old format; tensors, containers and inert configurations only.

    Raises:
        CheckpointError: if anything else is in it, or it is damaged. Nothing in the file has been run then.
    """
    _check_zip(path)
    try:
        with torch.serialization.safe_globals(INERT):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code:
            raise CheckpointError(
                f"{path}: holds more than weights: {code[1]}, which would run code when opened, so it was not opened. "
                "If you trust its source, open it with the code that wrote it and save the state_dict alone"
            ) from None
        raise CheckpointError(f"{path}: not a checkpoint, or damaged; expected a file that torch.save wrote") from None
    except Exception as error:  # there is nothing that a damaged pickle does not make the unpickler trip over
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: truncated or damaged ({reason}); copy or download it again") from None
    return content


def _check_zip(path: Path) -> None:
    """Checks the records of a file in torch's zip format; torch itself looks at no checksum and unpacks any bomb.

    Raises:
        CheckpointError: if one is compressed, which torch never does, or damaged, or they overlap.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as file:
            records = file.infolist()
            packed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
            size = sum(record.file_size for record in records)
            damaged = None if packed or size > path.stat().st_size else file.testzip()
    except Exception as error:
        raise CheckpointError(f"{path}: truncated or damaged ({error}); copy or download it again") from None
    if packed:
        raise CheckpointError(
            f"{path}: {packed[0]} is compressed, which torch.save does not do; save it again with torch"
        )
    if size > path.stat().st_size:
        raise CheckpointError(f"{path}: its records are larger than the file; copy or download it again")
    if damaged:
        raise CheckpointError(f"{path}: truncated or damaged (checksum of {damaged}); copy or download it again")


def unwrapped(content: Any, path: Path, weights: str | None = None) -> State:
    """The state dict inside what a file holds; see `WRAPPERS`.

    Raises:
        CheckpointError: if there is none, or none under `weights`.
    """
    if weights is not None:
        if not isinstance(content, Mapping) or not isinstance(content.get(weights), Mapping):
            raise CheckpointError(f"{path}: no weights under {weights!r}; it holds {_contents(content)}")
        content = content[weights]
    outer: list[int] = []
    while isinstance(content, Mapping) and id(content) not in outer:  # a pickle may hold itself
        outer.append(id(content))
        names = WRAPPERS if len(content) > 1 else tuple(content)
        inside = [content[name] for name in names if isinstance(content.get(name), Mapping)]
        if not inside:
            break
        content = inside[0]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: expected weights by name, found {_contents(content)}")
    state = {key: value.detach() for key, value in content.items() if isinstance(value, Tensor)}
    odd = next((key for key, value in state.items() if not _is_plain(key, value)), None)
    if odd is not None:
        raise CheckpointError(f"{path}: expected real numbers under a name, found {odd!r}: {_kind(state[odd])}")
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in state.values()}
    if sum(held.values()) > path.stat().st_size:  # torch gives such tensors memory that nobody has written to
        raise CheckpointError(f"{path}: its tensors are larger than the file; copy or download it again")
    return state


def _is_plain(key: Any, tensor: Tensor) -> bool:
    """Whether an entry is a tensor as networks have them, each of its values with a place of its own."""
    if not isinstance(key, str) or tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    room = tensor.untyped_storage().nbytes()
    return not tensor.is_complex() and tensor.numel() * tensor.element_size() <= room


def _kind(tensor: Tensor) -> str:
    """What to call a tensor in an error."""
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}, {tensor.layout}, on {tensor.device}"


def _contents(content: Any) -> str:
    """What to call the content of a file in an error."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a dictionary of {', '.join(map(repr, list(content)[:8]))}" if content else "an empty dictionary"
