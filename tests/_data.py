"""Real photographs for tests: never committed, found by GESSO_DATA, skipped loudly where they are absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("GESSO_DATA", Path(__file__).parents[1].parent / "shared" / "data"))


def data_folder(name: str) -> Path:
    """A folder of real data, or a skip that says how to provide it."""
    folder = ROOT / name
    if not folder.is_dir():
        pytest.skip(f"no {name} in {ROOT}: set GESSO_DATA to the folder that holds it")
    return folder
