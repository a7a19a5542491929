"""The service's operations, read from openapi.json and kinds.json, and the router over them."""

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
"""The format of every record id: 24 hex digits."""


@attrs.frozen(slots=True)
class PagingParameters:
    """The query parameters that select a page of a list."""

    page: str
    size: str
    """The names of the two parameters."""

    default_size: int
    """The rows of a page when the request names no size."""


@attrs.frozen(slots=True)
class Operation:
    """An operation of the service, as openapi.json describes it."""

    method: str
    path: str
    role: str
    kind: str
    body_schema: Mapping[str, Json] | None
    query: tuple[Mapping[str, Json], ...]
    record_fields: tuple[str, ...]
    paging: PagingParameters | None
    """None for an operation without paging."""

    @property
    def last_segment(self) -> str:
        """The last segment of the path, such as ``markShared``."""
        return self.path.rsplit("/", 1)[-1]


@attrs.frozen(slots=True)
class Router:
    """Finds the operation for a method and a path; a fixed path wins over a template."""

    fixed: Mapping[tuple[str, str], Operation]
    templates: Mapping[tuple[str, str, int], tuple[tuple[tuple[str, ...], Operation], ...]]
    """By method, the path before the id, and the number of path segments after the id."""

    @classmethod
    def from_operations(cls, all_operations: Iterable[Operation]) -> Router:
        """Return a router over these operations; of two with the same path the first counts."""
        fixed: dict[tuple[str, str], Operation] = {}
        templates: dict[tuple[str, str, int], list[tuple[tuple[str, ...], Operation]]] = {}
        for operation in all_operations:
            head, brace, tail = operation.path.partition("{")
            if not brace:
                fixed.setdefault((operation.method, operation.path), operation)
                continue
            rest = tuple(tail.split("/")[1:])
            key = (operation.method, head, len(rest))
            templates.setdefault(key, []).append((rest, operation))
        return cls(fixed, {key: tuple(value) for key, value in templates.items()})

    def find(self, method: str, path: str) -> tuple[Operation, str] | None:
        """Return the operation and the id in the path ("" when it has none), or None."""
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
def all_operations() -> tuple[Operation, ...]:
    """Return every operation of the shipped openapi.json."""
    text = resources.files("a2e_async.sandbox").joinpath("data/openapi.json").read_text("utf-8")
    return tuple(
        _read_operation(method, path, entry)
        for path, methods in json.loads(text)["paths"].items()
        for method, entry in methods.items()
    )


@cache
def kind_table() -> Mapping[str, Mapping[str, Json]]:
    """Return the entries of the shipped kinds.json by kind."""
    text = resources.files("a2e_async.sandbox").joinpath("data/kinds.json").read_text("utf-8")
    return {row["kind"]: row for row in json.loads(text)}


def _read_operation(method: str, path: str, entry: Mapping[str, Json]) -> Operation:
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
        paging=_find_paging(parameters),
    )


def _find_paging(parameters: Sequence[Mapping[str, Json]]) -> PagingParameters | None:
    schemas = {item["name"]: item.get("schema", {}) for item in parameters}
    for page, size in (("pageNum", "pageSize"), ("page", "page_size")):
        if page in schemas and size in schemas:
            return PagingParameters(page, size, schemas[size].get("default", 10))
    return None


_COUNTED_ROLES: Final[Mapping[str, str]] = {
    "/api/v1/generation/quote": "quote",
    "/api/v1/user/remainingCoins": "coins",
    "/api/v1/transactionRecord/creditsHistory": "history",
    "/api/v1/r2/upload-presigned-url": "presign",
    "/api/v1/r2/get_upload_presigned_url": "presign",
}


def counted_role(operation: Operation) -> str:
    """Return the role that counters and faults use for the operation."""
    return _COUNTED_ROLES.get(operation.path, operation.role)


def find_operation(method: str, path: str) -> Operation:
    """Return the operation with exactly this method and path template."""
    return next(item for item in all_operations() if (item.method, item.path) == (method, path))
