"""A pretext as a training run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gesso.functional.random import BatchGenerator
from gesso.options.run import TrainingRun
from gesso.pretext import Pretext
from gesso.training._module import TrainingModule


class PretrainModule(TrainingModule):
    """Trains a pretext: its backbone and whatever it throws away afterwards."""

    def __init__(self, pretext: Pretext, run: TrainingRun, facts: Mapping[str, Any]) -> None:
        super().__init__(pretext.backbone, run, facts)
        self.pretext = pretext

    @property
    def batch_coupling(self) -> str:
        """The pretext's."""
        return self.pretext.batch_coupling

    @property
    def find_unused_parameters(self) -> bool:
        """Those of the network, or what the pretext has at rest: tasks not drawn, a loss whose turn it is not."""
        return self.pretext.find_unused_parameters or super().find_unused_parameters

    def groups(self) -> list[dict[str, Any]]:
        """The pretext's."""
        return self.pretext.groups()

    def losses(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """The pretext's losses."""
        return self.pretext(batch, generator)

    def extra_modules(self) -> dict[str, nn.Module]:
        """The pretext's."""
        return self.pretext.extra_modules()

    def preview(self, batch: dict[str, Any], generator: BatchGenerator) -> dict[str, Tensor]:
        """The pretext at work."""
        return self.pretext.preview(batch, generator)
