"""PTG-RM: a light refiner behind a restorer, guided by a frozen pre-trained model."""

from gesso.refiner._priors import Prior, open_prior, spell_prior
from gesso.refiner.ptg_rm import ABLATIONS, PTGRM, Ablation
from gesso.refiner._refined import Level, Refined, View

__all__ = ["ABLATIONS", "PTGRM", "Ablation", "Level", "Prior", "Refined", "View", "open_prior", "spell_prior"]
