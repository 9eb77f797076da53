"""Learning rates as pure functions of the step, so that a resumed run needs no stored schedule.

Steps count from 0: `rate(step)` is in force while optimiser step number `step + 1` is computed.
"""

import bisect
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, cast, get_args

from gesso._discovery import load_object, suggest_part
from gesso._specs import ScheduleName, ScheduleSpec

Schedule = Callable[[int], float]

MakeSchedule = Callable[..., Schedule]
"""What makes a schedule: a function of the peak rate `lr`, and by keyword of those among `steps`, `warmup_steps`,
`min_lr`, `milestones` and `gamma` that it takes."""


def constant(lr: float, *, warmup_steps: int = 0) -> Schedule:
    """`lr` throughout, after a linear warm-up from `lr / warmup_steps` (IFP names no schedule, so this is its own)."""
    return lambda step: lr * min(1.0, (step + 1) / warmup_steps) if warmup_steps else lr


def cosine(lr: float, *, steps: int, warmup_steps: int = 0, min_lr: float = 1e-6) -> Schedule:
    """Linear warm-up, then cosine towards `min_lr`.

    The hand-over repeats the peak once and the last step stops just short of `min_lr`, as in the released DegAE and
    Uformer training code with the torch versions their authors name.
    """

    def rate(step: int) -> float:
        if step < warmup_steps:
            return lr * (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(steps - warmup_steps, 1)
        return min_lr + (lr - min_lr) / 2 * (1 + math.cos(math.pi * progress))

    return rate


def cyclic_cosine(
    lr: float, *, periods: Sequence[int], weights: Sequence[float], minimums: Sequence[float]
) -> Schedule:
    """Cosine phases one after another; a phase whose minimum equals `lr` is constant (Restormer, section 4)."""

    def rate(step: int) -> float:
        start = 0
        for period, weight, minimum in zip(periods, weights, minimums, strict=True):
            if step <= start + period:
                return minimum + 0.5 * weight * (lr - minimum) * (1 + math.cos(math.pi * (step - start) / period))
            start += period
        return minimums[-1]

    return rate


def two_phase(lr: float, *, steps: int, min_lr: float = 1e-6, hold: float = 92 / 300) -> Schedule:
    """Restormer's schedule at any length: `lr` for the share `hold` of the run, then cosine to `min_lr`.

    The published run holds 3e-4 for 92,000 of 300,000 steps.
    """
    held = round(steps * hold)
    return cyclic_cosine(lr, periods=[max(held, 1), max(steps - held, 1)], weights=[1, 1], minimums=[lr, min_lr])


def step_decay(lr: float, *, milestones: Sequence[int], gamma: float = 0.5, warmup_steps: int = 0) -> Schedule:
    """`lr`, times `gamma` from each milestone on, after a linear warm-up: torch's `MultiStepLR`, as SwinIR is trained.

    Args:
        lr: learning rate before the first milestone.
        milestones: steps done when it falls, rising.
        gamma: factor at each of them, in (0, 1].
        warmup_steps: steps of linear warm-up.

    Raises:
        ValueError: if there are no milestones, they do not rise, or `gamma` is out of range.

    Example:
        >>> rate = step_decay(8.0, milestones=[2, 4])
        >>> [rate(step) for step in range(6)]
        [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    """
    if not milestones or list(milestones) != sorted({*milestones}) or milestones[0] < 1:
        got = list(milestones)
        raise ValueError(f"milestones: expected steps in rising order, such as [250000, 400000], got {got or 'none'}")
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma: expected a factor in (0, 1], got {gamma}")
    begin = constant(lr, warmup_steps=warmup_steps)
    return lambda step: begin(step) * gamma ** bisect.bisect_right(milestones, step)


def list_schedules() -> list[str]:
    """Names that `--schedule` takes."""
    return sorted(get_args(ScheduleName))


def schedule(
    name: ScheduleSpec,
    lr: float,
    *,
    steps: int,
    warmup_steps: int = 0,
    min_lr: float = 1e-6,
    milestones: Sequence[int] | None = None,
    gamma: float = 0.5,
) -> Schedule:
    """A learning-rate schedule: "constant", "cosine", "two_phase" or "step"; one of the user's, see `MakeSchedule`.

    Raises:
        ValueError: for another name, a warm-up with "two_phase", or milestones that do not rise, are missing for "step"
            or are given for another schedule; if a function of the user's returns no rates.
    """
    if not isinstance(name, str) or ":" in name:
        options = {"warmup_steps": warmup_steps, "min_lr": min_lr, "milestones": milestones, "gamma": gamma}
        return own_schedule(name, lr, steps=steps, **options)
    if milestones and name != "step":
        raise ValueError(f"milestones: they are for schedule step, got schedule {name}")
    if name == "step":
        return step_decay(lr, milestones=milestones or (), gamma=gamma, warmup_steps=warmup_steps)
    if name == "constant":
        return constant(lr, warmup_steps=warmup_steps)
    if name == "cosine":
        return cosine(lr, steps=steps, warmup_steps=warmup_steps, min_lr=min_lr)
    if name == "two_phase":
        if warmup_steps:
            raise ValueError("schedule two_phase has no warm-up; set warmup_steps to 0 or use schedule cosine")
        return two_phase(lr, steps=steps, min_lr=min_lr)
    known = get_args(ScheduleName)
    raise ValueError(f"schedule: expected one of {', '.join(known)}, got {name!r}; {suggest_part(name, known)}")


def own_schedule(make: ScheduleSpec, lr: float, *, steps: int, **options: Any) -> Schedule:
    """A schedule of the user's, made by a function or by the one that `module:function` names, and tried.

    Raises:
        ValueError: if it is no such function, or its rates are no numbers from 0.
    """
    name = make if isinstance(make, str) else getattr(make, "__name__", type(make).__name__)
    found = load_object(make, "schedule", list_schedules()) if isinstance(make, str) else make
    wanted = f"schedule {name}: expected a function (lr, *, steps) that returns a function step -> rate"
    if not callable(found):
        raise ValueError(f"{wanted}, got a {type(found).__name__}")
    parameters = inspect.signature(found).parameters
    taken = {option: value for option, value in {"steps": steps, **options}.items() if option in parameters}
    try:
        rates = cast("MakeSchedule", found)(lr, **taken)
        ends = [rates(step) for step in (0, steps - 1)]
    except TypeError as error:
        raise ValueError(f"{wanted}; it says {error}") from error
    if any(isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf for rate in ends):
        raise ValueError(
            f"{wanted}, a number from 0; it gives {ends[0]!r} at the first step and {ends[1]!r} at the last"
        )
    return rates
