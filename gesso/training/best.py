"""Which measurement of a run is the best so far, and whether it has waited long enough for a better one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from gesso._discovery import UnknownNameError, suggest
from gesso.options.run import Validation
from gesso.perceptual import ALWAYS, OWN, Perceptual

LOSS = "loss"


def metrics_for(command: Validation) -> list[str]:
    """What a run measures: what is asked for, and what says which state is the best.

    Raises:
        UnknownNameError: if that is no metric that is known or asked for.
        ValueError: if a run is to wait for measurements that are never made.
    """
    asked = command.metrics.split(",") if isinstance(command.metrics, str) else command.metrics
    asked = [name.strip().lower() for name in asked]
    known = dict.fromkeys([*ALWAYS, LOSS, *OWN, *asked])
    if command.best_by not in known:
        raise UnknownNameError(
            f"best_by: unknown metric {command.best_by!r}; {suggest(command.best_by, filter(None, known))}; "
            "metrics of pyiqa are named in metrics, too"
        )
    if command.patience is not None and not command.val_every:
        raise ValueError("patience: it counts measurements, and val_every 0 makes one at the end only; give val_every")
    return asked if command.best_by == LOSS else [*asked, command.best_by]


@dataclass
class Best:
    """The best measurement of a run so far.

    Attributes:
        metric: what is compared, the mean over the validation sets.
        lower_is_better: whether less of it is better.
        patience: measurements in a row without a better one after which a run ends; None: it goes on to its last step.
        value: the best so far; None before the first.
        step: where that was.
        without_gain: measurements since then.
    """

    metric: str = "psnr"
    lower_is_better: bool = False
    patience: int | None = None
    value: float | None = None
    step: int = 0
    without_gain: int = 0

    @classmethod
    def of(cls, command: Validation, perceptual: Perceptual | None) -> Self:
        """Nothing measured yet, by the metric that a command names."""
        lower = {LOSS, *(perceptual.lower_is_better if perceptual else ())}
        return cls(command.best_by, command.best_by in lower, command.patience)

    def note(self, value: float, step: int) -> bool:
        """Takes a measurement note of, and says whether it is better than all before; NaN never is.

        Example:
            >>> best = Best("lpips", lower_is_better=True, patience=2)
            >>> [best.note(value, step) for step, value in enumerate([0.3, 0.2, float("nan"), 0.25], start=1)]
            [True, True, False, False]
            >>> best.value, best.step, best.has_waited
            (0.2, 2, True)
        """
        before = self.value
        better = before is None or (value < before if self.lower_is_better else value > before)
        if better and not math.isnan(value):
            self.value, self.step, self.without_gain = value, step, 0
            return True
        self.without_gain += 1
        return False

    @property
    def has_waited(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.without_gain >= self.patience

    def __str__(self) -> str:
        count = f"{self.without_gain} measurement{'s' * (self.without_gain > 1)}"
        value = "none" if self.value is None else f"{self.value:.4f} at step {self.step}"
        return f"{count} in a row without a better {self.metric} (best: {value})"

    def state(self) -> dict[str, Any]:
        """What a run that is resumed has to know."""
        return {"value": self.value, "step": self.step, "without_gain": self.without_gain}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores that from the state of a run; older ones have a PSNR alone."""
        known = state.get("best", {"value": state.get("best_psnr"), "step": 0, "without_gain": 0})
        value = known["value"]
        self.value = None if value == -math.inf else value
        self.step, self.without_gain = known["step"], known["without_gain"]
