"""Helpers of the account namespaces: input checks, lenient response readers, deletion."""

import json
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from a2e_async._core.context import RequestContext
from a2e_async._core.converter import time_or_none
from a2e_async._core.files.media_types import url_expires_at
from a2e_async._core.redact import bare_url, hide_signatures
from a2e_async._core.schema.inputs import is_url
from a2e_async._core.schema.json_guard import guarded_json
from a2e_async._core.tasks.kind import check_task_id
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.errors import ApiError, DecodeError, InvalidInput, NotFound
from a2e_async.models import MediaType, Output, OutputSource

T = TypeVar("T")

_ID_NAMES: Final = ("_id", "id")

_MAX_INT: Final = 2**63 - 1

_MAX_UNWRAP_DEPTH: Final = 5
"""Levels of wrapping that are removed from a response; the service uses one or two."""


def repr_without_query(url: str | None) -> str:
    """Return a URL for a repr, without its query, which may hold a signature."""
    return repr(None if url is None else bare_url(url))


def check_text(value: Any, field: str, max_length: int | None = None) -> str:
    """Return a string that is not blank and has at most ``max_length`` Unicode characters."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{field} must be non-blank text.", field=field)
    if max_length is not None and len(value) > max_length:
        raise InvalidInput(
            f"{field} must have at most {max_length} characters, got {len(value)}.", field=field
        )
    return value


def check_id_input(value: Any, field: str) -> str:
    """Return an id; an error names ``field`` as the wrong input."""
    try:
        return check_task_id(value)
    except InvalidInput:
        raise InvalidInput(
            f"{field} must be an id such as 66ea4dd87db10c73fa29b570.", field=field
        ) from None


def check_int(value: Any, field: str, minimum: int = 1, maximum: int = _MAX_INT) -> int:
    """Return an integer within these bounds, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        bounds = f"at least {minimum}" if maximum == _MAX_INT else f"from {minimum} to {maximum}"
        raise InvalidInput(f"{field} must be an integer, {bounds}.", field=field)
    return int(value)


def check_bool(value: Any, field: str) -> bool:
    """Return a value that is a bool."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{field} must be True or False.", field=field)
    return value


def check_number(value: Any, field: str, minimum: float, maximum: float) -> float:
    """Return a number within these bounds, both included."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not minimum <= value <= maximum:
        raise InvalidInput(
            f"{field} must be a number from {minimum:g} to {maximum:g}.", field=field
        )
    return float(value)


