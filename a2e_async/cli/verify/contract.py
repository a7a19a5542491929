"""Checks a response against the record classes and the contract of the service (pure).

A field is known if the kind's record class declares it, if it repeats an input, or if the contract
names it. The contract is the copy of the service's description that the sandbox reads, too.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from a2e_async._core.tasks.parsing import (
    contains_list,
    read_id,
    read_raw_records,
    read_record,
    read_status,
)
from a2e_async._core.typeguards import is_mapping
from a2e_async.cli.verify.report import Deviation
from a2e_async.cli.verify.shapes import MAX_ROWS, field_name, shape_of, status_word
from a2e_async.models import Status

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind

_ENVELOPE: Final[Mapping[str, tuple[str, ...]]] = {
    "code": ("integer",),
    "data": (),
    "trace_id": ("text",),
    "msg": ("text", "null"),
    "message": ("text", "null"),
    "errors": ("list", "object", "null"),
    "success": ("boolean",),
}
"""The envelope's fields and their types; empty for any type."""

_USUAL: Final = frozenset({"error", "detail", "reason", "name", "url", "list", "rows", "total"})
"""Further names that tell an object with fields from a table of values."""

_COMMON: Final = frozenset({"_id", "__v", "user_id", "createdAt", "updatedAt"})
"""Fields that the service's database adds to any record."""


@frozen
class Refusal:
    """What a request that must fail is answered with: HTTP statuses, and the client's error."""

    statuses: tuple[int, ...]
    errors: tuple[str, ...]
    is_json: bool = True


REFUSALS: Final[Mapping[str, Refusal]] = {
    "unknown path": Refusal((404,), ("NotFound",), is_json=False),
    "unknown id": Refusal((404, 200), ("NotFound",)),
    "bad key": Refusal((401,), ("AuthenticationError",)),
    "bad quote": Refusal((400, 422, 200), ("InvalidRequest",)),
}
"""The failures that are tested, by case."""


def data_of(body: Any) -> Any:
    """Return the data of an envelope; the body itself if it has none."""
    return body["data"] if is_mapping(body) and "data" in body and "_id" not in body else body


def check_envelope(body: Any) -> Iterator[Deviation]:
    """Yield the deviations of a success's envelope. Some lists have none, which is documented."""
    if not is_mapping(body) or "_id" in body:
        return
    for name in ("code", "data", "trace_id"):
        if name not in body:
            yield Deviation(what="missing field", where=name)
    yield from _check_types(body)


def check_refusal(case: str, status: int, body: Any, error: str) -> Iterator[Deviation]:
    """Yield the deviations of the response to a request that must fail."""
    expected = REFUSALS[case]
    if status not in expected.statuses:
        yield Deviation(what="unexpected status", found=str(status))
    if error not in expected.errors:
        yield Deviation(what="unreadable", found=error or "no error")
    if is_mapping(body) and expected.is_json and status != 200:
        if "code" not in body:
            yield Deviation(what="missing field", where="code")
        if not any(name in body for name in ("message", "msg")):
            yield Deviation(what="missing field", where="message")
        yield from _check_types(body)
    elif body is None and expected.is_json:
        yield Deviation(what="not JSON")


def _check_types(body: Mapping[str, Any]) -> Iterator[Deviation]:
    for name, value in body.items():
        types = _ENVELOPE.get(name)
        shape = shape_of(value)
        if types is None:
            yield Deviation(what="unknown field", where=field_name(name), found=shape.found())
        elif types and shape.types[0] not in types:
            yield Deviation(what="wrong type", where=name, found=shape.found())


def check_list(kind: "TaskKind[..., Any]", data: Any) -> Iterator[Deviation]:
    """Yield the deviations of a list's data, and of its records."""
    if data is not None and not contains_list(data):
        yield Deviation(what="unreadable", where="data", found=shape_of(data).found())
        return
    yield from check_records(kind, read_raw_records(data), "data[]")


