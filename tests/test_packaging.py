import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_the_minimum_versions_that_are_tested_are_those_that_are_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    chosen = ("compare", "lab", "tiff", "tensorboard", "onnx", "dev")
    requirements = [Requirement(line) for line in project["dependencies"] + [one for e in chosen for one in extras[e]]]
    floors = {one.name: [each.version for each in one.specifier if each.operator == ">="] for one in requirements}
    declared = [f"{name}=={floor}" for name, (floor,) in ((name, f) for name, f in floors.items() if name != "gesso")]
    tested = [line for line in (ROOT / "constraints-min.txt").read_text().splitlines() if not line.startswith("#")]
    assert tested == declared


def test_the_core_needs_twelve_packages_at_most_and_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    core = text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0].splitlines()[1:]
    assert len(core) == len(tomllib.loads(text)["project"]["dependencies"]) <= 12
    assert all(re.search(r'",  # \w', line) for line in core)


def test_the_lock_holds_what_was_tested_with_a_hash_for_every_file():
    """`make lock` writes it from constraints.txt: whoever changes one of the two renews the other."""
    lock = tomllib.loads((ROOT / "pylock.toml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    locked = {each["name"]: each["version"] for each in lock["packages"]}
    asked = project["dependencies"] + [
        one for e in ("compare", "lab", "tiff") for one in project["optional-dependencies"][e]
    ]
    assert {Requirement(line).name for line in asked} <= set(locked)
    assert {name: version for name, version in locked.items() if pinned.get(name, version) != version} == {}
    files = [one for each in lock["packages"] for one in [*each.get("wheels", []), *filter(None, [each.get("sdist")])]]
    assert all(re.fullmatch(r"[0-9a-f]{64}", one["hashes"]["sha256"]) for one in files)
    assert {urlsplit(one["url"]).hostname for one in files} == {"files.pythonhosted.org"}


def test_no_file_of_the_repository_is_large_but_the_primed_networks():
    """Together these take 16 MB at most; whatever else is large belongs into a release."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    sizes = {name: (ROOT / name).stat().st_size for name in listed.split("\0") if name and (ROOT / name).is_file()}
    primed = {name for name in sizes if re.fullmatch(r"gesso/primed/\w+/\w+\.safetensors", name)}
    assert not {name: size for name, size in sizes.items() if name not in primed and size > 250_000}
    assert 0 < sum(sizes[name] for name in primed) <= 16_000_000


# ------------------------------------------------------------------------------------------------- what is installed


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and a source distribution, built from what git has and what is new beside it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file() and name.split("/")[0] in ("gesso", "pyproject.toml", "README.md", "LICENSE"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    code = "import sys; from setuptools import build_meta as b; o = sys.argv[1]; b.build_wheel(o); b.build_sdist(o)"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, check=True, capture_output=True)
    return source, next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_the_wheel_holds_the_package_and_nothing_else(built):
    source, wheel, _ = built
    with zipfile.ZipFile(wheel) as opened:
        inside = {name for name in opened.namelist() if ".dist-info/" not in name}
    package = {path.relative_to(source).as_posix() for path in (source / "gesso").rglob("*") if path.is_file()}
    assert inside == package
    assert wheel.name.endswith("-py3-none-any.whl")  # nothing that a compiler made


def test_the_source_distribution_can_be_built_again(built):
    source, _, archive = built
    with tarfile.open(archive) as opened:
        inside = {name.split("/", 1)[1] for name in opened.getnames() if "/" in name}
    package = {path.relative_to(source).as_posix() for path in (source / "gesso").rglob("*") if path.is_file()}
    assert package | {"pyproject.toml", "README.md", "LICENSE"} <= inside


def test_an_environment_that_has_what_is_needed_is_left_as_it_is(built):
    """`pip install gesso` replaces no PyTorch that works, an old one in `make test-min`: it needs no index."""
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-build-isolation"]
    told = subprocess.run([*words, str(built[0])], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert re.findall(r"Would install (.*)", told.stdout) in ([], ["gesso-0.1.0"])
