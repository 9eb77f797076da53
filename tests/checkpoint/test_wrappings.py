"""What training codes wrap around their weights: every form loads by itself, and nothing in a file is ever run."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import importlib
import logging
import os
import pathlib
import pickle
import random
import re
import runpy
import shutil
import subprocess
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gesso import cli
from gesso.backbones import Backbone, create_backbone
from gesso.checkpoint import CheckpointError, load, load_features, read_state, recognise
from tests._runs import NAFNET

from .conftest import same, small_restormer
from .test_files import WEIGHTS
from .test_loading import wrapped


@pytest.fixture(scope="module")
def net() -> Backbone:
    """A network of few tensors."""
    torch.manual_seed(0)
    return create_backbone("nafnet_tiny", **NAFNET)


class Discriminator(nn.Sequential):
    """What stands beside a network that is trained with it."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3), nn.LeakyReLU(), nn.Conv2d(8, 1, 3))


def others(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the same network that are not the ones to take."""
    return {key: tensor + 1 for key, tensor in state.items()}


def optimizer_of(net: nn.Module) -> dict[str, Any]:
    """The state of Adam after a step."""
    adam = torch.optim.Adam(net.parameters())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    adam.step()
    return adam.state_dict()


def lightning_file(net: Backbone, path: Path, **modules: nn.Module) -> None:
    """What Lightning writes of a module that holds a network as `net`, and others beside it."""

    class Training(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 1e-3, "data": pathlib.PurePosixPath("Rain13K")})
            self.net = net
            for name, module in modules.items():
                setattr(self, name, module)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters())

    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False, enable_model_summary=False
    )
    trainer.strategy.connect(Training())
    trainer.save_checkpoint(path)


# ------------------------------------------------------------------------------------------------------ wrappings

W = wrapped
DISCRIMINATOR = Discriminator().state_dict()
WRAPPINGS = {
    "flat": lambda s: s,
    "params": lambda s: {"params": s},
    "params and params_ema": lambda s: {"params": others(s), "params_ema": s},
    "state_dict": lambda s: {"epoch": 3, "arch": "Restormer", "state_dict": s, "best_psnr": torch.tensor(31.2)},
    "model_state_dict": lambda s: {"epoch": 3, "loss": torch.tensor(0.1), "model_state_dict": s},
    "model": lambda s: {"model": s, "iteration": 7, "scheduler": {"last_epoch": 7}},
    "net": lambda s: {"net": s, "acc": 0.9, "epoch": 1},
    "network": lambda s: {"network": s, "step": torch.tensor(7)},
    "weights": lambda s: {"weights": s, "config": {"dim": 8}},
    "netG": lambda s: {"netG": s, "epoch": 4},
    "net_g and net_d": lambda s: {"net_g": s, "net_d": DISCRIMINATOR},
    "G and D": lambda s: {"D": DISCRIMINATOR, "G": s},
    "G_state_dict": lambda s: {"D_state_dict": DISCRIMINATOR, "G_state_dict": s},
    "generator and discriminator": lambda s: {"discriminator": DISCRIMINATOR, "generator": s},
    "generator and its average": lambda s: {"generator": others(s), "generator_ema": s, "discriminator": DISCRIMINATOR},
    "net_g_ema": lambda s: {"net_g": others(s), "net_g_ema": s},
    "G_ema": lambda s: {"G": others(s), "G_ema": s, "D": DISCRIMINATOR},
    "timm's state_dict_ema": lambda s: {"state_dict": others(s), "state_dict_ema": s},
    "model_ema": lambda s: {"model": others(s), "model_ema": s, "args": {"lr": 1e-3}},
    "ema": lambda s: {"model": others(s), "ema": s, "opt": {}},
    "EMA, capitals": lambda s: {"model": others(s), "modelEMA": s},
    "ema_state_dict": lambda s: {"model_state_dict": others(s), "ema_state_dict": s},
    "shadow": lambda s: {"model": others(s), "ema": {"decay": 0.999, "shadow": s}},
    "swa_model": lambda s: {"model": others(s), "swa_model": {"n_averaged": torch.tensor(3)} | W(s, "module.")},
    "ema-pytorch": lambda s: {
        "step": 7,
        "model": others(s),
        "ema": {"initted": torch.tensor(True), "step": torch.tensor(7)}
        | W(others(s), "online_model.")
        | W(s, "ema_model."),
    },
    "module. (DataParallel)": lambda s: {"state_dict": W(s, "module.")},
    "module.module.": lambda s: W(s, "module.module."),
    "_orig_mod. (torch.compile)": lambda s: W(s, "_orig_mod."),
    "module._orig_mod.": lambda s: {"model": W(s, "module._orig_mod.")},
    "_orig_mod.module.": lambda s: {"model": W(s, "_orig_mod.module.")},
    "one stage compiled": lambda s: {k.replace("middle_blks.", "middle_blks._orig_mod."): v for k, v in s.items()},
    "FSDP": lambda s: {
        k.replace("middle_blks.", "_fsdp_wrapped_module.middle_blks._checkpoint_wrapped_module."): v
        for k, v in s.items()
    },
    "net_g.": lambda s: {"params": W(s, "net_g.module.")},
    "any prefix": lambda s: {"state_dict": W(s, "restorer.backbone.")},
    "generator_ema. among others (mmagic)": lambda s: {
        "meta": {"iter": 9},
        "state_dict": W(others(s), "generator.")
        | W(s, "generator_ema.")
        | W(DISCRIMINATOR, "discriminator.")
        | {"step_counter": torch.tensor([9]), "perceptual_loss.vgg.mean": torch.ones(3)},
    },
    "Lightning's names": lambda s: {
        "state_dict": W(s, "net.") | W(DISCRIMINATOR, "lpips.net.") | W(DISCRIMINATOR, "loss_fn."),
        "global_step": 9,
    },
    "network at the root, lpips beside": lambda s: {
        "state_dict": s | W(DISCRIMINATOR, "lpips.") | {"loss_fn.weight": torch.ones(3)}
    },
    "AveragedModel's names": lambda s: {"n_averaged": torch.tensor(3)} | W(s, "module."),
    "counted by thop": lambda s: s | {"total_ops": torch.zeros(1), "middle_blks.0.total_params": torch.zeros(1)},
    "DeepSpeed": lambda s: {"module": s, "ds_config": {}, "param_shapes": [{"a": torch.Size([3])}], "dp_world_size": 1},
    "Composer": lambda s: {
        "state": {"model": W(s, "module."), "callbacks": {}},
        "rng": [{"torch": torch.get_rng_state()}],
    },
    "three deep": lambda s: {"checkpoint": {"model": {"state_dict": W(s, "module.net.")}}},
    "in a list": lambda s: [W(s, "module."), {"lr": 1e-3}],
    "in a tuple": lambda s: (s, 7),
    "a list of networks": lambda s: {"networks": [s, DISCRIMINATOR]},
    "halves of MFM": lambda s: {"model": W(s, "encoder.") | {"decoder.0.weight": torch.ones(3)}},
    "OrderedDict": lambda s: collections.OrderedDict(state_dict=collections.OrderedDict(s)),
    "defaultdict": lambda s: collections.defaultdict(list, {"model": s, "log": [1.0]}),
    "parameters": lambda s: {key: nn.Parameter(tensor) for key, tensor in s.items()},
    "parameters with attributes": lambda s: {key: with_attribute(nn.Parameter(tensor)) for key, tensor in s.items()},
    "not contiguous": lambda s: {
        k: v.clone(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in s.items()
    },
    "parts of one storage": lambda s: in_one_storage(s),
    "float64": lambda s: {key: tensor.double() for key, tensor in s.items()},
}


def with_attribute(parameter: nn.Parameter) -> nn.Parameter:
    """A parameter that its optimiser shall not decay, as some codes say."""
    parameter._no_weight_decay = True
    return parameter


def in_one_storage(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of one flat tensor, as optimisers of large models keep their weights."""
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    pieces = flat.split([tensor.numel() for tensor in state.values()])
    return {key: piece.view(state[key].shape) for key, piece in zip(state, pieces, strict=True)}


def check_opens(path: Path, net: Backbone) -> None:
    """Both ways of reading give the network's own weights."""
    assert equal(load(path), net)
    fresh = net.twin()
    assert load_features(fresh, path, keep_head=True).relearned == []
    assert equal(fresh, net)


def equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


@pytest.mark.parametrize("form", WRAPPINGS)
def test_a_wrapping_opens(tmp_path, net, form):
    torch.save(WRAPPINGS[form](net.state_dict()), tmp_path / "net.pth")
    check_opens(tmp_path / "net.pth", net)


WRAPPERS_OF_TORCH = {
    "DataParallel": nn.DataParallel,
    "DataParallel, twice": lambda net: nn.DataParallel(nn.DataParallel(net)),
    "torch.compile": torch.compile,
    "AveragedModel": AveragedModel,
    "EMA by AveragedModel": lambda net: AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True),
    "all of them": lambda net: AveragedModel(torch.compile(nn.DataParallel(net))),
}


