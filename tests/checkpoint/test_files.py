import argparse
import json
import os
import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import gesso
from gesso.backbones import create_backbone
from gesso.checkpoint import CheckpointError, read_header, read_state, save

from .conftest import same

WEIGHTS = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.ones(2)}
OTHER = {key: tensor + 100 for key, tensor in WEIGHTS.items()}


def written(folder: Path, content, **options) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, **options)
    return path


# ------------------------------------------------------------------------------------------------- our own files


def test_a_file_says_what_it_is_and_how_it_was_made(tmp_path):
    net = create_backbone("restormer_tiny")
    save(net, tmp_path / "net.safetensors", task="derain", step=600, pretext=None)
    header = read_header(tmp_path / "net.safetensors")
    assert header["backbone"] == "Restormer"
    assert header["variant"] == "restormer_tiny"
    assert header["options"]["dim"] == 16
    assert header["gesso"] == gesso.__version__
    assert (header["task"], header["step"], header["pretext"]) == ("derain", 600, None)
    assert same(read_state(tmp_path / "net.safetensors"), dict(sorted(net.state_dict().items())))


def test_a_file_is_as_open_to_others_as_any_file(tmp_path):
    (tmp_path / "any").touch()
    save(create_backbone("nafnet_tiny", width=8), tmp_path / "net.safetensors")
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_the_names_in_a_file_are_the_official_ones(tmp_path, net):
    save(net, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "pt") as file:
        assert set(file.keys()) == set(net.state_dict())


def test_equal_networks_give_equal_files(tmp_path):
    contents = set()
    for number in range(8):
        torch.manual_seed(0)
        gesso.save(create_backbone("nafnet_tiny", width=8), tmp_path / f"{number}.safetensors", task="derain", step=3)
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1


def test_options_that_are_no_published_size_have_no_variant(tmp_path, net):
    save(net, tmp_path / "net.safetensors")
    assert read_header(tmp_path / "net.safetensors")["variant"] is None


def test_facts_cannot_pass_for_what_the_network_is(tmp_path, net):
    save(net, tmp_path / "net.safetensors", format=99, options="none")
    header = read_header(tmp_path / "net.safetensors")
    assert header["format"] == 1
    assert header["options"]["dim"] == 8


def test_tied_weights_are_written_once_each(tmp_path, net):
    net.decoder_level1 = net.refinement
    save(net, tmp_path / "net.safetensors")
    state = read_state(tmp_path / "net.safetensors")
    key = "0.attn.qkv.weight"
    assert torch.equal(state[f"decoder_level1.{key}"], state[f"refinement.{key}"])


def test_another_suffix_is_refused(tmp_path, net):
    with pytest.raises(ValueError, match=r"ends in \.safetensors; `gesso export`"):
        save(net, tmp_path / "net.pth")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path, net):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"net\.safetensors"):
        save(net, tmp_path / "net.safetensors")
    tmp_path.chmod(0o700)


