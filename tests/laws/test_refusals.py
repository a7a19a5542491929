"""Law 2: once bytes were sent, only the API itself can refuse a request."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async._core.journal.protocol import State
from a2e_async.errors import A2EError, ApiError, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.hostile.reply import Reply, json_reply
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

REFUSING = (200, 400, 401, 402, 403, 404, 405, 413, 415, 422)
PAGES = (200, 201, 400, 401, 403, 404, 405, 409, 413, 415, 422, 451, 500, 502, 503, 504)
STATUSES = (202, 204, 301, 302, 303, 307, 308, 408, 409, 410, 421, 423, 425, 451, 499, 500, 503)

UNKNOWN = [
    *(Fault.status(status) for status in STATUSES),
    *(Fault.page(status) for status in PAGES),
    *(Fault.bare_json(status) for status in (200, 400, 403, 404, 422)),
    *(Fault.envelope(status, 400) for status in (201, 408, 409, 425, 451, 499, 500, 503)),
    *(Fault.envelope(status, 500) for status in (200, 400, 403)),
    *(Fault.empty(status) for status in (200, 400, 404)),
    *(Fault.envelope(status, 0) for status in (400, 403)),
    Fault.body("text", b"insufficient coins", "text/plain"),
    Fault.body("bare JSON string", b'"insufficient coins"'),
    Fault.body("a list", b'[{"code": 400, "msg": "no"}]', status=400),
    Fault.body("no numeric code", b'{"code": "AccessDenied", "msg": "no"}', status=403),
    Fault.body("success false alone", b'{"success": false, "msg": "no"}'),
    Fault.body("rate limit by a proxy", b'{"error": "too many requests"}', status=403),
    Fault.body("page of a rate limit", b"<html>too many requests</html>", "text/html", status=403),
    Fault.data("the text of a refusal"),
    Fault.data({}),
    Fault.nested(2000),
    Fault.disconnect(),
    Fault.cut(),
    Fault.cut_text(),
]

PLACES: Sequence[tuple[str, Callable[[Any], Any]]] = [
    ("the record", lambda record: record),
    ("a list of records", lambda record: [record]),
    ("rows", lambda record: {"rows": [record], "count": 1}),
    ("a list in data", lambda record: {"data": {"list": [record]}}),
]
"""Where a successful response may have its records."""


def _with_record(reply: Reply, place: Callable[[Any], Any]) -> Reply:
    """Return a refusal that names the task which the start has made."""
    return json_reply(place(reply.data), status=400, code=4001, message="busy")


NAMED = [
    Fault("refusal with " + name, partial(_with_record, place=place)) for name, place in PLACES
]

REFUSED = [
    *(Fault.refusal(status, 4999) for status in REFUSING),
    Fault.refusal(403, 1003),
    Fault.refusal(200, 409),
    Fault.body("code as text", b'{"code": "4001", "msg": "no"}', status=400),
    Fault.body("failed message", b'{"code": 0, "data": {"failed_message": "no face"}}'),
    Fault.body("success false", b'{"code": 0, "success": false, "msg": "no face"}'),
    Fault.body("success false in data", b'{"code": 0, "data": {"success": false}}'),
]

CALLS: dict[str, Callable[[A2E], Awaitable[Any]]] = {
    "speech": lambda a2e: a2e.speech.say("Good morning.", tts_id="66ea4dd87db10c73fa29b5aa"),
    "raw request": lambda a2e: a2e.request("POST", "/api/v1/video/send_tts", json={"msg": "x"}),
}


def start(a2e: A2E, key: str | None = None) -> Awaitable[Any]:
    return a2e.dubbing.start(**SAMPLES["dubbing"], key=key)


def named(fault: Fault) -> str:
    return fault.name


@pytest.mark.parametrize("fault", [*UNKNOWN, *NAMED], ids=named)
async def test_a_lost_response_is_never_a_refusal(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    """The start was accepted; any run with its key returns its task, charged once."""
    hostile.faults.add(Step.START, fault)
    refs = {(await start(make_client(journal=tmp_path / "jobs.db"), "k")).ref for _ in range(2)}
    assert refs == {f"dubbing:{id}" for id in hostile.ledger.ids}
    assert len(hostile.ledger) == hostile.count(Step.START) == 1


@pytest.mark.parametrize("fault", [*UNKNOWN, *NAMED], ids=named)
async def test_what_cannot_be_found_stays_unknown(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    """If no record is found, the start is neither forgotten nor submitted again."""
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, fault)
    a2e = make_client(journal=tmp_path / "jobs.db")
    for _ in range(2):
        with pytest.raises(StartOutcomeUnknown):
            await start(a2e, "k")
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert entry.state is State.INTENT
    assert hostile.count(Step.START) == 1


@pytest.mark.parametrize("fault", REFUSED, ids=named)
async def test_the_api_itself_can_refuse(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    """Nothing was accepted, no list is searched, and the key is free again."""
    hostile.faults.add(Step.START, fault, after_accept=False)
    a2e = make_client(journal=tmp_path / "jobs.db")
    with pytest.raises(ApiError) as refusal:
        await start(a2e, "k")
    assert refusal.value.from_api
    assert a2e.journal is not None
    assert await a2e.journal.get("k") is None
    assert not hostile.count(Step.LIST)
    assert (await start(a2e, "k")).ids == tuple(hostile.ledger.ids)


@pytest.mark.parametrize("fault", [Fault.page(429), Fault.refusal(429, 429), Fault.empty(429)])
async def test_a_429_is_a_refusal_whoever_sends_it(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    """The start waits and is retried once."""
    paced = Fault(fault.name, lambda reply: fault.change(reply).with_headers(Retry_After="0"))
    hostile.faults.add(Step.START, paced, after_accept=False)
    assert (await start(make_client())).ids == tuple(hostile.ledger.ids)
    assert hostile.count(Step.START) == 2


NO_RESULT = ("data", "empty 20", "status 20", "text", "bare JSON string", "bare JSON 200")
"""Responses without a result, which a raw request returns unchanged."""


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault", [one for one in UNKNOWN if not one.name.startswith(NO_RESULT)], ids=named
)
async def test_other_paid_calls_are_judged_the_same(
    hostile: HostileServer, make_client: MakeClient, call: str, fault: Fault
) -> None:
    """A call that may have been charged stays reserved and is sent only once."""
    hostile.faults.add(Step.CHARGED, fault)
    budget = Budget(10, unknown_cost=1)
    a2e = make_client(budget=budget)
    with pytest.raises(A2EError) as error:
        await CALLS[call](a2e)
    assert "may have been" in str(error.value)
    assert budget.left < 10
    assert hostile.count(Step.CHARGED) == 1
    if call == "speech":
        assert isinstance(error.value, StartOutcomeUnknown)


@pytest.mark.parametrize("call", CALLS)
async def test_a_refused_paid_call_gives_its_reservation_back(
    hostile: HostileServer, make_client: MakeClient, call: str
) -> None:
    hostile.faults.add(Step.CHARGED, Fault.refusal(402, 4021, "insufficient coins"))
    budget = Budget(10, unknown_cost=1)
    with pytest.raises(ApiError):
        await CALLS[call](make_client(budget=budget))
    assert budget.left == 10


@pytest.mark.parametrize(
    "fault", [Fault.status(303), Fault.page(403), Fault.status(409)], ids=named
)
async def test_a_presign_that_may_be_paid_stays_reserved(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    hostile.faults.add(Step.PRESIGN, fault)
    budget = Budget(10)
    a2e = make_client(budget=budget)
    with pytest.raises(A2EError, match="may have been accepted"):
        await a2e.files.upload(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"x" * 100)
    assert budget.left == 9