@pytest.mark.parametrize("form", WRAPPERS_OF_TORCH)
def test_a_module_that_torch_wraps_opens(tmp_path, net, form):
    state = WRAPPERS_OF_TORCH[form](net).state_dict()
    torch.save({"model": state, "optimizer": optimizer_of(net.twin())}, tmp_path / "net.pth")
    check_opens(tmp_path / "net.pth", net)


@pytest.mark.parametrize("prefix", ["", "params.", "params_ema.", "model.net.", "module._orig_mod."])
def test_safetensors_of_others_open_under_any_prefix(tmp_path, net, prefix):
    save_file(wrapped(net.state_dict(), prefix), tmp_path / "net.safetensors", metadata={"format": "pt"})
    check_opens(tmp_path / "net.safetensors", net)


def test_safetensors_with_averages_give_these(tmp_path, net):
    state = net.state_dict()
    save_file(W(others(state), "params.") | W(state, "params_ema."), tmp_path / "net.safetensors")
    check_opens(tmp_path / "net.safetensors", net)
    assert not equal(load(tmp_path / "net.safetensors", weights="params"), net)


def test_the_content_and_not_the_suffix_says_what_a_file_is(tmp_path, net):
    save_file(net.state_dict(), tmp_path / "net.pth")
    check_opens(tmp_path / "net.pth", net)
    torch.save(net.state_dict(), tmp_path / "net.safetensors")
    check_opens(tmp_path / "net.safetensors", net)