def check_json_body(label: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON body with names chosen by the caller; raise for inputs of a safety check."""
    if not is_mapping(values):
        raise InvalidInput(f"{label} must be a mapping of names to values.", field=label)
    body: dict[str, Any] = guarded_json(label, values)
    return body


def without_none(**values: Any) -> dict[str, Any]:
    """Return the arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


class ResponseFields:
    """Reads one JSON object of a response; a value of an unexpected type counts as missing.

    `unread` returns the fields that were not read, so that no information is lost.

    Created for one response by its reader.
    """

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._read: set[str] = set()

    def text(self, *names: str) -> str | None:
        """Return the first non-blank string under one of these names."""
        for name in names:
            value = self._raw.get(name)
            if isinstance(value, str) and value.strip():
                self._read.add(name)
                return value
        return None

    def id(self, *names: str) -> str | None:
        """Return the id of the object; ``names`` are further names of it."""
        return self.text(*_ID_NAMES, *names)

    def url(self, *names: str) -> str | None:
        """Return the first URL under one of these names."""
        for name in names:
            value = self._raw.get(name)
            if isinstance(value, str) and is_url(value):
                self._read.add(name)
                return value.strip()
        return None

    def mapped(self, name: str, meanings: Mapping[str, T]) -> T | None:
        """Return the value that a word is mapped to; an unknown word stays unread."""
        value = self._raw.get(name)
        meaning = meanings.get(value.strip().lower()) if isinstance(value, str) else None
        if meaning is not None:
            self._read.add(name)
        return meaning

    def number(self, *names: str) -> float | None:
        """Return the first finite number under one of these names; digits as a string count."""
        for name in names:
            value = self._raw.get(name)
            if isinstance(value, str) and value.isdecimal() and len(value) < 16:
                value = int(value)
            if not isinstance(value, int | float) or isinstance(value, bool):
                continue
            if math.isfinite(value) and abs(value) < 2**63:
                self._read.add(name)
                return float(value)
        return None

    def integer(self, *names: str) -> int | None:
        """Return the first integer under one of these names."""
        for name in names:
            value = self.number(name)
            if value is not None and value.is_integer():
                return int(value)
            self._read.discard(name)
        return None

    def timestamp(self, *names: str) -> datetime | None:
        """Return the first point in time under one of these names."""
        for name in names:
            if (moment := time_or_none(self._raw.get(name))) is not None:
                self._read.add(name)
                return moment
        return None

    def unread(self) -> dict[str, Any]:
        """Return the fields that were not read and are not empty, by their wire names.

        URLs are without their signatures, as in the records of tasks.
        """
        rest = {
            name: value
            for name, value in self._raw.items()
            if name not in self._read and value not in (None, "")
        }
        shown: dict[str, Any] = hide_signatures(rest)
        return shown


def response_fields(data: Any) -> ResponseFields:
    """Return a reader of ``data``, or of an empty object if it is not one."""
    return ResponseFields(data if is_mapping(data) else {})


def unwrap_response(data: Any, *names: str, bare_name: str | None = None) -> ResponseFields:
    """Return a reader of the object of a response that has one of these fields.

    The object may be in a list of one, under another ``data`` field, or encoded as a string. The
    response may be paid for, so an unexpected wrapping must not lose it. A bare value is read as
    the field ``bare_name``.
    """
    for _ in range(_MAX_UNWRAP_DEPTH):
        if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
            data = _parse_json(data)
        if is_list(data) and len(data) == 1:
            data = data[0]
        elif is_mapping(data) and "data" in data and not any(data.get(name) for name in names):
            data = data["data"]
        else:
            break
    return (
        ResponseFields({bare_name: data})
        if bare_name and not is_mapping(data)
        else response_fields(data)
    )


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def output_from_url(url: str, media: MediaType, source: OutputSource) -> Output:
    """Return a file that belongs to no task as an Output; its URL cannot be renewed."""
    url = url.strip()
    return Output(url=url, media=media, expires_at=url_expires_at(url), source=source)


async def delete_resource(
    context: RequestContext, method: str, path: str, json: Any = None
) -> None:
    """Delete a resource. If a retry finds it missing, an earlier attempt has deleted it."""
    try:
        await context.session.request(method, path, json=json, **context.request_options())
    except NotFound as error:
        # A 404 after a retry: the first attempt deleted it, but its response was lost.
        if error.attempts < 2:
            raise


@contextmanager
def legacy_operation(alternative: str = "", *, of_record: bool = False) -> Generator[None]:
    """Raise a clear `NotFound` if the service seems to have removed a legacy operation.

    ``alternative`` says what to use instead. For an operation on a record (``of_record``), a 404
    with an error code of the service is about the record, not about the operation.
    """
    try:
        yield
    except (ApiError, DecodeError) as error:
        if not _operation_removed(error, of_record):
            raise
        refused = isinstance(error, ApiError) and error.from_api
        raise NotFound(
            http_status=error.http_status,
            code=getattr(error, "code", None),
            message=getattr(error, "message", "") or "a web page instead of JSON",
            trace_id=error.trace_id,
            method=error.method,
            path=error.path,
            body=getattr(error, "body", "") or getattr(error, "excerpt", ""),
            attempts=error.attempts,
            from_api=refused,
            advice="The service seems to have removed this legacy operation"
            + ("; nothing was done. " if refused else ". ")
            + (alternative or "There is no replacement."),
        ) from error


def _operation_removed(error: ApiError | DecodeError, of_record: bool) -> bool:
    # A removed path is answered by the website: an HTML page in place of JSON.
    if isinstance(error, DecodeError):
        return error.excerpt.startswith("<")
    if error.http_status == 405:
        return True
    return isinstance(error, NotFound) and not (of_record and error.code is not None)
