"""gesso primes image-restoration networks before they see a picture.

    import gesso

    gesso.pretrain(out="runs/ifp", pretext="ifp", backbone="restormer", steps=30_000)  # no images needed

Names are imported when they are first used, so `import gesso` is instant.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gesso.backbones import Backbone, create_backbone, list_backbones
    from gesso.backbones.external import wrap
    from gesso.checkpoint import load, load_features, save
    from gesso.commands.check_data import check_data
    from gesso.commands.degrade import degrade
    from gesso.commands.evaluate import evaluate
    from gesso.commands.export import export
    from gesso.commands.finetune import finetune
    from gesso.commands.pretrain import pretrain
    from gesso.commands.refine import refine
    from gesso.commands.restore import restore
    from gesso.comparison.compare import compare
    from gesso.data.augment import list_augmentations
    from gesso.data.io import read_image, write_image
    from gesso.data.layouts import Layout, Pair, list_layouts
    from gesso.degradations import Degradation, create_degradation, list_degradations
    from gesso.lab.inspect import inspect
    from gesso.lab.probe import probe
    from gesso.losses import FeatureLoss, list_losses
    from gesso.metrics import Protocol, psnr, ssim
    from gesso.pretext import Pretext, create_pretext, list_pretexts
    from gesso.refiner import Refiner, list_refiners
    from gesso.restorer import Restorer
    from gesso.sources import Source, list_sources
    from gesso.tasks import Task, list_tasks
    from gesso.training.schedules import list_schedules

__version__ = "0.1.0"

_HOMES = {
    "Backbone": "gesso.backbones",
    "Degradation": "gesso.degradations",
    "FeatureLoss": "gesso.losses",
    "Layout": "gesso.data.layouts",
    "Pair": "gesso.data.layouts",
    "Pretext": "gesso.pretext",
    "Protocol": "gesso.metrics",
    "Refiner": "gesso.refiner",
    "Restorer": "gesso.restorer",
    "Source": "gesso.sources",
    "Task": "gesso.tasks",
    "check_data": "gesso.commands.check_data",
    "compare": "gesso.comparison.compare",
    "create_backbone": "gesso.backbones",
    "create_degradation": "gesso.degradations",
    "create_pretext": "gesso.pretext",
    "degrade": "gesso.commands.degrade",
    "evaluate": "gesso.commands.evaluate",
    "export": "gesso.commands.export",
    "finetune": "gesso.commands.finetune",
    "inspect": "gesso.lab.inspect",
    "list_augmentations": "gesso.data.augment",
    "list_backbones": "gesso.backbones",
    "list_degradations": "gesso.degradations",
    "list_layouts": "gesso.data.layouts",
    "list_losses": "gesso.losses",
    "list_pretexts": "gesso.pretext",
    "list_refiners": "gesso.refiner",
    "list_schedules": "gesso.training.schedules",
    "list_sources": "gesso.sources",
    "list_tasks": "gesso.tasks",
    "load": "gesso.checkpoint",
    "load_features": "gesso.checkpoint",
    "pretrain": "gesso.commands.pretrain",
    "probe": "gesso.lab.probe",
    "psnr": "gesso.metrics",
    "read_image": "gesso.data.io",
    "refine": "gesso.commands.refine",
    "restore": "gesso.commands.restore",
    "save": "gesso.checkpoint",
    "ssim": "gesso.metrics",
    "wrap": "gesso.backbones.external",
    "write_image": "gesso.data.io",
}

__all__ = [
    "Backbone",
    "Degradation",
    "FeatureLoss",
    "Layout",
    "Pair",
    "Pretext",
    "Protocol",
    "Refiner",
    "Restorer",
    "Source",
    "Task",
    "check_data",
    "compare",
    "create_backbone",
    "create_degradation",
    "create_pretext",
    "degrade",
    "evaluate",
    "export",
    "finetune",
    "inspect",
    "list_augmentations",
    "list_backbones",
    "list_degradations",
    "list_layouts",
    "list_losses",
    "list_pretexts",
    "list_refiners",
    "list_schedules",
    "list_sources",
    "list_tasks",
    "load",
    "load_features",
    "pretrain",
    "probe",
    "psnr",
    "read_image",
    "refine",
    "restore",
    "save",
    "ssim",
    "wrap",
    "write_image",
]


def __getattr__(name: str) -> Any:
    """The public name, imported from where it lives; or the module of this package, as `gesso.checkpoint`."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'gesso' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Public names."""
    return __all__
