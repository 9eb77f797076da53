"""How much memory there is, and how much a computation needs, measured by keeping account of its tensors."""

import contextlib
import ctypes
import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode  # the manual's name for what sees each operation

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of `mallopt`, as in malloc.h
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "DefaultCPUAllocator", "not enough memory")


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes that tensors made by `run` hold at one time, on any device.

    Works alike on CPU and GPU, and needs no quiet machine: it counts what is alive, not what an allocator keeps.
    Scratch memory inside a single operation is not seen.

    Example:
        >>> peak_bytes(lambda: torch.ones(256) + 1)
        2048
    """
    learns = torch.is_grad_enabled()  # to be asked before inference mode ends, which switches gradients on
    # in inference mode compound operations would reach the account whole, and behind autocast
    with torch.inference_mode(False), torch.set_grad_enabled(learns), _Account() as account:
        run()
    return account.peak


def free_memory() -> int:
    """Bytes of memory that this process may still take: what the machine has free, or its control groups allow."""
    free = psutil.virtual_memory().available
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:  # no control groups here
        return free
    return max(0, min([free, *group_free(groups, Path("/sys/fs/cgroup"))]))


def group_free(groups: str, root: Path) -> Iterator[int]:
    """Bytes that each control group of a process still allows, from its own up to the outermost one.

    Pages of files that the kernel keeps as long as nobody needs the memory count as free.

    Args:
        groups: what `/proc/self/cgroup` says.
        root: where control groups are mounted; of version 2, or of version 1 with a folder `memory`.
    """
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            mount, limit, usage, cache = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"
        elif not kinds:
            mount, limit, usage, cache = root, "memory.max", "memory.current", ""
        else:
            continue
        own = mount / path.lstrip("/")  # in a container the path may be that of the host, and not be here
        for group in (own, *own.parents):
            with contextlib.suppress(OSError, ValueError):  # no limit, or not told here
                allowed, used = (int((group / name).read_text(encoding="utf-8")) for name in (limit, usage))
                told = dict(row.split() for row in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
                yield allowed - used + sum(int(told.get(f"{cache}{kind}_file", 0)) for kind in ("active", "inactive"))
            if group == mount:
                break


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has had in use so far: of the GPU's memory, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows keeps account of the peak itself
        now = psutil.Process().memory_info()
        return getattr(now, "peak_wset", now.rss)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Has the C library keep freed memory for the next tensor, for a while, and gives it back to the system then.

    Else glibc maps every tensor above 32 MiB anew, whose pages the kernel clears when they are first touched. Other C
    libraries are left as they are. Afterwards the limits are those that glibc itself would reach (`man mallopt`).
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 65536)
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 64 << 20)
        library.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is the one of GNU."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)


class _Account(TorchDispatchMode):
    """Adds up the memory of tensors that operations make, and takes it off when they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()  # memory that is counted already, or was there before

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.known |= {memory.data_ptr() for memory in _memories((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for memory in _memories(result):
            if memory.data_ptr() not in self.known and memory.nbytes() > 0:
                self._enter(memory)
        return result

    def _enter(self, memory: torch.UntypedStorage) -> None:
        address, size = memory.data_ptr(), memory.nbytes()
        self.known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(memory, self._leave, address, size)

    def _leave(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size


def _memories(tree: Any) -> Iterator[torch.UntypedStorage]:
    """The memory of every tensor in nested containers."""
    if isinstance(tree, torch.Tensor):
        yield tree.untyped_storage()
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _memories(part)
