"""The service's operations as data: which there are, how a path is matched, what a body must be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

import attrs

Json = Any
"""Any value that JSON can hold."""

OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)
"""The form of every record id: 24 hex digits."""

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@attrs.frozen(slots=True)
class Problem:
    """One thing that is wrong with a request: the field's path ("" for the whole) and why."""

    field: str
    message: str


@attrs.frozen(slots=True)
class Paging:
    """How a list is asked for a page."""

    page: str
    size: str
    """The names of the two query parameters."""

    usual: int
    """Rows of a page when nothing is asked."""


@attrs.frozen(slots=True)
class Operation:
    """One operation of the service, as openapi.json lists it."""

    method: str
    path: str
    role: str
    kind: str
    body_schema: Mapping[str, Json] | None
    query: tuple[Mapping[str, Json], ...]
    record_fields: tuple[str, ...]
    paging: Paging | None
    """None for an operation without pages."""

    @property
    def action(self) -> str:
        """The last segment of the path, such as ``markShared``."""
        return self.path.rsplit("/", 1)[-1]


def problems(schema: Mapping[str, Json], value: Json, field: str = "") -> Iterable[Problem]:
    """Yields what is wrong with a value; nothing when it fits.

    Knows type, enum, minimum, maximum, minLength, maxLength, minItems, maxItems, required, items
    and properties. A bool is no integer. Input fields that the schema does not name are ignored,
    as the service ignores them.
    """
    name = schema.get("type")
    if isinstance(name, str) and not _is(name, value):
        yield Problem(field, f"must be of type {name}")
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        yield Problem(field, "must be one of " + ", ".join(map(str, allowed)))
    shape: object = (
        value.__class__
    )  # JSON has no subclasses; type checkers then leave the value open
    if shape is int or shape is float:
        if "minimum" in schema and value < schema["minimum"]:
            yield Problem(field, f"must be at least {schema['minimum']}")
        if "maximum" in schema and value > schema["maximum"]:
            yield Problem(field, f"must be at most {schema['maximum']}")
    elif shape is str:
        yield from _sized(schema, "Length", len(value), "characters", field)
    elif shape is list:
        yield from _sized(schema, "Items", len(value), "items", field)
        for index, item in enumerate(value if "items" in schema else ()):
            yield from problems(schema["items"], item, f"{field}[{index}]")
    elif shape is dict:
        for key in schema.get("required", ()):
            if key not in value:
                yield Problem(_join(field, key), "is required")
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from problems(inner, value[key], _join(field, key))


def query_problems(operation: Operation, query: Mapping[str, str]) -> tuple[dict[str, Json], Json]:
    """Reads a query string by the operation's parameters.

    Returns the values that were sent, converted, and a list of problems (empty when all fit).
    """
    values: dict[str, Json] = {}
    wrong: list[Problem] = []
    for parameter in operation.query:
        name, schema = parameter["name"], parameter.get("schema", {})
        if name not in query:
            if parameter.get("required"):
                wrong.append(Problem(name, "is required"))
            continue
        value = _from_text(schema.get("type"), query[name])
        found = list(problems(schema, value, name))
        wrong += found
        if not found:
            values[name] = value
    return values, wrong


@attrs.frozen(slots=True)
class Router:
    """Finds the operation for a method and a path; fixed paths win over templates."""

    fixed: Mapping[tuple[str, str], Operation]
    templates: Mapping[tuple[str, str, int], tuple[tuple[tuple[str, ...], Operation], ...]]
    """By method, what stands before the id, and how many parts there are from the id on."""

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> Router:
        """Returns a router over these operations."""
        fixed: dict[tuple[str, str], Operation] = {}
        templates: dict[tuple[str, str, int], list[tuple[tuple[str, ...], Operation]]] = {}
        for operation in operations:
            head, brace, tail = operation.path.partition("{")
            if not brace:
                fixed[operation.method, operation.path] = operation
                continue
            rest = tuple(tail.split("/")[1:])
            key = (operation.method, head, len(rest))
            templates.setdefault(key, []).append((rest, operation))
        return cls(fixed, {key: tuple(value) for key, value in templates.items()})

    def find(self, method: str, path: str) -> tuple[Operation, str] | None:
        """Returns the operation and the id in the path ("" when it has none), or None."""
        if (found := self.fixed.get((method, path))) is not None:
            return found, ""
        rest: list[str] = []
        head = path
        while "/" in head:
            head, _, given = head.rpartition("/")
            for template, operation in self.templates.get((method, f"{head}/", len(rest)), ()):
                if list(template) == rest:
                    return operation, given
            rest.insert(0, given)
        return None


@cache
def operations() -> tuple[Operation, ...]:
    """Returns every operation of the shipped openapi.json."""
    text = resources.files("a2e_async.sandbox").joinpath("data/openapi.json").read_text("utf-8")
    return tuple(
        _operation(method, path, entry)
        for path, methods in json.loads(text)["paths"].items()
        for method, entry in methods.items()
    )


@cache
def kind_rows() -> Mapping[str, Mapping[str, Json]]:
    """Returns the rows of the shipped kinds.json by kind."""
    text = resources.files("a2e_async.sandbox").joinpath("data/kinds.json").read_text("utf-8")
    return {row["kind"]: row for row in json.loads(text)}


def _operation(method: str, path: str, entry: Mapping[str, Json]) -> Operation:
    content = entry.get("requestBody", {}).get("content", {})
    parameters: Sequence[Mapping[str, Json]] = entry.get("parameters", ())
    return Operation(
        method=method.upper(),
        path=path,
        role=entry["x-role"],
        kind=entry.get("x-kind") or "",
        body_schema=content.get("application/json", {}).get("schema"),
        query=tuple(item for item in parameters if item["in"] == "query"),
        record_fields=tuple(entry.get("x-response-seen", {}).get("record_fields", {})),
        paging=_paging(parameters),
    )


def _paging(parameters: Sequence[Mapping[str, Json]]) -> Paging | None:
    schemas = {item["name"]: item.get("schema", {}) for item in parameters}
    for page, size in (("pageNum", "pageSize"), ("page", "page_size")):
        if page in schemas and size in schemas:
            return Paging(page, size, schemas[size].get("default", 10))
    return None


def _is(name: str, value: Json) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES[name])


def _sized(
    schema: Mapping[str, Json], what: str, size: int, unit: str, field: str
) -> Iterable[Problem]:
    if size < schema.get(f"min{what}", 0):
        yield Problem(field, f"must have at least {schema[f'min{what}']} {unit}")
    if size > schema.get(f"max{what}", size):
        yield Problem(field, f"must have at most {schema[f'max{what}']} {unit}")


def _from_text(name: str | None, text: str) -> Json:
    if name == "integer":
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,15}", text) else text
    if name == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    return text


def _join(field: str, key: str) -> str:
    return f"{field}.{key}" if field else key