def test_nothing_is_left_under_the_name_when_writing_fails(tmp_path, net, monkeypatch):
    def full(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gesso.checkpoint.files.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_an_error(tmp_path, net):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        save(net, tmp_path / "file" / "net.safetensors")


def test_a_file_of_a_newer_gesso_is_refused(tmp_path):
    header = json.dumps({"format": 2, "gesso": "9.0"})
    save_file(WEIGHTS, tmp_path / "new.safetensors", metadata={"gesso": header})
    with pytest.raises(CheckpointError, match=r"written by gesso 9\.0, .*update gesso"):
        read_state(tmp_path / "new.safetensors")


def test_safetensors_of_others_have_no_header(tmp_path):
    save_file(WEIGHTS, tmp_path / "plain.safetensors")
    assert read_header(tmp_path / "plain.safetensors") == {}
    assert set(read_state(tmp_path / "plain.safetensors")) == set(WEIGHTS)


# --------------------------------------------------------------------------------------------- files of others


@pytest.mark.parametrize(
    "wrapper", ["model_state_dict", "state_dict", "params_ema", "params", "model", "net", "generator"]
)
def test_wrappers_are_opened(tmp_path, wrapper):
    assert same(read_state(written(tmp_path, {wrapper: WEIGHTS})), WEIGHTS)


def test_wrappers_in_wrappers_are_opened(tmp_path):
    content = {"epoch": 3, "model": {"params": WEIGHTS, "params_ema": OTHER}, "optimizer": {"state": {}}}
    assert same(read_state(written(tmp_path, content)), OTHER)


def test_a_flat_state_is_taken_as_it_is(tmp_path):
    path = written(tmp_path, WEIGHTS | {"epoch": 3}, _use_new_zipfile_serialization=False)  # as DegAE's files
    assert same(read_state(path), WEIGHTS)


def test_averaged_weights_come_first_and_the_others_by_name(tmp_path):
    path = written(tmp_path, {"params": WEIGHTS, "params_ema": OTHER})
    assert same(read_state(path), OTHER)
    assert same(read_state(path, weights="params"), WEIGHTS)


def test_weights_that_are_not_there_are_an_error(tmp_path):
    path = written(tmp_path, {"params": WEIGHTS})
    with pytest.raises(CheckpointError, match="no weights under 'params_ema'; it holds a dictionary of 'params'"):
        read_state(path, weights="params_ema")


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, {"state_dict": {}}, torch.ones(3)])
def test_a_file_without_weights_is_an_error(tmp_path, content):
    with pytest.raises(CheckpointError, match="expected weights by name, found"):
        read_state(written(tmp_path, content))


def test_parameters_come_as_tensors(tmp_path):
    path = written(tmp_path, {"weight": nn.Parameter(torch.ones(2))})
    assert not read_state(path)["weight"].requires_grad


def test_configurations_and_numbers_beside_the_weights_are_harmless(tmp_path):
    content = {"params": WEIGHTS, "args": argparse.Namespace(lr=1e-3), "best": np.float64(31.2), "n": np.int64(3)}
    assert same(read_state(written(tmp_path, content)), WEIGHTS)


def test_a_pickled_yacs_configuration_needs_no_yacs(tmp_path, monkeypatch):
    class CfgNode(dict):
        """As yacs.config has it: a dictionary with attributes of its own."""

        def __init__(self, values):
            super().__init__(values)
            self.__dict__["__immutable__"] = True
            self.__dict__["__deprecated_keys__"] = {"old"}

    CfgNode.__module__, CfgNode.__qualname__ = "yacs.config", "CfgNode"
    yacs = types.ModuleType("yacs.config")
    yacs.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", yacs)
    config = CfgNode({"MODEL": CfgNode({"NAME": "ifp", "SIZES": [224, 224]}), "TAG": "M75"})
    model = {f"encoder.{key}": tensor for key, tensor in WEIGHTS.items()}
    path = written(tmp_path, {"model": model, "epoch": 3, "max_accuracy": 0.0, "config": config})
    monkeypatch.undo()
    assert "yacs.config" not in sys.modules
    assert same(read_state(path), model)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self):
        return (eval, (f"open({self.mark!r}, 'w')",))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_named_and_not_run(tmp_path, zipped):
    mark = tmp_path / "ran"
    path = written(tmp_path, {"params": WEIGHTS, "extra": Bomb(mark)}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"weights\.pth: holds more than weights: eval, .* was not opened"):
        read_state(path)
    assert not mark.exists()


def test_a_whole_module_is_refused_as_code(tmp_path):
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.conv\.Conv2d"):
        read_state(written(tmp_path, nn.Conv2d(1, 1, 1)))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_is_no_checkpoint(tmp_path):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"params": [1.0]}))
    with pytest.raises(CheckpointError, match=r"plain\.pth: (not a checkpoint|truncated|holds more|expected weights)"):
        read_state(tmp_path / "plain.pth")


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_says_so(tmp_path, kind, keep):
    weights = {"weight": torch.rand(64, 64), "bias": torch.rand(64)}
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=r"cut\.(pth|safetensors): .*(truncated|damaged)"):
        read_state(path)


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors"])
def test_a_text_file_is_no_checkpoint(tmp_path, name):
    (tmp_path / name).write_text("these are not the weights you are looking for")
    with pytest.raises(CheckpointError, match=rf"{name}: .*damaged"):
        read_state(tmp_path / name)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_state(tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match="a folder"):
        read_state(tmp_path)
