"""Checks requests against the schemas of openapi.json."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from .api_spec import Json, Operation

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@attrs.frozen(slots=True)
class FieldProblem:
    """A problem with one field of a request: its path ("" for the whole body) and the reason."""

    field: str
    message: str


def schema_problems(
    schema: Mapping[str, Json], value: Json, field: str = ""
) -> Iterable[FieldProblem]:
    """Yield the problems of a value; nothing when it fits the schema.

    Supports type, enum, minimum, maximum, minLength, maxLength, minItems, maxItems, required,
    items and properties. A bool is not an integer. Fields that the schema does not name are
    ignored, as in the real service.
    """
    name = schema.get("type")
    if isinstance(name, str) and not _has_type(name, value):
        yield FieldProblem(field, f"must be of type {name}")
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        yield FieldProblem(field, "must be one of " + ", ".join(map(str, allowed)))
    shape: object = (
        value.__class__
    )  # JSON has no subclasses; type checkers then leave the value open
    if shape is int or shape is float:
        if "minimum" in schema and value < schema["minimum"]:
            yield FieldProblem(field, f"must be at least {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            yield FieldProblem(field, f"must be at most {schema['maximum']}")
    elif shape is str:
        yield from _size_problems(schema, "Length", len(value), "characters", field)
    elif shape is list:
        yield from _size_problems(schema, "Items", len(value), "items", field)
        for index, item in enumerate(value if "items" in schema else ()):
            yield from schema_problems(schema["items"], item, f"{field}[{index}]")
    elif shape is dict:
        for key in schema.get("required", ()):
            if key not in value:
                yield FieldProblem(_join_path(field, key), "is required")
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from schema_problems(inner, value[key], _join_path(field, key))


def parse_query(
    operation: Operation, query: Mapping[str, str]
) -> tuple[dict[str, Json], list[FieldProblem]]:
    """Convert a query string by the operation's parameters.

    Return the converted values that were sent, and the list of problems (empty when all fit).
    """
    values: dict[str, Json] = {}
    problems: list[FieldProblem] = []
    for parameter in operation.query:
        name, schema = parameter["name"], parameter.get("schema", {})
        if name not in query:
            if parameter.get("required"):
                problems.append(FieldProblem(name, "is required"))
            continue
        value = _convert_query_value(schema.get("type"), query[name])
        found = list(schema_problems(schema, value, name))
        problems += found
        if not found:
            values[name] = value
    return values, problems


def _has_type(name: str, value: Json) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _size_problems(
    schema: Mapping[str, Json], what: str, size: int, unit: str, field: str
) -> Iterable[FieldProblem]:
    if size < schema.get(f"min{what}", 0):
        yield FieldProblem(field, f"must have at least {schema[f'min{what}']} {unit}")
    if size > schema.get(f"max{what}", size):
        yield FieldProblem(field, f"must have at most {schema[f'max{what}']} {unit}")


def _convert_query_value(name: str | None, text: str) -> Json:
    if name == "integer":
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else text
    if name == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    return text


def _join_path(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key