def test_a_lightning_file_opens(tmp_path):
    net = small_restormer()
    path = tmp_path / "epoch=3-step=900.ckpt"
    lightning_file(net, path, lpips=Discriminator(), loss_fn=Discriminator(), discriminator=Discriminator())
    check_opens(path, net)
    assert len(recognise(path).left) == 3 * len(DISCRIMINATOR)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_opens_as_float32(tmp_path, net, dtype):
    torch.save({"model": {key: tensor.to(dtype) for key, tensor in net.state_dict().items()}}, tmp_path / "net.pth")
    for key, tensor in load(tmp_path / "net.pth").state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, net.state_dict()[key].to(dtype).float())


# ------------------------------------------------------------------------------------------------ several networks


def test_the_network_that_fits_is_taken_of_two(tmp_path, net):
    restormer = small_restormer()
    torch.save({"teacher": net.state_dict(), "student": restormer.state_dict()}, tmp_path / "two.pth")
    load_features(net.twin(), tmp_path / "two.pth")
    load_features(restormer.twin(), tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match="holds 2 networks that fit: 'student', 'teacher'"):
        load(tmp_path / "two.pth")
    assert equal(load(tmp_path / "two.pth", weights="teacher"), net)


TWO = {
    "keys": (lambda a, b: {"netG_A": a, "netG_B": b}, "netG_A", "netG_B"),
    "prefixes": (lambda a, b: {"state_dict": W(a, "student.") | W(b, "teacher.")}, "state_dict.student", "teacher"),
    "wrapped": (lambda a, b: {"G_A": W(a, "module."), "G_B": W(b, "module.")}, "G_A.module", "G_B"),
}


@pytest.mark.parametrize("form", TWO)
def test_what_is_ambiguous_is_an_error_that_names_the_choice(tmp_path, net, form):
    build, first, second = TWO[form]
    torch.save(build(net.state_dict(), others(net.state_dict())), tmp_path / "two.pth")
    message = rf"two\.pth: holds 2 networks that fit: '{re.escape(first)}', '.*{second}.*'; say which one, weights="
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "two.pth")
    with pytest.raises(CheckpointError, match=message):
        load_features(net.twin(), tmp_path / "two.pth")
    assert equal(load(tmp_path / "two.pth", weights=first), net)
    assert not equal(load(tmp_path / "two.pth", weights=second), net)
    fresh = net.twin()
    load_features(fresh, tmp_path / "two.pth", weights=first, keep_head=True)
    assert equal(fresh, net)


