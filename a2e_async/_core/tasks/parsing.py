"""Decodes the service's responses by their kind (pure): records, lists, and start responses."""

import json
import logging
import marshal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from attrs import define, frozen

from a2e_async._core.files.media_types import url_expires_at
from a2e_async._core.http.envelope import MAX_JSON_DEPTH
from a2e_async._core.redact import excerpt, hide_signatures
from a2e_async._core.schema.inputs import is_url
from a2e_async._core.tasks.kind import TaskKind, is_task_id
from a2e_async._core.typeguards import as_integer, is_list, is_mapping, is_nested_deeper_than
from a2e_async.errors import DecodeError
from a2e_async.models import (
    Failure,
    Output,
    OutputSource,
    Record,
    Status,
    decoded_on_demand,
)

R = TypeVar("R", bound=Record)
RawRecord = Mapping[str, Any]

logger = logging.getLogger("a2e_async.tasks")

MAX_FAILURE_CHARS: Final = 5_000
"""Characters of a failure message that are kept."""

MAX_STATUS_CHARS: Final = 100
"""Characters of an unknown status that are kept."""

_LIST_KEYS: Final = ("rows", "list", "data", "records", "items", "tasks")
_MESSAGE_KEYS: Final = ("message", "msg")
_STATUS_ORDER: Final = {Status.QUEUED: 0, Status.RUNNING: 1, Status.FAILED: 2, Status.SUCCEEDED: 3}
_NO_ERROR_CODES: Final = frozenset({"", "0", "none", "null"})


def read_id(raw: RawRecord) -> str | None:
    """Return the record's id, None if it has none."""
    for key in ("_id", "id"):
        value = raw.get(key)
        if isinstance(value, str) and is_task_id(value):
            return value
    return None


def read_status(kind: TaskKind[..., Any], raw: RawRecord) -> tuple[Status, str]:
    """Return a record's status, and the service's own value for it.

    An unknown or missing value means running: a paid job is never given up on a guess.
    """
    vocabulary = kind.statuses
    values = (raw.get(field) for field in (vocabulary.field, *vocabulary.fallback_fields))
    word = next((value for value in values if isinstance(value, str) and value), "")
    if not word:
        return Status.RUNNING, ""
    # Almost every value is known as it is; only others are normalised.
    status = kind.statuses.status_by_word.get(word)
    if status is None:
        status = kind.statuses.status_by_word.get(word.strip().lower(), Status.RUNNING)
    return status, word


def read_record(kind: TaskKind[..., R], raw: Any, source: OutputSource | None = None) -> R:
    """Return the decoded record. Raises `DecodeError` if it has no id, and for nothing else.

    A value that does not fit its field is kept in ``extra``. The most common values have fast
    paths.
    """
    return _read_fields(kind, raw, source, *_read_id_and_status(kind, raw))


def read_record_on_demand(
    kind: TaskKind[..., R], raw: Any, source: OutputSource | None = None
) -> R:
    """Return the same as `read_record`, but decode only the id and the status now.

    The other fields are decoded when one of them is read. For requests whose caller often needs
    nothing but the status: their caches are cold, so that decoding takes as long as all else that
    this package adds to the request. Until then the record holds the response, which takes twice
    the memory.
    """
    id, status, word = _read_id_and_status(kind, raw)
    if not kind.field_decoder.can_wait:
        return _read_fields(kind, raw, source, id, status, word)
    # A closure keeps `raw`, whose texts were not searched for secrets yet, out of attributes.
    return decoded_on_demand(
        kind.record,
        lambda: read_record(kind, raw, source),
        id=id,
        status=status,
        raw_status=word,
    )


def read_start_records(
    kind: TaskKind[..., R], raw_records: Sequence[RawRecord], source: OutputSource | None
) -> tuple[R, ...]:
    """Return the decoded records of a start's tasks, or none of them if one is unreadable.

    The ids are enough to keep what was paid for, and the next poll reads the records again.
    """
    try:
        return tuple(read_record(kind, raw, source) for raw in raw_records)
    except Exception:
        logger.exception("a record of a started %s task is unreadable", kind.name)
        return ()


