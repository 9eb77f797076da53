"""PTG-RM: a light refiner behind a restorer, guided by a frozen pre-trained model."""

from gesso.refine.priors import Prior, open_prior
from gesso.refine.ptg_rm import PTGRM
from gesso.refine.refined import Refined, View

__all__ = ["PTGRM", "Prior", "Refined", "View", "open_prior"]