def check_records(
    kind: "TaskKind[..., Any]", rows: Iterable[Mapping[str, Any]], where: str
) -> Iterator[Deviation]:
    """Yield the deviations of records, each kind of deviation once."""
    found: dict[Deviation, None] = {}
    for row in list(rows)[:MAX_ROWS]:
        found.update((one, None) for one in _check_record(kind, row, where))
    yield from found


def _check_record(
    kind: "TaskKind[..., Any]", row: Mapping[str, Any], where: str
) -> Iterator[Deviation]:
    if read_id(row) is None:
        yield Deviation(what="missing field", where=f"{where}._id")
        return
    status, word = read_status(kind, row)
    status_at = f"{where}.{kind.statuses.field}"
    if not word:
        completed = kind.statuses.completion_field
        if not (completed and row.get(completed)):
            yield Deviation(what="missing field", where=status_at)
    elif not kind.statuses.knows(word):
        shown = status_word(word) or "not a word"
        yield Deviation(what="unknown status", where=status_at, found=shown)
    record = read_record(kind, row)
    known = kind.field_decoder.known_names
    for name, value in record.extra.items():
        if name not in row:
            continue
        shape = shape_of(row[name])
        if name in known:
            if value not in ("", {}, []):  # the service's ways to say nothing
                place = f"{where}.{field_name(name)}"
                yield Deviation(what="wrong type", where=place, found=shape.found())
        elif name not in _COMMON and name not in kind_fields(kind.name):
            place = f"{where}.{field_name(name)}"
            yield Deviation(what="unknown field", where=place, found=shape.found())
    if status is Status.SUCCEEDED and kind.outputs and not record.outputs:
        names = " or ".join(result.field for result in kind.outputs)
        yield Deviation(what="missing field", where=f"{where}.{names}", found="completed")


def check_items(items: Iterable[Any], path: str, like: str | None = None) -> Iterator[Deviation]:
    """Yield the fields that the classes of the account's operations did not read.

    The contract gives them to the operation at ``path``, or to the one that it is ``like``.
    """
    known = _COMMON | path_fields(path) | path_fields(like or path)
    found: dict[Deviation, None] = {}
    for item in list(items)[:MAX_ROWS]:
        for name, value in getattr(item, "extra", {}).items():
            if name not in known:
                shape = shape_of(value)
                place = f"data[].{field_name(name)}"
                found[Deviation(what="unknown field", where=place, found=shape.found())] = None
    yield from found


def kind_fields(kind: str) -> frozenset[str]:
    """Return the fields that the contract gives to a kind's records, inputs included."""
    return _contract()[0].get(kind, frozenset())


def path_fields(path: str) -> frozenset[str]:
    """Return the fields that the contract gives to the response of one operation."""
    return _contract()[1].get(path, frozenset())


@cache
def known_names() -> frozenset[str]:
    """Return every name of a field that the contract has."""
    found = {*_ENVELOPE, *_COMMON, *_USUAL}
    for fields in (*_contract()[0].values(), *_contract()[1].values()):
        found |= fields
    return frozenset(found)


@cache
def _contract() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]]]:
    text = resources.files("a2e_async.sandbox").joinpath("data/openapi.json").read_text("utf-8")
    kinds: dict[str, set[str]] = {}
    paths: dict[str, set[str]] = {}
    for path, methods in json.loads(text)["paths"].items():
        for entry in methods.values():
            fields = {*entry.get("x-response-seen", {}).get("record_fields", {})}
            fields.update(one["name"] for one in entry.get("x-response-fields", ()))
            content = entry.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            paths.setdefault(path, set()).update(fields, schema.get("properties", ()))
            if kind := entry.get("x-kind"):
                kinds.setdefault(kind, set()).update(fields, schema.get("properties", ()))
    return (
        {name: frozenset(fields) for name, fields in kinds.items()},
        {name: frozenset(fields) for name, fields in paths.items()},
    )
