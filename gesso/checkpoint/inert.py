"""Files of `torch.save` that name classes of their writer's code, read without importing or running any of it.

torch's own `weights_only=True` refuses a whole file for one `pathlib.Path` beside the weights. Here every name that is
no part of a tensor becomes an inert class: its objects keep what the pickle puts into them, and do nothing. So nothing
that a file names is imported, let alone called; what could only be meant to do harm is refused all the same.
"""

import io
import math
import pickle
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # names of Python 2 as `pickle` reads them, its one table
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 24  # bytes that are read at a time

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001
"""What files in torch's old format begin with, each a pickle of its own."""

HARMFUL = {"os", "posix", "nt", "sys", "subprocess", "socket", "shutil", "ctypes", "importlib", "runpy", "pty", "code"}
HARMFUL_FUNCTIONS = {"eval", "exec", "execfile", "compile", "open", "FileIO", "__import__", "breakpoint", "input"}
"""Modules and built-in functions that no training code has a reason to pickle: the mark of an attack."""


class HarmfulError(pickle.UnpicklingError):
    """A file that would have run the function `name`, had it been opened in the usual way."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Inert(dict):
    """What stands for an object whose class is not imported: items and attributes alike are its items."""

    __slots__ = ()
    name: ClassVar[str] = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        """An empty one, or what `copyreg._reconstructor` makes: one of the class that it is given."""
        kind = args[0] if cls.name == "copyreg._reconstructor" and args and _is_inert_class(args[0]) else cls
        return dict.__new__(kind)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Keeps dictionaries and pairs that the constructor is called with, as those of dictionaries are."""
        for content in args:
            if isinstance(content, dict):
                self.update(content)
            elif isinstance(content, list) and all(
                isinstance(pair, list | tuple) and len(pair) == 2 for pair in content
            ):
                self.update({key: value for key, value in content if isinstance(key, str)})

    def __eq__(self, other: object) -> bool:
        """Only itself is equal."""
        return self is other

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By identity: it may be the key of a dictionary, as an enum or a path is."""
        return id(self)

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        """Itself, whatever it is called with."""
        return self

    def __setstate__(self, state: Any) -> None:
        """Keeps attributes, of `__dict__` and `__slots__`."""
        for attributes in state if isinstance(state, tuple) else (state,):
            if isinstance(attributes, dict):
                self.update(attributes)

    def append(self, item: Any) -> None:
        """Drops what an unknown kind of list or set holds; `extend` and `add` do so, too."""

    extend = add = append


def inert_class(name: str) -> type[Inert]:
    """A new class that stands for the one of this name."""
    return type("Inert", (Inert,), {"__slots__": (), "name": name})


def _is_inert_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Inert)


class Storage(NamedTuple):
    """Memory of tensors: its type, and its bytes."""

    dtype: torch.dtype
    memory: torch.UntypedStorage


class InertUnpickler(pickle.Unpickler):
    """Builds tensors, containers and numbers, and `Inert` for everything else."""

    def __init__(self, file: BinaryIO, storage_of: Callable[..., Storage] | None = None) -> None:
        """`storage_of` gives what a persistent id, without its first word, stands for."""
        super().__init__(file, encoding="latin1")
        self._storage_of = storage_of
        self._classes: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What builds a part of a tensor, or an inert class; made anew for each file, so that none can be changed.

        Raises:
            HarmfulError: for what runs code when it is called.
        """
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full, builtin = f"{module}.{name}", module in ("builtins", "io", "_io")
        if module.split(".")[0] in HARMFUL or (builtin and name.split(".")[0] in HARMFUL_FUNCTIONS):
            raise HarmfulError(name if builtin else full)
        if full == "builtins.getattr":  # protocol 2 names classes inside classes so
            return lambda owner, inner, *default: inert_class(f"{getattr(owner, 'name', owner)}.{inner}")
        if full not in self._classes:
            self._classes[full] = _part_of_tensor(module, name) or inert_class(full)
        return self._classes[full]

    def persistent_load(self, pid: Any) -> Any:
        """The memory of a tensor; of a module in the old format, its class."""
        kind, *facts = pid if isinstance(pid, tuple) else (pid,)
        if kind == "module" and facts:
            return facts[0]
        if kind != "storage" or self._storage_of is None:
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return self._storage_of(*facts)