def test_the_command_line_says_what_to_do_and_that_works(tmp_path, net, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"netG_A": net.state_dict(), "netG_B": others(net.state_dict())}, "two.pth")
    assert cli.main(["inspect", "two.pth", "--out", "inspected"]) == 2
    said = re.search(r"`gesso (export .*)`", " ".join(capsys.readouterr().err.split()))
    assert said is not None
    assert cli.main(said[1].split()) == 0
    check_opens(Path("one.pth"), net)


def test_equal_copies_are_no_choice(tmp_path, net):
    state = net.state_dict()
    torch.save({"first": state, "second": {key: tensor.clone() for key, tensor in state.items()}}, tmp_path / "net.pth")
    found = recognise(tmp_path / "net.pth")
    assert equal(found.network, net)
    assert "took" not in str(found)


def test_a_choice_that_was_made_is_said(tmp_path, net):
    state = net.state_dict()
    torch.save({"params": others(state), "params_ema": state}, tmp_path / "net.pth")
    assert str(recognise(tmp_path / "net.pth")).endswith("; took 'params_ema', not 'params'")
    assert str(load_features(net.twin(), tmp_path / "net.pth")).endswith("; took 'params_ema', not 'params'")


@pytest.mark.parametrize("weights", ["generator", "state_dict.generator", "generator.module", "module"])
def test_a_set_is_chosen_by_any_part_of_its_place(tmp_path, net, weights):
    state = W(net.state_dict(), "generator.module.") | W(others(net.state_dict()), "generator_ema.")
    torch.save({"state_dict": state}, tmp_path / "net.pth")
    assert equal(load(tmp_path / "net.pth", weights=weights), net)


# ------------------------------------------------------------------------------------- plain data beside the weights


@pytest.fixture
def their_code(monkeypatch):
    """Classes of a training code that is not there when its files are read."""
    module = types.ModuleType("their_code")
    monkeypatch.setitem(sys.modules, "their_code", module)

    def declare(kind: type) -> Any:
        kind.__module__, kind.__qualname__ = "their_code", kind.__name__
        setattr(module, kind.__name__, kind)
        return kind

    @declare
    class EasyDict(dict):
        def __init__(self, values):
            for key, value in values.items():
                setattr(self, key, value)

        def __setattr__(self, name, value):
            value = type(self)(value) if isinstance(value, dict) else value
            super().__setattr__(name, value)
            super().__setitem__(name, value)

        def __setstate__(self, state):
            pytest.fail("code of the file was run")

    @declare
    @dataclasses.dataclass
    class Config:
        lr: float = 1e-3
        betas: tuple = (0.9, 0.999)

        def __post_init__(self):
            self.made = True

    @declare
    class Slotted:
        __slots__ = ("value",)

    @declare
    class Meter(list):
        pass

    @declare
    class Phase(enum.Enum):
        TRAIN = 1

    @declare
    class Reduced:
        def __reduce__(self):
            return Reduced, (3, {"of": "them"}), {"more": 1}, iter([1, 2]), iter([("a", 1)])

    @declare
    class Node:
        """As OmegaConf's: the content in an attribute, and the parent in another."""

        def __init__(self, content, parent=None):
            self._parent = parent
            self._content = {k: Node(v, self) if isinstance(v, dict) else v for k, v in content.items()}

    @declare
    def schedule(step):
        return 1.0

    slotted = Slotted()
    slotted.value = 3
    return {
        "easydict": EasyDict({"model": {"dim": 48}, "lr": 1e-3}),
        "dataclass": Config(),
        "slots": slotted,
        "list subclass": Meter([1, 2, 3]),
        "enum": Phase.TRAIN,
        "dictionary by enum": {Phase.TRAIN: 1},
        "reduced": Reduced(),
        "omegaconf": Node({"model": {"dim": 48}}),
        "function": schedule,
        "partial": functools.partial(schedule, step=3),
        "class": Config,
        "bound method": Config().__repr__,
    }


