"""Weights in files: gesso's own `.safetensors`, and what the authors of each network and method write and read."""

from gesso.checkpoint.export import export
from gesso.checkpoint.files import CheckpointError, read_header, read_state, read_states, save, save_state
from gesso.checkpoint.loading import Recognised, Report, load, load_features, recognise
from gesso.checkpoint.parts import read_part
from gesso.checkpoint.warm_start import shrink_and_perturb

__all__ = [
    "CheckpointError",
    "Recognised",
    "Report",
    "export",
    "load",
    "load_features",
    "read_header",
    "read_part",
    "read_state",
    "read_states",
    "recognise",
    "save",
    "save_state",
    "shrink_and_perturb",
]