def _read_id_and_status(kind: TaskKind[..., Any], raw: Any) -> tuple[str, Status, str]:
    """Return a record's id and status, and the service's own value for the status."""
    if not is_mapping(raw):
        raise DecodeError(
            f"The service returned {type(raw).__name__} instead of a {kind.name} record."
        )
    id: Any = raw.get("_id")
    if id.__class__ is not str or len(id) != 24 or not id.isalnum():
        id = read_id(raw)
    if id is None:
        raise DecodeError(
            f"The service returned a {kind.name} record without an id.",
            excerpt=excerpt(", ".join(map(str, raw))),
        )
    vocabulary = kind.statuses
    word: Any = raw.get(vocabulary.field)
    status = vocabulary.status_by_word.get(word) if word.__class__ is str else None
    if status is None:
        status, word = read_status(kind, raw)
        word = excerpt(word, limit=MAX_STATUS_CHARS)
    if (
        vocabulary.completion_field
        and not vocabulary.knows(word)
        and raw.get(vocabulary.completion_field)
    ):
        status = Status.SUCCEEDED
    return id, status, word


def _read_fields(
    kind: TaskKind[..., R],
    raw: RawRecord,
    source: OutputSource | None,
    id: str,
    status: Status,
    raw_status: str,
) -> R:
    """Return the record with all its fields decoded."""
    own, extra = kind.field_decoder.decode(raw)
    word: Any = raw.get(kind.statuses.field)
    if word and word.__class__ is not str:
        extra[kind.statuses.field] = word
    if status is Status.FAILED:
        own["failure"] = _read_failure(kind, raw)
        for field in (*kind.failure_message_fields, *kind.failure_code_fields):
            _keep_unexpected(extra, raw, field)
    for result in kind.outputs:
        if raw.get(result.field):
            own["outputs"] = _read_outputs(kind, raw, id, source, extra)
            break
    if extra:
        extra = hide_signatures(extra)
    return kind.record(id=id, status=status, raw_status=raw_status, extra=extra, **own)


def fingerprint(raw: Any) -> int:
    """Return a number that two JSON values share if they are equal, in value, type and order.

    Other values share it only by a chance of one in 2**64. A number, because keeping the response
    itself would cost a kilobyte a task, and would keep texts with their secrets.
    """
    return hash(marshal.dumps(raw, 2))  # format 2 depends on nothing but the value


def read_raw_records(data: Any) -> list[RawRecord]:
    """Return the records in a list response, in any shape that the service uses."""
    if is_list(data):
        return [row for row in data if is_mapping(row)]
    if is_mapping(data):
        if isinstance(data.get("_id"), str) and data["_id"]:
            return [data]
        for key in _LIST_KEYS:
            if is_list(data.get(key)):
                return read_raw_records(data[key])
            if key == "data" and is_mapping(data.get(key)):
                return read_raw_records(data[key])
        if read_id(data):
            return [data]
        if data and all(isinstance(key, str) and key.isdecimal() for key in data):
            return read_raw_records([*data.values()])  # a list as an object: {"0": {…}, "1": {…}}
    return []


def records_by_id(
    kind: TaskKind[..., Any],
    records: Iterable[RawRecord],
    known: dict[str, RawRecord] | None = None,
) -> dict[str, RawRecord]:
    """Return the records by id, added to those in ``known``; records without an id are left out.

    A service may list a record twice, once in an outdated state: the more advanced one is kept.
    """
    found = {} if known is None else known
    for row in records:
        id = read_id(row)
        if id is None or (
            id in found and _progress_rank(kind, row) < _progress_rank(kind, found[id])
        ):
            continue
        found[id] = row
    return found


def _progress_rank(kind: TaskKind[..., Any], raw: RawRecord) -> tuple[int, bool]:
    """Return how far a record has come, for comparison with another version of it."""
    status, _ = read_status(kind, raw)
    return _STATUS_ORDER[status], any(raw.get(result.field) for result in kind.outputs)


def contains_list(data: Any) -> bool:
    """Return whether a list response contains a list, even an empty one."""
    if is_mapping(data):
        return any(is_list(data.get(key)) or is_mapping(data.get(key)) for key in _LIST_KEYS)
    return is_list(data)


def unwrap_detail(kind: TaskKind[..., Any], data: Any, id: str) -> RawRecord | None:
    """Return the record that a detail response contains for ``id``, None if there is none.

    It may be inside a list, and a detail requested by id may omit the id. A record with any other
    id, even one of a wrong type, is not the requested one.
    """
    if is_mapping(data) and data.get("_id") == id:
        return data
    rows = read_raw_records(data)
    if (found := records_by_id(kind, rows).get(id)) is not None:
        return found
    nameless = rows or ([data] if is_mapping(data) else [])
    if len(nameless) != 1 or nameless[0].get("_id") or read_id(nameless[0]):
        return None
    return {**nameless[0], "_id": id} if kind.statuses.field in nameless[0] else None


