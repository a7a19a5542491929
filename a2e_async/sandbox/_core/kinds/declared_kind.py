"""Simulates the kinds that users declare, from their declarations alone.

Such a kind behaves as its declaration says: its operations, status words, result fields and paging.
A start costs the same for any inputs, a task takes its usual time, and records echo the inputs.
Nothing here knows the package's classes: any object with the same attributes will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from ..api_spec import Json, Operation, PagingParameters
from .kind import Body, RequestedSeconds, SimulatedKind
from .status_sequences import StatusSequence

DECLARED_COINS: Final = 10
"""The price of one task of a declared kind, in coins."""

UNKNOWN_MEDIAN_SECONDS: Final = 60.0
"""The median time of a kind that does not declare its usual time, in service seconds."""

_MAX_TASKS: Final = 50
"""The largest number of tasks of one start."""

_RECIPES: Final[Mapping[str, str]] = {
    "image": "image",
    "audio": "dub",
    "video": "image_motion",
    "file": "image_motion",
}
"""The recipe of a result file by its declared media type."""

_ROLES: Final[Mapping[str, str]] = {
    "start": "start",
    "detail": "detail",
    "detail_fallback": "detail",
    "list": "list",
    "processing_list": "list_processing",
    "batch_detail": "batch_detail",
    "delete": "delete",
    "rename": "rename",
    "retry": "retry",
    "recovery_lists": "list",
}
"""The role of each endpoint of a declaration; of two with one path the first counts."""

_BODY_SCHEMAS: Final[Mapping[str, Mapping[str, Json]]] = {
    "batch_detail": {
        "type": "object",
        "required": ["ids"],
        "properties": {"ids": {"type": "array", "items": {"type": "string"}}},
    },
    "rename": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}},
    },
    "retry": {"type": "object", "required": ["_id"]},
}


class DeclaredKind(Protocol):
    """What the sandbox reads of a declaration, such as `a2e_async.kinds.TaskKind`.

    Endpoints have ``method``, ``path`` and ``id_parameter``; ``inputs`` have ``wire_name``,
    ``media``, ``required`` and ``common``.
    """

    @property
    def name(self) -> str:
        """The name of the kind."""
        ...


def simulate(kind: DeclaredKind) -> SimulatedKind:
    """Return the simulated form of a declared kind."""
    declared: Any = kind
    words = declared.statuses
    outputs = [(output.field, _RECIPES[output.media]) for output in declared.outputs]
    low, high = declared.typical_duration or (UNKNOWN_MEDIAN_SECONDS, UNKNOWN_MEDIAN_SECONDS)
    return SimulatedKind(
        declared.name,
        max(1.0, (low + high) / 2),
        _price,
        (),
        tuple(field.wire_name for field in declared.inputs if field.media is not None),
        outputs[0][1] if outputs else "",
        status_sequence=_status_sequence(words),
        output_count=_TaskCount(declared.count_input or ""),
        result_seconds=RequestedSeconds("duration", 4),
        failure_field=_first(declared.failure_message_fields, "failed_message"),
        code_field=_first(declared.failure_code_fields, "failed_code"),
        result_fields=tuple(field for field, _ in outputs),
        output_recipes=tuple(outputs),
        product_id_field=words.completion_field or "",
        detail_id_parameter=(declared.detail and declared.detail.id_parameter) or "",
        is_declared=True,
        json_row={
            "start": f"POST {declared.start.path}",
            "list": f"GET {declared.list.path}" if declared.list else "",
            "status_field": words.field,
            "progress_field": words.progress_field or "",
            "name_input": declared.name_field or "",
            "webhook": declared.accepts_webhook,
        },
    )


def declared_operations(kind: DeclaredKind) -> Iterator[Operation]:
    """Yield the operations of a declared kind."""
    declared: Any = kind
    seen: set[tuple[str, str]] = set()
    for field, role in _ROLES.items():
        endpoint = getattr(declared, field)
        if endpoint is None or (endpoint.method, endpoint.path) in seen:
            continue
        seen.add((endpoint.method, endpoint.path))
        paging = declared.paging if field == "list" else None
        schema = _BODY_SCHEMAS.get(role)
        if role == "start":
            schema = {"type": "object", "required": list(_required_inputs(declared))}
        yield Operation(
            endpoint.method,
            endpoint.path,
            role,
            declared.name,
            schema,
            tuple(_query_parameters(endpoint.id_parameter, paging)),
            (),
            paging
            and PagingParameters(
                paging.page_parameter, paging.size_parameter, min(10, paging.max_size)
            ),
        )


def _required_inputs(declared: Any) -> Iterator[str]:
    for field in declared.inputs:
        if field.required and not field.common:
            yield field.wire_name


def _query_parameters(id_parameter: str | None, paging: Any) -> Iterator[Mapping[str, Json]]:
    if id_parameter:
        yield {"name": id_parameter, "in": "query", "required": True, "schema": {"type": "string"}}
    if paging is None:
        return
    whole = {"type": "integer", "minimum": 1}
    yield {"name": paging.page_parameter, "in": "query", "schema": whole}
    size = {**whole, "maximum": paging.max_size}
    yield {"name": paging.size_parameter, "in": "query", "schema": size}
    if paging.status_filters:
        words = {"type": "string", "enum": list(paging.status_filters)}
        yield {"name": "status", "in": "query", "schema": words}


def _status_sequence(words: Any) -> StatusSequence:
    waiting = [_pick(words.queued, "initialized")] if words.queued else []
    working = [_pick(words.running, "processing")] if words.running else []
    steps = [*waiting, *working] or ["processing"]
    shown = (*((word, 0.2) for word in steps[:-1]), (steps[-1], 1.0))
    return StatusSequence(
        shown, done=_pick(words.succeeded, "completed"), failed=_pick(words.failed, "failed")
    )


def _pick(words: Iterable[str], usual: str) -> str:
    found = sorted(words)
    return usual if usual in found else found[0]


def _first(names: Iterable[str], default: str) -> str:
    return next(iter(names), default)


def _price(body: Body, length: float | None) -> int:
    return DECLARED_COINS


class _TaskCount:
    """How many tasks a start makes: the value of an input, 1 without one."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, body: Body) -> int:
        """Return the number of tasks."""
        count = body.get(self._name) if self._name else None
        return min(count, _MAX_TASKS) if isinstance(count, int) and count > 0 else 1