def _part_of_tensor(module: str, name: str) -> Any:
    """What stands for a function, type or storage of torch of which tensors are made; None for other names."""
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        return lambda storage, offset, size, stride, *rest: _tensor(storage, offset, size, stride)
    if module == "torch._utils" and name == "_rebuild_tensor_v3":
        return lambda storage, offset, size, stride, grad, hooks, dtype, *rest: _tensor(
            storage._replace(dtype=dtype), offset, size, stride
        )
    if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return lambda data, *rest: data
    if module == "torch._tensor" and name == "_rebuild_from_type_v2":
        return lambda build, kind, facts, state: build(*facts)
    if module == "torch.storage" and name == "_load_from_bytes":
        return lambda data: _read_old(io.BytesIO(data), len(data))
    if module == "torch.serialization" and name == "_get_layout":
        return str
    if module == "torch" and name == "Size":
        return tuple
    if module == "_codecs" and name == "encode":
        return lambda text, encoding: text.encode("latin1")
    known = vars(torch).get(name) if module.split(".")[0] == "torch" else None  # getattr might import
    if name == "UntypedStorage":
        return torch.uint8
    dtype = getattr(known, "dtype", None) if name.endswith("Storage") else known
    return dtype if isinstance(dtype, torch.dtype) else None


def _tensor(storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The tensor that lies so in memory.

    Raises:
        pickle.UnpicklingError: if it reaches over its end.
    """
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    room = storage.memory.nbytes() // storage.dtype.itemsize
    if min(offset, *size, *stride, 0) < 0 or (math.prod(size) and last >= room):
        raise pickle.UnpicklingError("a tensor is larger than its memory")
    return torch.empty(0, dtype=storage.dtype).set_(storage.memory, offset, tuple(size), tuple(stride))


def read_inert(path: Path) -> Any:
    """What `torch.save` or `pickle.dump` wrote, in any of their formats: tensors, containers, and `Inert` objects.

    Raises:
        HarmfulError: if it names what could only be meant to do harm. Nothing in the file has been run then.
        Exception: of any kind, if it is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return _read_zip(file)
    with path.open("rb") as file:
        return _read_old(file, path.stat().st_size)


def _read_zip(file: zipfile.ZipFile) -> Any:
    """The content of a file in torch's format of today: a pickle, and a record for each storage."""
    root = next(name for name in file.namelist() if name.endswith("data.pkl")).removesuffix("data.pkl")
    if f"{root}byteorder" in file.namelist() and file.read(f"{root}byteorder") != b"little":
        raise pickle.UnpicklingError("written on a big-endian machine")
    storages: dict[str, Storage] = {}

    def storage_of(dtype: torch.dtype, key: str, location: str, numel: int) -> Storage:
        if key not in storages:
            memory = torch.UntypedStorage(file.getinfo(f"{root}data/{key}").file_size)
            with file.open(f"{root}data/{key}") as record:
                _fill(memory, record)
            storages[key] = Storage(dtype, memory)
        return storages[key]._replace(dtype=dtype)

    return _load(io.BytesIO(file.read(f"{root}data.pkl")), storage_of)


def _read_old(file: BinaryIO, size: int) -> Any:
    """The content of a file in torch's old format: pickles, then the bytes of each storage; or of a plain pickle."""
    first = _load(file)
    if first != MAGIC_NUMBER:
        return first
    if _load(file) != PROTOCOL_VERSION:
        raise pickle.UnpicklingError("an unknown version of torch's old format")
    _load(file)  # the byte order and sizes of the machine
    storages: dict[Any, Storage] = {}

    def storage_of(dtype: torch.dtype, key: Any, location: str, numel: int, view: Any = None) -> Storage:
        if key not in storages:
            if not 0 <= numel * dtype.itemsize <= size:
                raise pickle.UnpicklingError("a storage is larger than the file")
            storages[key] = Storage(dtype, torch.UntypedStorage(numel * dtype.itemsize))
        memory = storages[key].memory
        if view is not None:
            _, offset, length = view
            memory = memory[offset * dtype.itemsize : (offset + length) * dtype.itemsize]
        return Storage(dtype, memory)

    content = _load(file, storage_of)
    for key in _load(file):
        dtype, memory = storages[key]
        numel = int.from_bytes(file.read(8), "little")
        if numel * dtype.itemsize != memory.nbytes():
            raise pickle.UnpicklingError("its storages are of other sizes")
        _fill(memory, file)
    return content


def _fill(memory: torch.UntypedStorage, file: IO[bytes]) -> None:
    """Reads the bytes of a storage.

    Raises:
        EOFError: if there are fewer.
    """
    values = torch.empty(0, dtype=torch.uint8).set_(memory).numpy()
    done = 0
    while done < len(values):
        piece = file.read(min(CHUNK, len(values) - done))
        if not piece:
            raise EOFError("its storages are truncated")
        values[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)


def _load(file: BinaryIO, storage_of: Callable[..., Storage] | None = None) -> Any:
    """The next pickle in a file.

    Raises:
        pickle.UnpicklingError: if it asks for a larger memo than it has bytes, which would fill memory.
    """
    start = file.tell()
    for operation, argument, place in pickletools.genops(file):
        if operation.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > (place or 0):
            raise pickle.UnpicklingError("its memo is larger than the pickle")
    file.seek(start)
    return InertUnpickler(file, storage_of).load()
