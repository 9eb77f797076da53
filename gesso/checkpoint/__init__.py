"""Weights in files: gesso's own `.safetensors`, and what the authors of each network and method write and read."""

from gesso.checkpoint.export import export
from gesso.checkpoint.files import CheckpointError, read_header, read_state, save, save_state
from gesso.checkpoint.loading import Recognised, Report, load, load_features, recognise
from gesso.checkpoint.softening import soften

__all__ = [
    "CheckpointError",
    "Recognised",
    "Report",
    "export",
    "load",
    "load_features",
    "read_header",
    "read_state",
    "recognise",
    "save",
    "save_state",
    "soften",
]
