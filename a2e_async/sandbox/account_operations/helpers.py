"""What the operations share: how a request is read, refused, paid for and given a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import attrs

from ..account_state import Record
from ..api_messages import ApiRequest, ApiResponse
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
"""How fast the voices speak at rate 1."""

MAX_SUFFIX_LENGTH: Final = 6
"""Characters of a file name's ending, with its dot; what is longer is no ending."""


@attrs.frozen(slots=True)
class ValidatedCall:
    """One request that fits the schema of its operation."""

    request: ApiRequest
    id: str
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    """Empty when none was sent."""

    @property
    def path(self) -> str:
        """The path of the operation."""
        return self.request.operation.path


OperationFunction = Callable[[Service, ValidatedCall, Moment], Any]
"""Carries a call out: returns the data of the answer, or raises ``Refused``."""

RequestHandler = Callable[[Service, ApiRequest, Moment], ApiResponse]


class RequestRefused(Exception):
    """The call ends with this answer."""

    def __init__(self, answer: ApiResponse) -> None:
        super().__init__(answer)
        self.answer = answer


def validated_handler(play: OperationFunction) -> RequestHandler:
    """Returns what answers a request: 400 unless it fits the schema, else what ``play`` says."""

    def answer(service: Service, request: ApiRequest, now: Moment) -> ApiResponse:
        operation = request.operation
        body: Any = {} if request.body is None else request.body
        query, wrong = parse_query(operation, request.query)
        wrong += schema_problems(operation.body_schema or {"type": "object"}, body)
        try:
            if wrong:
                refuse_invalid(service, *wrong)
            return service.accept(
                play(service, ValidatedCall(request, request.id, query, body), now)
            )
        except RequestRefused as refused:
            return refused.answer

    return answer


def refuse(service: Service, status: int, message: str, code: int | None = None) -> NoReturn:
    """Ends the call with a refusal."""
    raise RequestRefused(service.refuse(status, message, code=code))


def refuse_invalid(service: Service, *wrong: FieldProblem) -> NoReturn:
    """Ends the call with 400 and what is wrong with it."""
    raise RequestRefused(service.refuse(400, "Invalid parameters", wrong))


def require_urls(service: Service, call: ValidatedCall, *names: str) -> None:
    """Ends the call with 400 unless what these fields hold, if anything, are URLs."""
    if wrong := list(body_problems(file_only_kind("links", names), call.body)):
        refuse_invalid(service, *wrong)


def require_fields(service: Service, call: ValidatedCall, *names: str) -> None:
    """Ends the call with 400 unless these fields hold text. Only the schema calls them optional."""
    if wrong := [FieldProblem(name, "is required") for name in names if not call.body.get(name)]:
        refuse_invalid(service, *wrong)


def require_object_id(service: Service, value: object) -> str:
    """Returns a record id in small letters; ends the call with 400 if it is none."""
    if not (isinstance(value, str) and OBJECT_ID.fullmatch(value)):
        refuse_invalid(service, FieldProblem("_id", "must be an id of 24 hex digits"))
    return value.lower()


def find_record(service: Service, table: Mapping[str, T], value: object) -> T:
    """Returns what a table has under an id; ends the call with 400 or 404 if there is nothing."""
    found = table.get(require_object_id(service, value))
    if found is None:
        refuse(service, 404, "Record not found")
    return found


def delete_record(service: Service, table: dict[str, Record], value: object) -> Record:
    """Takes a record out of its table; returns what the service then answers."""
    record = find_record(service, table, value)
    del table[record["_id"]]
    return {"_id": record["_id"]}


def file_only_kind(
    recipe: str, media: tuple[str, ...] = (), inputs: tuple[str, ...] = ()
) -> SimulatedKind:
    """Returns a kind that no operation serves: what is made by it is a file and nothing else."""
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
    """Returns a record with these fields, an id, its owner and its times."""
    created = format_iso(now.calendar)
    own = {"_id": service.new_id(now), "user_id": service.user_id}
    return {**fields, **own, "createdAt": created, "updatedAt": created}


def make_page(rows: list[Record], number: int, size: int) -> Record:
    """Returns one page of the rows."""
    return {"rows": rows[(number - 1) * size : number * size], "count": len(rows)}


def make_requested_page(service: Service, call: ValidatedCall, rows: Iterable[Record]) -> Record:
    """Returns the page that an undocumented body asks for, as other lists are asked."""
    number, size = call.body.get("pageNum", 1), call.body.get("pageSize", 10)
    whole = {"type": "integer", "minimum": 1}
    wrong = [*schema_problems(whole, number, "pageNum"), *schema_problems(whole, size, "pageSize")]
    if wrong:
        refuse_invalid(service, *wrong)
    return make_page(list(rows), number, size)


def completed_tasks(service: Service, kind: str, now: Moment) -> Iterator[SimulatedTask]:
    """Yields the tasks of a kind that came to a good end, newest first."""
    for task in reversed(service.tasks.values()):
        if task.kind.name == kind and task.shows_result(now):
            yield task


def charge_call(service: Service, call: ValidatedCall, what: str, coins: int, now: Moment) -> None:
    """Takes the coins for a call that starts no task."""
    charge = Charge(what, (), coins, now.calendar, call.path, dict(call.body))
    if (refusal := service.pay(charge, now)) is not None:
        raise RequestRefused(refusal)


def make_speech(service: Service, text: str, voice: str, rate: float, now: Moment) -> str:
    """Returns the signed URL of the spoken text."""
    inputs = {"seconds": round(max(1, len(text)) / CHARACTERS_PER_SECOND / rate, 3), "voice": voice}
    return _keep_file(service, _SPEECH, inputs, now, ".wav", service.result_life)


def make_copy(service: Service, url: str, now: Moment, life: float) -> str:
    """Returns the signed URL, good for ``life`` service seconds, of a copy of a file.

    Only files of this storage are really copied; for others a sample stands in.
    """
    ending = PurePosixPath(urlsplit(url).path).suffix
    if not (ending[1:].isalnum() and ending.isascii() and len(ending) <= MAX_SUFFIX_LENGTH):
        ending = ""
    return _keep_file(service, _COPY, {"url": url, "name": f"file{ending}"}, now, ending, life)


def _keep_file(
    service: Service, kind: SimulatedKind, inputs: Record, now: Moment, ending: str, life: float
) -> str:
    task = SimulatedTask(service.new_id(now), kind, inputs, {}, now, 0.0, service.speed)
    service.account.files[task.id] = task
    expires = math.ceil(now.calendar + life / service.speed)
    return service.store.sign_result(f"{kind.name}/{task.id}{ending}", expires, task.url_generation)


_SPEECH: Final = file_only_kind(taskless_files.SPEECH, inputs=("seconds", "voice"))
_COPY: Final = file_only_kind(taskless_files.COPY, media=("url",), inputs=("name",))
