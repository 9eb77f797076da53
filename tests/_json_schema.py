"""As much of JSON schema (draft 7) as the schemas of recipes are written in: `jsonschema` is none of our packages."""

import re

TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
    "number": (int, float),
}  # fmt: skip
KNOWN = {
    "$schema", "title", "description", "default", "deprecated", "definitions", "$ref", "anyOf", "allOf", "if", "then",
    "enum", "type", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "properties", "required",
    "additionalProperties", "items", "minItems", "maxItems",
}  # fmt: skip


def faults(schema, value, place="", root=None):
    """What is wrong with a value, each as `place: why`."""
    root = schema if root is None else root
    if schema is False:
        return [f"{place}: unknown"]
    if schema is True:
        return []
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if "$ref" in schema:
        return faults(root["definitions"][schema["$ref"].rpartition("/")[2]], value, place, root)
    found = []
    if "anyOf" in schema and not any(not faults(one, value, place, root) for one in schema["anyOf"]):
        found.append(f"{place}: none of its kinds")
    for rule in schema.get("allOf", ()):
        if not faults(rule["if"], value, place, root):
            found += faults(rule["then"], value, place, root)
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{place}: no choice")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if "type" in schema:
        fits = isinstance(value, TYPES[schema["type"]]) and not (
            isinstance(value, bool) and schema["type"] != "boolean"
        )
        found += [] if fits else [f"{place}: no {schema['type']}"]
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        found.append(f"{place}: another pattern")
    if is_number:
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        inside = low <= value <= high
        inside &= value > schema.get("exclusiveMinimum", value - 1) and value < schema.get(
            "exclusiveMaximum", value + 1
        )
        found += [] if inside else [f"{place}: out of range"]
    if isinstance(value, dict):
        found += [f"{place}.{name}: missing" for name in schema.get("required", ()) if name not in value]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            found += faults(inner, item, f"{place}.{name}", root)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{place}: so many items")
        items = schema.get("items", True)
        for number, item in enumerate(value):
            inner = items[min(number, len(items) - 1)] if isinstance(items, list) else items
            found += faults(inner, item, f"{place}[{number}]", root)
    return found
