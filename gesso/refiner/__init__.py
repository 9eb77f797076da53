"""Refiners, one file each, and what puts one behind a restorer; the folder is the registry (see `gesso._discovery`)."""

from gesso.refiner._base import Refiner
from gesso.refiner._named import DEFAULT, ablation_options, list_refiners, refiner_class, spell_refiner
from gesso.refiner._priors import Prior, open_prior, spell_prior
from gesso.refiner._refined import Refined

__all__ = ["DEFAULT", "Prior", "Refined", "Refiner", "ablation_options", "list_refiners", "open_prior"]
__all__ += ["refiner_class", "spell_prior", "spell_refiner"]