MAX_STALE_PAGES: Final = 3
"""Pages in a row without new records that are read if the list's count promises more."""


@define
class ListEndDetector:
    """Detects the end of a list that is read page by page, however its service behaves.

    It may ignore paging, return short pages, repeat records, and count wrongly: only a page without
    new records is the end, and not yet the first such page if the count promises more. With
    ``thorough`` only an empty page or several stale ones are the end: a record that was not seen
    then is not in the list.

    Created by each reader of a list; lives for one reading.
    """

    thorough: bool = False
    at_end: bool = False
    """Whether the end was reached."""
    _stale_pages: int = 0

    def reached(
        self, *, shows_new: bool, has_records: bool, seen_count: int, total: int | None
    ) -> bool:
        """Record whether a page has new records, and any at all; return True to stop reading."""
        self._stale_pages = 0 if shows_new else self._stale_pages + 1
        more = has_records and (self.thorough or (total is not None and seen_count < total))
        self.at_end = not shows_new and not (more and self._stale_pages < MAX_STALE_PAGES)
        return self.at_end


def read_total_count(data: Any) -> int | None:
    """Return the number of records on all pages, None if the response does not contain it."""
    if is_mapping(data):
        for key in ("count", "total"):
            total = as_integer(data.get(key))
            if total is not None and total >= 0:
                return total
    return None


@frozen
class StartRefusal:
    """A start was answered with 200 but created no task; ``reason`` is the service's text."""

    reason: str


def read_start_response(
    kind: TaskKind[..., Any], data: Any
) -> tuple[RawRecord, ...] | StartRefusal | None:
    """Return the records in a start response, its refusal, or None if it is neither.

    None must be treated as an unknown outcome: the start may have been charged. The same holds for
    a refusal outside the API's own envelope. A bare text is too little to count as a refusal.
    """
    if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
        data = _parse_json(data)
    rows = tuple(row for row in read_raw_records(data) if read_id(row))
    if rows:
        return rows
    if is_mapping(data):
        refused = data.get("success") is False
        # A message alone may also report success; it counts only with `success: false`.
        names = (*kind.failure_message_fields, *_MESSAGE_KEYS)
        if not refused:
            names = tuple(name for name in names if name not in _MESSAGE_KEYS)
        reason = next((t for name in names if (t := _text_or_none(data.get(name)))), "")
        if reason or refused:
            return StartRefusal(reason or "the service returned success: false without a reason")
    return None


def _parse_json(text: str) -> Any:
    """Return the value of a JSON text, None if it is not valid JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return None if is_nested_deeper_than(value, MAX_JSON_DEPTH) else value


def _read_outputs(
    kind: TaskKind[..., Any],
    raw: RawRecord,
    id: str,
    source: OutputSource | None,
    extra: dict[str, Any],
) -> tuple[Output, ...]:
    made: list[Output] = []
    for result in kind.outputs:
        value = raw.get(result.field)
        if not value:
            continue
        for url in value if is_list(value) else (value,):
            if not isinstance(url, str) or not is_url(url):
                extra[result.field] = value
                continue
            if len(kind.outputs) > 1 and any(o.url == url.strip() for o in made):
                continue
            made.append(
                Output(
                    url=url.strip(),
                    media=result.media,
                    expires_at=url_expires_at(url.strip()),
                    ref=kind.ref((id,)),
                    index=len(made),
                    source=source,
                )
            )
    return tuple(made)


def _read_failure(kind: TaskKind[..., Any], raw: RawRecord) -> Failure:
    text = next((t for f in kind.failure_message_fields if (t := _text_or_none(raw.get(f)))), None)
    code = next(
        (c for f in kind.failure_code_fields if (c := _read_failure_code(raw.get(f)))), None
    )
    return Failure(text[:MAX_FAILURE_CHARS] if text else "the service gave no reason", code)


def _read_failure_code(value: Any) -> str | None:
    number = as_integer(value)
    text = value.strip() if isinstance(value, str) else ""
    if number is not None and abs(number) < 10**18:
        text = str(number)
    return None if text.lower() in _NO_ERROR_CODES else text


def _keep_unexpected(extra: dict[str, Any], raw: RawRecord, name: str) -> None:
    """Keep a value that is neither text nor number where one is expected."""
    value = raw.get(name)
    if value and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        extra[name] = value


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