PLAIN = {
    "numpy scalar": lambda: np.float64(31.2),
    "numpy integer": lambda: np.int64(3),
    "numpy bool": lambda: np.bool_(True),
    "numpy array": lambda: np.arange(6.0).reshape(2, 3),
    "numpy array of objects": lambda: np.array([None, "a"], dtype=object),
    "numpy generator": lambda: np.random.default_rng(0),
    "numpy random state": lambda: np.random.RandomState(0),
    "numpy's global state": np.random.get_state,
    "python's random state": random.getstate,
    "torch's random state": torch.get_rng_state,
    "torch generator state": lambda: torch.Generator().get_state(),
    "path": lambda: pathlib.PosixPath("/data/runs"),
    "pure paths": lambda: [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("C:\\runs")],
    "namespace": lambda: argparse.Namespace(lr=1e-3, out=Path("runs"), nested=argparse.Namespace(a=1)),
    "simple namespace": lambda: types.SimpleNamespace(lr=1e-3),
    "date": lambda: datetime.datetime(2026, 11, 29, tzinfo=datetime.UTC),
    "time delta": lambda: datetime.timedelta(hours=3),
    "ordered dict": lambda: collections.OrderedDict(a=1),
    "counter and deque": lambda: (collections.Counter("abca"), collections.deque([1.0, 2.0], maxlen=5)),
    "defaultdict": lambda: collections.defaultdict(functools.partial(int, 3), a=1),
    "chain map": lambda: collections.ChainMap({"a": 1}),
    "set and frozenset": lambda: ({1, 2}, frozenset({3})),
    "complex, range, slice": lambda: (1j, range(3), slice(1, 2)),
    "bytes and bytearray": lambda: (b"\x00\xff", bytearray(b"abc")),
    "decimal and uuid": lambda: (decimal.Decimal("1.5"), uuid.UUID(int=3)),
    "regular expression": lambda: re.compile("a.c"),
    "exception": lambda: ValueError("nan"),
    "logger": lambda: logging.getLogger("training"),
    "built-in function": lambda: max,
    "optimiser": lambda: optimizer_of(nn.Conv2d(1, 1, 1)),
    "whole optimiser": lambda: torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1),
    "scheduler": lambda: torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1), abs),
    "whole module": lambda: nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)),
    "loss module": lambda: nn.L1Loss(),
    "torch's own": lambda: (torch.device("cpu"), torch.float16, torch.Size([3]), torch.strided),
    "sparse and complex tensors": lambda: {"s": torch.eye(3).to_sparse(), "c": torch.ones(2) * 1j},
    "history": lambda: [{"epoch": 1, "psnr": np.float32(30)}, {"epoch": 2, "psnr": torch.tensor(31.0)}],
}


WAYS = {
    "zip": {},
    "old": {"_use_new_zipfile_serialization": False},
    "zip, protocol 5": {"pickle_protocol": 5},
    "old, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PLAIN)
def test_plain_data_is_passed_over(tmp_path, name, way):
    extra = PLAIN[name]()
    content = {"note": extra, "model": WEIGHTS, "last": [extra, (extra, {"a": extra})]}
    torch.save(content, tmp_path / "net.pth", **WAYS[way])
    assert same(read_state(tmp_path / "net.pth"), WEIGHTS)


@pytest.mark.parametrize("way", WAYS)
def test_classes_of_the_training_code_are_passed_over(tmp_path, their_code, monkeypatch, way):
    for number, extra in enumerate(their_code.values()):
        content = {"model": WEIGHTS, "extra": extra, "more": [extra, {"again": extra}]}
        torch.save(content, tmp_path / f"{number}.pth", **WAYS[way])
    monkeypatch.delitem(sys.modules, "their_code")
    for number, name in enumerate(their_code):
        assert same(read_state(tmp_path / f"{number}.pth"), WEIGHTS), name
    assert "their_code" not in sys.modules


def test_weights_inside_objects_of_the_training_code_open(tmp_path, net, their_code, monkeypatch):
    state = net.state_dict()
    easy, node = (type(their_code[name]) for name in ("easydict", "omegaconf"))
    contents = [easy({"params": state}), node({"model": state}), argparse.Namespace(model=state)]
    for number, content in enumerate(contents):
        torch.save(content, tmp_path / f"{number}.pth")
    monkeypatch.delitem(sys.modules, "their_code")
    for number in range(len(contents)):
        assert equal(load(tmp_path / f"{number}.pth"), net)


def test_a_plain_pickle_of_tensors_opens(tmp_path, net):
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"model": net.state_dict(), "out": Path("runs")}))
    check_opens(tmp_path / "net.pkl", net)


# ------------------------------------------------------------------------------------------------------------- harm


