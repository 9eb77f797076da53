"""Our networks against their authors' code, with the same weights: a checkout of it is needed, none of it is here.

    python -m benchmarks.official restormer --code ~/Restormer --size 128 --precisions float32 bfloat16 autocast

`--code` is the folder of the authors' repository. Where their class is in it is known for the networks of `AUTHORS`,
and said by `--official FILE:CLASS` for a fork. The file is imported by itself, not its package, and imports what it
needs from that folder and from what is installed (einops, timm ...). The authors' network in float32 is the base; the
textbook formulation is beside it, unless `--without-textbook` saves its time. All are first checked to agree. The
processor, and to which instructions it is held, is named in the first line, and every figure that is quoted has to name
it, too: ratios differ between kinds (AVX2, AVX512_BF16, AMX).
"""

import argparse
import importlib.util
import inspect
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.backbones import PASSES, PRECISIONS, Entry, compare, make_textbook, report
from gesso.backbones import Backbone, create_backbone


class Authors(NamedTuple):
    """Where a network is in its authors' repository.

    Attributes:
        file: relative to the repository.
        name: of the class.
        options: what it has to be told beside our options, for the network as published.
        range_option: the option that says up to where its images go, where that is not 1.
    """

    file: str
    name: str
    options: Mapping[str, Any] = MappingProxyType({})
    range_option: str | None = None


AUTHORS = {
    "Restormer": Authors("basicsr/models/archs/restormer_arch.py", "Restormer"),
    "Uformer": Authors("model.py", "Uformer"),
    "NAFNet": Authors("basicsr/models/archs/NAFNet_arch.py", "NAFNet"),
    "SwinIR": Authors("models/network_swinir.py", "SwinIR"),
    "PromptIR": Authors("net/model.py", "PromptIR", {"decoder": True}),
    "IPT": Authors("model/ipt.py", "ipt", {"dropout_rate": 0}, range_option="rgb_range"),
}
HELD_TO = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # variables that hold a processor to older instructions


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", help="name of a variant, as `gesso list backbones` prints it")
    parser.add_argument("--code", type=Path, required=True, help="folder of the authors' repository")
    parser.add_argument("--official", help="FILE:CLASS in that folder; none: that of the published repository")
    parser.add_argument("--size", type=int, default=128, help="side of the square image in pixels")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--passes", nargs="+", default=list(PASSES), choices=list(PASSES))
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--without-textbook", action="store_true", help="only the authors' code and ours")
    parser.add_argument("--by-the-clock", action="store_true", help="for several threads, where nothing else is run")
    arguments = parser.parse_args(words)

    torch.manual_seed(0)
    net = create_backbone(arguments.network)
    official = open_official(net, arguments.code, arguments.official)
    image = torch.rand(arguments.batch, net.in_channels, arguments.size, arguments.size)
    difference = compare(net, official, image)
    print(f"{arguments.network}, image {tuple(image.shape)}, {processor()}")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); outputs differ by {difference:.0e} std\n")
    entries = {"official float32": Entry(official, image, "float32")}
    if not arguments.without_textbook:
        entries["textbook float32"] = Entry(make_textbook(net), image, "float32")
    entries |= {f"ours {precision}": Entry(net, image, precision) for precision in arguments.precisions}
    now = time.perf_counter if arguments.by_the_clock else time.process_time
    for name in arguments.passes:
        runs = {title: PASSES[name](entry) for title, entry in entries.items()}
        report(name, runs, arguments.rounds, image.device, now)


def open_official(net: Backbone, code: Path, where: str | None = None) -> nn.Module:
    """The authors' network with the weights of ours.

    Raises:
        SystemExit: if the class is not known or not there, or does not take these weights.
    """
    authors = AUTHORS.get(type(net).__name__)
    if where is not None:
        file, _, name = where.partition(":")
        authors = authors._replace(file=file, name=name) if authors else Authors(file, name)
    if authors is None:
        raise SystemExit(f"{type(net).__name__}: say where its authors' class is by --official FILE:CLASS")
    source = code / authors.file
    if not source.is_file():
        raise SystemExit(f"{code}: expected the authors' repository with {authors.file}; it is not there")
    sys.path.insert(0, str(code.resolve()))
    spec = importlib.util.spec_from_file_location(f"official_{source.stem}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    official = construct(getattr(module, authors.name), {**net.options, **authors.options})
    missing, unexpected = official.load_state_dict(net.to_official(), strict=False)
    if missing or unexpected:
        odd = f"missing {missing[:3]}, unexpected {unexpected[:3]}"
        raise SystemExit(f"{authors.name} of {source} does not take these weights: {odd}")
    return official if authors.range_option is None else ScaledImages(official, net.options[authors.range_option])


class ScaledImages(nn.Module):
    """A network that takes and gives images from 0 to `top`, for images from 0 to 1."""

    def __init__(self, network: nn.Module, top: float) -> None:
        super().__init__()
        self.network, self.top = network, top

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image * self.top) / self.top


def construct(theirs: type[nn.Module], options: dict[str, Any]) -> nn.Module:
    """A network of the authors' class: its options by keyword, those that it knows, or as one object, `args`."""
    known = inspect.signature(theirs.__init__).parameters
    if "args" in known and known["args"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return theirs(SimpleNamespace(**options))
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return theirs(**{option: value for option, value in options.items() if takes_all or option in known})


def processor() -> str:
    """The name of the processor, what of its instructions matters here, and to which it is held."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    names = {key.strip(): value.strip() for key, value in facts.items()}
    kinds = [kind for kind in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if kind in names.get("flags", "").split()]
    held = "".join(f", {name}={os.environ[name]}" for name in HELD_TO if name in os.environ)
    return f"{names.get('model name', 'unknown processor')} ({', '.join(kinds) or 'no known instructions'}){held}"


if __name__ == "__main__":
    main()
