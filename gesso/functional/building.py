"""Modules out of options: they remember them, and what cannot be built is refused before it takes the memory."""

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from gesso._values import shown
from gesso.functional.memory import free_memory

MOST_TENSORS = 4_000  # of published networks the largest has some one thousand
FAILURES = (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError)


class TooLargeError(ValueError):
    """More weights than memory holds."""


@contextlib.contextmanager
def building(what: str, options: Mapping[str, Any], advice: str) -> Iterator[None]:
    """Turns what options make of a constructor into a sentence, and ends it where its weights outgrow the memory.

    Args:
        what: what is built.
        options: what the user has chosen; without any, errors are ours and pass.
        advice: where to look the options up.

    Raises:
        ValueError: if it cannot be built.
    """
    left, tensors = free_memory(), 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left, tensors
        tensors += 1
        left -= 0 if parameter is None or parameter.is_meta else parameter.numel() * parameter.element_size()
        if options and (left < 0 or tensors > MOST_TENSORS):
            raise TooLargeError(f"{what} with the options {shown(dict(options))} has more weights than memory holds")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    except FAILURES as error:
        if not options:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{what} cannot be built with the options {shown(dict(options))} ({reason}); {advice}"
        ) from error
    finally:
        hook.remove()


def record_options(kind: type[nn.Module]) -> None:
    """Has the constructor of a class keep its arguments, defaults included, as `options`.

    So `type(module)(**module.options)` builds its twin, and no class declares its options twice. A class with a method
    `spell_options` says what of them a file can hold.
    """
    if "__init__" not in kind.__dict__:
        return
    build = kind.__init__
    signature = inspect.signature(build)

    @functools.wraps(build)
    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        build(self, *args, **kwargs)
        if self.__class__ is kind:  # a subclass keeps its own
            given = {name: value for name, value in bound.arguments.items() if name != "self"}
            self.options = self.spell_options(given) if hasattr(self, "spell_options") else given

    kind.__init__ = remember
