"""The folder is the registry: a file in `backbones`, `pretext`, `degradations`, `sources` ... is all it takes.

Names are read off file names (no import), components off the one class a module defines, options off its signature.
"""

import difflib
import importlib
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from gesso import _values

ROOT = Path(__file__).parent
Kind = TypeVar("Kind")
FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".pkl", ".bin", ".tar", ".gz", ".zip", ".yaml", ".yml", ".json", ".h5")
"""Suffixes of files that stand where a part of one's own may stand, too."""
CODE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*")  # package.module:Class
DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")  # as Python writes it
IN_FILE = re.compile(r"(?P<file>(?:.*[/\\])?(?P<module>[^\W\d]\w*)\.py):(?P<thing>[^\W\d]\w*)")  # C:\nets.py:Net
code_is_allowed = ContextVar("code_is_allowed", default=False)  # by the user, for all files that are read
RENAMED = {"gesso": "restore_leaves", "gesso_small": "restore_leaves_small"}  # recipes, by the names they had
PRIMED = "primed:"  # begins names of weights that come with the package
PRIORS = ("clip:", "sd:")  # begin names of a prior that look like code and are none


class UnknownNameError(ValueError):
    """A name or option that does not exist; the message lists what does, nearest first."""


def suggest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The sentence that ends an error: `did you mean ...?` where something is near, else what is known.

    Args:
        name: that is unknown.
        known: all names.
        cutoff: how alike, in [0, 1], is near.

    Example:
        >>> suggest("restormr", ["restormer", "nafnet"])
        'did you mean restormer?'
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"


def suggest_part(name: str, known: Iterable[str]) -> str:
    r"""The sentence that ends an error about a part of a run: one of the user's is written `module:NAME`, with a colon.

    Example:
        >>> suggest_part("mynets.Net", ["restormer"]), suggest_part("restormr", ["restormer"])
        ('write mynets:Net for one of your own', 'did you mean restormer?')
        >>> suggest_part(r"C:\code\nets.py:Net", ())
        'write nets:Net, in the folder of C:\\code\\nets.py, for one of your own'
    """
    if of_file := IN_FILE.fullmatch(name):
        return f"write {of_file['module']}:{of_file['thing']}, in the folder of {of_file['file']}, for one of your own"
    if not DOTTED.fullmatch(name):
        return suggest(name, known)
    home, _, thing = name.rpartition(".")
    return f"write {home}:{thing} for one of your own"


def advise_colon(name: str) -> str:
    """What ends an error about a file that does not exist, where a part of one's own was meant; "" where it was not.

    Example:
        >>> advise_colon("mynets.Prior"), advise_colon("weights.pth"), advise_colon("runs/a.b")
        ('; write mynets:Prior for one of your own', '', '')
    """
    is_file = Path(name).suffix.lower() in FILES
    return f"; {suggest_part(name, ())}" if DOTTED.fullmatch(name) and not is_file else ""


def files(folder: str) -> list[str]:
    """Module names in a folder of gesso that hold a component, sorted; names that begin with `_` are private."""
    return sorted(path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("_"))


def verb_files(folder: str) -> list[Path]:
    """The files of a folder that hold a verb: those beside which another, with `_` in front, does what it says."""
    found = sorted((ROOT / folder).glob("*.py"))
    return [path for path in found if path.with_name(f"_{path.name}") in found]


def module(folder: str, name: str) -> ModuleType:
    """The module `gesso.<folder>.<name>`, imported.

    Raises:
        UnknownNameError: if there is no such file.
    """
    if name not in files(folder):
        kind = folder.rpartition("/")[2].rstrip("s")
        raise UnknownNameError(f"unknown {kind} {name!r}; {suggest_part(name, files(folder))}")
    return importlib.import_module(f"gesso.{folder.replace('/', '.')}.{name}")


def classes(folder: str, base: type) -> dict[str, type]:
    """Every public subclass of `base` that the files of a folder define: class name -> class."""
    found: dict[str, type] = {}
    for name in files(folder):
        for key, value in vars(module(folder, name)).items():
            ours = isinstance(value, type) and issubclass(value, base) and value.__module__ == f"gesso.{folder}.{name}"
            if ours and not key.startswith("_"):
                found[key] = value
    return found


def named_class(folder: str, name: str, base: type[Kind]) -> type[Kind]:
    """The one subclass of `base` that a file of a folder defines, or the one that `module:Class` names.

    Nothing else of the folder is imported.

    Raises:
        UnknownNameError: for an unknown name, with the nearest match.
        ValueError: if there is no such class, or it is none of `base`.
    """
    if ":" in name:
        return load_class(name, base, folder)
    home = module(folder, name)
    kinds = [value for value in vars(home).values() if isinstance(value, type) and issubclass(value, base)]
    (only,) = (kind for kind in kinds if kind.__module__ == home.__name__)
    return only


def check_options(function: Any, options: Mapping[str, Any], what: str) -> None:
    """Checks names and values of options against the signature of a function or class.

    Raises:
        UnknownNameError: naming the option, what `what` takes, and the nearest match.
        ValueError: naming the option, the type or the range that it takes, and the value.
    """
    known = _values.allowed_names(function)
    if known is not None:
        check_names(options, known, what)
    kinds = _values.declared(function)
    _values.check_values(kinds, options, what)
    for name, value in options.items():
        if _values.ranges_in(kinds.get(name)):
            _values.check_range(kinds[name], name, value, what)


