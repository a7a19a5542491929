"""Helpers of the account namespaces: input checks, lenient response readers, deletion."""

import json
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from a2e_async.errors import ApiError, DecodeError, InvalidInput, NotFound
from a2e_async.free_json import free_json
from a2e_async.inputs import is_url
from a2e_async.models import MediaType, Output, OutputSource
from a2e_async.narrow import is_list, is_map
from a2e_async.reading import read_time
from a2e_async.redact import bare_url
from a2e_async.resources.room import Room
from a2e_async.tasks.kind import check_id
from a2e_async.transport.mediatype import expires_at

T = TypeVar("T")

_ID_NAMES: Final = ("_id", "id")

_MAX_INT: Final = 2**63 - 1

_MAX_UNWRAP_DEPTH: Final = 5
"""Levels of wrapping that are removed from a response; the service uses one or two."""


def show_url(url: str | None) -> str:
    """Return a URL for a repr, without its query, which may hold a signature."""
    return repr(None if url is None else bare_url(url))


def check_text(value: Any, field: str, most: int | None = None) -> str:
    """Return a string that is not blank and has at most ``max_length`` Unicode characters."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{field} must be non-blank text.", field=field)
    if most is not None and len(value) > most:
        raise InvalidInput(
            f"{field} must have at most {most} characters, got {len(value)}.", field=field
        )
    return value


def check_id_in(value: Any, field: str) -> str:
    """Return an id; an error names ``field`` as the wrong input."""
    try:
        return check_id(value)
    except InvalidInput:
        raise InvalidInput(
            f"{field} must be an id such as 66ea4dd87db10c73fa29b570.", field=field
        ) from None


def check_whole(value: Any, field: str, least: int = 1, most: int = _MAX_INT) -> int:
    """Return an integer within these bounds, both included."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        bounds = f"at least {least}" if most == _MAX_INT else f"from {least} to {most}"
        raise InvalidInput(f"{field} must be an integer, {bounds}.", field=field)
    return int(value)


def check_switch(value: Any, field: str) -> bool:
    """Return a value that is a bool."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{field} must be True or False.", field=field)
    return value


def check_number(value: Any, field: str, least: float, most: float) -> float:
    """Return a number within these bounds, both included."""
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not least <= value <= most:
        raise InvalidInput(f"{field} must be a number from {least:g} to {most:g}.", field=field)
    return float(value)


def free_body(label: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON body with names chosen by the caller; raise for inputs of a safety check."""
    if not is_map(values):
        raise InvalidInput(f"{label} must be a mapping of names to values.", field=label)
    body: dict[str, Any] = free_json(label, values)
    return body


def given(**values: Any) -> dict[str, Any]:
    """Return the arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


class Fields:
    """Reads one JSON object of a response; a value of an unexpected type counts as missing.

    `unread` returns the fields that were not read, so that no information is lost.
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

    def word(self, name: str, meanings: Mapping[str, T]) -> T | None:
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

    def whole(self, *names: str) -> int | None:
        """Return the first integer under one of these names."""
        for name in names:
            value = self.number(name)
            if value is not None and value.is_integer():
                return int(value)
            self._read.discard(name)
        return None

    def time(self, *names: str) -> datetime | None:
        """Return the first point in time under one of these names."""
        for name in names:
            value = self._raw.get(name)
            try:
                moment = read_time(value)
            except (TypeError, ValueError, OverflowError, OSError):
                continue
            self._read.add(name)
            return moment
        return None

    def rest(self) -> dict[str, Any]:
        """Return the fields that were not read and are not empty, by their wire names."""
        return {
            name: value
            for name, value in self._raw.items()
            if name not in self._read and value not in (None, "")
        }


def fields_of(data: Any) -> Fields:
    """Return a reader of ``data``, or of an empty object if it is not one."""
    return Fields(data if is_map(data) else {})


def answered(data: Any, *names: str, bare: str | None = None) -> Fields:
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
        elif is_map(data) and "data" in data and not any(data.get(name) for name in names):
            data = data["data"]
        else:
            break
    return Fields({bare: data}) if bare and not is_map(data) else fields_of(data)


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_output(url: str, media: MediaType, source: OutputSource) -> Output:
    """Return a file that belongs to no task as an Output; its URL cannot be renewed."""
    url = url.strip()
    return Output(url=url, media=media, expires_at=expires_at(url), source=source)


async def remove(context: Room, method: str, path: str, json: Any = None) -> None:
    """Delete a resource. If a retry finds it missing, an earlier attempt has deleted it."""
    try:
        await context.session.request(method, path, json=json, **context.options())
    except NotFound as error:
        # A 404 after a retry: the first attempt deleted it, but its response was lost.
        if error.attempts < 2:
            raise


@contextmanager
def older(instead: str = "", *, of_record: bool = False) -> Generator[None]:
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
            + (instead or "There is no replacement."),
        ) from error


def _operation_removed(error: ApiError | DecodeError, of_record: bool) -> bool:
    # A removed path is answered by the website: an HTML page in place of JSON.
    if isinstance(error, DecodeError):
        return error.excerpt.startswith("<")
    if error.http_status == 405:
        return True
    return isinstance(error, NotFound) and not (of_record and error.code is not None)
