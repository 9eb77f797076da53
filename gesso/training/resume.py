"""Whether a run that is resumed is the one that was begun: the same recipe, and the same images."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from gesso.data.image_ref import files_of
from gesso.options import OF_THIS_CALL, Command, options_of
from gesso.report.console import warn
from gesso.training.recipe import Recipe

SHOWN = 5  # names of images that a message lists


def check_same_recipe(recipe: Recipe, config: Path, *, longer: bool) -> None:
    """Checks that a run that is resumed has the recipe that it began with, but for what changes no step of it.

    Args:
        recipe: of the run to come.
        config: recipe of the run that was begun.
        longer: whether a run with more steps begins as one with fewer does.

    Raises:
        ValueError: if not; where only the number of steps differs, it says how to go on.
    """
    before = recipe.earlier(config)
    steps = before.get("steps", recipe.defaults.get("steps", 0))
    more = recipe.options["steps"] > steps
    allowed = may_change(recipe.command) | ({"steps"} if longer and more else set())
    if not (rows := recipe.differences(before, allowed)):
        return
    advice = "use the same, or another --out"
    if not recipe.differences(before, allowed | {"steps"}):
        why = f"the schedule and the stages are laid out over {steps:,} steps"
        advice = f"{why}; {advice_to_go_on(config.parent, recipe.verb)}"
    raise ValueError(f"--resume: the recipe differs from {config} ({rows}); {advice}")


def may_change(command: type[Command[Any]]) -> set[str]:
    """The options of a command that change no step of a run, so that it may be resumed with others."""
    return {name for name, option in options_of(command).items() if option.role in ("machine", "extent", *OF_THIS_CALL)}


def advice_to_go_on(out: Path, verb: str) -> str:
    """How another run goes on from the weights of the one in a folder."""
    options = {"finetune": "--init {} --keep_last", "refine": "--checkpoint {}"}.get(verb, "--init {}")
    return f"to go on from its weights: {options.format(out / 'backbone.safetensors')} --out ANOTHER_FOLDER"


def list_names(samples: Any) -> list[str]:
    """Names of the images that a data set reads from files; none of those that are generated."""
    if hasattr(samples, "parts"):  # of a mix
        return [name for part in samples.parts for name in list_names(part)]
    if isinstance(pairs := getattr(samples, "pairs", None), Dataset):  # what a prior says goes with them
        return list_names(pairs)
    if pairs is not None:
        return [pair.name for pair in pairs]
    return [files_of(photo)[0].name for photo in getattr(samples, "photos", ())]


def check_same_images(
    before: Mapping[str, Sequence[str]] | None, now: Mapping[str, Sequence[str]], advice: str, *, skip: bool = False
) -> None:
    """Checks that a run that is resumed has the images that it began with; states of older versions do not say.

    Args:
        before: names of images, by what they are for, in the saved state.
        now: likewise in the run to come.
        advice: what else can be done.
        skip: whether the run goes on, with a warning, where images are gone and none are new.

    Raises:
        ValueError: if not, with their number, and what is gone and what is new.
    """
    if before is None:
        return
    for what in now:
        was, names = Counter(before.get(what, ())), Counter(now[what])
        changes = {"gone": was - names, "new": names - was}
        if was != names:
            told = "; ".join(f"{word}: {examples(list(counter.elements()))}" for word, counter in changes.items())
            changed = (
                f"--resume: the images of {what} have changed since the state was saved: they were {was.total()}, they "
                f"are {names.total()} ({told})"
            )
            if not skip or changes["new"]:
                raise ValueError(f"{changed}. All steps depend on them: bring the old ones back, or {advice}")
            warn(f"{changed}; from here on the run is another than it would have been with them")


def examples(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are; "none" where there are none.

    Example:
        >>> examples(["a", "b"]), examples([]), examples(list("abcdefg"))
        ('a, b', 'none', 'a, b, c, d, e and 2 more')
    """
    more = len(names) - SHOWN
    return (", ".join(names[:SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
