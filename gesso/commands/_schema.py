"""JSON schema of recipes, by which editors complete options, explain them and underline mistakes."""

import inspect
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from docstring_parser import parse

from gesso._discovery import CODE
from gesso._values import LISTS, MAPPINGS, UNIONS, Between, Spelled, declared
from gesso.backbones import backbone_classes
from gesso.checkpoint.files import plain
from gesso.commands import _verbs
from gesso.commands._choices import part_names
from gesso.commands._written import check_free
from gesso.commands.schema import Schema
from gesso.data.io import atomic_text
from gesso.options import Command, Option, options_of
from gesso.pretext import list_pretexts, pretext_class
from gesso.refiner import list_refiners, refiner_class
from gesso.report.console import say

Written = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
TYPES: dict[Any, str] = {int: "integer", float: "number", bool: "boolean", types.NoneType: "null", None: "null"}
OWN_PART: Written = {"type": "string", "pattern": f"^{CODE.pattern}$", "description": "of your own, as module:NAME"}


def run(command: Schema) -> None:
    """Does what `gesso.commands.schema.Schema` describes."""
    if command.out is None:
        print_schema(any_recipe() if command.name is None else recipe_of(command.name))
        return
    verbs = list(_verbs.homes()) if command.name is None else [command.name]
    schemas = {Path(command.out) / f"{verb}.schema.json": recipe_of(verb) for verb in verbs}
    if not command.overwrite:
        check_free(list(schemas))
    for path, schema in schemas.items():
        with atomic_text(path) as file:
            json.dump(schema, file, indent=2)
    say(f"{len(schemas)} in {command.out}; the first line of a recipe names its own, such as")
    say("# yaml-language-server: $schema=finetune.schema.json")


def print_schema(schema: Written) -> None:
    """Prints a schema as it is: the console would break its lines."""
    sys.stdout.write(json.dumps(schema, indent=2) + "\n")


def recipe_of(verb: str) -> Written:
    """The schema of a recipe of one verb."""
    return {"$schema": DRAFT, "title": f"recipe of gesso {verb}", **options_schema(_verbs.command(verb))}


def any_recipe() -> Written:
    """The schema of a recipe of any verb."""
    verbs = list(_verbs.homes())
    return {
        "$schema": DRAFT,
        "title": "recipe of gesso",
        "anyOf": [{"$ref": f"#/definitions/{verb}"} for verb in verbs],
        "definitions": {verb: {"title": verb, **options_schema(_verbs.command(verb))} for verb in verbs},
    }


def options_schema(command: type[Command[Any]]) -> Written:
    """The options of a command: none is required, as the command line may add those that a recipe leaves open."""
    known = options_of(command)
    properties = {name: option_schema(option) for name, option in known.items()}
    former = {before: now for before, now in command.former.items() if now in properties}
    properties |= {
        before: properties[now] | {"description": f"the old name of {now}", "deprecated": True}
        for before, now in former.items()
    }
    for verb in _verbs.homes():  # options of another verb, as `finetune_args`
        if f"{verb}_args" in properties:
            inner = options_schema(_verbs.command(verb))
            properties[f"{verb}_args"] |= {"properties": inner["properties"], "additionalProperties": False}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    rules = [rule for name, parts in PARTS.items() for rule in part_rules(name, known, parts())]
    return schema | ({"allOf": rules} if rules else {})


def option_schema(option: Option) -> Written:
    """An option: what it takes, what it means, and what it is if nobody says."""
    default = {} if option.is_needed or option.default is None else {"default": plain(option.default)}
    return {**kind_schema(option.kind), "description": option.text, **default}


