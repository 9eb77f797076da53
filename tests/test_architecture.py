"""The folder is the registry: no code names a network, pretext, refiner or source; what lies in a folder is found."""

import re
from pathlib import Path

import pytest

import gesso

ROOT = Path(gesso.__file__).parent
NAMED = re.compile(
    r"^\s*(?:from gesso\.(backbones|pretext|refiner|sources)\.([a-z]\w*) import|"
    r"import gesso\.(?:backbones|pretext|refiner|sources)\.[a-z])",
    re.MULTILINE,
)
WRAPPER = ("backbones", "external")  # not a network but what wraps one, which the folder and the public names offer
FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_of_a_registry_is_imported_by_name(path):
    found = NAMED.findall(path.read_text(encoding="utf-8"))
    may_wrap = path.name == "__init__.py" and path.parent in (ROOT, ROOT / "backbones")
    assert [one for one in found if not (may_wrap and one == WRAPPER)] == []
