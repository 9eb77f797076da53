"""The wheel of larger primed networks: what is in it, that gesso finds it, and what it refuses."""

import importlib
import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gesso
from gesso import cli, primed

ROOT = Path(__file__).parents[2]
SOURCE = Path(primed.__file__).parent / "derain/nafnet_tiny.safetensors"
spec = importlib.util.spec_from_file_location("primed_wheel", ROOT / "research/primed_wheel.py")
assert spec
assert spec.loader
primed_wheel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(primed_wheel)


@pytest.fixture
def networks(tmp_path):
    """A folder with one network, under a task that the package has none for."""
    file = tmp_path / "networks/inpainting/nafnet_tiny.safetensors"
    file.parent.mkdir(parents=True)
    shutil.copy(SOURCE, file)
    return tmp_path / "networks"


def test_gesso_finds_the_networks_of_the_wheel_once_it_is_installed(networks, tmp_path, monkeypatch, capsys):
    script = [sys.executable, str(ROOT / "research/primed_wheel.py"), str(networks), str(tmp_path / "out")]
    told = subprocess.run(script, capture_output=True, text=True, check=True, cwd=ROOT)
    (wheel,) = (tmp_path / "out").iterdir()
    assert told.stdout.startswith(f"{wheel}, ")
    assert wheel.name == f"gesso_primed-{gesso.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if ".dist-info/" not in name}
        opened.extractall(tmp_path / "site")
    assert inside == {"gesso_primed/__init__.py", "gesso_primed/inpainting/nafnet_tiny.safetensors"}
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delenv(primed.FOLDER, raising=False)
    importlib.invalidate_caches()
    assert gesso.load("primed:inpainting/nafnet_tiny").in_channels == 3
    assert cli.main(["list", "primed"]) == 0
    assert "inpainting/nafnet_tiny" in capsys.readouterr().out


def test_what_does_not_belong_into_a_wheel_is_refused_before_anything_is_written(networks, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no TASK/NETWORK\.safetensors there; `gesso primed add --out"):
        primed_wheel.build_wheel(tmp_path, tmp_path / "out")
    gesso.save(gesso.create_backbone("nafnet_tiny"), networks / "inpainting/other.safetensors")
    with pytest.raises(ValueError, match="expected a file of `gesso primed add`; its header lacks commit, measured"):
        primed_wheel.build_wheel(networks, tmp_path / "out")
    (networks / "inpainting/other.safetensors").unlink()
    monkeypatch.setattr(primed_wheel, "LIMIT", 1000)
    with pytest.raises(ValueError, match="a wheel may have"):
        primed_wheel.build_wheel(networks, tmp_path / "out")
    assert not (tmp_path / "out").exists()
