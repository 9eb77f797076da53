"""Packages that only some commands need: what is missing is named, with the extra that brings it."""

import importlib.util


def check_extra(package: str, extra: str, what: str) -> None:
    """Checks that an optional package is installed, before it is imported.

    Args:
        package: its name in `import`.
        extra: the extra of gesso that brings it.
        what: what needs it.

    Raises:
        ValueError: if it is not.

    Example:
        >>> check_extra("numpy", "core", "everything")
        >>> check_extra("no_such_package", "lab", "a chart")
        Traceback (most recent call last):
        ValueError: a chart needs no_such_package, which is not installed; pip install 'gesso[lab]'
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{what} needs {package}, which is not installed; pip install 'gesso[{extra}]'")
