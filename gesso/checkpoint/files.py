"""What lies in a file: our `.safetensors` with its header, and torch files of others, read without running them."""

import inspect
import json
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gesso import __version__
from gesso._discovery import spell_code
from gesso.backbones import Backbone, spell_object
from gesso.checkpoint.file_types import identify_foreign, is_safetensors
from gesso.checkpoint.inert import HarmfulError, Inert, read_inert
from gesso.data.io import atomic_path
from gesso.degradations import Degradation
from gesso.primed import resolve_file

FORMAT = 1

WRAPPERS = ("model_state_dict", "state_dict", "params", "model", "module", "net", "network", "weights")
"""Keys under which codes of the field store the weights of their network, the likeliest first."""

AVERAGED = re.compile(r"(?:^|_|(?<=[a-z]))(?:EMA|Ema|SWA)(?=_|$)|(?:^|_)(?:ema|swa|avg|averaged?|shadow)(?=_|$)")
"""What the names of averaged weights have in them: `params_ema`, `ema_model`, `net_g_ema`, `swa_state_dict`."""

WRAPPED = re.compile(r"\b(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put into the names of what they wrap, at any depth."""

TRAINING_STATE = re.compile(r"optim|sched|scaler|grad|momentum", re.IGNORECASE)
"""What the names of tensors have in them that training keeps beside the weights."""

MOST_VISITS, DEEPEST = 100_000, 8
"""How many containers of a file are looked into, and how deep they may lie; pickles may hold themselves."""

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
        # One entry: several would come in an order that changes, and equal runs must give equal files.
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
    return {"backbone": network.spell_class(), "variant": names[0] if names else None, "options": options}


def with_defaults(network: type[Backbone], options: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor options of a network, those that `options` leaves out at their default."""
    parameters = list(inspect.signature(network.__init__).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.default is not p.empty} | dict(options)


def plain(value: Any) -> Any:
    """`value` in the types that JSON and YAML have, at any depth: tuples become lists, paths text.

    Degradations become their options, classes and functions `module:name`; of any other object it says what it was,
    for no file holds it.
    """
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Degradation):
        return value.as_yaml()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return spell_code(value) or spell_object(value)
    return spell_object(value)


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
    if not _is_safetensors(path):
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
        path: safetensors, or anything that `torch.save` wrote, whatever its suffix.
        weights: the set to take where a file holds several; without it the first of `read_states`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, of another kind, holds no weights, or holds code.
    """
    return next(iter(read_states(path, weights).values()))


def read_states(path: str | Path, weights: str | None = None) -> dict[str, State]:
    """Every set of weights in a file under its place in it (`model.params_ema`; "" for the file itself).

    Averages come before the last iterate, then keys in the order of `WRAPPERS`, then the larger set.

    Args:
        path: safetensors, or anything that `torch.save` wrote, whatever its suffix.
        weights: take this set alone, as `params` beside BasicSR's `params_ema`: a place, the end of one, or what all
            names of the tensors meant begin with (`generator` for `generator.conv.weight`).

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, of another kind, holds no weights, or holds code.
    """
    path = existing(path)
    if _is_safetensors(path):
        header = read_header(path)  # says clearly what is wrong with a damaged file
        state = load_file(path)
        if "checksum" in header and checksum(header, state) != header["checksum"]:
            raise CheckpointError(f"{path}: damaged (its checksum is wrong); copy or download it again")
        return select_states({"": state if header else _without_wrappers(state)}, path, weights, state)
    return find_states(read_pickle(path), path, weights)


def _is_safetensors(path: Path) -> bool:
    """Whether a file is read as safetensors: by its content, and by its suffix where that is damaged.

    Raises:
        CheckpointError: if it is a file of another kind.
    """
    if other := identify_foreign(path):
        raise CheckpointError(f"{path}: {other}")
    if is_safetensors(path):
        return True
    with path.open("rb") as file:
        return path.suffix == ".safetensors" and file.read(2) not in (b"PK", b"\x80\x02")


def existing(path: str | Path) -> Path:
    """The file that a path, or the name of a primed network (`primed:TASK/NETWORK`), means, if it is there.

    Raises:
        FileNotFoundError: if not.
        UnknownNameError: if there is no such primed network.
    """
    path = resolve_file(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'a folder, expected a file' if path.is_dir() else 'no such file'}")
    return path


def read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, in its zip or its old format: tensors and containers; `Inert` for anything else.

    Raises:
        CheckpointError: if it is damaged, or holds code that harms. Nothing in the file has been run then.
    """
    _check_zip(path)
    with warnings.catch_warnings(action="ignore"):  # of pickle protocols and classes of storages that torch calls old
        try:
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            pass  # it holds more than weights, or is no file of torch
        except Exception as error:  # there is nothing that a damaged pickle does not make the unpickler trip over
            raise _damaged(path, error) from None
        try:
            return read_inert(path)
        except HarmfulError as error:
            raise CheckpointError(
                f"{path}: holds more than weights: {error.name}, which would run code when opened, so it was not "
                "opened. If you trust its source, open it with the code that wrote it and save the state_dict alone"
            ) from None
        except Exception as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that its reader trips over."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(f"{path}: not a checkpoint, truncated or damaged ({reason}); copy or download it again")


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


def find_states(content: Any, path: Path, weights: str | None = None) -> dict[str, State]:
    """The sets of weights inside what a file holds, in the order of `read_states`.

    Raises:
        CheckpointError: if there is none, or none under `weights`.
    """
    found, modules = _collect(content)
    if modules and not found:
        raise CheckpointError(
            f"{path}: holds a whole {modules[0]}, which takes code to open, so it was not opened. If you trust its "
            "source, open it with the code that wrote it and save the weights alone: "
            "torch.save(torch.load(path, weights_only=False).state_dict(), 'weights.pth')"
        )
    if not found:
        raise CheckpointError(f"{path}: expected weights by name, found {_contents(content)}")
    found = select_states(found, path, weights, content)
    faults = {place: fault for place, state in found.items() if (fault := _fault(state, path))}
    if len(faults) == len(found):
        raise CheckpointError(f"{path}: {next(iter(faults.values()))}")
    ranks = {place: (*rank(place), -len(state)) for place, state in found.items() if place not in faults}
    return {place: found[place] for place in sorted(ranks, key=ranks.__getitem__)}


def _collect(content: Any) -> tuple[dict[str, State], list[str]]:
    """Dictionaries of tensors in a file by their place, outermost first; and the classes of whole modules in it."""
    found: dict[str, State] = {}
    modules: list[str] = []
    todo, visits = [("", content, 0)], 0
    while todo and visits < MOST_VISITS:
        (place, value, depth), visits = todo.pop(0), visits + 1
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if not isinstance(value, Mapping):
            continue
        if isinstance(value, Inert) and {"_parameters", "_modules"} <= value.keys():
            modules.append(value.name)
            continue
        state: dict[Any, Tensor] = {key: item.detach() for key, item in value.items() if isinstance(item, Tensor)}
        if state:
            found[place] = _without_wrappers(state)
        if depth < DEEPEST:
            inside = ((key, item) for key, item in value.items() if isinstance(item, Mapping | list | tuple))
            todo += [(join_names(place, key), item, depth + 1) for key, item in inside]
    return found, modules


def _without_wrappers(state: Mapping[Any, Tensor]) -> State:
    """`state` without what `WRAPPED` finds in its names."""
    return {WRAPPED.sub("", key) if isinstance(key, str) else key: tensor for key, tensor in state.items()}


def rank(place: str) -> tuple[int, int]:
    """Where a set of weights stands among several in a file: averages first, then as `WRAPPERS` has its key."""
    names = place.split(".")
    averages = sum(bool(AVERAGED.search(name)) for name in names)
    plain_names = [AVERAGED.sub("", name).strip("_") for name in names]
    order = min((WRAPPERS.index(name) for name in plain_names if name in WRAPPERS), default=len(WRAPPERS))
    return (1 if TRAINING_STATE.search(place) else -averages), order


def select_states(found: Mapping[str, State], path: Path, weights: str | None, content: Any) -> dict[str, State]:
    """The sets of `found` that `weights` names, all without it; see `read_states`.

    Raises:
        CheckpointError: if there is none.
    """
    if weights is None:
        return dict(found)
    within = {place: state for place, state in found.items() if f".{weights}." in f".{place}."}
    exact = {place: state for place, state in within.items() if place == weights or place.endswith(f".{weights}")}
    named: dict[str, State] = {}
    for place, state in found.items():
        for key, tensor in state.items():
            before, mark, name = f".{join_names(place, key)}".partition(f".{weights}.")
            if mark:
                named.setdefault(join_names(before.lstrip("."), weights), {})[name] = tensor
    if not (exact or within or named):
        raise CheckpointError(f"{path}: no weights under {weights!r}; it holds {_contents(content)}")
    return exact or within or named


def join_names(place: str, name: Any) -> str:
    """A name inside a place, joined by a dot."""
    return f"{place}.{name}" if place else str(name)


def _fault(state: State, path: Path) -> str:
    """Why a set is not plain numbers by name that the file has room for; empty if it is."""
    odd = next((key for key, value in state.items() if not _is_plain(key, value)), None)
    if odd is not None:
        return f"expected real numbers under a name, found {odd!r}: {_kind(state[odd])}"
    held = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in state.values()}
    if sum(held.values()) > path.stat().st_size:  # torch gives such tensors memory that nobody has written to
        return "its tensors are larger than the file; copy or download it again"
    return ""


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
