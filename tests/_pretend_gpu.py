"""A GPU that is none: tensors that say `cuda:0`, are computed by the processor, and never mix with those of the CPU.

Every operation sees to it that its tensors and its generator are on one device, as a GPU does (numbers without axes,
and indices, may come from the CPU). So code that forgets to move something fails here, too, where there is no GPU, and
what makes a processor wait for a GPU can be counted. How a GPU rounds, what it can hold, which operations it lacks and
how fast it is, this does not say; autocast does nothing on it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
aten = torch.ops.aten
WAITS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)  # for what is on the GPU
TAKES_CPU_INDICES = (aten.index, aten.index_put_)

waits: list[str] = []  # what the processor has waited for, in order

# What `torch.cuda` says of a GPU.
SAID = {
    "_lazy_init": None, "is_available": True, "is_bf16_supported": True, "device_count": 1, "current_device": 0,
    "mem_get_info": (2**30, 2**31), "max_memory_allocated": 2**20, "memory_reserved": 0, "memory_allocated": 0,
    "memory_stats": {}, "reset_peak_memory_stats": None, "synchronize": None, "empty_cache": None, "set_device": None,
    "get_device_capability": (9, 0), "get_device_name": "none", "get_rng_state_all": [],
}  # fmt: skip


@contextlib.contextmanager
def pretended_gpu() -> Iterator[torch.device]:
    """Within, `torch.device("cuda:0")` can be used; yields it."""
    waits.clear()
    with contextlib.ExitStack() as stack:
        for name, answer in SAID.items():
            stack.enter_context(mock.patch(f"torch.cuda.{name}", lambda *_, answer=answer, **__: answer))
        for name, substitute in {"Generator": Generator, "tensor": tensor, "inference_mode": inference_mode}.items():
            stack.enter_context(mock.patch(f"torch.{name}", substitute))
        stack.enter_context(Factories())
        yield GPU


class OnGPU(Tensor):
    """A tensor of the pretended GPU; `values` are what it holds."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "OnGPU":
        held = Tensor._make_wrapper_subclass(  # "meta" below Python, where a build for CPUs knows no GPU
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            device="meta", requires_grad=values.requires_grad,
        )  # fmt: skip
        held.values = values
        return held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def data(self) -> "OnGPU":
        return self.detach()

    @data.setter
    def data(self, new: "OnGPU") -> None:
        Tensor.data.__set__(self, new)
        self.values = new.values

    # Lists that index a tensor would become tensors below Python.

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(torch.tensor(index) if isinstance(index, list) else index, value)

    def tolist(self) -> Any:
        waits.append("tolist")
        return self.values.tolist()

    def __repr__(self, **_: Any) -> str:
        return f"OnGPU({self.values!r})"


class Factories(TorchDispatchMode):
    """Sees the operations that have no tensor yet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


class Generator(torch.Generator):
    """A generator that knows for which device it draws; operations see only what is below Python, its `_cdata`."""

    of_gpu: ClassVar[dict[int, torch.Generator]] = {}  # held, so that no other takes its place in memory

    def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
        generator = super().__new__(cls)
        if is_gpu(device):
            cls.of_gpu[generator._cdata] = generator
        return generator

    @property
    def device(self) -> torch.device:
        return GPU if self._cdata in self.of_gpu else CPU


def tensor(data: Any, *, device: Any = None, made: Any = torch.tensor, **options: Any) -> Tensor:
    """In place of torch's, which moves what it has made below Python."""
    return made(data, **options).to(device)


def inference_mode(mode: bool = True) -> Any:
    """In place of torch's, which knows no tensors like these."""
    return torch.set_grad_enabled(not mode)


def compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, on the device of its tensors.

    Raises:
        RuntimeError: if they are on several, or its generator is elsewhere.
    """
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with Factories():
            return func.decompose(*args, **kwargs)  # operations that are made of others, where no gradient is wanted
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain formula: the processor has no kernels of a GPU
    held = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, OnGPU)]
    on_gpu = goes_to_gpu(func, args, kwargs)
    if held and (func in WAITS or not on_gpu):
        waits.append(str(func))
    if "device" in kwargs:
        kwargs = kwargs | {"device": CPU}
    plain_args, plain_kwargs = tree_map_only(OnGPU, lambda there: there.values, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)

    def back(values: Tensor) -> OnGPU:
        same = [there for there in held if there.values is values]  # after an operation in place
        return same[0] if same else OnGPU(values)

    return tree_map_only(Tensor, back, result) if on_gpu else result


def goes_to_gpu(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the result of an operation is on the GPU.

    Raises:
        RuntimeError: if what it is given is not on one device.
    """
    leaves = tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    here = [leaf for leaf in tensors if not isinstance(leaf, OnGPU)]
    assert all(leaf.device == CPU for leaf in here), "made below Python"
    if func is aten._to_copy.default and kwargs.get("device") is not None:
        return is_gpu(kwargs["device"])
    if func in (aten._to_copy.default, aten.copy_.default, aten.copy.default):
        return isinstance(args[0], OnGPU)
    on_gpu = len(here) < len(tensors) or (not tensors and is_gpu(kwargs.get("device") or CPU))
    if on_gpu and func.overloadpacket not in TAKES_CPU_INDICES and any(leaf.ndim for leaf in here):
        shapes = [tuple(leaf.shape) for leaf in here if leaf.ndim]
        raise RuntimeError(f"{func}: expected all tensors to be on one device, but {shapes} are on the CPU")
    for generator in (leaf for leaf in leaves if isinstance(leaf, torch._C.Generator)):
        if (generator._cdata in Generator.of_gpu) != on_gpu:
            raise RuntimeError(f"{func}: expected a generator of the device of the result")
    return on_gpu


def is_gpu(device: torch.device | str) -> bool:
    """Whether a device is the pretended one, which is "meta" below Python."""
    return torch.device(device).type in ("cuda", "meta")
