"""Plays the shapes of a report of ``a2e verify`` in the sandbox's responses.

The sandbox still decides what happens: which tasks exist, what they cost, when they end. A played
response has the fields, types, status words, HTTP status and headers that the report recorded. A
list that was not empty shows example records while the sandbox has none; they can be requested by
their ids.

A shape is JSON: an object is the shape of an object, a list that of a list, and a text lists
alternatives such as ``integer|null``, ``text:id`` or ``word:completed``. ``a2e_async.cli.verify``
writes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from a2e_async._core.typeguards import is_list, is_mapping

from .api_messages import SandboxRequest, SandboxResponse
from .api_spec import Operation, all_operations, kind_table

REPORT_FORMAT: Final = 1
"""The version of the reports that can be played."""

EXAMPLE_ID_PREFIX: Final = "e0e0e0e0e0e0e0e0e0e0"
"""How the ids of example records begin; the page and the row follow."""

_TEXT: Final = "recorded text"
"""The example of a text; no status word."""

_EXAMPLES: Final[Mapping[str, Any]] = {
    "null": None,
    "boolean": True,
    "integer": 1,
    "number": 1.5,
    "text:empty": "",
    "text:id": f"{EXAMPLE_ID_PREFIX}ffff",
    "text:uuid": "00000000-0000-4000-8000-000000000000",
    "text:number": "1",
    "text:time": "2026-01-01T00:00:00.000Z",
}
_TYPES: Final[Mapping[type[object], str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
}
_COUNT_FIELDS: Final = frozenset({"count", "total"})
_MAX_ROWS: Final = 50
_UNPLAYED_HEADERS: Final = frozenset({"date", "server", "content-encoding", "via"})


@attrs.frozen(slots=True)
class PlayedResponse:
    """A response as the report recorded it. ``body`` is None if it was not JSON."""

    status: int
    body: Any
    is_html: bool
    headers: Mapping[str, str]


@attrs.frozen(slots=True)
class _Recording:
    """One observation of a report."""

    status: int
    code: int | None
    is_html: bool
    body: Any
    """The shape of the body; None if it was not JSON."""

    row_count: int
    is_second_page: bool
    """Whether the list showed more rows on a second page."""

    repeats_page: bool
    """Whether the second page repeated the first."""

    missing: frozenset[str]
    """Fields that were missing although the contract has them."""


@attrs.frozen(slots=True)
class Replay:
    """The recorded shapes of one report. Created by the `Sandbox`; never changes."""

    by_operation: Mapping[tuple[str, str], _Recording]
    by_kind: Mapping[tuple[str, str], _Recording]
    """By role and kind: quotes share one operation, and lists give the shape of their records."""

    by_case: Mapping[str, tuple[tuple[str, str], _Recording]]
    """Requests that must fail, by case, each with its operation."""

    headers: Mapping[str, str]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Replay:
        """Return the shapes of a report.

        Raises:
            ValueError: the file is not a report that can be played.
            OSError: the file cannot be read.
        """
        try:
            report = json.loads(Path(path).read_text("utf-8"))
            if report["format"] != REPORT_FORMAT:
                msg = f"its format is {report['format']}, not {REPORT_FORMAT}"
                raise ValueError(msg)
            return cls._read(report)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            reason = str(error) if isinstance(error, ValueError) else "fields are missing"
            msg = f"{os.fspath(path)} is not a report of a2e verify: {reason}."
            raise ValueError(msg) from None

    @classmethod
    def _read(cls, report: Mapping[str, Any]) -> Replay:
        rows: list[Mapping[str, Any]] = list(report["observations"])
        second = {row["part"]: row for row in rows if row["name"].startswith("page 2 ")}
        by_operation: dict[tuple[str, str], _Recording] = {}
        by_kind: dict[tuple[str, str], _Recording] = {}
        by_case: dict[str, tuple[tuple[str, str], _Recording]] = {}
        for row in rows:
            if row.get("status") is None:
                continue
            role, _, kind = row["name"].partition(" ")
            made = _read_recording(row, second.get(row["part"]) if role == "list" else None)
            operation = _operation_key(*row["operation"].split(" ", 1))
            if row.get("case"):
                by_case[row["case"]] = operation, made
                continue
            by_operation.setdefault(operation, made)
            if kind == row["part"]:
                by_kind[role, kind] = made
        headers = {
            name: str(_EXAMPLES.get(f"text:{form}", "recorded"))
            for name, form in report.get("headers", {}).items()
            if name not in _UNPLAYED_HEADERS
        }
        return cls(by_operation, by_kind, by_case, headers)

    def play(self, request: SandboxRequest | None, response: SandboxResponse) -> PlayedResponse:
        """Return a response in the recorded shape; ``request`` is None for a refused key."""
        case = "bad key" if request is None else _case_of(request, response)
        key = None if request is None else _request_key(request.operation)
        if request is not None and _example_ids(request):
            return self._play_example(request, response)
        if case:
            at, recording = self.by_case.get(case, (None, None))
            if recording is None or (case == "unknown id" and at != key):
                return PlayedResponse(response.status, response.body, False, self.headers)
            return self._as_recorded(recording, response, None)
        assert request is not None  # noqa: S101  # only a refused key has none
        found = self._recording_of(request)
        if found is None:
            return PlayedResponse(response.status, response.body, False, self.headers)
        if response.status != 200 and found.status == 200:
            if not _has_no_price(request, response):
                return PlayedResponse(response.status, response.body, False, self.headers)
            body = _with_code(_Player(found, 1, request).example(found.body), found.code or 0)
            return PlayedResponse(200, body, False, self.headers)
        return self._as_recorded(found, response, request)

    def play_unknown_path(self) -> PlayedResponse | None:
        """Return the recorded response to an unknown path; None if none was recorded."""
        recording = self.by_case.get("unknown path")
        empty = SandboxResponse(404, {"code": 404, "message": "Not Found"})
        return None if recording is None else self._as_recorded(recording[1], empty, None)

    def _recording_of(self, request: SandboxRequest) -> _Recording | None:
        operation = request.operation
        if operation.path == "/api/v1/generation/quote":
            return self.by_kind.get(("quote", _quoted_kind(request)))
        return self.by_operation.get(_request_key(operation))

    def _as_recorded(
        self, recording: _Recording, response: SandboxResponse, request: SandboxRequest | None
    ) -> PlayedResponse:
        if recording.body is None:
            return PlayedResponse(recording.status, None, recording.is_html, self.headers)
        page = 1 if request is None else _requested_page(request)
        player = _Player(recording, page, request)
        body = player.conform(response.body, recording.body)
        if recording.code is not None:
            body = _with_code(body, recording.code)
        return PlayedResponse(recording.status, body, False, self.headers)

    def _play_example(self, request: SandboxRequest, response: SandboxResponse) -> PlayedResponse:
        """Return example records by their ids, in the shape of their own operation or the list."""
        operation, ids = request.operation, _example_ids(request)
        own = self.by_operation.get(_request_key(operation))
        if own is not None and (own.status != 200 or own.body is not None):
            player = _Player(own, 1, request, ids=ids)
            body = None if own.body is None else _with_code(player.example(own.body), own.code or 0)
            return PlayedResponse(own.status, body, own.is_html, self.headers)
        listed = self.by_kind.get(("list", operation.kind))
        row = None if listed is None else _row_shape(listed.body)
        if listed is None or row is None:
            return PlayedResponse(response.status, response.body, False, self.headers)
        player = _Player(listed, 1, request, ids=ids)
        rows = [player.example(row, place) for place in range(len(ids))]
        data = rows if operation.role == "batch_detail" else rows[0]
        trace = _EXAMPLES["text:uuid"]
        body = {"code": 0, "data": data, "trace_id": trace}
        return PlayedResponse(200, body, False, self.headers)


@attrs.frozen(slots=True)
class _Player:
    """Changes one response to a recorded shape."""

    recording: _Recording
    page: int
    request: SandboxRequest | None
    ids: tuple[str, ...] = ()
    """The ids of the example records; empty for those of a list."""

    def conform(self, value: Any, shape: Any) -> Any:
        """Return a value of the sandbox in a recorded shape."""
        ways = shape["|"] if is_mapping(shape) and is_list(shape.get("|")) else [shape]
        if is_mapping(value):
            objects = [way for way in ways if is_mapping(way)]
            return self._conform_object(value, objects[0]) if objects else self.example(shape)
        if is_list(value):
            lists = [way for way in ways if is_list(way)]
            return self._conform_list(value, lists[0]) if lists else self.example(shape)
        plain = [word for way in ways if isinstance(way, str) for word in way.split("|")]
        words = [word.removeprefix("word:") for word in plain if word.startswith("word:")]
        if words and isinstance(value, str):
            return self._conform_status(value, words)
        if any(word.partition(":")[0] == _type_word(value) for word in plain):
            return value
        return self.example(shape)

    def _conform_object(
        self, value: Mapping[str, Any], shape: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        has_rows = False
        if text := value.get("message") or value.get("msg"):
            value = {**value, "message": text, "msg": text}  # the sandbox uses both at random
        for key, part in shape.items():
            field = key.removesuffix("?")
            if field == "*":
                made |= {name: value[name] for name in value if name not in shape}
            elif field in value:
                made[field] = self.conform(value[field], part)
                has_rows = has_rows or (is_list(made[field]) and not value[field])
            elif not key.endswith("?") and field not in self.recording.missing:
                made[field] = self._example_field(field, part, 0)
                has_rows = has_rows or is_list(made[field])
        if has_rows and self.recording.row_count:
            pages = 2 if self.recording.is_second_page else 1
            total = self.recording.row_count * pages
            made |= dict.fromkeys(_COUNT_FIELDS & made.keys(), total)
        return made

    def _conform_list(self, value: list[Any], shape: list[Any]) -> list[Any]:
        if value and shape:
            return [self.conform(item, shape[0]) for item in value]
        return self.example(shape) if shape else value

    def _conform_status(self, value: str, words: list[str]) -> str:
        """Return the status; a running task shows the word that the contract does not have."""
        kind = "" if self.request is None else self.request.operation.kind
        row = kind_table().get(kind, {})
        known = {*row.get("waiting", ()), *row.get("succeeded", ()), *row.get("failed", ())}
        unknown = [word for word in words if word not in known]
        return unknown[0] if unknown and value in row.get("waiting", ()) else value

    def example(self, shape: Any, variant: int = 0) -> Any:
        """Return an example of a shape; variants of an example show its alternatives in turn."""
        ways: list[Any] = []
        for way in shape["|"] if is_mapping(shape) and is_list(shape.get("|")) else [shape]:
            ways += way.split("|") if isinstance(way, str) else [way]
        ways.sort(key=lambda way: way == "null")
        way = ways[variant % len(ways)]
        if is_mapping(way):
            fields = {key.removesuffix("?"): part for key, part in way.items() if key != "*"}
            if not fields and "*" in way:
                fields = {"unnamed": way["*"]}  # an object without a field would say nothing
            return {
                field: self._example_field(field, part, variant)
                for field, part in fields.items()
                if field not in self.recording.missing
            }
        if is_list(way):
            count = self._row_count() if way and _is_record(way[0]) else len(way)
            return [self.example(way[0], place) for place in range(count)]
        if way.startswith("word:"):
            return way.removeprefix("word:")
        if way.startswith("text:url"):
            suffix = way.removesuffix("?...").rpartition("}")[2]
            signature = "?X-Amz-Signature=recorded" if way.endswith("?...") else ""
            return f"https://media.example/file{suffix}{signature}"
        return _EXAMPLES.get(way, _TEXT if way.startswith("text") else None)

    def _example_field(self, field: str, shape: Any, variant: int) -> Any:
        if field == "_id" and shape == "text:id":
            return self._example_id(variant)
        return self.example(shape, variant)

    def _row_count(self) -> int:
        return len(self.ids) or max(1, min(self.recording.row_count, _MAX_ROWS))

    def _example_id(self, variant: int) -> str:
        if self.ids:
            return self.ids[variant % len(self.ids)]
        page = 1 if self.recording.repeats_page else self.page
        return f"{EXAMPLE_ID_PREFIX}{page % 256:02x}{variant % 256:02x}"


def _read_recording(row: Mapping[str, Any], second: Mapping[str, Any] | None) -> _Recording:
    deviations: Iterable[Mapping[str, str]] = row.get("deviations", ())
    missing = [one["where"] for one in deviations if one["what"] == "missing field"]
    others: Iterable[Mapping[str, str]] = (second or {}).get("deviations", ())
    return _Recording(
        status=int(row["status"]),
        code=row.get("code"),
        is_html=row.get("media_type") == "text/html",
        body=row.get("body"),
        row_count=int(row.get("rows", 0)),
        is_second_page=second is not None,
        repeats_page=any(one["what"] == "paging ignored" for one in others),
        missing=frozenset(
            name for where in missing for name in where.rpartition(".")[2].split(" or ")
        ),
    )


def _with_code(body: Any, code: int) -> Any:
    """Return an envelope with this code."""
    return {**body, "code": code} if is_mapping(body) and "code" in body else body


def _is_record(shape: Any) -> bool:
    return is_mapping(shape) and ("_id" in shape or "_id?" in shape or "createdAt" in shape)


def _row_shape(shape: Any) -> Any:
    """Return the shape of the records in a list's body, None if it was empty."""
    if is_list(shape):
        return shape[0] if shape and is_mapping(shape[0]) else None
    if is_mapping(shape):
        return next((found for part in shape.values() if (found := _row_shape(part))), None)
    return None


