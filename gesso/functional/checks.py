"""Checks of option values, with errors that say what was expected and what was seen."""

from typing import Any, TypeVar, get_args

Value = TypeVar("Value")


def check_choice(option: str, value: Value, choices: Any) -> Value:
    """`value`, if it is one of `choices`, a `Literal[...]` type.

    Raises:
        ValueError: otherwise.
    """
    allowed = [str(choice) for choice in get_args(choices)]
    if value not in get_args(choices):
        raise ValueError(f"{option}: expected {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")
    return value


def check_between(option: str, value: float, low: float, high: float) -> float:
    """`value`, if it lies strictly between `low` and `high`.

    Raises:
        ValueError: otherwise.
    """
    if not low < value < high:
        raise ValueError(f"{option}: expected a number between {low:g} and {high:g}, both excluded, got {value!r}")
    return value


def check_prob(option: str, value: float) -> float:
    """`value`, if it is a probability in [0, 1].

    Raises:
        ValueError: otherwise.
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{option}: expected a probability from 0 to 1, got {value!r}")
    return value
