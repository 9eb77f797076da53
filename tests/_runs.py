"""What the runs of tests are made of: a network and pairs so small that a run takes a fraction of a second."""

import json
from pathlib import Path

import gesso
from tests._networks import photo_like

NAFNET = {"width": 4, "enc_blk_nums": [1], "middle_blk_num": 1, "dec_blk_nums": [1]}
SMALL_NETWORK = {"backbone": "nafnet_tiny", "backbone_args": NAFNET}
SMALL_WORDS = ["--backbone", "nafnet_tiny", "--backbone_args", json.dumps(NAFNET)]


def write_pairs(folder: Path, count: int = 8, height: int = 24, width: int = 32) -> Path:
    """Writes pairs of photo-like pictures, `input` half as bright as `target`, called by their number."""
    for i in range(count):
        photo = photo_like(3, height, width, seed=i)
        for side, image in (("input", photo / 2), ("target", photo)):
            gesso.write_image(folder / side / f"{i}.png", image)
    return folder
