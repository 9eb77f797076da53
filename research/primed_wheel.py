"""Builds the wheel of larger primed networks, the package `gesso_primed`, from a folder of them.

usage: python research/primed_wheel.py FOLDER OUT

FOLDER holds TASK/NETWORK.safetensors, as `gesso primed add --out FOLDER` writes them.

Once the wheel is installed, gesso finds its networks by name, as it finds its own: `gesso list primed`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gesso import __version__, checkpoint
from gesso.data.io import atomic_path
from gesso.primed import COMPANION

LIMIT = 100_000_000  # bytes, what package indexes take
NEEDED = {"recipe", "tasks", "measured", "commit"}  # what `gesso primed add` says of every network
PROJECT = f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{COMPANION.replace("_", "-")}"
version = "{__version__}"
description = "Primed image-restoration networks for gesso, trained without a photo or a pair."
license = "Apache-2.0"
license-files = ["LICENSE"]
requires-python = ">=3.11"
dependencies = ["gesso>={__version__}"]

[tool.setuptools]
packages = ["{COMPANION}"]

[tool.setuptools.package-data]
{COMPANION} = ["*/*.safetensors"]
"""
ABOUT = '"""Primed networks, which gesso finds by name: `gesso list primed`."""\n'
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def find_networks(folder: Path) -> list[Path]:
    """The primed networks of a folder, in order.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for a file that `gesso primed add` did not write, or if all together are too large for a wheel.
    """
    files = sorted(folder.glob("*/*.safetensors"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: no TASK/NETWORK.safetensors there; `gesso primed add --out {folder}` makes one"
        )
    for file in files:
        if missing := NEEDED - checkpoint.read_header(file).keys():
            raise ValueError(
                f"{file}: expected a file of `gesso primed add`; its header lacks {', '.join(sorted(missing))}"
            )
    if (size := sum(file.stat().st_size for file in files)) > LIMIT:
        raise ValueError(f"{folder}: {size / 1e6:.0f} MB together; a wheel may have {LIMIT / 1e6:.0f}; leave some out")
    return files


def build_wheel(folder: Path, out: Path) -> Path:
    """Builds the wheel into `out`; returns its path.

    Raises:
        FileNotFoundError, ValueError: as `find_networks`; nothing is written then.
        RuntimeError: if setuptools fails, with what it says.
    """
    files = find_networks(folder)
    with tempfile.TemporaryDirectory() as temporary:
        project = Path(temporary)
        (project / "pyproject.toml").write_text(PROJECT)
        shutil.copy(Path(__file__).parents[1] / "LICENSE", project)
        for file in files:
            target = project / COMPANION / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        (project / COMPANION / "__init__.py").write_text(ABOUT)
        told = subprocess.run(
            [sys.executable, "-c", BUILD, str(project / "dist")],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode:
            raise RuntimeError(f"setuptools could not build the wheel: {told.stderr.strip()}")
        (wheel,) = (project / "dist").glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(out / wheel.name) as partial:
            shutil.copy(wheel, partial)
    return out / wheel.name


if __name__ == "__main__":
    try:
        built = build_wheel(Path(sys.argv[1]), Path(sys.argv[2]))
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"{built}, {built.stat().st_size / 1e6:.1f} MB")
