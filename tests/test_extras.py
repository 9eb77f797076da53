"""Without a package that an extra brings, whatever needs it names the extra, before anything is done."""

import importlib.util

import numpy as np
import pytest
import tifffile
import torch

from gesso import write_image
from gesso.data.io import read_image
from gesso.lab.probe import probe
from gesso.training.loggers import open_loggers


@pytest.fixture
def bare(monkeypatch):
    """Has packages look as if they were not installed."""
    extras = {"tifffile", "sklearn", "matplotlib", "tensorboard"}
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in extras else find(name, *more))


def test_a_tiff_names_its_extra(tmp_path, bare):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"x.tif: a TIFF needs tifffile.*pip install 'gesso\[tiff\]'"):
        read_image(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"a TIFF needs tifffile.*pip install 'gesso\[tiff\]'"):
        write_image(tmp_path / "y.tif", torch.zeros(3, 4, 5))
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


def test_a_probe_names_its_extra(tmp_path, bare):
    with pytest.raises(ValueError, match=r"gesso probe needs sklearn.*pip install 'gesso\[lab\]'"):
        probe(backbone="nafnet_tiny", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_tensorboard_a_run_has_its_table(tmp_path, bare, capsys):
    assert len(open_loggers(tmp_path, 0, None, {})) == 1
    assert "pip install 'gesso[tensorboard]'" in capsys.readouterr().out
