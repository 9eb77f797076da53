"""Files of options, read with care: they come from strangers, and say what a command does."""

import re
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 10_000_000
MOST_VALUES = 10_000  # aliases counted as often as they stand for something
NUMBER = re.compile(
    r"""[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"""
)

ONLY_GIVEN = {
    "config": "a recipe is a whole sentence and reads no other file; put the options here",
    "allow_code": "no file allows itself to run code; give --allow_code on the command line",
}
"""What a command line has and no recipe."""

BROKEN_PATH = re.compile(r"([A-Za-z]:|\.{1,2})[^\s]*[\x00\x07-\x0d\x1b].*", re.DOTALL)
"""The beginning of a path of Windows, and an escape."""
BACKSLASHES = "double quotes take a backslash for an escape; put a path of Windows into single quotes, or none"


class Loader(yaml.SafeLoader):
    """YAML's plain values; `1e-4` is a number, too, as in YAML 1.2."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+0123456789."))


def read_recipe(path: Path) -> dict[str, Any]:
    """The options of a file, each given once.

    A few aliases of aliases unfold to more than memory holds; of two values of one option, YAML would take the last.
    Errors name lines, and quote none: the file may be none of the reader's business.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no YAML of options, or larger than one reads; `config` stands in no recipe.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"{path}: expected a recipe, got a file of more than {MOST_BYTES:,} bytes")
        node = yaml.compose(data.decode("utf-8-sig"), Loader)
        check_size(node, path)
        check_names(node, path)
        check_backslashes(node, path)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark else ""
        advice = f"; {BACKSLASHES}" if "escape" in (error.problem or "") else ""
        raise ValueError(f"{path}: expected YAML{where}: {error.problem or 'something is wrong'}{advice}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML, {type(error).__name__}") from None
    try:
        return Loader("").construct_document(node)
    except Exception as error:  # a date without a month, a number of ten thousand digits, a tag that nobody knows
        reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else type(error).__name__
        raise ValueError(f"{path}: expected text, numbers, lists and options: {reason}") from None


def check_size(node: yaml.Node | None, path: Path) -> None:
    """Checks that a document does not unfold to more values, or more text, than a recipe has.

    Raises:
        ValueError: if it does.
    """
    sizes: dict[int, int] = {}

    def unfolded(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES  # of a node that holds itself
            if isinstance(node, yaml.ScalarNode):
                sizes[id(node)] = 1 + len(node.value) // 1000
            else:
                children = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))]
                sizes[id(node)] = 1 + sum(map(unfolded, children))
        return sizes[id(node)]

    if node is not None and unfolded(node) > MOST_VALUES:
        raise ValueError(f"{path}: expected a recipe, got more than {MOST_VALUES:,} values")


def check_backslashes(node: yaml.Node | None, path: Path) -> None:
    r"""Checks that no path of Windows stands in double quotes, where `C:\new` has a line end.

    Raises:
        ValueError: naming the line of the first.
    """
    left, seen = [node], set[int]()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if not isinstance(one, yaml.ScalarNode):
            left += [child for pair in one.value for child in (pair if isinstance(pair, tuple) else (pair,))]
        elif one.style == '"' and BROKEN_PATH.fullmatch(one.value):
            raise ValueError(f"{path}: {one.value!r} in line {one.start_mark.line + 1} is no path: {BACKSLASHES}")


def check_names(node: yaml.Node | None, path: Path) -> None:
    """Checks that a document is a mapping of option names, each of them once.

    Raises:
        ValueError: if not.
    """
    if not isinstance(node, yaml.MappingNode):
        seen = {yaml.ScalarNode: "a scalar", yaml.SequenceNode: "a sequence"}.get(type(node), "nothing")
        raise ValueError(f"{path}: expected options, each as `name: value`, got {seen}")
    names = [str(key.value) if isinstance(key, yaml.ScalarNode) else "" for key, _ in node.value]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path}: {name} is given {names.count(name)} times; keep one")
        if name in ONLY_GIVEN:
            raise ValueError(f"{path}: {name}: {ONLY_GIVEN[name]}")
        if "." in name:
            outer, inner = name.split(".", 1)
            raise ValueError(f"{path}: {name}: in a recipe this is written as `{outer}: {{{inner}: ...}}`")