def kind_schema(kind: Any) -> Written:
    """A type.

    Example:
        >>> kind_schema(Annotated[int, Between("0 or more", 0)] | None)
        {'anyOf': [{'type': 'integer', 'minimum': 0, 'maximum': 2147483647}, {'type': 'null'}]}
        >>> kind_schema(Literal["adam", "adamw"]), kind_schema(tuple[float, float])["maxItems"]
        ({'enum': ['adam', 'adamw']}, 2)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return annotated_schema(kind)
    if origin in UNIONS:
        return union(kind_schema(part) for part in parts)
    if origin is Literal:
        return {"enum": list(parts)}
    plain_kind = origin or kind
    if plain_kind in LISTS:
        return list_schema(plain_kind, parts)
    if plain_kind in MAPPINGS:
        return {"type": "object", **({"additionalProperties": kind_schema(parts[1])} if parts[1:] else {})}
    if plain_kind in TYPES:
        return {"type": TYPES[plain_kind]}
    return {"type": "string"} if plain_kind in (str, Path) else {}


def annotated_schema(kind: Any) -> Written:
    """A type with a range or a spelling, or one of gesso's parts by name."""
    inner, *extras = get_args(kind)
    if names := part_names(kind):
        named = {"enum": names}
        schema = kind_schema(inner)
        texts_are_free = Path in get_args(inner)  # a folder may have any name
        own = {"type": "string"} if texts_are_free else OWN_PART
        others = [one for one in schema.get("anyOf", []) if one != {"type": "string"}]
        return {"anyOf": [named, own, *others]}
    schema = kind_schema(inner)
    for extra in extras:
        if isinstance(extra, Between):
            schema |= range_schema(extra)
        elif isinstance(extra, Spelled):
            schema |= {"pattern": f"^{extra.pattern}$"}
    return schema


def range_schema(between: Between) -> Written:
    """The ends of a range."""
    low, high = max(between.low, -between.limit), min(between.high, between.limit)
    ends = between.excluding
    return {
        "exclusiveMinimum" if ends in ("low", "both") and low == between.low else "minimum": low,
        "exclusiveMaximum" if ends in ("high", "both") and high == between.high else "maximum": high,
    }


def list_schema(kind: Any, parts: tuple[Any, ...]) -> Written:
    """A list, or a tuple of so many values."""
    if kind is tuple and parts and parts[-1] is not Ellipsis:
        sides = [kind_schema(part) for part in parts]
        return {"type": "array", "items": sides, "minItems": len(sides), "maxItems": len(sides)}
    return {"type": "array", **({"items": kind_schema(parts[0])} if parts else {})}


def union(schemas: Any) -> Written:
    """Any of several schemas, each once; one alone as it is."""
    found: list[Written] = []
    for schema in schemas:
        found += [one for one in schema.get("anyOf", [schema]) if one not in found]
    if {} in found:
        return {}  # one of them takes anything
    return {"anyOf": found} if len(found) > 1 else found[0]


# ------------------------------------------------------------------------------------- options of a part that is named


def part_rules(name: str, known: Mapping[str, Option], parts: Mapping[tuple[str, ...], Any]) -> list[Written]:
    """Rules by which `NAME_args` are the options of what `NAME` names; what is left open is the default.

    Args:
        name: one of `PARTS`.
        known: the options of the command.
        parts: classes by the names that stand for them.
    """
    if name not in known or f"{name}_args" not in known:
        return []
    rules = []
    for names, part in parts.items():
        required = [] if known[name].usual in names else [name]
        condition = {"properties": {name: {"enum": list(names)}}, "required": required}
        options = {"properties": part_schema(part), "additionalProperties": False}
        rules.append({"if": condition, "then": {"properties": {f"{name}_args": options}}})
    return rules


def part_schema(part: Any) -> Written:
    """The options of a class from its signature, with what its docstring says of them."""
    texts = {p.arg_name: " ".join((p.description or "").split()) for p in parse(inspect.getdoc(part) or "").params}
    kinds = {name: kind for name, kind in declared(part).items() if name != "backbone"}
    options = {name: {**kind_schema(kind), "description": texts.get(name, "")} for name, kind in kinds.items()}
    return options | added_options(part)


def added_options(part: Any) -> Written:
    """What `create_pretext` and `create_backbone` take beside the options of a class."""
    if presets := getattr(part, "presets", {}):
        return {"preset": {"enum": sorted(presets), "description": "option values that belong together."}}
    channels = {"type": "integer", "minimum": 1, "description": "channels of the images, in and out."}
    return {"image_channels": channels} if hasattr(part, "for_images") else {}


PARTS: dict[str, Callable[[], Mapping[tuple[str, ...], Any]]] = {
    "pretext": lambda: {(name,): pretext_class(name) for name in list_pretexts()},
    "refiner": lambda: {(name,): refiner_class(name) for name in list_refiners()},
    "backbone": lambda: {tuple(one.variants): one for one in backbone_classes().values()},
}
"""Classes of what options name, by the names that stand for them."""