def _operation_key(method: str, path: str) -> tuple[str, str]:
    """Return the key of an operation: paths name the id differently."""
    head, brace, rest = path.partition("{")
    return method, f"{head}{{id}}{rest.partition('}')[2]}" if brace else path


def _request_key(operation: Operation) -> tuple[str, str]:
    return _operation_key(operation.method, operation.path)


def _case_of(request: SandboxRequest, response: SandboxResponse) -> str:
    """Return which failure a response is, "" for an ordinary response."""
    if request.operation.role == "detail" and (response.status != 200 or not response.data):
        return "unknown id"
    is_quote = request.operation.path == "/api/v1/generation/quote"
    return "bad quote" if is_quote and not _quoted_kind(request) else ""


def _has_no_price(request: SandboxRequest, response: SandboxResponse) -> bool:
    """Return whether the sandbox quotes no price for a kind, whatever its inputs are."""
    return bool(_quoted_kind(request)) and "errors" not in response.body


def _quoted_kind(request: SandboxRequest) -> str:
    endpoint = request.body.get("endpoint") if is_mapping(request.body) else None
    path = endpoint.removeprefix("POST ") if isinstance(endpoint, str) else ""
    starts = (one for one in all_operations() if one.path == path and one.role == "start")
    return next((one.kind for one in starts), "")


def _requested_page(request: SandboxRequest) -> int:
    paging = request.operation.paging
    page = request.query.get(paging.page, "1") if paging is not None else "1"
    return int(page) if page.isdecimal() else 1


def _example_ids(request: SandboxRequest) -> tuple[str, ...]:
    """Return the ids of example records that a request names."""
    listed: Any = request.body.get("ids") if is_mapping(request.body) else None
    named = [request.id, *request.query.values(), *(listed if is_list(listed) else ())]
    return tuple(id for id in named if isinstance(id, str) and id.startswith(EXAMPLE_ID_PREFIX))


def _type_word(value: object) -> str:
    return _TYPES.get(type(value), "text")
