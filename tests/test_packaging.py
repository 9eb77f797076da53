import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_minimum_versions_that_are_tested_are_those_that_are_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = project["dependencies"] + extras["onnx"] + extras["dev"]
    declared = [re.sub(r"\[.*\]", "", line).replace(">=", "==") for line in requirements if ">=" in line]
    tested = [line for line in (ROOT / "constraints-min.txt").read_text().splitlines() if not line.startswith("#")]
    assert tested == declared