class Call:
    """Pickled, it becomes the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


HARM = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "os.mkdir": lambda mark: Call(os.mkdir, str(mark)),
    "eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "open": lambda mark: Call(open, str(mark), "w"),
    "import_module": lambda mark: Call(importlib.import_module, "this"),
    "__import__": lambda mark: Call(__import__, "this"),
    "run_path": lambda mark: Call(runpy.run_path, str(mark)),
    "subprocess": lambda mark: Call(subprocess.check_output, ["touch", str(mark)]),
    "copy": lambda mark: Call(shutil.copy, __file__, str(mark)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HARM)
def test_a_file_that_means_harm_is_refused_and_not_run(tmp_path, name, way):
    mark, path = tmp_path / "mark", tmp_path / "net.pth"
    torch.save({"model": WEIGHTS, "extra": HARM[name](mark)}, path, **WAYS[way])
    sys.modules.pop("this", None)
    with pytest.raises(CheckpointError, match=r"holds more than weights: .* would run code when opened, so it was not"):
        read_state(path)
    assert not mark.exists()
    assert "this" not in sys.modules


HIDDEN = {
    "getattr": lambda mark: Call(getattr, nn.Module, "load_state_dict"),
    "setattr": lambda mark: Call(setattr, nn.Module, "__init__", None),
    "torch.load": lambda mark: Call(torch.load, str(mark), None, None),
    "torch.save": lambda mark: Call(torch.save, [1], str(mark)),
    "torch.jit": lambda mark: Call(torch.jit.load, str(mark)),
    "torch.hub": lambda mark: Call(torch.hub.load_state_dict_from_url, f"file://{__file__}", str(mark)),
    "register_package": lambda mark: Call(torch.serialization.register_package, 0, max, min),
    "safe globals": lambda mark: Call(torch.serialization.add_safe_globals, [Path]),
    "numpy.save": lambda mark: Call(np.save, str(mark), [1]),
    "numpy.load": lambda mark: Call(np.load, str(mark), None, True),
    "pickle.loads": lambda mark: Call(pickle.loads, pickle.dumps(Call(Path.touch, mark))),
    "pathlib": lambda mark: Call(Path.touch, mark),
    "partial": lambda mark: Call(functools.partial(Path.touch, mark)),
    "map": lambda mark: Call(list, Call(map, Path.touch, [mark])),
}
"""Calls of harmless names, which may reach further: they are passed over, and none is made."""


def state_of_torch() -> tuple[Any, ...]:
    """What a file could change of torch."""
    registry = torch.serialization._package_registry
    return nn.Module.__init__, torch.serialization.get_safe_globals(), len(registry)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HIDDEN)
def test_no_function_in_a_file_is_called(tmp_path, name, way):
    mark, path = tmp_path / "mark", tmp_path / "net.pth"
    torch.save({"model": WEIGHTS, "extra": HIDDEN[name](mark)}, path, **WAYS[way])
    before = (
        nn.Module.__init__,
        list(torch.serialization.get_safe_globals()),
        len(torch.serialization._package_registry),
    )
    assert same(read_state(path), WEIGHTS)
    assert before == (
        nn.Module.__init__,
        torch.serialization.get_safe_globals(),
        len(torch.serialization._package_registry),
    )
    assert not list(tmp_path.glob("mark*"))


def test_a_file_cannot_change_classes_of_this_process(tmp_path):
    pickled = b"\x80\x02ctorch.nn.parameter\nParameter\n}(U\x05bogusK\x01ub."  # BUILD on a class: sets its attribute
    (tmp_path / "net.pkl").write_bytes(pickled)
    with pytest.raises(CheckpointError):
        read_state(tmp_path / "net.pkl")
    assert not hasattr(nn.Parameter, "bogus")


def test_a_memo_without_end_takes_no_memory(tmp_path):
    (tmp_path / "net.pkl").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    with pytest.raises(CheckpointError, match="damaged"):
        read_state(tmp_path / "net.pkl")


def test_lists_in_lists_without_end_end(tmp_path):
    content: list[Any] = [{"epoch": 1}]
    for _ in range(60):
        content = [content, content]
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match="expected weights by name"):
        read_state(tmp_path / "net.pth")


@pytest.mark.parametrize("content", ["module", "in a dictionary", "in an old file"])
def test_a_whole_module_is_named_and_how_to_save_it_again(tmp_path, content):
    module = nn.Sequential(nn.Conv2d(3, 3, 3))
    whole = {"epoch": 3, "model": module} if content == "in a dictionary" else module
    torch.save(whole, tmp_path / "net.pth", _use_new_zipfile_serialization=content != "in an old file")
    message = r"holds a whole torch\.nn\.modules\.container\.Sequential, .*torch\.save\(torch\.load\(.*\.state_dict\(\)"
    with pytest.raises(CheckpointError, match=message):
        read_state(tmp_path / "net.pth")
