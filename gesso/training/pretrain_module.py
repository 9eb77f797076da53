"""A pretext as a training run."""

from typing import Any

import torch
from torch import Tensor, nn

from gesso.pretext._base import Pretext
from gesso.training._module import TrainingModule


class PretrainModule(TrainingModule):
    """Trains a pretext: its backbone and whatever it throws away afterwards."""

    def __init__(self, pretext: Pretext) -> None:
        super().__init__(pretext.backbone)
        self.pretext = pretext

    def losses(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """The pretext's losses."""
        return self.pretext(batch, generator)

    def keepsakes(self) -> dict[str, nn.Module]:
        """The pretext's."""
        return self.pretext.keepsakes()

    def preview(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """The pretext at work."""
        return self.pretext.preview(batch, generator)
