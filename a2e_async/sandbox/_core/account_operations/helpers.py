"""Helpers of the account operations: validation, refusals, charges, pages, generated files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import attrs

from ..account_state import Record
from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import OBJECT_ID
from ..clock import Moment, format_iso
from ..kinds.kind import SimulatedKind, body_problems
from ..ledger import Charge
from ..results import taskless_files
from ..service import Service
from ..simulated_task import SimulatedTask
from ..validation import FieldProblem, parse_query, schema_problems

T = TypeVar("T")

CHARACTERS_PER_SECOND: Final = 15
"""How many characters the voices speak in a second at rate 1."""

MAX_SUFFIX_LENGTH: Final = 6
"""The longest file name suffix, in characters with its dot; longer ones are ignored."""


@attrs.frozen(slots=True)
class ValidatedCall:
    """A request that fits the schema of its operation."""

    request: SandboxRequest
    id: str
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    """The decoded JSON body; empty when none was sent."""

    @property
    def path(self) -> str:
        """The path of the operation."""
        return self.request.operation.path


OperationFunction = Callable[[Service, ValidatedCall, Moment], Any]
"""Carries out one operation: returns the data of the response, or raises ``RequestRefused``."""

RequestHandler = Callable[[Service, SandboxRequest, Moment], SandboxResponse]


class RequestRefused(Exception):
    """Ends the call with this response."""

    def __init__(self, response: SandboxResponse) -> None:
        super().__init__(response)
        self.response = response


def validated_handler(function: OperationFunction) -> RequestHandler:
    """Return a handler that calls the function for a valid request, else returns 400."""

    def handle(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
        operation = request.operation
        body: Any = {} if request.body is None else request.body
        query, problems = parse_query(operation, request.query)
        problems += schema_problems(operation.body_schema or {"type": "object"}, body)
        try:
            if problems:
                refuse_invalid(service, *problems)
            return service.accept(
                function(service, ValidatedCall(request, request.id, query, body), now)
            )
        except RequestRefused as refused:
            return refused.response

    return handle


def refuse(service: Service, status: int, message: str, code: int | None = None) -> NoReturn:
    """End the call with this failure."""
    raise RequestRefused(service.refuse(status, message, code=code))


def refuse_invalid(service: Service, *problems: FieldProblem) -> NoReturn:
    """End the call with 400 and these field problems."""
    raise RequestRefused(service.refuse(400, "Invalid parameters", problems))


def require_urls(service: Service, call: ValidatedCall, *names: str) -> None:
    """End the call with 400 if one of these fields is set and is not a URL."""
    if problems := list(body_problems(file_only_kind("links", names), call.body)):
        refuse_invalid(service, *problems)


def require_fields(service: Service, call: ValidatedCall, *names: str) -> None:
    """End the call with 400 unless all of these fields are set; the schema calls them optional."""
    if problems := [FieldProblem(name, "is required") for name in names if not call.body.get(name)]:
        refuse_invalid(service, *problems)


def require_object_id(service: Service, value: object) -> str:
    """Return a record id in lower case; end the call with 400 if it is not one."""
    if not (isinstance(value, str) and OBJECT_ID.fullmatch(value)):
        refuse_invalid(service, FieldProblem("_id", "must be an id of 24 hex digits"))
    return value.lower()


def find_record(service: Service, table: Mapping[str, T], value: object) -> T:
    """Return the entry with this id; end the call with 400 for a bad id, 404 for an unknown one."""
    found = table.get(require_object_id(service, value))
    if found is None:
        refuse(service, 404, "Record not found")
    return found


def delete_record(service: Service, table: dict[str, Record], value: object) -> Record:
    """Delete a record from its table; return the response data."""
    record = find_record(service, table, value)
    del table[record["_id"]]
    return {"_id": record["_id"]}


def file_only_kind(
    recipe: str, media: tuple[str, ...] = (), inputs: tuple[str, ...] = ()
) -> SimulatedKind:
    """Return a kind without operations, for a file that belongs to no task."""
    return SimulatedKind(
        recipe,
        median_seconds=0.0,
        log_sigma=0.0,
        price=lambda body, seconds: 0,
        price_inputs=inputs,
        media_inputs=media,
        recipe=recipe,
    )


def new_record(service: Service, now: Moment, fields: Mapping[str, Any]) -> Record:
    """Return a record with these fields plus an id, the owner and the timestamps."""
    created = format_iso(now.calendar)
    own = {"_id": service.new_id(now), "user_id": service.user_id}
    return {**fields, **own, "createdAt": created, "updatedAt": created}


def make_page(rows: list[Record], number: int, size: int) -> Record:
    """Return one page of the rows; pages are numbered from 1."""
    return {"rows": rows[(number - 1) * size : number * size], "count": len(rows)}


def make_requested_page(service: Service, call: ValidatedCall, rows: Iterable[Record]) -> Record:
    """Return the page that the body requests, with the parameters that other lists use."""
    number, size = call.body.get("pageNum", 1), call.body.get("pageSize", 10)
    positive_integer = {"type": "integer", "minimum": 1}
    problems = [
        *schema_problems(positive_integer, number, "pageNum"),
        *schema_problems(positive_integer, size, "pageSize"),
    ]
    if problems:
        refuse_invalid(service, *problems)
    return make_page(list(rows), number, size)


def completed_tasks(service: Service, kind: str, now: Moment) -> Iterator[SimulatedTask]:
    """Yield the completed tasks of a kind, newest first."""
    for task in reversed(service.tasks.values()):
        if task.kind.name == kind and task.shows_result(now):
            yield task


def charge_call(service: Service, call: ValidatedCall, what: str, coins: int, now: Moment) -> None:
    """Charge the coins for a call that starts no task; end the call if the balance is too low."""
    charge = Charge(what, (), coins, now.calendar, call.path, dict(call.body))
    if (refusal := service.deduct(charge, now)) is not None:
        raise RequestRefused(refusal)


def make_speech_file(service: Service, text: str, voice: str, rate: float, now: Moment) -> str:
    """Return a signed URL of the spoken text."""
    inputs = {"seconds": round(max(1, len(text)) / CHARACTERS_PER_SECOND / rate, 3), "voice": voice}
    return _register_file(service, _SPEECH, inputs, now, ".wav", service.result_life)


def make_file_copy(service: Service, url: str, now: Moment, lifetime: float) -> str:
    """Return the signed URL of a copy of a file, valid for ``lifetime`` service seconds.

    Files outside this storage are not fetched: the copy is then a sample file.
    """
    ending = PurePosixPath(urlsplit(url).path).suffix
    if not (ending[1:].isalnum() and ending.isascii() and len(ending) <= MAX_SUFFIX_LENGTH):
        ending = ""
    return _register_file(
        service, _COPY, {"url": url, "name": f"file{ending}"}, now, ending, lifetime
    )


def _register_file(
    service: Service, kind: SimulatedKind, inputs: Record, now: Moment, ending: str, lifetime: float
) -> str:
    task = SimulatedTask(service.new_id(now), kind, inputs, {}, now, 0.0, service.speed)
    service.account.files[task.id] = task
    expires = math.ceil(now.calendar + lifetime / service.speed)
    return service.store.sign_result(f"{kind.name}/{task.id}{ending}", expires, task.url_generation)


_SPEECH: Final = file_only_kind(taskless_files.SPEECH, inputs=("seconds", "voice"))
_COPY: Final = file_only_kind(taskless_files.COPY, media=("url",), inputs=("name",))