def check_names(options: Iterable[str], known: Collection[str], what: str) -> None:
    """Checks option names against those that `what` takes.

    Raises:
        UnknownNameError: naming the option, what `what` takes, and the nearest match.
    """
    for option in options:
        if option not in known:
            raise UnknownNameError(f"{what} has no option {option!r}; {suggest(option, known)}")


def find_code(value: Any, key: str = "") -> list[str]:
    """Every `package.module:Class` in a value, at any depth of lists and mappings."""
    if isinstance(value, Mapping):
        return [name for inner, item in value.items() for name in [*find_code(inner), *find_code(item, str(inner))]]
    if isinstance(value, list | tuple):
        return [name for item in value for name in find_code(item, key)]
    is_name = isinstance(value, str) and CODE.fullmatch(value)
    if not is_name or (key == "prior" and value.startswith(PRIORS)):
        return []
    return [] if value.startswith(PRIMED) and key not in ("backbone", "target", "prior") else [value]


def check_code(options: Any, source: str | Path, named: Collection[str] = ()) -> None:
    """Checks that options out of a file name no code but what the user has named as well: no file chooses what runs.

    Args:
        options: what the file says.
        source: the file, for the error.
        named: the classes that the user has named beside it.

    Raises:
        ValueError: for the first other.
    """
    for name in find_code(options):
        if name not in named and not code_is_allowed.get():
            raise ValueError(
                f"{source}: names the class {name}, and code that a file names does not run unasked. If you trust the "
                f"file and the module {name.split(':')[0]}, give --allow_code, or the option itself beside the file"
            )


def component(folder: str, name: str) -> Any:
    """What the file of a folder holds under its own name: `leaves` of `sources/leaves.py`.

    Raises:
        UnknownNameError: if there is no such file.
    """
    return getattr(module(folder, name), name)


def load_object(target: str, what: str, known: Collection[str] = ()) -> Any:
    """What `package.module:name` names; modules of the working folder are found, too. Importing them runs them.

    Args:
        target: the name.
        what: what it is for, for errors.
        known: what gesso itself has of the kind.

    Raises:
        UnknownNameError: if it is neither of gesso nor such a name.
        ValueError: if there is no such module, or nothing of the name in it.
    """
    if not CODE.fullmatch(target) or IN_FILE.fullmatch(target):
        own = "" if DOTTED.fullmatch(target) or IN_FILE.fullmatch(target) else " (or module:name of your own)"
        raise UnknownNameError(f"unknown {what} {target!r}; {suggest_part(target, known)}{own}")
    found, name = _import_home(target, what), target.partition(":")[2]
    if not hasattr(found, name):
        own = [key for key in vars(found) if not key.startswith("_")]
        raise ValueError(f"{what} {target}: {found.__name__} has no {name!r}; {suggest(name, own)}")
    return getattr(found, name)


def _import_home(target: str, what: str) -> ModuleType:
    """The module of `package.module:name`."""
    home = target.partition(":")[0]
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(home)
    except ImportError as error:
        raise ValueError(f"{what} {target}: cannot import {home} ({error})") from None


def spell_code(thing: Any) -> str | None:
    """`module:name` of a class or function that this name finds again; None where it does not."""
    home, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", "")
    again = getattr(sys.modules.get(home or ""), name, None)
    return f"{home}:{name}" if home not in (None, "__main__") and again is thing else None


def load_class(target: str, base: type[Kind], what: str) -> type[Kind]:
    """The class that `package.module:Class` names; modules of the working folder are found, too.

    Importing its module runs it; of the class nothing runs before it is known to be one of `base`.

    Args:
        target: the name.
        base: what it has to be a subclass of.
        what: what it is for, for errors.

    Raises:
        ValueError: if there is no such module or class, or it is none of `base`.
    """
    if not CODE.fullmatch(target) or IN_FILE.fullmatch(target):
        advice = f"; {suggest_part(target, ())}" if DOTTED.fullmatch(target) or IN_FILE.fullmatch(target) else ""
        raise ValueError(f"{what} {target}: expected a class as package.module:Class{advice}")
    found, name = _import_home(target, what), target.partition(":")[2]
    home, kind = found.__name__, getattr(found, name, None)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        known = [key for key, value in vars(found).items() if isinstance(value, type) and issubclass(value, base)]
        raise ValueError(f"{what} {target}: {home} has no nn.{base.__name__} {name!r}; {suggest(name, known)}")
    return kind


def recipes(verb: str) -> dict[str, Path]:
    """The YAML files of the recipes of a verb, by name."""
    return {path.stem: path for path in sorted((ROOT / "recipes" / verb).glob("*.yaml"))}


def recipe_file(verb: str, name: str) -> Path:
    """The YAML file of a recipe by its name, today's or one it had before, or the file that `name` is.

    Raises:
        UnknownNameError: if it is neither.
    """
    known = recipes(verb)
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    if (now := RENAMED.get(name, name)) in known:
        return known[now]
    if path.is_file():
        return path
    raise UnknownNameError(f"no recipe or file {name!r} for {verb}; {suggest(name, known)}")
