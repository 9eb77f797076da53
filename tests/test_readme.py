"""The README is executed."""

import re
from pathlib import Path

import torch

import gesso

README = Path(__file__).parents[1] / "README.md"


def write_pairs(root: Path, names: list[str]) -> None:
    for folder in ("input", "target"):
        (root / folder).mkdir(parents=True)
        for name in names:
            gesso.write_image(root / folder / name, torch.rand(3, 40, 48))


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    """Run as it stands, but with a tiny network, small crops and two steps."""
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    fewer = "steps=2, crop_size=32"
    code = block[1].replace('backbone="restormer"', 'backbone="nafnet_tiny"').replace("steps=30_000", fewer)
    code = code.replace('task="derain", data="datasets/Rain13K"', f'task="derain", data="datasets/Rain13K", {fewer}')
    write_pairs(tmp_path / "datasets/Rain13K/train", ["1.png", "2.png", "3.png", "4.png"])
    write_pairs(tmp_path / "datasets/Rain100L", ["1.png", "2.png"])
    gesso.write_image(tmp_path / "rainy.jpg", torch.rand(3, 40, 48))
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(code, scope)
    assert gesso.read_image("clean.png").shape == (3, 40, 48)
    assert scope["scores"].psnr > 0


def test_public_names_are_sorted_and_importable():
    assert gesso.__all__ == sorted(gesso.__all__)
    assert all(getattr(gesso, name) is not None for name in gesso.__all__)
