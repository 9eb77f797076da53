"""Exported files open in spandrel and restore alike: a table, and exit code 1 where they do not.

spandrel needs torchvision, which the project itself must not need, so this runs in an environment of its own:

    python -m venv /tmp/interop
    /tmp/interop/bin/pip install torch spandrel spandrel-extra-arches safetensors numpy psutil docstring-parser
    PYTHONPATH=. /tmp/interop/bin/python tests/interop/spandrel_opens_exports.py [NAME ...]

Where torchvision is not to be had, two names that spandrel imports for networks not opened here are stood in for.
"""

import importlib.util
import sys
import tempfile
import types
from pathlib import Path

import torch

from gesso.backbones import create_backbone
from gesso.checkpoint.export import export

NAMES = {  # network: side of the test image
    "restormer": 64,
    "restormer_biasfree": 64,
    "nafnet_width32_sidd": 64,
    "nafnet_width32_gopro": 64,
    "uformer_t": 128,
    "uformer_b": 128,
    "swinir_color_dn": 64,
    "swinir_jpeg_color": 63,
    "swinir_classical_x2": 48,
    "swinir_light_x4": 64,
    "swinir_real_sr_l_x4": 48,
    "ipt_x2": 48,
    "ipt_x1": 48,
}
FACTS = {"uformer_t": {"img_size": 256}, "uformer_b": {"img_size": 256}}  # what spandrel assumes and no file tells
TOLERANCE = 1e-4


def stand_in_for_torchvision() -> None:
    """Provides the names that spandrel's LaMa and RestoreFormer import."""
    functional = types.ModuleType("torchvision.transforms.functional")
    functional.InterpolationMode = functional.rotate = functional.normalize = object
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.transforms.functional"] = functional


def deviation(name: str, side: int, folder: Path) -> tuple[str, float]:
    """What spandrel takes an exported network for, and the largest difference of outputs on a random image."""
    from spandrel import MAIN_REGISTRY, ModelLoader
    from spandrel_extra_arches import EXTRA_REGISTRY

    MAIN_REGISTRY.add(*EXTRA_REGISTRY, ignore_duplicates=True)
    torch.manual_seed(0)
    network = create_backbone(name, **FACTS.get(name, {})).eval()
    for parameter in network.parameters():  # zeros would hide what they multiply
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.02)
    (file,) = export(network, folder / f"{name}.pth", "official")
    opened = ModelLoader("cpu").load_from_file(file).eval()
    for model in (network, opened.model):
        model.double()  # a random IPT multiplies its input, and the rounding of float32, by hundreds
    image = torch.rand(1, network.in_channels, side, side, dtype=torch.float64)
    with torch.inference_mode():
        ours, theirs = network(image).clamp(0, 1), opened(image).clamp(0, 1)
    return opened.architecture.name, float((ours - theirs).abs().max() / ours.abs().max())


def main() -> int:
    if importlib.util.find_spec("torchvision") is None:
        stand_in_for_torchvision()
    failures = 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, side in ((name, NAMES[name]) for name in sys.argv[1:] or NAMES):
            try:
                architecture, worst = deviation(name, side, Path(folder))
                rows.append((name, architecture, f"{worst:.1e}", "same" if worst < TOLERANCE else "DIFFERS"))
                failures += worst >= TOLERANCE
            except Exception as error:  # a table of all networks says more than the first failure
                rows.append((name, "-", "-", f"FAILS: {type(error).__name__}: {str(error)[:80]}"))
                failures += 1
    for row in [("network", "spandrel says", "largest difference", "verdict"), *rows]:
        sys.stdout.write(f"{row[0]:<22} {row[1]:<14} {row[2]:<19} {row[3]}\n")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
